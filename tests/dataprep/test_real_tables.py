"""Join the attributes of MovieLens users and movies, as the example does, and read its files as they were published."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from logs import Built, build, vocabulary_tokens
from test_tables import table_rows

from penstock_dataprep.sources.csv import CsvFormat
from penstock_dataprep.spec.spec import SourceSpec
from penstock_dataprep.verify.dataset import verify
from penstock_shared.tokens import FIRST_OOV_ID


@pytest.fixture(scope="module")
def movielens(real_data: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    text = (repository / "examples" / "ml-100k-features.spec.yaml").read_text()
    return build(yaml.safe_load(text.replace("../shared/data", str(real_data))), tmp_path_factory.mktemp("movielens"))


def ids(built: Built, name: str) -> dict[str, int]:
    return {str(token): 3 + place for place, (token, _) in enumerate(vocabulary_tokens(built, name))}


def test_the_example_joins_every_user_and_movie(movielens: Built) -> None:
    assert verify(movielens.manifest, str(movielens.path)) > 100
    tables = movielens.manifest.tables
    assert {name: (table.missing, table.accounting.written) for name, table in tables.items()} == {
        "item_id": (0, movielens.manifest.vocabularies["item_id"].tokens),
        "user_id": (0, 943),
    }
    movies, words = table_rows(movielens, "item_id"), ids(movielens, "item_id.title")
    toy_story = movies[ids(movielens, "item_id")["1"]]
    # No other title has the word toy, and min_count is 2.
    assert toy_story["title"] == [FIRST_OOV_ID, words["story"], words["1995"]]
    assert len(toy_story["trigrams"]) == len("toy story 1995") - 2
    genres = [name for name, value in toy_story.items() if value == 1.0]
    assert genres == ["animation", "children", "comedy"]
    users = table_rows(movielens, "user_id")
    first = users[ids(movielens, "user_id")["1"]]
    age = next(feature for feature in tables["user_id"].features if feature.name == "age").transform
    assert age is not None
    assert first["age"] == pytest.approx(float(np.float32((24 - age.center) / age.scale)))
    assert first["occupation"] == ids(movielens, "user_id.occupation")["technician"]


def test_movies_dat_is_read_as_published(real_data: Path) -> None:
    path = str(real_data / "ml-1m" / "movies.dat")
    document = {"files": path, "format": "csv", "delimiter": "::", "quote": None, "encoding": "latin-1"}
    source = SourceSpec.model_validate(document | {"header": ("movie", "title", "genres")})
    reader = CsvFormat()
    names = list(reader.columns(path, source))
    (batch,) = [held.batch for unit in reader.units(path, 1) for held in reader.read(unit, source, names)]
    rows = batch.to_pylist()
    assert len(rows) == 3883
    assert rows[0] == {"movie": "1", "title": "Toy Story (1995)", "genres": "Animation|Children's|Comedy"}
    assert "Misérables, Les (1995)" in {row["title"] for row in rows}
