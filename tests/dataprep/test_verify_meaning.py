"""Hold verify to finding what is false although every checksum and digest fits."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from logs import Built, build, plain_log, plain_spec, rich_log, rich_spec, write_parquet

from penstock_dataprep.records.blocks import Values, decode_block, encode_block
from penstock_dataprep.records.tfrecord import frame, unframe
from penstock_dataprep.statistics.coverage import CountLevels
from penstock_dataprep.storage.files import checksum
from penstock_dataprep.verify.dataset import verify
from penstock_shared import DataRefused, Manifest
from penstock_shared.digests import manifest_digest, vocabulary_digest


@pytest.fixture
def built(tmp_path: Path) -> Built:
    return build(rich_spec(write_parquet(rich_log(2000, seed=4), tmp_path / "log")), tmp_path / "datasets")


def with_entry(built: Built, entry: object) -> dict[str, object]:
    size, crc32c = checksum(str(built.base / entry.path))  # type: ignore[attr-defined]
    return {"bytes": size, "crc32c": crc32c}


def test_a_rejects_file_that_lacks_a_row_is_found(built: Built) -> None:
    (file,) = built.manifest.rejects
    path = built.base / file.path
    rows = pq.read_table(path)
    reason = f"rating {rows['reason'][0].as_py()}"
    pq.write_table(rows.slice(1), path)
    told = built.manifest.model_copy(update={"rejects": (file.model_copy(update=with_entry(built, file)),)})
    claimed = built.manifest.accounting.rejected[reason]
    with pytest.raises(DataRefused, match=f"{reason}: found {claimed - 1}, the manifest says {claimed}"):
        verify(told, str(built.path))
    pq.write_table(rows.drop_columns(["value"]), path)
    told = built.manifest.model_copy(update={"rejects": (file.model_copy(update=with_entry(built, file)),)})
    with pytest.raises(DataRefused, match=r"has columns .* expected"):
        verify(told, str(built.path))


def with_counts(built: Built, change: Callable[[Values], Values]) -> Manifest:
    """Return a manifest that fits a vocabulary file whose counts are changed."""
    held = built.manifest.vocabularies["item_id"]
    (shard,) = held.shards
    path = built.base / shard.path
    ((_, payload),) = unframe(path.read_bytes(), shard.path)
    rows, (tokens, counts) = decode_block(held.columns, payload, shard.path)
    counts = change(counts)
    path.write_bytes(frame(encode_block(held.columns, [tokens, counts], rows)))
    shards = (shard.model_copy(update=with_entry(built, shard)),)
    levels = CountLevels.of(counts.numbers)
    told = held.model_copy(
        update={
            "shards": shards,
            "digest": vocabulary_digest(held.oov_buckets, held.columns, shards),
            "coverage": round(levels.total / held.counted_values, 9),
            "curve": levels.curve(held.counted_values),
        }
    )
    manifest = built.manifest.model_copy(update={"vocabularies": {**built.manifest.vocabularies, "item_id": told}})
    return manifest.model_copy(update={"digest": manifest_digest(manifest)})


def test_counts_that_are_not_those_of_the_rows_are_found(built: Built) -> None:
    def one_more(counts: Values) -> Values:
        numbers = counts.numbers.copy()
        numbers[0] += 1
        return Values(numbers)

    verify(with_counts(built, lambda counts: counts), str(built.path))
    with pytest.raises(DataRefused, match=r"vocabulary item_id: the token with id 4 has count .*, but occurs"):
        verify(with_counts(built, one_more), str(built.path))


def test_a_false_drift_is_found_while_the_parent_is_there(tmp_path: Path) -> None:
    parts = [plain_log(600, seed=seed) for seed in (1, 2)]
    files = [write_parquet(part, tmp_path / str(number)) for number, part in enumerate(parts)]
    parent = build(plain_spec(files[0]), tmp_path / "datasets")
    second = build(plain_spec(files[1]), tmp_path / "datasets", append_to=parent)
    claims = verify(second.manifest, str(second.path))
    rating = second.manifest.drift["rating"].model_copy(update={"stability_index": 0.0})
    told = second.manifest.model_copy(update={"drift": second.manifest.drift | {"rating": rating}})
    with pytest.raises(DataRefused, match=f"drift against version {parent.manifest.version}: rating: found"):
        verify(told, str(second.path))
    parent.path.unlink()
    assert verify(told, str(second.path)) < claims
