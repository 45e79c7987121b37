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
