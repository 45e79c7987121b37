"""Hold the coverage curve of a vocabulary and the out-of-vocabulary share of each split to plain Python."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import Built, build, plain_log, plain_spec, rows_of, run, vocabulary_tokens, write_parquet

from penstock_dataprep.statistics.coverage import CountLevels, curve_places
from penstock_shared import Manifest
from penstock_shared.tokens import FIRST_OOV_ID, NULL_ID, first_token_id


@pytest.mark.parametrize(
    ("tokens", "places"),
    [
        (0, []),
        (1, [1]),
        (2, [1, 2]),
        (5, [1, 2, 5]),
        (7, [1, 2, 5, 7]),
        (10, [1, 2, 5, 10]),
        (1234, [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 1234]),
    ],
)
def test_the_places_of_a_curve(tokens: int, places: list[int]) -> None:
    assert list(curve_places(tokens)) == places


@given(st.lists(st.lists(st.integers(1, 9), max_size=40), max_size=4), st.integers(0, 50))
def test_a_curve_is_that_of_all_counts_in_order(parts: list[list[int]], uncovered: int) -> None:
    counts = sorted((count for part in parts for count in part), reverse=True)
    counted = sum(counts) + uncovered
    levels = CountLevels.merge([CountLevels.of(np.array(part, np.int64)) for part in parts])
    assert levels.total == sum(counts)
    found = [(point.tokens, point.coverage) for point in levels.curve(counted)]
    expected = [
        (tokens, pytest.approx(sum(counts[:tokens]) / counted, abs=1e-9)) for tokens in curve_places(len(counts))
    ]
    assert found == expected


def curve(built: Built, name: str) -> list[tuple[int, float]]:
    return [(point.tokens, point.coverage) for point in built.manifest.vocabularies[name].curve]


def expected_curve(built: Built, name: str) -> list[tuple[int, float]]:
    counts = sorted((count for _, count in vocabulary_tokens(built, name)), reverse=True)
    counted = built.manifest.vocabularies[name].counted_values
    return [(tokens, pytest.approx(sum(counts[:tokens]) / counted, abs=1e-9)) for tokens in curve_places(len(counts))]


def oov_share(manifest: Manifest, values: list[int], vocabulary: str) -> float:
    first = first_token_id(manifest.vocabularies[vocabulary].oov_buckets)
    counted = Counter("oov" if FIRST_OOV_ID <= value < first else "known" for value in values if value != NULL_ID)
    return counted["oov"] / counted.total()


def test_the_manifest_holds_the_curve_and_the_share_of_each_split(rich_build: tuple[pa.Table, Built]) -> None:
    _, built = rich_build
    for name in ("user_id", "item_id"):
        assert curve(built, name) == expected_curve(built, name)
        assert curve(built, name)[-1][1] == built.manifest.vocabularies[name].coverage
    names = [feature.name for feature in built.manifest.features]
    for split, held in built.manifest.splits.items():
        columns = dict(zip(names, zip(*rows_of(built, split), strict=True), strict=True))
        assert set(held.oov_share) == {"user_id", "item_id", "history"}
        for name, vocabulary in {"user_id": "user_id", "item_id": "item_id", "history": "item_id"}.items():
            values = [v for row in columns[name] for v in row] if name == "history" else list(columns[name])
            assert held.oov_share[name] == pytest.approx(oov_share(built.manifest, values, vocabulary), abs=1e-9)
    assert built.manifest.splits["test"].oov_share["user_id"] > built.manifest.splits["train"].oov_share["user_id"] == 0


def test_an_appended_vocabulary_has_the_curve_of_all_its_counts(tmp_path: Path) -> None:
    first = build(plain_spec(write_parquet(plain_log(900, seed=1), tmp_path / "one")), tmp_path / "datasets")
    day = plain_log(900, seed=2, items=140)
    second = build(plain_spec(write_parquet(day, tmp_path / "two")), tmp_path / "datasets", append_to=first)
    counts = [count for _, count in vocabulary_tokens(second, "item_id")]
    assert counts != sorted(counts, reverse=True)
    assert curve(second, "item_id") == expected_curve(second, "item_id")


def test_a_person_sees_both(rich_build: tuple[pa.Table, Built], capsys: pytest.CaptureFixture[str]) -> None:
    _, built = rich_build
    assert run("show", built.path) == 0
    card = (built.path.parent / "card.html").read_text()
    share = f"{built.manifest.splits['test'].oov_share['user_id']:.4%}"
    for text in (capsys.readouterr().out, card):
        assert "coverage of the first" in text
        assert "out of vocabulary" in text
        assert share in text
