"""Hold the TFRecord framing to TensorFlow's reader, and to finding every flipped byte and every truncation."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from penstock_dataprep.records.tfrecord import frame, masked_crc32c, unframe
from penstock_shared.errors import DataRefused

PAYLOADS = [b"", b"x", b"block" * 10, bytes(range(256))]
CONTENT = b"".join(frame(payload) for payload in PAYLOADS)


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_unframing_returns_the_payloads_and_their_places(payloads: list[bytes]) -> None:
    records = [frame(payload) for payload in payloads]
    content = b"".join(records)
    offsets = [sum(map(len, records[:number])) for number in range(len(records))]
    assert list(unframe(content, "here")) == list(zip(offsets, payloads, strict=True))
    assert list(unframe(memoryview(content), "here")) == list(zip(offsets, payloads, strict=True))


def test_tensorflow_reads_what_was_framed(tmp_path: Path) -> None:
    path = tmp_path / "framed.tfrecord"
    path.write_bytes(CONTENT)
    assert [record.numpy() for record in tf.data.TFRecordDataset(str(path))] == PAYLOADS


def test_what_tensorflow_wrote_is_unframed(tmp_path: Path) -> None:
    path = tmp_path / "written.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for payload in PAYLOADS:
            writer.write(payload)
    assert path.read_bytes() == CONTENT


def test_golden_bytes(golden_bytes: Callable[[str], bytes]) -> None:
    assert frame(b"penstock") == golden_bytes("tfrecord_v1.hex")


def test_checksum_of_the_standard_test_vector() -> None:
    # CRC-32C("123456789") is 0xE3069283 (RFC 3720's polynomial); the mask rotates by 15 bits and adds a constant.
    crc = 0xE3069283
    assert masked_crc32c(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def test_every_flipped_byte_is_found() -> None:
    for place in range(len(CONTENT)):
        for flip in (0x01, 0x80, 0xFF):
            changed = bytearray(CONTENT)
            changed[place] ^= flip
            with pytest.raises(DataRefused, match=r"shard-3: (corrupt|truncated)"):
                list(unframe(bytes(changed), "shard-3"))


def test_every_truncation_is_found_or_ends_between_records() -> None:
    whole = {0, *(offset for offset, _ in unframe(CONTENT, "here"))}
    for size in range(len(CONTENT)):
        if size in whole:
            assert len(list(unframe(CONTENT[:size], "here"))) == sorted(whole).index(size)
            continue
        with pytest.raises(DataRefused, match="shard-3: truncated"):
            list(unframe(CONTENT[:size], "shard-3"))


def test_a_refusal_names_the_record() -> None:
    second = len(frame(PAYLOADS[0]))
    changed = bytearray(CONTENT)
    changed[second + 12] ^= 1
    records = unframe(bytes(changed), "shard-3")
    assert next(records) == (0, PAYLOADS[0])
    with pytest.raises(DataRefused, match=f"the record at byte {second} fails its checksum"):
        next(records)
