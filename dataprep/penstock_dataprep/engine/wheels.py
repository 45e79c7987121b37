"""Pack this program as wheels, for workers on other machines to install.

The program may be installed from wheels or lie in a working copy; either way what is packed is what runs here, and it
asks for the versions of its dependencies that are installed here, so that workers compute what this machine would.
"""

import base64
import hashlib
import re
import zipfile
from importlib import metadata
from pathlib import Path
from types import ModuleType

import penstock_dataprep
import penstock_shared

# In the order that workers install them.
DISTRIBUTIONS: dict[str, ModuleType] = {"penstock-shared": penstock_shared, "penstock-dataprep": penstock_dataprep}
EARLIEST = (1980, 1, 1, 0, 0, 0)
WHEEL = "Wheel-Version: 1.0\nGenerator: penstock-data\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def pack(folder: Path) -> list[Path]:
    """Write a wheel of each distribution that preparation is made of into `folder`, and return their paths."""
    return [_pack(name, package, folder) for name, package in DISTRIBUTIONS.items()]


def _pack(name: str, package: ModuleType, folder: Path) -> Path:
    version = metadata.version(name)
    stem = f"{name.replace('-', '_')}-{version}"
    root = Path(str(package.__file__)).parent
    contents = {
        path.relative_to(root.parent).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    contents[f"{stem}.dist-info/METADATA"] = _described(name, version).encode()
    contents[f"{stem}.dist-info/WHEEL"] = WHEEL.encode()
    record = "".join(f"{path},sha256={_digest(held)},{len(held)}\n" for path, held in contents.items())
    contents[f"{stem}.dist-info/RECORD"] = f"{record}{stem}.dist-info/RECORD,,\n".encode()
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, held in contents.items():
            # Of one date, so that equal programs are equal bytes.
            archive.writestr(zipfile.ZipInfo(path, EARLIEST), held, zipfile.ZIP_DEFLATED)
    return wheel


def _described(name: str, version: str) -> str:
    # What has a marker is of an extra, such as Dataflow's client, which workers do not need.
    wanted = [re.split(r"[^\w.-]", text)[0] for text in metadata.requires(name) or () if ";" not in text]
    pins = [f"{held}=={metadata.version(held)}" for held in wanted]
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    return "\n".join([*lines, *(f"Requires-Dist: {pin}" for pin in pins), ""])


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
