"""Check that files are there, whole and unchanged."""

from penstock_dataprep.storage import checksum, exists, join, read_bytes
from penstock_dataprep.tfrecord import unframe
from penstock_shared.errors import DataRefused
from penstock_shared.files import File


def verify_file(base: str, file: File) -> int:
    """Check a file's presence, bytes and checksum, and return how many claims that is. Raises DataRefused."""
    path = join(base, file.path)
    if not exists(path):
        raise DataRefused(f"{path}: missing; the manifest lists it with {file.bytes} bytes")
    size, crc32c = checksum(path)
    if size != file.bytes:
        verb = "truncated" if size < file.bytes else "longer than written"
        raise DataRefused(f"{path}: {verb}: found {size} bytes, the manifest says {file.bytes}")
    if crc32c != file.crc32c:
        raise DataRefused(f"{path}: corrupt: its crc32c is {crc32c}, the manifest says {file.crc32c}{_where(path)}")
    return 2


def _where(path: str) -> str:
    try:
        for _ in unframe(read_bytes(path), path):
            pass
    except DataRefused as fault:
        return f" ({str(fault).removeprefix(path + ': ')})"
    return ""


def expect(where: str, quantity: str, claimed: object, found: object) -> None:
    """Raise DataRefused where what was found is not what the manifest claims."""
    if claimed != found:
        raise DataRefused(f"{where}: {quantity}: found {found}, the manifest says {claimed}")
