"""Make the tests' own modules importable, and build the one dataset that many tests look at."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_configure(config: pytest.Config) -> None:
    """Pass over what Beam says about itself; all other warnings stay errors."""
    for noise in ("ignore::FutureWarning:google", "ignore::DeprecationWarning:apache_beam"):
        config.addinivalue_line("filterwarnings", noise)


@pytest.fixture(scope="session")
def rich_build(tmp_path_factory: pytest.TempPathFactory):
    """Build a log with every kind of column: ids, lists, nullable numbers, a shared vocabulary, rejected rows."""
    from logs import build, rich_log, rich_spec, write_parquet

    folder = tmp_path_factory.mktemp("rich")
    table = rich_log(rows=6000, seed=1)
    files = write_parquet(table, folder / "log", files=3)
    return table, build(rich_spec(files), folder / "datasets")


@pytest.fixture(scope="session")
def days() -> list:
    """Return the logs of a few days."""
    from append_account import DAYS, day

    return [day(number) for number in range(DAYS)]


@pytest.fixture(scope="session")
def chain(days: list, tmp_path_factory: pytest.TempPathFactory) -> list:
    """Build the first day and append the others one by one."""
    from logs import Built, build, rich_spec, write_parquet

    folder = tmp_path_factory.mktemp("chain")
    built: list[Built] = []
    for number, table in enumerate(days):
        document = rich_spec(write_parquet(table, folder / f"log-{number}"))
        built.append(build(document, folder / "datasets", append_to=built[-1] if built else None))
    return built


@pytest.fixture
def log(tmp_path: Path) -> str:
    """Return a small log in one file."""
    from logs import plain_log, write_parquet

    return write_parquet(plain_log(400, seed=1), tmp_path / "log")[0]
