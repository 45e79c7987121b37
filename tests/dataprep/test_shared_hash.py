"""Build whole datasets in which tokens share a 64-bit hash, as happens to one large vocabulary in thousands."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from logs import Built, build, plain_log, plain_spec, rows_of, vocabulary_tokens, write_parquet

from penstock_dataprep.order.hashing import fingerprint_tokens
from penstock_dataprep.verify.dataset import verify
from penstock_dataprep.vocabularies import coding, known
from penstock_shared import DataRefused
from penstock_shared.tokens import first_token_id

# Two of them are frequent, one is too rare for the vocabulary, if it occurs at all.
SHARING = ("i1é", "i3é", "i77é")
HASH = np.uint64(0x0123_4567_89AB_CDEF)


@pytest.fixture
def shared_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give some tokens one hash."""

    def fingerprints(tokens: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        hashes, checks = fingerprint_tokens(tokens)
        if pa.types.is_string(tokens.type):
            hashes[np.isin(tokens.to_numpy(zero_copy_only=False).astype(str), SHARING)] = HASH
        return hashes, checks

    for module in (coding, known):
        monkeypatch.setattr(module, "fingerprint_tokens", fingerprints)


def rows_by_item(built: Built) -> Counter[str]:
    """Return how many rows of a dataset have each item of the vocabulary, by its token."""
    tokens = [str(token) for token, _ in vocabulary_tokens(built, "item_id")]
    ids = [row[1] for split in built.manifest.splits for row in rows_of(built, split)]
    first_id = first_token_id(built.manifest.vocabularies["item_id"].oov_buckets)
    return Counter(tokens[held - first_id] for held in ids if held >= first_id)


@pytest.mark.usefixtures("shared_hash")
def test_rows_get_the_ids_of_their_own_tokens(tmp_path: Path) -> None:
    log = plain_log(3000, seed=4)
    days = [log.slice(0, 2000), log.slice(2000)]
    built: Built | None = None
    for number, day in enumerate(days):
        document = plain_spec(write_parquet(day, tmp_path / f"day-{number}", files=2))
        built = build(document, tmp_path / "out", append_to=built)
        verify(built.manifest, str(built.path))
        expected = Counter(pa.concat_tables(days[: number + 1])["item_id"].to_pylist())
        found = rows_by_item(built)
        items = ("i1é", "i2é", "i3é", "i4é")
        assert [found[item] for item in items] == [expected[item] for item in items]
        assert found["i3é"] > 0


@pytest.mark.usefixtures("shared_hash")
def test_last_rows_of_tokens_that_share_a_hash_are_refused(tmp_path: Path) -> None:
    document = plain_spec(write_parquet(plain_log(500, seed=4), tmp_path / "log"))
    # The texts as users: what is told apart by a hash must have one of its own.
    document["columns"] = {
        **document["columns"],
        "user_id": {"role": "item", "vocabulary": {}},
        "item_id": {"role": "user", "vocabulary": {}},
    }
    document["split"] = {"by": "leave_last", "n": 1}
    with pytest.raises(
        DataRefused, match=r"columns\.item_id: several tokens have the 64-bit hash \d+, .*rename 'i\d+é'"
    ):
        build(document, tmp_path / "out")
