"""Hold what people read of a dataset to what it holds, and the card to plain, safe HTML."""

import json
from html.parser import HTMLParser

import pyarrow as pa
import pytest
from logs import Built, run

from penstock_dataprep.versions.card import render_card
from penstock_dataprep.versions.show import describe

HOSTILE = "<script>alert(1)</script>&"


def test_show_tells_rows_features_and_vocabularies(
    rich_build: tuple[pa.Table, Built], capsys: pytest.CaptureFixture[str]
) -> None:
    table, built = rich_build
    assert run("show", built.path) == 0
    said = capsys.readouterr().out
    account = built.manifest.accounting
    lines = [line.split() for line in said.splitlines()]
    assert ["read", f"{table.num_rows:,}"] in lines
    assert ["rejected:", "rating", "null", str(account.rejected["rating null"])] in lines
    for name, split in built.manifest.splits.items():
        assert ["written:", name, f"{split.rows:,}", *split.rule.split()] in lines
    for feature in built.manifest.features:
        assert any(line[:3] == [feature.name, feature.role, feature.dtype] for line in lines)
    for name, held in built.manifest.vocabularies.items():
        assert any(line[:3] == [name, f"{held.size:,}", f"{held.tokens:,}"] for line in lines)
    assert built.manifest.digest in said


def test_show_as_json_is_the_manifest(rich_build: tuple[pa.Table, Built], capsys: pytest.CaptureFixture[str]) -> None:
    _, built = rich_build
    assert run("show", "--json", built.path) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(built.path.read_text())


class Page(HTMLParser):
    """Collect a page's text and tags, and require that they nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag != "meta":
            self.open.append(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page(text: str) -> Page:
    parsed = Page()
    parsed.feed(text)
    parsed.close()
    assert parsed.open == []
    return parsed


def test_the_card_lies_beside_the_manifest_and_tells_the_same(rich_build: tuple[pa.Table, Built]) -> None:
    _, built = rich_build
    text = (built.path.parent / "card.html").read_text()
    card = page(text)
    assert "script" not in card.tags
    for figure in (built.manifest.accounting.read, *(split.rows for split in built.manifest.splits.values())):
        assert f"{figure:,}" in card.text
    for feature in built.manifest.features:
        assert feature.name in card.text


def test_the_card_escapes_all_free_text(rich_build: tuple[pa.Table, Built]) -> None:
    manifest = rich_build[1].manifest
    feature, split, account = manifest.features[0], manifest.splits["test"], manifest.accounting
    hostile = manifest.model_copy(
        update={
            "name": HOSTILE,
            "created": HOSTILE,
            "features": (feature.model_copy(update={"name": HOSTILE}), *manifest.features[1:]),
            "splits": {**manifest.splits, HOSTILE: split.model_copy(update={"rule": HOSTILE})},
            "vocabularies": {HOSTILE: manifest.vocabularies["user_id"], **manifest.vocabularies},
            "source": manifest.source.model_copy(update={"format": HOSTILE}),
            "accounting": account.model_copy(update={"rejected": {HOSTILE: 1}, "filtered": {HOSTILE: 1}}),
        }
    )
    card = page(render_card(hostile))
    assert "script" not in card.tags
    assert card.text.count(HOSTILE) >= 10
    assert HOSTILE in describe(hostile)
