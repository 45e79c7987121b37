"""Decode rows from tf.train.Example records, a column at a time; without protobuf (see examples.py beside it)."""

import struct

import numpy as np

from penstock_dataprep.records.blocks import Values
from penstock_dataprep.records.examples import DTYPES, FIRST_FIELD, FLOAT_BYTES, encode_examples
from penstock_dataprep.records.ragged import take
from penstock_dataprep.records.tfrecord import unframe
from penstock_dataprep.records.varints import LONGEST_VARINT, read_varints, varint
from penstock_shared.errors import DataRefused
from penstock_shared.features import Feature
from penstock_shared.layout import TFRECORD_FOOTER_BYTES, TFRECORD_HEADER_BYTES


def decode_examples(features: tuple[Feature, ...], content: bytes, where: str) -> tuple[int, list[Values]]:
    """Return (rows, values parallel to `features`) of TFRecord content that `encode_examples` wrote.

    Raises DataRefused naming `where`, the byte offset and the row for anything else: the values found are encoded
    again and must give the same bytes, so the parser need not look at what is implied.
    """
    starts, ends = _record_bounds(content, where)
    slack = np.zeros(
        LONGEST_VARINT + 2 + max((len(feature.name.encode()) for feature in features), default=0), np.uint8
    )
    padded = np.concatenate([np.frombuffer(content, np.uint8), slack])
    _, cursor = _read_sizes(padded, starts + 1, ends)
    found: dict[str, Values] = {}
    for feature in sorted(features, key=lambda feature: feature.name.encode()):
        found[feature.name], cursor = _parse_feature(feature, padded, cursor, ends, where)
    values = [found[feature.name] for feature in features]
    again, offsets = encode_examples(features, values, len(starts))
    if again != content:
        for _ in unframe(content, where):
            pass  # a checksum that fails is the better explanation
        shared = min(len(again), len(content))
        same = np.frombuffer(again[:shared], np.uint8) == np.frombuffer(content[:shared], np.uint8)
        row = int(np.searchsorted(offsets, np.argmin(np.append(same, False)), side="right")) - 1
        raise DataRefused(f"{where}: row {row} is not a canonical tf.train.Example of the manifest's features")
    return len(starts), values


def _record_bounds(content: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (start, end) of each record's payload; checksums are compared later, with everything else."""
    starts, ends, offset = [], [], 0
    while offset + TFRECORD_HEADER_BYTES <= len(content):
        starts.append(offset + TFRECORD_HEADER_BYTES)
        ends.append(starts[-1] + struct.unpack_from("<Q", content, offset)[0])
        offset = ends[-1] + TFRECORD_FOOTER_BYTES
    if offset != len(content):
        for _ in unframe(content, where):
            pass  # says which record is cut short, or corrupt
    return np.array(starts, np.int64), np.array(ends, np.int64)


def _parse_feature(
    feature: Feature, padded: np.ndarray, cursor: np.ndarray, ends: np.ndarray, where: str
) -> tuple[Values, np.ndarray]:
    """Return (values, byte each row's next feature starts at)."""
    rows, name = len(cursor), feature.name.encode()
    key = np.frombuffer(FIRST_FIELD + varint(len(name)) + name, np.uint8)
    entry_bytes, entry = _read_sizes(padded, cursor + 1, ends)
    held = (take(padded, entry, len(key)) == key).all(axis=1) & (cursor < ends)
    if feature.lengths is None and not feature.nullable and not held.all():
        raise DataRefused(f"{where}: row {np.argmin(held)} has no feature {feature.name!r}, which is not nullable")
    after = np.where(held, np.minimum(entry + entry_bytes, ends), cursor)
    at = entry + len(key)
    for _ in ("feature", "list", "payload"):
        size, at = _read_sizes(padded, at + 1, ends)
    sizes = np.where(held, size, 0)
    if (at + sizes > ends)[held].any():
        raise DataRefused(
            f"{where}: row {np.argmax(held & (at + sizes > ends))}: {feature.name!r} runs past its record"
        )
    firsts = np.cumsum(sizes) - sizes
    payload = padded[np.repeat(at - firsts, sizes) + np.arange(int(sizes.sum()))]
    numbers, counts = _parse_payload(feature, payload, firsts, sizes)
    if feature.lengths is not None:
        return Values(numbers, counts), after
    expected = held * feature.column.values_per_row
    if not (counts == expected).all():
        row = int(np.argmax(counts != expected))
        wanted = feature.shape[0] if feature.shape else "one"
        raise DataRefused(f"{where}: row {row} has {counts[row]} values of {feature.name!r}, expected {wanted}")
    if feature.shape:
        return Values(numbers.reshape(rows, *feature.shape)), after
    scalars = np.zeros(rows, numbers.dtype)
    scalars[held] = numbers
    return Values(scalars, None, held if feature.nullable else None), after


def _parse_payload(
    feature: Feature, payload: np.ndarray, firsts: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (numbers as `blocks.decode_numbers` would give them, how many each row has)."""
    dtype = DTYPES[feature.storage]
    if feature.storage in ("f16", "bf16", "f32"):
        whole = payload[: len(payload) // FLOAT_BYTES * FLOAT_BYTES]
        return whole.view("<f4").astype(dtype), sizes // FLOAT_BYTES
    is_last = payload < 0x80
    ends = np.flatnonzero(is_last) + 1
    starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    numbers, _ = read_varints(np.concatenate([payload, np.zeros(LONGEST_VARINT, np.uint8)]), starts, ends)
    done = np.concatenate([[0], np.cumsum(is_last)])
    return numbers.astype(dtype), done[firsts + sizes] - done[firsts]


def _read_sizes(padded: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (int64 sizes, byte after each), absurd sizes cut to what cannot overflow."""
    numbers, after = read_varints(padded, starts, ends)
    return np.clip(numbers, 0, len(padded)), after
