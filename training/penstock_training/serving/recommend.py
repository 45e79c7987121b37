"""Ask an exported model for a user's best items, and print them."""

import re
import sys
from typing import Any

import tensorflow as tf
from rich.console import Console
from rich.table import Table

from penstock_shared.errors import DataRefused, UserMistake
from penstock_training.serving.document import read_document
from penstock_training.storage import UNREACHABLE, reason

WHOLE_NUMBER = re.compile(r"-?[0-9]+", re.ASCII)


def recommend(model_path: str, user: str, k: int) -> None:
    """Print the k best items of a raw user id with their scores; an unknown user is said to be so on stderr.

    Raises UserMistake when `model_path` is no exported model or the id is not of the vocabulary's type, DataRefused
    when the model is damaged.
    """
    asked = _user(user, read_document(model_path))
    answer = _answer(model_path, asked, min(k, tf.int32.max))
    if not answer["user_known"][0]:
        print(f"user {user} is not in the vocabulary: these are the items for any unknown user", file=sys.stderr)
    table = Table("item", "score")
    for item, score in zip(answer["items"][0].numpy(), answer["scores"][0].numpy(), strict=True):
        table.add_row(item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item), f"{score:.4f}")
    Console().print(table, markup=False)


def _answer(model_path: str, user: tf.Tensor, k: int) -> dict[str, tf.Tensor]:
    try:
        model = tf.saved_model.load(model_path)
        answer: dict[str, tf.Tensor] = model.signatures["recommend"](user=user, k=tf.constant(k))
    except UNREACHABLE:
        raise
    except Exception as fault:
        # There is no end to what TensorFlow raises over a damaged file.
        raise DataRefused(f"{model_path}: cannot be used: {reason(fault)}; export the run again") from fault
    return answer


def _user(user: str, described: dict[str, Any]) -> tf.Tensor:
    dtype = next(entry["dtype"] for entry in described["signatures"]["recommend"]["inputs"] if entry["name"] == "user")
    if dtype == "string":
        return tf.constant([user.encode()])
    if WHOLE_NUMBER.fullmatch(user) and tf.int64.min <= int(user) <= tf.int64.max:
        return tf.constant([int(user)], tf.int64)
    raise UserMistake(f"--user: found {user!r}, expected an int64, the type of the users this model was trained on")
