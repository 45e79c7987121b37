"""Encode rows as tf.train.Example records, a column at a time, and decode them again; without protobuf.

A row becomes the one canonical serialisation, which protobuf's deterministic mode gives too (tensorflow/core/example/
example.proto; the protobuf encoding guide): features in the byte order of their names, numbers packed, varints as
short as can be, and no feature where there is no value. Per feature:

    0a <entry bytes>  0a <name bytes> name  12 <feature bytes>  1a|12 <list bytes>  0a <payload bytes> payload

where 1a is an int64_list, whose payload is varints, and 12 a float_list, whose payload is little-endian float32.
"""

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import google_crc32c
import numpy as np

from penstock_dataprep.blocks import Values
from penstock_dataprep.tfrecord import MASK_DELTA, masked_crc32c, unframe
from penstock_shared.errors import DataRefused
from penstock_shared.features import Feature
from penstock_shared.layout import TFRECORD_FOOTER_BYTES, TFRECORD_HEADER_BYTES

FIRST_FIELD, SECOND_FIELD, THIRD_FIELD = b"\x0a", b"\x12", b"\x1a"
LONGEST_VARINT = 10
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
    sizes = body_sizes + 1 + _varint_sizes(body_sizes)
    ends = np.cumsum(sizes + (TFRECORD_HEADER_BYTES + TFRECORD_FOOTER_BYTES))
    content = np.empty(int(ends[-1]) if rows else 0, np.uint8)
    offsets = ends - sizes - (TFRECORD_HEADER_BYTES + TFRECORD_FOOTER_BYTES)

    cursor = offsets.copy()
    for size, chosen in _groups(sizes):
        length, body = struct.pack("<Q", size), FIRST_FIELD + _varint(int(body_sizes[chosen[0]]))
        header = length + struct.pack("<I", masked_crc32c(length)) + body
        _put(content, cursor[chosen], header)
        cursor[chosen] += len(header)
    for (_, payloads), prefix in zip(columns, prefixes, strict=True):
        for size, chosen in _groups(payloads.sizes):
            piece = np.empty((len(chosen), len(prefix[size]) + size), np.uint8)
            piece[:, : len(prefix[size])] = np.frombuffer(prefix[size], np.uint8)
            piece[:, len(prefix[size]) :] = _take(payloads.content, payloads.starts[chosen], size)
            _put(content, cursor[chosen], piece)
            cursor[chosen] += piece.shape[1]
    _put(content, cursor, _checksums(content, offsets + TFRECORD_HEADER_BYTES, cursor))
    return content.tobytes(), offsets


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


def _payloads(feature: Feature, held: Values) -> _Pieces:
    if feature.storage in ("f16", "bf16", "f32"):
        content = np.ascontiguousarray(held.numbers, "<f4").reshape(-1).view(np.uint8)
        sizes = np.full(held.numbers.size, FLOAT_BYTES, np.int64)
    else:
        content, sizes = _varints(held.numbers.reshape(-1).astype(np.int64).view(np.uint64))
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
        packed = FIRST_FIELD + _varint(size)
        numbers = kind + _varint(len(packed) + size) + packed
        entry = FIRST_FIELD + _varint(len(name)) + name + SECOND_FIELD + _varint(len(numbers) + size) + numbers
        prefixes[size] = FIRST_FIELD + _varint(len(entry) + size) + entry if size else b""
    return prefixes


def _varint(number: int) -> bytes:
    sevens = []
    while number > 0x7F:
        sevens.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*sevens, number])


def _varints(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (the bytes of all varints end to end, each one's size) of a uint64 array."""
    sizes = _varint_sizes(numbers)
    ends = np.cumsum(sizes)
    content = np.empty(int(ends[-1]) if len(numbers) else 0, np.uint8)
    for size, chosen in _groups(sizes):
        shifts = np.arange(0, 7 * size, 7, dtype=np.uint64)
        sevens = (numbers[chosen][:, None] >> shifts).astype(np.uint8) & 0x7F
        sevens[:, :-1] |= 0x80
        _put(content, ends[chosen] - size, sevens)
    return content, sizes


def _varint_sizes(numbers: np.ndarray) -> np.ndarray:
    limits = np.array([1 << (7 * size) for size in range(1, LONGEST_VARINT)], np.uint64)
    return np.searchsorted(limits, numbers.astype(np.uint64, copy=False), side="right") + 1


def _checksums(content: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the masked CRC-32C of each record's payload as bytes [rows, 4] (see tfrecord.masked_crc32c)."""
    held, value = content.tobytes(), google_crc32c.value
    bounds = zip(starts.tolist(), ends.tolist(), strict=True)
    crcs = np.fromiter((value(held[start:end]) for start, end in bounds), np.uint32, len(starts))
    masked = ((crcs >> np.uint32(15)) | (crcs << np.uint32(17))) + np.uint32(MASK_DELTA)
    return masked.astype("<u4").view(np.uint8).reshape(-1, 4)


def _groups(keys: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (key, indices that have it) for each distinct key above 0."""
    order = np.argsort(keys.astype(np.uint16) if keys.max(initial=0) < 2**16 else keys, kind="stable")
    ranked = keys[order]
    bounds = [0, *(np.flatnonzero(np.diff(ranked)) + 1).tolist(), len(keys)]
    for start, stop in itertools.pairwise(bounds):
        if start < stop and ranked[start]:
            yield int(ranked[start]), order[start:stop]


def _put(content: np.ndarray, places: np.ndarray, pieces: bytes | np.ndarray) -> None:
    """Write a piece at each place: the same bytes everywhere, or [n, size], one row to a place."""
    piece = np.frombuffer(pieces, np.uint8) if isinstance(pieces, bytes) else pieces
    if len(places):
        np.lib.stride_tricks.sliding_window_view(content, piece.shape[-1], writeable=True)[places] = piece


def _take(content: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(content, size)[starts]


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
    key = np.frombuffer(FIRST_FIELD + _varint(len(name)) + name, np.uint8)
    entry_bytes, entry = _read_sizes(padded, cursor + 1, ends)
    held = (_take(padded, entry, len(key)) == key).all(axis=1) & (cursor < ends)
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
    numbers, _ = _read_varints(np.concatenate([payload, np.zeros(LONGEST_VARINT, np.uint8)]), starts, ends)
    done = np.concatenate([[0], np.cumsum(is_last)])
    return numbers.astype(dtype), done[firsts + sizes] - done[firsts]


def _read_sizes(padded: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (int64 sizes, byte after each), absurd sizes cut to what cannot overflow."""
    numbers, after = _read_varints(padded, starts, ends)
    return np.clip(numbers, 0, len(padded)), after


def _read_varints(padded: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (int64 numbers, byte after each); what would run past its end stops there."""
    at = np.minimum(starts, ends)
    numbers = np.zeros(len(at), np.uint64)
    going = np.ones(len(at), bool)
    for place in range(LONGEST_VARINT):
        octets = padded[at]
        numbers |= np.where(going, (octets & 0x7F).astype(np.uint64) << np.uint64(7 * place), 0).astype(np.uint64)
        at = at + going
        going = going & (octets >= 0x80) & (at < ends)
        if not going.any():
            break
    return numbers.view(np.int64), at
