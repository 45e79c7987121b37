"""Encode rows as tf.train.Example records, a column at a time; without protobuf.

A row becomes the one canonical serialisation, which protobuf's deterministic mode gives too (tensorflow/core/example/
example.proto; the protobuf encoding guide): features in the byte order of their names, numbers packed, varints as
short as can be, and no feature where there is no value. Per feature:

    0a <entry bytes>  0a <name bytes> name  12 <feature bytes>  1a|12 <list bytes>  0a <payload bytes> payload

where 1a is an int64_list, whose payload is varints, and 12 a float_list, whose payload is little-endian float32.
"""

import struct
from dataclasses import dataclass

import google_crc32c
import numpy as np

from penstock_dataprep.records.blocks import Values
from penstock_dataprep.records.ragged import groups, put, take
from penstock_dataprep.records.tfrecord import MASK_DELTA, masked_crc32c
from penstock_dataprep.records.varints import varint, varint_sizes, varints
from penstock_shared.features import Feature
from penstock_shared.layout import TFRECORD_FOOTER_BYTES, TFRECORD_HEADER_BYTES

FIRST_FIELD, SECOND_FIELD, THIRD_FIELD = b"\x0a", b"\x12", b"\x1a"
FLOAT_BYTES = 4
DTYPES = {
    "u8": "<u1",
    "u16": "<u2",
    "u24": "<u4",
    "u32": "<u4",
    "i64": "<i8",
    "f16": "<f2",
    "bf16": "<f4",
    "f32": "<f4",
}


@dataclass(frozen=True)
class _Pieces:
    """Hold one byte string per row: `content[starts[i] : starts[i] + sizes[i]]`."""

    content: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray


def encode_examples(features: tuple[Feature, ...], values: list[Values], rows: int) -> tuple[bytes, np.ndarray]:
    """Return (TFRecord content of `rows` Examples, int64 byte offset of each record).

    `values` runs parallel to `features`. A row without a value, or with an empty list, lacks the feature.
    """
    columns = [(feature, _payloads(feature, held)) for feature, held in zip(features, values, strict=True)]
    columns.sort(key=lambda column: column[0].name.encode())
    prefixes = [_prefixes(feature, payloads.sizes) for feature, payloads in columns]
    body_sizes = np.zeros(rows, np.int64)
    for (_, payloads), prefix in zip(columns, prefixes, strict=True):
        lengthened = np.array([len(piece) + size for size, piece in prefix.items()], np.int64)
        body_sizes += lengthened[np.searchsorted(list(prefix), payloads.sizes)] if prefix else 0
    sizes = body_sizes + 1 + varint_sizes(body_sizes)
    ends = np.cumsum(sizes + (TFRECORD_HEADER_BYTES + TFRECORD_FOOTER_BYTES))
    content = np.empty(int(ends[-1]) if rows else 0, np.uint8)
    offsets = ends - sizes - (TFRECORD_HEADER_BYTES + TFRECORD_FOOTER_BYTES)

    cursor = offsets.copy()
    for size, chosen in groups(sizes):
        length, body = struct.pack("<Q", size), FIRST_FIELD + varint(int(body_sizes[chosen[0]]))
        header = length + struct.pack("<I", masked_crc32c(length)) + body
        put(content, cursor[chosen], header)
        cursor[chosen] += len(header)
    for (_, payloads), prefix in zip(columns, prefixes, strict=True):
        for size, chosen in groups(payloads.sizes):
            piece = np.empty((len(chosen), len(prefix[size]) + size), np.uint8)
            piece[:, : len(prefix[size])] = np.frombuffer(prefix[size], np.uint8)
            piece[:, len(prefix[size]) :] = take(payloads.content, payloads.starts[chosen], size)
            put(content, cursor[chosen], piece)
            cursor[chosen] += piece.shape[1]
    put(content, cursor, _checksums(content, offsets + TFRECORD_HEADER_BYTES, cursor))
    return content.tobytes(), offsets


def _payloads(feature: Feature, held: Values) -> _Pieces:
    if feature.storage in ("f16", "bf16", "f32"):
        content = np.ascontiguousarray(held.numbers, "<f4").reshape(-1).view(np.uint8)
        sizes = np.full(held.numbers.size, FLOAT_BYTES, np.int64)
    else:
        content, sizes = varints(held.numbers.reshape(-1).astype(np.int64).view(np.uint64))
    ends = np.cumsum(sizes)
    lengths = held.lengths if held.numbers.ndim == 1 else np.full(len(held.numbers), held.numbers.shape[1])
    if lengths is not None:
        bounds = np.concatenate([[0], ends])[np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])]
        return _Pieces(content, bounds[:-1], np.diff(bounds))
    starts = ends - sizes
    return _Pieces(content, starts, sizes if held.present is None else np.where(held.present, sizes, 0))


def _prefixes(feature: Feature, sizes: np.ndarray) -> dict[int, bytes]:
    """Return, by ascending payload size, what comes before the payload; nothing for no payload."""
    name = feature.name.encode()
    kind = SECOND_FIELD if feature.storage in ("f16", "bf16", "f32") else THIRD_FIELD
    prefixes = {}
    for size in np.unique(sizes).tolist():
        packed = FIRST_FIELD + varint(size)
        numbers = kind + varint(len(packed) + size) + packed
        entry = FIRST_FIELD + varint(len(name)) + name + SECOND_FIELD + varint(len(numbers) + size) + numbers
        prefixes[size] = FIRST_FIELD + varint(len(entry) + size) + entry if size else b""
    return prefixes


def _checksums(content: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the masked CRC-32C of each record's payload as bytes [rows, 4] (see tfrecord.masked_crc32c)."""
    held, value = content.tobytes(), google_crc32c.value
    bounds = zip(starts.tolist(), ends.tolist(), strict=True)
    crcs = np.fromiter((value(held[start:end]) for start, end in bounds), np.uint32, len(starts))
    masked = ((crcs >> np.uint32(15)) | (crcs << np.uint32(17))) + np.uint32(MASK_DELTA)
    return masked.astype("<u4").view(np.uint8).reshape(-1, 4)
