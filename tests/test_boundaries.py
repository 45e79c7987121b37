"""Hold each distribution to running alone: import rules, and clean environments with only its own dependencies."""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

NEEDS = {"shared": ["shared"], "dataprep": ["shared", "dataprep"], "training": ["shared", "training"]}
PACKAGES = {"shared": "penstock_shared", "dataprep": "penstock_dataprep", "training": "penstock_training"}
COMMANDS = {"dataprep": "penstock-data", "training": "penstock-train"}
FORBIDDEN = {
    "shared": ["penstock_dataprep", "penstock_training", "apache_beam", "tensorflow", "keras", "numpy", "pyarrow"],
    "dataprep": ["penstock_training", "tensorflow", "tensorflow_recommenders", "tf_keras", "keras"],
    "training": ["penstock_dataprep", "apache_beam", "pyarrow", "fsspec", "gcsfs"],
}
IMPORT_ALL = """
import importlib, importlib.util, pkgutil, sys
package, *forbidden = sys.argv[1:]
found = [name for name in forbidden if importlib.util.find_spec(name)]
assert not found, f"installed where it must not be: {found}"
root = importlib.import_module(package)
for module in pkgutil.walk_packages(root.__path__, package + "."):
    importlib.import_module(module.name)
    print(module.name)
"""


def run(*command: str | Path, cwd: Path) -> str:
    # Neither the checkout nor this environment may lend a module: no PYTHONPATH, and another working directory.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def clean_environments(
    wheels: dict[str, Path], repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Path]]:
    """Make one environment per member, from its lock file and its own and shared's wheel; yield their folders."""
    top = tmp_path_factory.mktemp("environments")

    def make(member: str) -> Path:
        folder = top / member
        venv.create(folder, with_pip=False, symlinks=True)
        # Not compiled: only a part of each package is imported, once.
        install = [sys.executable, "-m", "pip", "--python", folder, "--disable-pip-version-check", "install"]
        install += ["--quiet", "--no-compile", "--no-deps"]
        lock = repository / "requirements" / f"{member}.txt"
        run(*install, "--require-hashes", "--only-binary", ":all:", "-r", lock, cwd=top)
        run(*install, "--no-index", *(wheels[needed] for needed in NEEDS[member]), cwd=top)
        return folder

    with ThreadPoolExecutor() as pool:
        yield dict(zip(NEEDS, pool.map(make, NEEDS), strict=True))
    shutil.rmtree(top)  # two gigabytes


@pytest.mark.slow
@pytest.mark.parametrize("member", NEEDS)
def test_every_module_imports_where_only_its_own_dependencies_are(
    clean_environments: dict[str, Path], repository: Path, tmp_path: Path, member: str
) -> None:
    python = clean_environments[member] / "bin" / "python"
    imported = run(python, "-c", IMPORT_ALL, PACKAGES[member], *FORBIDDEN[member], cwd=tmp_path).split()
    sources = (repository / member / PACKAGES[member]).rglob("*.py")
    expected = {".".join(path.relative_to(repository / member).with_suffix("").parts) for path in sources}
    expected = {name.removesuffix(".__init__") for name in expected} - {PACKAGES[member]}
    assert expected <= set(imported)


@pytest.mark.slow
@pytest.mark.parametrize("member", NEEDS)
def test_dependencies_are_complete_and_agree(clean_environments: dict[str, Path], tmp_path: Path, member: str) -> None:
    run(sys.executable, "-m", "pip", "--python", clean_environments[member], "check", cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("member", "command"), COMMANDS.items())
def test_the_command_explains_itself(
    clean_environments: dict[str, Path], tmp_path: Path, member: str, command: str
) -> None:
    said = run(clean_environments[member] / "bin" / command, "--help", cwd=tmp_path)
    assert said.startswith(f"usage: {command} ")
    assert any(line.startswith(f"  {command} ") for line in said.replace("    ", "  ").splitlines()), (
        "the help shows no example"
    )


def test_import_rules_hold(repository: Path) -> None:
    rules = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run(rules, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout
