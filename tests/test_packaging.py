"""Hold the wheels to holding their package alone, and the lock files to what the members declare."""

import re
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MEMBERS = {"shared": "penstock_shared", "dataprep": "penstock_dataprep", "training": "penstock_training"}
COMMANDS = {
    "shared": [],
    "dataprep": ["penstock-data = penstock_dataprep.cli:main"],
    "training": ["penstock-train = penstock_training.cli:main"],
}
LOCKS = ["benchmarks", "dataprep", "dev", "shared", "training"]
SEPARATE_LOCKS = ["dataflow", "emulators", "newest", "peek", "peers", "tpu"]  # never installed beside the others
PINNED = re.compile(r"^(?P<name>[a-z0-9._-]+)(\[[a-z0-9,_-]+\])?==(?P<version>[^ ;]+)( ;.*)?( \\)?$")


def metadata(wheel: Path) -> dict[str, list[str]]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        message = Parser().parsestr(archive.read(name).decode())
    return {key: message.get_all(key, []) for key in ("Name", "Version", "Requires-Dist", "Requires-Python")}


def locked(repository: Path, name: str) -> dict[str, str]:
    lines = (repository / "requirements" / f"{name}.txt").read_text().splitlines()
    pins = [PINNED.match(line) for line in lines if line and not line.startswith((" ", "#"))]
    return {canonicalize_name(pin["name"]): pin["version"] for pin in pins if pin}


@pytest.mark.parametrize("member", MEMBERS)
def test_a_wheel_holds_its_package_and_nothing_else(wheels: dict[str, Path], repository: Path, member: str) -> None:
    package = MEMBERS[member]
    with zipfile.ZipFile(wheels[member]) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in names} == {package}
    sources = {str(path.relative_to(repository / member)) for path in (repository / member / package).rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == sources
    assert not [name for name in names if "__pycache__" in name]


@pytest.mark.parametrize("member", MEMBERS)
def test_a_wheel_brings_its_command(wheels: dict[str, Path], member: str) -> None:
    with zipfile.ZipFile(wheels[member]) as archive:
        names = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        lines = archive.read(names[0]).decode().splitlines() if names else []
    assert [line for line in lines if "=" in line] == COMMANDS[member]


def test_members_are_released_together(wheels: dict[str, Path]) -> None:
    described = {member: metadata(wheel) for member, wheel in wheels.items()}
    (version,) = {version for found in described.values() for version in found["Version"]}
    for member in ("dataprep", "training"):
        assert f"penstock-shared=={version}" in described[member]["Requires-Dist"]
    assert len({tuple(found["Requires-Python"]) for found in described.values()}) == 1


@pytest.mark.parametrize("member", MEMBERS)
def test_the_lock_satisfies_what_a_member_requires(wheels: dict[str, Path], repository: Path, member: str) -> None:
    pins = locked(repository, member)
    for text in metadata(wheels[member])["Requires-Dist"]:
        requirement = Requirement(text)
        if requirement.name == "penstock-shared" or requirement.marker:
            continue
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), text


@pytest.mark.parametrize("name", [*LOCKS, *SEPARATE_LOCKS])
def test_a_lock_pins_and_hashes_everything_and_names_no_place(repository: Path, name: str) -> None:
    text = (repository / "requirements" / f"{name}.txt").read_text()
    for block in re.split(r"\n(?=[a-z0-9])", text)[1:]:
        assert PINNED.match(block.splitlines()[0]), block
        assert "--hash=sha256:" in block, block
    assert not re.search(r"https?:|--index|--find-links|file:| @ |(?<![a-z])/(home|work|tmp|usr|root)", text)


def test_locks_agree_with_each_other(repository: Path) -> None:
    development = locked(repository, "dev")
    for name in LOCKS:
        for package, version in locked(repository, name).items():
            assert development[package] == version, f"{package} in {name}.txt; run make lock"


@pytest.mark.parametrize(
    ("name", "absent"),
    [
        ("shared", {"numpy", "apache-beam", "tensorflow", "pyarrow"}),
        ("dataprep", {"tensorflow", "tf-keras", "keras", "tensorboard"}),
        ("training", {"apache-beam", "pyarrow", "gcsfs", "fsspec"}),
    ],
)
def test_a_lock_does_not_bring_the_other_side(repository: Path, name: str, absent: set[str]) -> None:
    assert not absent & locked(repository, name).keys()
