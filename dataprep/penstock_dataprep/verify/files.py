"""Check that files are there, whole and unchanged."""

import google_crc32c

from penstock_dataprep.records.tfrecord import unframe
from penstock_dataprep.storage.files import join, read_bytes
from penstock_shared.errors import DataRefused
from penstock_shared.files import File


def read_verified(base: str, file: File) -> bytes:
    """Return a file's content, read once. Raises DataRefused unless it is as its entry in the manifest says."""
    path = join(base, file.path)
    try:
        content = read_bytes(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise DataRefused(f"{path}: missing; the manifest lists it with {file.bytes} bytes") from None
    if len(content) != file.bytes:
        verb = "truncated" if len(content) < file.bytes else "longer than written"
        raise DataRefused(f"{path}: {verb}: found {len(content)} bytes, the manifest says {file.bytes}")
    if (crc32c := f"{google_crc32c.value(content):08x}") != file.crc32c:
        where = _first_fault(content, path)
        raise DataRefused(f"{path}: corrupt: its crc32c is {crc32c}, the manifest says {file.crc32c}{where}")
    return content


def _first_fault(content: bytes, path: str) -> str:
    try:
        for _ in unframe(content, path):
            pass
    except DataRefused as fault:
        return f" ({str(fault).removeprefix(path + ': ')})"
    return ""


def expect(where: str, quantity: str, claimed: object, found: object) -> None:
    """Raise DataRefused where what was found is not what the manifest claims."""
    if claimed != found:
        raise DataRefused(f"{where}: {quantity}: found {found}, the manifest says {claimed}")
