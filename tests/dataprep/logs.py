"""Make small logs, write them in each format, build datasets from them and read the rows back."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from penstock_dataprep import cli
from penstock_dataprep.build import build as build_spec
from penstock_dataprep.records.blocks import Values, decode_block
from penstock_dataprep.records.examples_decode import decode_examples
from penstock_dataprep.records.tfrecord import unframe
from penstock_dataprep.spec.spec import Spec, load_spec
from penstock_shared import Manifest, load_manifest
from penstock_shared.tokens import NULL_ID, first_token_id, hash_token, oov_id

PLAIN_COLUMNS = {
    "user_id": {"role": "user", "vocabulary": {}},
    "item_id": {"role": "item", "vocabulary": {"min_count": 2}},
    "rating": {"role": "label", "dtype": "float32", "range": [0, 5]},
    "timestamp": {"role": "time", "dtype": "int64"},
}
RICH_COLUMNS = {
    "user_id": {"role": "user", "vocabulary": {"oov_buckets": 3}},
    "item_id": {"role": "item", "vocabulary": {"min_count": 3, "oov_buckets": 2}},
    "history": {"vocabulary": "item_id"},
    "rating": {"role": "label", "dtype": "float32", "range": [0, 5]},
    "price": {"dtype": "float32"},
    "stock": {},
    "scores": {"dtype": "float32"},
    "timestamp": {"role": "time"},
}
TEST_FRACTION = 0.1


@dataclass(frozen=True)
class Built:
    """Hold a built dataset: its manifest, the manifest's path, and whether it was there before."""

    manifest: Manifest
    path: Path
    reused: bool

    @property
    def base(self) -> Path:
        """Return the dataset folder."""
        return self.path.parent.parent


