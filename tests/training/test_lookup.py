import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_dataset import TinyVocabulary

from penstock_shared.tokens import hash_token
from penstock_shared.vocabularies import Vocabulary
from penstock_training.data.vocabulary import Tokens
from penstock_training.serving.lookup import Lookup, hash_tokens

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=20))
def test_string_hashes_are_those_of_the_reference(tokens: list[str]) -> None:
    found = hash_tokens(tf.constant([token.encode() for token in tokens])).numpy().tolist()
    assert found == [hash_token(token) for token in tokens]


@settings(deadline=None)
@given(st.lists(INT64, min_size=1, max_size=20))
def test_integer_hashes_are_those_of_the_reference(tokens: list[int]) -> None:
    assert hash_tokens(tf.constant(tokens, tf.int64)).numpy().tolist() == [hash_token(token) for token in tokens]


def test_hashes_of_nothing() -> None:
    assert hash_tokens(tf.constant([], tf.string)).shape == (0,)
    assert hash_tokens(tf.constant([], tf.int64)).shape == (0,)


def held(vocabulary: TinyVocabulary) -> Tokens:
    described = Vocabulary(
        token_dtype=vocabulary.token_dtype,
        encoding="table",
        size=vocabulary.size,
        tokens=len(vocabulary.ids),
        oov_buckets=vocabulary.oov_buckets,
        min_count=1,
        max_size=None,
        counted_over="train",
        counted_values=1,
        coverage=1.0,
        shared_by=(),
        columns=(),
        shards=(),
        digest="0" * 64,
    )
    tokens = np.empty(len(vocabulary.ids), object)
    tokens[:] = [token.encode() if isinstance(token, str) else token for token in vocabulary.ids]
    dtype = object if vocabulary.token_dtype == "string" else np.int64
    return Tokens(described, tokens.astype(dtype))


@settings(deadline=None, max_examples=30)
@given(
    st.one_of(
        st.tuples(st.just("string"), st.sets(TEXT, max_size=30)),
        st.tuples(st.just("int64"), st.sets(INT64, max_size=30)),
    ),
    st.integers(1, 5),
    st.data(),
)
def test_ids_are_those_of_the_vocabulary(
    drawn: tuple[str, set[int | str]], oov_buckets: int, data: st.DataObject
) -> None:
    dtype, tokens = drawn
    known = data.draw(st.sets(st.sampled_from(sorted(tokens)))) if tokens else set()
    vocabulary = TinyVocabulary(dtype, dict.fromkeys(known, 1), oov_buckets=oov_buckets)
    asked = [*tokens, *tokens]
    raw = [token.encode() for token in asked] if dtype == "string" else asked
    ids, found = Lookup(held(vocabulary), "v").ids(tf.constant(raw, tf.dtypes.as_dtype(dtype)))
    assert ids.numpy().tolist() == [vocabulary.id_of(token) for token in asked]
    assert found.numpy().tolist() == [token in known for token in asked]


def test_tokens_whose_hashes_collide_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock_training.serving import lookup

    vocabulary = TinyVocabulary("int64", {10: 4, 11: 3, 12: 2, 13: 1})
    monkeypatch.setattr(lookup, "hash_tokens", lambda tokens: tf.cast(tokens // 3, tf.uint64))
    ids, known = Lookup(held(vocabulary), "v").ids(tf.constant([13, 12, 11, 10, 9], tf.int64))
    assert ids.numpy().tolist() == [6, 5, 4, 3, 2]
    assert known.numpy().tolist() == [True, True, True, True, False]
