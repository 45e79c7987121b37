"""Hold the tf.train.Example encoder to protobuf's own bytes, and to what TensorFlow reads back."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from penstock_dataprep.records.blocks import Values
from penstock_dataprep.records.examples import encode_examples
from penstock_dataprep.records.examples_decode import decode_examples
from penstock_dataprep.records.tfrecord import frame, unframe
from penstock_shared.errors import DataRefused
from penstock_shared.features import Feature, Statistics

INTEGERS = {"u8": (0, 2**8 - 1), "u16": (0, 2**16 - 1), "u24": (0, 2**24 - 1), "u32": (0, 2**32 - 1)}
INTEGERS["i64"] = (-(2**63), 2**63 - 1)
FLOAT_WIDTHS = {"f16": 16, "f32": 32}


def feature(name: str, storage: str, is_list: bool = False, nullable: bool = False, shape: tuple = ()) -> Feature:
    return Feature(
        name=name,
        role="feature",
        dtype="int64" if storage in INTEGERS else "float32",
        storage=storage,
        lengths="u16" if is_list else None,
        nullable=nullable,
        shape=shape,
        statistics=Statistics(rows=0, nulls=0, values=0),
    )


@st.composite
def tables(draw: st.DrawFn) -> tuple[tuple[Feature, ...], list[Values], int]:
    rows = draw(st.integers(0, 12))
    names = draw(st.lists(st.text(min_size=1, max_size=150), min_size=1, max_size=4, unique=True))
    features, columns = [], []
    for name in names:
        storage = draw(st.sampled_from([*INTEGERS, *FLOAT_WIDTHS]))
        is_list, nullable = draw(st.sampled_from([(False, False), (False, True), (True, False)]))
        lengths = draw(st.lists(st.integers(0, 40), min_size=rows, max_size=rows)) if is_list else None
        shape = () if is_list or nullable else draw(st.sampled_from([(), (3,)]))
        count = math.prod((rows, *shape)) if lengths is None else sum(lengths)
        number = st.integers(*INTEGERS[storage]) if storage in INTEGERS else st.floats(width=FLOAT_WIDTHS[storage])
        numbers = np.array(
            draw(st.lists(number, min_size=count, max_size=count)), np.int64 if storage in INTEGERS else np.float32
        )
        present = np.array(draw(st.lists(st.booleans(), min_size=rows, max_size=rows)), bool) if nullable else None
        features.append(feature(name, storage, is_list, nullable, shape))
        numbers = numbers.reshape(rows, *shape) if shape else numbers
        columns.append(Values(numbers, None if lengths is None else np.array(lengths, np.uint16), present))
    return tuple(features), columns, rows


def reference(features: tuple[Feature, ...], columns: list[Values], rows: int) -> list[bytes]:
    """Return each row as protobuf serialises it."""
    serialised = []
    for row in range(rows):
        message = tf.train.Features()
        for described, held in zip(features, columns, strict=True):
            one = held.slice(row, row + 1)
            if (one.present is not None and not one.present[0]) or not len(one.numbers):
                continue
            if described.storage in INTEGERS:
                message.feature[described.name].int64_list.value.extend(one.numbers.reshape(-1).tolist())
            else:
                message.feature[described.name].float_list.value.extend(one.numbers.reshape(-1).tolist())
        serialised.append(tf.train.Example(features=message).SerializeToString(deterministic=True))
    return serialised


@given(tables())
def test_bytes_equal_protobufs_deterministic_serialisation(table) -> None:
    content, offsets = encode_examples(*table)
    records = list(unframe(content, "test"))
    assert [payload for _, payload in records] == reference(*table)
    assert offsets.tolist() == [offset for offset, _ in records]
    assert offsets.dtype == np.int64


@given(tables())
def test_decoding_returns_the_values(table) -> None:
    features, columns, rows = table
    content, _ = encode_examples(features, columns, rows)
    found_rows, found = decode_examples(features, content, "test")
    assert found_rows == rows
    for held, got in zip(columns, found, strict=True):
        present = slice(None) if held.present is None else held.present
        np.testing.assert_array_equal(got.numbers[present], held.numbers[present])
        for expected, one in ((held.lengths, got.lengths), (held.present, got.present)):
            assert (one is None) == (expected is None)
            np.testing.assert_array_equal(one, expected)


def test_tensorflow_parses_a_file_of_examples(tmp_path: Path) -> None:
    features = (
        feature("user_id", "u24"),
        feature("rating", "f16", nullable=True),
        feature("history", "u32", is_list=True),
        feature("timestamp", "i64"),
    )
    columns = [
        Values(np.array([1, 300, 2**24 - 1])),
        Values(np.array([0.5, 0, 4.5], np.float16), None, np.array([True, False, True])),
        Values(np.array([7, 2**32 - 1, 9]), np.array([2, 0, 1], np.uint8)),
        Values(np.array([-1, 0, 1_700_000_000])),
    ]
    path = tmp_path / "shard.tfrecord"
    path.write_bytes(encode_examples(features, columns, 3)[0])
    parsed = tf.io.parse_example(
        list(tf.data.TFRecordDataset(str(path))),
        {
            "user_id": tf.io.FixedLenFeature([], tf.int64),
            "rating": tf.io.FixedLenFeature([], tf.float32, default_value=-1),
            "history": tf.io.RaggedFeature(tf.int64),
            "timestamp": tf.io.FixedLenFeature([], tf.int64),
        },
    )
    assert parsed["user_id"].numpy().tolist() == [1, 300, 2**24 - 1]
    assert parsed["rating"].numpy().tolist() == [0.5, -1, 4.5]
    assert parsed["history"].to_list() == [[7, 2**32 - 1], [], [9]]
    assert parsed["timestamp"].numpy().tolist() == [-1, 0, 1_700_000_000]


def test_golden_bytes(golden_bytes: Callable[[str], bytes]) -> None:
    # Readers of published datasets rely on these bytes: a change is a new layout version.
    features = (feature("rating", "f32"), feature("item_id", "u24"), feature("tags", "u8", is_list=True))
    columns = [Values(np.float32([4.5, 0.5])), Values(np.array([5, 300])), Values(np.array([1, 200]), np.array([2, 0]))]
    content, _ = encode_examples(features, columns, 2)
    assert content == golden_bytes("examples_v1.hex")


# --- refusals


FEATURES = (feature("a", "u8"), feature("b", "f32", nullable=True), feature("c", "u16", is_list=True))
COLUMNS = [
    Values(np.array([1, 2, 255])),
    Values(np.float32([1, 2, 3]), None, np.array([True, False, True])),
    Values(np.array([1, 300, 2]), np.array([0, 2, 1])),
]
CONTENT, _ = encode_examples(FEATURES, COLUMNS, 3)


@pytest.mark.parametrize("bit", range(8))
def test_every_flipped_bit_is_refused(bit: int) -> None:
    for place in range(len(CONTENT)):
        changed = bytearray(CONTENT)
        changed[place] ^= 1 << bit
        with pytest.raises(DataRefused, match="shard-3"):
            decode_examples(FEATURES, bytes(changed), "shard-3")


def test_every_truncation_is_refused_or_ends_between_records() -> None:
    whole = {0, *(offset for offset, _ in unframe(CONTENT, "test"))}
    for size in range(len(CONTENT)):
        if size in whole:
            continue
        with pytest.raises(DataRefused, match="truncated"):
            decode_examples(FEATURES, CONTENT[:size], "shard-3")


def example(**lists: list[int] | list[float]) -> bytes:
    message = tf.train.Features()
    for name, numbers in lists.items():
        if isinstance(numbers[0], int):
            message.feature[name].int64_list.value.extend(numbers)
        else:
            message.feature[name].float_list.value.extend(numbers)
    return tf.train.Example(features=message).SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (example(b=[1.0]), "row 1 has no feature 'a', which is not nullable"),
        (example(a=[1, 2]), "row 1 has 2 values of 'a', expected one"),
        (example(a=[256]), "row 1 is not a canonical"),
        (example(a=[1], z=[1]), "row 1 is not a canonical"),
        (example(a=[1.5]), "row 1"),
        (example(a=[1], b=[1.0, 2.0]), "row 1 has 2 values of 'b', expected one"),
        (b"", "row 1 has no feature 'a'"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "row 1 has no feature 'a'"),
        (example(a=[1]).replace(b"\x0a\x01\x01", b"\x08\x01\x01"), "row 1"),
        (b"\x0a\x0d" + b"\x0a\x0b\x0a\x01a\x12\x06\x1a\x04\x0a\x02\x81\x00", "row 1 is not a canonical"),
        (b"\x0a\x0c" + b"\x0a\x0a\x0a\x01a\x12\x05\x1a\x03\x0a\x7f\x01", "row 1: 'a' runs past its record"),
    ],
)
def test_a_sound_record_that_is_not_ours_is_refused(payload: bytes, message: str) -> None:
    content = frame(example(a=[1])) + frame(payload) + frame(example(a=[1]))
    with pytest.raises(DataRefused, match=f"shard-3: {message}"):
        decode_examples(FEATURES, content, "shard-3")


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_payload_is_refused_or_decoded_faithfully(payloads: list[bytes]) -> None:
    content = b"".join(frame(payload) for payload in payloads)
    try:
        rows, values = decode_examples(FEATURES, content, "shard-3")
    except DataRefused:
        return
    assert encode_examples(FEATURES, values, rows)[0] == content
