"""Build the public logs from the example specs: real rows, real long tails, the same digest wherever built."""

from pathlib import Path

import pytest
import yaml
from logs import TEST_FRACTION, build, rows_of, vocabulary_tokens

from penstock_dataprep.verify.dataset import verify

LOGS = {
    # example spec -> (file, rows, users, items, (smallest, largest) rating)
    "ml-100k": ("ml-100k/u.data", 100_000, 943, 1682, (1, 5)),
    "ml-latest-small": ("ml-latest-small/ratings.csv", 100_836, 610, 9724, (0.5, 5)),
}


@pytest.mark.parametrize("name", LOGS)
def test_a_public_log_builds_from_its_example_spec(
    name: str, repository: Path, real_data: Path, tmp_path: Path
) -> None:
    file, rows, users, items, ratings = LOGS[name]
    document = yaml.safe_load((repository / "examples" / f"{name}.spec.yaml").read_text())
    assert document["source"]["files"] == f"../shared/data/{file}"
    document["source"]["files"] = str(real_data / file)
    built = build(document, tmp_path / "one")
    again = build(document, tmp_path / "two", ("--direct_num_workers=1",))
    manifest = built.manifest
    assert again.manifest.digest == manifest.digest
    assert manifest.splits["test"].rows == pytest.approx(TEST_FRACTION * rows, rel=0.01)
    assert verify(manifest, str(built.path)) > 40

    delimiter = document["source"].get("delimiter", ",")
    lines = [line.split(delimiter) for line in (real_data / file).read_text().splitlines()[1:]]
    # Copies of these files are about with a damaged timestamp or two: the budget for broken rows has its uses.
    sound = [(user, item, float(rating), int(time)) for user, item, rating, time in lines if time.isdigit()]
    assert (len(lines), manifest.accounting.read, manifest.accounting.written) == (rows, rows, len(sound))
    assert manifest.accounting.rejected == ({"timestamp type": rows - len(sound)} if rows > len(sound) else {})
    user, item, rating, time = zip(*sound, strict=True)
    assert (len(set(user)), len(set(item))) == (users, items)
    cut = int(manifest.splits["test"].rule.rpartition(" ")[2])
    assert sum(moment >= cut for moment in time) == manifest.splits["test"].rows
    train_users = {one for one, moment in zip(user, time, strict=True) if moment < cut}
    assert {token for token, _ in vocabulary_tokens(built, "user_id")} == train_users
    assert manifest.features[0].statistics.oov == sum(one not in train_users for one in user)
    written = rows_of(built, "train") + rows_of(built, "test")
    assert sorted(row[2] for row in written) == sorted(rating)
    assert sorted(row[3] for row in written) == sorted(time)
    assert (manifest.features[2].statistics.smallest, manifest.features[2].statistics.largest) == ratings
