"""Build a log with every transform and a vector, and hold its features to plain Python and the manifest's settings."""

import math
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from logs import PLAIN_COLUMNS, Built, build, contents, plain_log, rows_of, spec_of, write_parquet

from penstock_dataprep.spec.spec import load_spec
from penstock_dataprep.spec.targets import resolve_targets
from penstock_dataprep.verify.dataset import verify
from penstock_shared import UserMistake
from penstock_shared.tokens import hash_token, oov_id

ROWS, LENGTH, BUCKETS = 2000, 3, 50
COLUMNS = {
    **PLAIN_COLUMNS,
    "price": {"transform": {"kind": "normalise"}},
    "price_scaled": {"from": "price", "null": {"default": 10}, "transform": {"kind": "normalise", "method": "min_max"}},
    "price_log": {"from": "price", "transform": {"kind": "normalise", "method": "log1p"}},
    "price_bucket": {"from": "price", "transform": {"kind": "bucketise", "quantiles": 4}},
    "age": {"transform": {"kind": "bucketise", "boundaries": [18, 35.5]}},
    "hour": {"from": "timestamp", "transform": {"kind": "time_part", "part": "hour"}},
    "year": {"from": "seen", "transform": {"kind": "time_part", "part": "year"}},
    "genres": {"transform": {"kind": "split"}, "vocabulary": {"min_count": 2}},
    "title": {"transform": {"kind": "ngrams", "n": 2}, "vocabulary": {"encoding": "hash", "oov_buckets": BUCKETS}},
    "poster": {"shape": [LENGTH]},
}


def log_of(rows: int) -> pa.Table:
    rng = np.random.default_rng(5)
    posters = [rng.normal(size=LENGTH).astype(np.float32).tolist() for _ in range(rows)]
    posters[7], posters[8], posters[9], posters[10] = [1.0], None, [1.0, math.nan, 2.0], [0.0] * (LENGTH + 1)
    table = plain_log(rows, seed=4)
    columns = {
        "price": pa.array([None if k % 7 == 0 else (k * k) % 977 / 3 for k in range(rows)], pa.float64()),
        "age": pa.array([None if k % 5 == 0 else k % 60 for k in range(rows)], pa.int32()),
        "seen": pa.array([datetime(1990 + k % 40, 12, 31, 23, 59) for k in range(rows)]),
        "genres": [None if k % 9 == 0 else "|".join(f"g{g}" for g in range(k % 4)) for k in range(rows)],
        "title": [f"The Tale of {k % 13}" for k in range(rows)],
        "poster": pa.array(posters, pa.list_(pa.float32())),
    }
    for name, column in columns.items():
        table = table.append_column(name, pa.array(column))
    return table


def spec(files: Any, **changes: Any) -> dict[str, Any]:
    return spec_of(files, COLUMNS, output={"rows_per_block": 64, "shard_bytes": "20KB"}, **changes)


@pytest.fixture(scope="module")
def log() -> pa.Table:
    return log_of(ROWS)


