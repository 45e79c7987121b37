import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_dataprep.records.blocks import Values as Written
from penstock_dataprep.records.blocks import encode_block
from penstock_shared import Column
from penstock_training.data.decode import Values, decode_block, densify

RANGES = {"u8": 2**8, "u16": 2**16, "u24": 2**24, "u32": 2**32}
WHERE = tf.constant("shard at byte 0")


def numbers_of(storage: str, count: int, random: np.random.Generator) -> np.ndarray:
    if storage in RANGES:
        return random.integers(0, RANGES[storage], count)
    if storage == "i64":
        return random.integers(-(2**63), 2**63 - 1, count)
    return (random.integers(-128, 128, count) / 16).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["u8", "u16", "u24", "u32", "i64", "f16", "bf16", "f32"]),
            st.sampled_from(["plain", "nullable", "vector", "u8", "u16"]),
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 40),
    st.integers(0, 2**32),
)
def test_what_the_writer_encodes_is_decoded(kinds: list[tuple[str, str]], rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    columns, written = [], []
    for place, (storage, kind) in enumerate(kinds):
        lengths = random.integers(0, 5, rows) if kind.startswith("u") else None
        present = random.random(rows) < 0.5 if kind == "nullable" else None
        count = rows if lengths is None else int(lengths.sum())
        columns.append(
            Column(
                name=f"c{place}",
                storage=storage,
                lengths=kind if kind.startswith("u") else None,
                nullable=kind == "nullable",
                values_per_row=3 if kind == "vector" else 1,
            )
        )
        numbers = numbers_of(storage, 3 * rows, random).reshape(rows, 3) if kind == "vector" else None
        written.append(Written(numbers_of(storage, count, random) if numbers is None else numbers, lengths, present))
    payload = encode_block(tuple(columns), written, rows)
    decoded = decode_block(tf.constant(payload), tuple(columns), tf.constant(rows), WHERE)
    for before, after in zip(written, decoded, strict=True):
        expected = before.numbers if before.present is None else np.where(before.present, before.numbers, 0)
        np.testing.assert_array_equal(after.numbers.numpy().astype(expected.dtype), expected)
        if before.lengths is not None:
            np.testing.assert_array_equal(after.lengths, before.lengths)
        if before.present is not None:
            np.testing.assert_array_equal(after.present, before.present)


COLUMNS = (Column(name="a", storage="u16"), Column(name="b", storage="u8", lengths="u8"))
PAYLOAD = encode_block(COLUMNS, [Written(np.array([1, 2])), Written(np.array([7, 8, 9]), np.array([1, 2]))], 2)


@pytest.mark.parametrize(
    ("payload", "rows", "message"),
    [
        (PAYLOAD, 3, "rows held"),
        (PAYLOAD + b"x", 2, "bytes held"),
        (PAYLOAD[:-1], 2, "pos|bytes held"),
        (b"\x02\x00", 2, "."),
    ],
)
def test_a_payload_that_is_not_its_rows_is_refused(payload: bytes, rows: int, message: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode_block(tf.constant(payload), COLUMNS, tf.constant(rows), WHERE)


@pytest.mark.parametrize(
    ("length", "expected"),
    [(1, [[1], [0], [4]]), (2, [[1, 0], [0, 0], [3, 4]]), (4, [[1, 0, 0, 0], [0, 0, 0, 0], [2, 3, 4, 0]])],
)
def test_densify_pads_short_lists_and_keeps_the_end_of_long_ones(length: int, expected: list[list[int]]) -> None:
    values = Values(tf.constant([1, 2, 3, 4], tf.uint8), tf.constant([1, 0, 3]))
    dense = densify(values, length)
    assert dense.dtype == tf.uint8
    assert dense.numpy().tolist() == expected
