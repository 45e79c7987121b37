"""Serve a trained model: raw ids in, scored raw ids out, with vocabularies and item index held in variables."""

import numpy as np
import tensorflow as tf

from penstock_training.serving.lookup import Lookup


class Serving(tf.Module):
    """Answer from two matrices: every user's query and every item's candidate vector."""

    def __init__(self, users: Lookup, items: Lookup, queries: np.ndarray, candidates: np.ndarray) -> None:
        """Take float32 [user ids, width] and [item ids, width]."""
        super().__init__(name="serving")
        self.users, self.items = users, items
        self.queries = tf.Variable(queries, trainable=False, name="queries")
        # Apart, since only items that are not reserved are ranked, and slicing a variable would copy it.
        self.reserved = tf.Variable(candidates[: items.first_id], trainable=False, name="reserved_candidates")
        self.candidates = tf.Variable(candidates[items.first_id :], trainable=False, name="candidates")

    def recommend(self, user: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the k best items of each user [n]: raw ids and scores [n, k], best first, and whether it is known."""
        ids, known = self.users.ids(user)
        scores = tf.matmul(tf.gather(self.queries, ids), self.candidates, transpose_b=True)
        best = tf.math.top_k(scores, tf.minimum(k, self.items.count))
        return {"items": self.items.raw(best.indices), "scores": best.values, "user_known": known}

    def score(self, user: tf.Tensor, item: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the score of each pair of user [n] and item [n], and whether each is known."""
        user_ids, user_known = self.users.ids(user)
        item_ids, item_known = self.items.ids(item)
        reserved = tf.gather(self.reserved, tf.minimum(item_ids, self.items.first_id - 1))
        ranked = tf.gather(self.candidates, tf.maximum(item_ids - self.items.first_id, 0))
        vectors = tf.where((item_ids < self.items.first_id)[:, None], reserved, ranked)
        scores = tf.reduce_sum(tf.gather(self.queries, user_ids) * vectors, axis=1)
        return {"scores": scores, "user_known": user_known, "item_known": item_known}

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """Return the functions a client calls by name."""
        user = tf.TensorSpec([None], self.users.dtype, name="user")
        item = tf.TensorSpec([None], self.items.dtype, name="item")
        recommend = tf.function(self.recommend, [user, tf.TensorSpec([], tf.int32, name="k")]).get_concrete_function()
        score = tf.function(self.score, [user, item]).get_concrete_function()
        return {"serving_default": recommend, "recommend": recommend, "score": score}