def plain_log(rows: int, seed: int, users: int = 200, items: int = 80) -> pa.Table:
    """Return a log of int64 users, string items with a long tail, ratings and times; some rows occur twice."""
    rng = np.random.default_rng(seed)
    table = pa.table(
        {
            "user_id": rng.integers(0, users, rows) * 7919 - 1000,
            "item_id": [f"i{item}é" for item in rng.zipf(1.4, rows) % items],
            "rating": (rng.integers(0, 11, rows) / 2).astype(np.float32),
            "timestamp": np.sort(1_600_000_000 + rng.integers(0, 5_000_000, rows)),
        }
    )
    copies = max(1, rows // 50)
    return pa.concat_tables([table.slice(0, rows - copies), table.slice(rows // 3, copies)]).combine_chunks()


def rich_log(rows: int, seed: int) -> pa.Table:
    """Return a plain log with list columns, columns with nulls, and about one row in a hundred that breaks a rule."""
    rng = np.random.default_rng(seed + 1000)
    # So many users and items that some never come to the vocabularies.
    table = plain_log(rows, seed, users=2000, items=1500)
    items = np.array(table["item_id"].to_pylist())
    rating = table["rating"].to_numpy().copy()
    rating[rng.random(rows) < 0.005] = np.nan
    rating[rng.random(rows) < 0.005] = 9.0
    columns = {
        "history": pa.array(
            [None if k % 11 == 0 else items[rng.integers(0, rows, rng.integers(0, 5))].tolist() for k in range(rows)],
            pa.list_(pa.string()),
        ),
        "price": pa.array([None if k % 3 == 0 else k / 7 for k in range(rows)], pa.float64()),
        "stock": pa.array([None if k % 5 == 0 else k - 400 for k in range(rows)], pa.int32()),
        "scores": pa.array([[0.5] * (k % 3) + [float(k % 17)] for k in range(rows)], pa.list_(pa.float64())),
    }
    table = table.set_column(2, "rating", pa.array(rating))
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table


def spec_of(files: Any, columns: dict[str, Any], file_format: str = "parquet", **changes: Any) -> dict[str, Any]:
    """Return a spec as the plain document that a YAML file would hold."""
    return {
        "name": "log",
        "source": {"files": files, "format": file_format},
        "columns": columns,
        "split": {"by": "time", "test_fraction": TEST_FRACTION},
        "shuffle": {"seed": 17},
        "output": {"rows_per_block": 64},
        "max_reject_fraction": 0.05,
        **changes,
    }


def plain_spec(files: Any, **changes: Any) -> dict[str, Any]:
    """Return the spec of a plain log."""
    return spec_of(files, PLAIN_COLUMNS, **changes)


def rich_spec(files: Any, **changes: Any) -> dict[str, Any]:
    """Return the spec of a rich log, in shards so small that there are several."""
    return spec_of(files, RICH_COLUMNS, **{"output": {"rows_per_block": 64, "shard_bytes": "50KB"}, **changes})


def write_spec(path: Path, document: dict[str, Any]) -> str:
    """Write a spec as YAML and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return str(path)


def write_parquet(table: pa.Table, folder: Path, files: int = 1, row_group_rows: int = 1000) -> list[str]:
    """Write a table as Parquet files of consecutive rows and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    edges = np.linspace(0, table.num_rows, files + 1).astype(int)
    paths = [folder / f"part-{number:03d}.parquet" for number in range(files)]
    for path, start, stop in zip(paths, edges[:-1], edges[1:], strict=True):
        pq.write_table(table.slice(start, stop - start), path, row_group_size=row_group_rows)
    return [str(path) for path in paths]


def build(
    document: dict[str, Any], root: Path, runner_flags: tuple[str, ...] = (), append_to: Built | None = None
) -> Built:
    """Build a spec in this process."""
    spec: Spec = load_spec("spec.yaml", yaml.safe_dump(document, sort_keys=False))
    path, reused = build_spec(spec, str(root), list(runner_flags), str(append_to.path) if append_to else None)
    return Built(load_manifest(Path(path).read_bytes(), path), Path(path), reused)


def without_progress(said: str) -> str:
    """Return what was said but the lines that a busy machine has time for, such as `read: 400 rows, 80 rows/s`."""
    return re.sub(r"^\w+: [\d,]+ rows.*\n", "", said, flags=re.MULTILINE)


def run(*arguments: object) -> int:
    """Run penstock-data in this process and return its exit code."""
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as leaving:
        return int(leaving.code or 0)


def contents(built: Built) -> dict[str, bytes]:
    """Return the bytes of every shard, block index and vocabulary file, by path inside the version."""
    folder = built.path.parent
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in (".tfrecord", ".u64")
    }


def shards(built: Built) -> dict[str, bytes]:
    """Return the same without the events kept for rows to come, which partitions of another size cut otherwise."""
    return {name: held for name, held in contents(built).items() if not name.startswith("tails/")}


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], document: dict[str, Any]) -> tuple[int, str]:
    """Build a spec that must be refused; return (exit code, message)."""
    out = tmp_path / "datasets"
    code = run("build", write_spec(tmp_path / "spec.yaml", document), "--out", out)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert left_behind(out) == []
    return code, printed.err


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy of a document with the value at a dotted path set, or removed for None."""
    copied = json.loads(json.dumps(document))
    *parents, last = path.split(".")
    inner = copied
    for parent in parents:
        inner = inner[parent]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return copied


def left_behind(root: Path) -> list[str]:
    """Return every file and folder under `root`, hidden ones too: after a failed build there is none."""
    return [str(path.relative_to(root)) for path in root.rglob("*")] if root.exists() else []


def shard_columns(built: Built, split: str) -> Iterator[list[list[Any]]]:
    """Yield, for each shard of a split, each feature's values as Python values: None for null, a list for a list."""
    manifest = built.manifest
    for shard in manifest.splits[split].shards:
        features = manifest.features_of(shard)
        columns = tuple(feature.column for feature in features)
        content = (built.base / shard.path).read_bytes()
        if manifest.layout.kind == "examples":
            yield [_to_python(held) for held in decode_examples(features, content, shard.path)[1]]
            continue
        held_columns: list[list[Any]] = [[] for _ in columns]
        for _, payload in unframe(content, shard.path):
            _, values = decode_block(columns, payload, shard.path)
            for held, decoded in zip(held_columns, values, strict=True):
                held.extend(_to_python(decoded))
        yield held_columns


def rows_of(built: Built, split: str) -> list[tuple[Any, ...]]:
    """Return a split's rows in order, lists as tuples."""
    return [row for columns in shard_columns(built, split) for row in zip(*columns, strict=True)]


def vocabulary_tokens(built: Built, name: str) -> list[tuple[int | str, int]]:
    """Return the (token, count) pairs of a vocabulary in the order of their ids."""
    held = built.manifest.vocabularies[name]
    pairs: list[tuple[int | str, int]] = []
    for shard in held.shards:
        for _, payload in unframe((built.base / shard.path).read_bytes(), shard.path):
            _, (token, count) = decode_block(held.columns, payload, shard.path)
            if token.lengths is None:
                tokens = token.numbers.tolist()
            else:
                ends = np.cumsum(token.lengths, dtype=np.int64)
                text = token.numbers.tobytes()
                tokens = [text[end - size : end].decode() for end, size in zip(ends, token.lengths, strict=True)]
            pairs += zip(tokens, count.numbers.tolist(), strict=True)
    return pairs


def ranked(values: list[Any], min_count: int = 1, max_size: int | None = None) -> list[tuple[Any, int]]:
    """Return (token, count) pairs as a vocabulary must rank them, in plain Python."""
    counts = Counter(value for value in values if value is not None)
    admitted = [pair for pair in counts.items() if pair[1] >= min_count]
    key = {True: lambda pair: (-pair[1], pair[0].encode()), False: lambda pair: (-pair[1], pair[0])}
    is_text = bool(admitted) and isinstance(admitted[0][0], str)
    return sorted(admitted, key=key[is_text])[:max_size]


def id_of(token: Any, ranking: dict[Any, int], oov_buckets: int) -> int:
    """Return a token's id by the contract: reserved ids, buckets by hash, then ranks."""
    if token is None:
        return NULL_ID
    if token in ranking:
        return first_token_id(oov_buckets) + ranking[token]
    return oov_id(hash_token(token), oov_buckets)


def _to_python(values: Values) -> list[Any]:
    numbers = values.numbers.tolist()
    if values.lengths is not None:
        ends = np.cumsum(values.lengths, dtype=np.int64)
        return [tuple(numbers[end - size : end]) for end, size in zip(ends, values.lengths, strict=True)]
    if values.present is not None:
        return [number if present else None for number, present in zip(numbers, values.present, strict=True)]
    return numbers
