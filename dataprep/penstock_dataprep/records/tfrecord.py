"""Frame and unframe TFRecord records, with their masked CRC-32C checksums.

A record is: u64 payload length, masked crc32c of those 8 bytes, payload, masked crc32c of the payload, all
little-endian (TensorFlow, core/lib/io/record_writer.h).
"""

import struct
from collections.abc import Iterator

import google_crc32c

from penstock_shared.errors import DataRefused
from penstock_shared.layout import TFRECORD_FOOTER_BYTES, TFRECORD_HEADER_BYTES

MASK_DELTA = 0xA282EAD8


def masked_crc32c(data: bytes) -> int:
    """Return TensorFlow's masked CRC-32C of `data`."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + MASK_DELTA) & 0xFFFFFFFF


def frame(payload: bytes) -> bytes:
    """Return `payload` as one TFRecord record."""
    length = struct.pack("<Q", len(payload))
    header = length + struct.pack("<I", masked_crc32c(length))
    return b"".join((header, payload, struct.pack("<I", masked_crc32c(payload))))


def unframe(content: bytes | memoryview, where: str) -> Iterator[tuple[int, bytes]]:
    """Yield (byte offset, payload) for each record of a whole file's content.

    Raises DataRefused naming `where` and the byte offset of a record that is cut short or whose checksum differs.
    """
    offset, size = 0, len(content)
    while offset < size:
        payload_start = offset + TFRECORD_HEADER_BYTES
        if payload_start > size:
            raise DataRefused(f"{where}: truncated: a record header at byte {offset} runs past the end, byte {size}")
        length, length_crc = struct.unpack("<QI", content[offset:payload_start])
        if masked_crc32c(bytes(content[offset : offset + 8])) != length_crc:
            raise DataRefused(f"{where}: corrupt: the length of the record at byte {offset} fails its checksum")
        payload_end = payload_start + length
        if payload_end + TFRECORD_FOOTER_BYTES > size:
            raise DataRefused(f"{where}: truncated: the record at byte {offset} runs past the end, byte {size}")
        payload = bytes(content[payload_start:payload_end])
        (payload_crc,) = struct.unpack("<I", content[payload_end : payload_end + TFRECORD_FOOTER_BYTES])
        if masked_crc32c(payload) != payload_crc:
            raise DataRefused(f"{where}: corrupt: the record at byte {offset} fails its checksum")
        yield offset, payload
        offset = payload_end + TFRECORD_FOOTER_BYTES