@pytest.fixture(scope="module")
def built(log: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("columns")
    return build(spec(write_parquet(log, folder / "log")), folder / "datasets")


def test_every_claim_of_the_manifest_holds(built: Built) -> None:
    assert verify(built.manifest, str(built.path)) > 100
    assert built.manifest.accounting.rejected == {"poster length": 2, "poster null": 2}


def test_features_are_what_the_transforms_make_of_the_valid_rows(built: Built, log: pa.Table) -> None:
    manifest = built.manifest
    named = {feature.name: feature for feature in manifest.features}
    valid = [row for k, row in enumerate(log.to_pylist()) if k not in (7, 8, 9, 10)]
    cut = int(manifest.splits["test"].rule.split()[-1])
    prices = np.array([row["price"] for row in valid if row["timestamp"] < cut and row["price"] is not None])
    prices = prices.astype(np.float32).astype(np.float64)
    center, scale = named["price"].transform.center, named["price"].transform.scale
    assert (center, scale) == (pytest.approx(prices.mean(), rel=1e-12), pytest.approx(prices.std(), rel=1e-12))
    boundaries = named["price_bucket"].transform.boundaries
    assert len(boundaries) == 3
    shares = np.bincount(np.searchsorted(boundaries, prices, side="right")) / len(prices)
    assert np.abs(shares - 0.25).max() < 0.01

    def single(value: float | None) -> float | None:
        return None if value is None else float(np.float32(value))

    def expected(row: dict[str, Any]) -> tuple:
        price = single(row["price"])
        filled = 10.0 if price is None else price
        tokens = ["the tale", "tale of", f"of {row['title'].split()[-1]}"]
        scaled = (filled - min(10.0, prices.min())) / (prices.max() - min(10.0, prices.min()))
        return (
            row["timestamp"],
            None if price is None else single((price - center) / scale),
            single(scaled),
            None if price is None else single(math.log1p(price)),
            None if price is None else int(np.searchsorted(boundaries, price, side="right")),
            None if row["age"] is None else (row["age"] >= 18) + (row["age"] >= 35.5),
            row["timestamp"] // 3600 % 24,
            row["seen"].year,
            len([genre for genre in (row["genres"] or "").split("|") if genre]),
            tuple(oov_id(hash_token(token), BUCKETS) for token in tokens),
            tuple(row["poster"]),
        )

    for split, is_mine in (("train", lambda t: t < cut), ("test", lambda t: t >= cut)):
        found = [(*row[3:10], row[10], len(row[11]), row[12], tuple(row[13])) for row in rows_of(built, split)]
        wanted = [expected(row) for row in valid if is_mine(row["timestamp"])]
        assert sorted(found, key=repr) == sorted(wanted, key=repr)


def test_the_manifest_describes_what_was_made(built: Built) -> None:
    named = {feature.name: feature for feature in built.manifest.features}
    described = {
        name: (named[name].dtype, named[name].storage, named[name].nullable, named[name].ids) for name in named
    }
    assert described["price"] == ("float32", "f32", True, None)
    assert described["price_bucket"] == ("int64", "u8", True, 4)
    assert described["age"] == ("int64", "u8", True, 3)
    assert described["hour"] == ("int64", "u8", False, 24)
    assert described["year"] == ("int64", "u16", False, 10_000)
    assert (named["poster"].shape, named["poster"].lengths) == ((LENGTH,), None)
    assert named["genres"].lengths is not None
    # Transformed values, not those that were read.
    assert abs(named["price"].statistics.mean or 1) < 0.5
    assert named["price_bucket"].statistics.largest == 3


@pytest.mark.parametrize("layout", ["blocks", "examples"])
def test_another_order_of_files_and_rows_gives_the_same_bytes(layout: str, log: pa.Table, tmp_path: Path) -> None:
    output = {"layout": layout, "rows_per_block": 64, "shard_bytes": "20KB"}
    order = np.random.default_rng(1).permutation(ROWS)
    builds = []
    for number, (table, files) in enumerate([(log, 1), (log.take(pa.array(order)), 4)]):
        paths = write_parquet(table, tmp_path / f"log{number}", files, row_group_rows=300)
        builds.append(build(spec(paths) | {"output": output}, tmp_path / f"out{number}"))
    assert contents(builds[0]) == contents(builds[1])
    assert builds[0].manifest.features == builds[1].manifest.features
    verify(builds[1].manifest, str(builds[1].path))


@pytest.mark.parametrize(
    ("column", "found", "message"),
    [
        # (column x of the spec, its type in the source, what the refusal says)
        ({"transform": {"kind": "normalize"}}, None, "columns.x.transform.kind: found 'normalize', expected"),
        ({"transform": {"kind": "normalise", "method": "z"}}, None, "columns.x.transform.method: found 'z', expected"),
        ({"transform": {"kind": "normalise"}, "dtype": "string"}, None, "expected dtype float32 or int64, which norm"),
        ({"transform": {"kind": "normalise"}, "vocabulary": {}}, None, "no vocabulary, because normalise makes num"),
        ({"transform": {"kind": "split"}}, None, "expected a vocabulary for the tokens that split makes"),
        ({"transform": {"kind": "split"}, "role": "item", "vocabulary": {}}, None, "no transform for the item column"),
        ({"transform": {"kind": "split"}, "vocabulary": {}}, pa.list_(pa.string()), "is a list in log.parquet"),
        ({"transform": {"kind": "normalise"}}, pa.string(), "has type string in log.parquet, which cannot become"),
        (
            {"transform": {"kind": "normalise", "method": "log1p"}, "null": {"default": -1}},
            pa.float32(),
            "columns.x.null.default: found -1, expected a value in [0.0, inf]",
        ),
        (
            {"transform": {"kind": "time_part", "part": "hour", "unit": "s"}},
            pa.timestamp("ms"),
            "columns.x.transform.unit: found 's', but the column has type timestamp[ms], whose unit is known",
        ),
        ({"shape": [1]}, None, "columns.x.shape"),
        ({"shape": [4], "vocabulary": {}}, None, "expected dtype float32, no transform and no vocabulary"),
        ({"shape": [4], "null": "keep"}, None, "null: reject or a default for a column with a shape"),
        ({"shape": [4]}, pa.float32(), "columns.x.shape: 'x' has type float in log.parquet, expected lists of numbers"),
        ({"shape": [4]}, pa.list_(pa.string()), "cannot become float32"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(column: dict, found: Any, message: str) -> None:
    document = spec_of("f", {"x": column, "t": {"role": "time"}})

    def check() -> None:
        loaded = load_spec("spec.yaml", yaml.safe_dump(document, sort_keys=False))
        resolve_targets(loaded, {"x": found, "t": pa.int64()}, "log.parquet")

    with pytest.raises(UserMistake) as refusal:
        check()
    assert message in str(refusal.value)


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.list_(pa.float64(), 4), pa.large_list(pa.int32())])
def test_vectors_come_from_every_kind_of_list(kind: pa.DataType) -> None:
    document = spec_of("f", {"x": {"shape": [4]}, "t": {"role": "time"}})
    loaded = load_spec("spec.yaml", yaml.safe_dump(document, sort_keys=False))
    target = resolve_targets(loaded, {"x": kind, "t": pa.int64()}, "f")[0]
    assert (target.dtype, target.is_list, target.length) == ("float32", False, 4)
