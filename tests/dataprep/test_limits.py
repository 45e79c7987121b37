"""Hold a build to the limits of its spec, and an append to drift against its parent."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from logs import build, left_behind, plain_log, plain_spec, run, write_parquet, write_spec

from penstock_dataprep.verify.dataset import verify
from penstock_shared import DataRefused

ROWS = 1200


def day(seed: int, scale: float = 1.0) -> pa.Table:
    """Return a log whose ratings are scaled, and missing in every fifth row."""
    table = plain_log(ROWS, seed=seed)
    ratings = [None if row % 5 == 0 else value * scale for row, value in enumerate(table["rating"].to_pylist())]
    return table.set_column(2, "rating", pa.array(ratings, pa.float32()))


def spec(files: list[str], **limits: dict[str, float]) -> dict:
    document = plain_spec(files)
    rating = {"dtype": "float32"}
    return {**document, "columns": {**document["columns"], "rating": rating}, "limits": limits}


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"rating": {"max_null_fraction": 0.1}}, "limits.rating.max_null_fraction: found 0.2, expected at most 0.1"),
        ({"item_id": {"max_oov_fraction": 0.0001}}, "limits.item_id.max_oov_fraction: found 0.0"),
    ],
)
def test_rows_past_a_limit_are_refused_and_nothing_is_left(limits: dict, message: str, tmp_path: Path) -> None:
    files = write_parquet(day(1), tmp_path / "log")
    with pytest.raises(DataRefused, match=message):
        build(spec(files, **limits), tmp_path / "datasets")
    assert left_behind(tmp_path / "datasets") == []


def test_rows_within_the_limits_are_published(tmp_path: Path) -> None:
    files = write_parquet(day(1), tmp_path / "log")
    limits = {"rating": {"max_null_fraction": 0.25, "max_stability_index": 0.01}, "item_id": {"max_oov_fraction": 0.5}}
    built = build(spec(files, **limits), tmp_path / "datasets")
    assert built.manifest.drift == {}


def test_drift_against_the_parent_is_recorded_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "datasets"
    parent = build(spec(write_parquet(day(1), tmp_path / "one")), root)
    alike = build(spec(write_parquet(day(2), tmp_path / "two")), root, append_to=parent)
    other = build(spec(write_parquet(day(3, scale=0.2), tmp_path / "three")), root, append_to=parent)
    assert (alike.manifest.drift["rating"].stability_index or 0) < 0.1
    assert (other.manifest.drift["rating"].stability_index or 0) > 0.25
    assert alike.manifest.drift["user_id"].stability_index is None
    assert run("show", other.path) == 0
    assert f"against version {parent.manifest.version}" in capsys.readouterr().out


def test_drift_past_the_limit_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "datasets"
    parent = build(spec(write_parquet(day(1), tmp_path / "one")), root)
    before = left_behind(root)
    document = spec(write_parquet(day(3, scale=0.2), tmp_path / "three"), rating={"max_stability_index": 0.25})
    with pytest.raises(DataRefused, match=r"limits\.rating\.max_stability_index: found"):
        build(document, root, append_to=parent)
    assert left_behind(root) == before


def test_a_limit_on_no_column_is_the_users_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_spec(tmp_path / "spec.yaml", spec([str(tmp_path / "x.parquet")], ratin={"max_null_fraction": 0.1}))
    assert run("build", path, "--out", tmp_path) == 2
    assert "limits.ratin: no such column; did you mean 'rating'?" in capsys.readouterr().err


def table_spec(folder: Path, files: list[str], scale: float = 1.0, **rules: object) -> dict:
    """Return a spec with a table of the items, but for the last; the sizes of every fifth are missing."""
    items = sorted({item for file in files for item in pq.read_table(file)["item_id"].to_pylist()})[:-1]
    sizes = [None if place % 5 == 0 else place * scale for place in range(len(items))]
    pq.write_table(pa.table({"item": items, "size": sizes}), folder / "items.parquet")
    source = {"files": str(folder / "items.parquet"), "format": "parquet"}
    table = {"source": source, "key": "item", "columns": {"size": {}}, **rules}
    return plain_spec(files, tables={"item_id": table})


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"limits": {"size": {"max_null_fraction": 0.1}}}, r"tables.item_id.limits.size.max_null_fraction: found 0\.2"),
        ({"max_missing_fraction": 0.001}, r"tables.item_id.max_missing_fraction: found 0.0\d+, expected at most 0.001"),
    ],
)
def test_a_table_past_a_limit_is_refused(rules: dict, message: str, tmp_path: Path) -> None:
    files = write_parquet(plain_log(ROWS, seed=1), tmp_path / "log")
    with pytest.raises(DataRefused, match=message):
        build(table_spec(tmp_path, files, **rules), tmp_path / "datasets")
    assert left_behind(tmp_path / "datasets") == []


def test_the_drift_of_a_table_is_recorded_shown_verified_and_limited(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "datasets"
    files = [write_parquet(plain_log(ROWS, seed=seed), tmp_path / str(seed)) for seed in (1, 2)]
    parent = build(table_spec(tmp_path, files[0]), root)
    limit = {"limits": {"size": {"max_stability_index": 0.25}}}
    alike = build(table_spec(tmp_path, files[1], **limit), root, append_to=parent)
    drift = alike.manifest.tables["item_id"].drift
    assert 0 < (drift["size"].stability_index or 0) < 0.25
    assert run("show", alike.path) == 0
    assert "item_id.size" in capsys.readouterr().out
    assert "item_id.size" in (alike.path.parent / "card.html").read_text()
    assert run("diff", parent.path, alike.path) == 0
    assert "item_id.size" in capsys.readouterr().out
    verify(alike.manifest, str(alike.path))
    false = {"size": drift["size"].model_copy(update={"stability_index": 0.0})}
    table = alike.manifest.tables["item_id"].model_copy(update={"drift": false})
    with pytest.raises(DataRefused, match=r"table item_id: drift against version .*: size: found"):
        verify(alike.manifest.model_copy(update={"tables": {"item_id": table}}), str(alike.path))
    with pytest.raises(DataRefused, match=r"tables\.item_id\.limits\.size\.max_stability_index: found"):
        build(table_spec(tmp_path, files[1], scale=0.1, **limit), root, append_to=parent)


def test_a_limit_on_no_column_of_a_table_is_the_users_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_parquet(plain_log(50, seed=1), tmp_path / "log")
    document = table_spec(tmp_path, files, limits={"sise": {"max_null_fraction": 0.1}})
    assert run("build", write_spec(tmp_path / "spec.yaml", document), "--out", tmp_path) == 2
    assert "tables.item_id.limits.sise: no such column; did you mean 'size'?" in capsys.readouterr().err
