from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tiny_dataset import TinyColumn, TinyVocabulary, write_dataset

from penstock_dataprep.records.blocks import Values
from penstock_shared import DataRefused
from penstock_training.data.dataset import open_dataset
from penstock_training.data.vocabulary import load_counts, load_tokens

STRINGS = {f"t{number}" + "é" * (number % 30): 5000 - number for number in range(2500)} | {"": 7, "nul\0": 9}
INTEGERS = {-(2**63): 9, 2**63 - 1: 8, 0: 7, 5: 1}


@pytest.mark.parametrize(("dtype", "counts"), [("string", STRINGS), ("int64", INTEGERS)])
def test_tokens_and_counts_are_read_back(tmp_path: Path, dtype: str, counts: dict[int | str, int]) -> None:
    vocabulary = TinyVocabulary(dtype, Counter(counts), min_count=2, oov_buckets=3)
    columns = [TinyColumn("id", "item", "int32", "u16", vocabulary="id")]
    path = write_dataset(tmp_path, columns, {"train": [{"id": Values(np.array([1]))}]}, {"id": vocabulary})
    dataset = open_dataset(str(path))
    held = load_tokens(dataset, "id")
    tokens = [token.decode() if isinstance(token, bytes) else token for token in held.tokens.tolist()]
    assert {token: held.first_id + place for place, token in enumerate(tokens)} == vocabulary.ids
    by_id = load_counts(dataset, "id")
    assert len(by_id) == vocabulary.size
    assert all(by_id[id_] == counts[token] for token, id_ in vocabulary.ids.items())
    assert by_id.sum() == pytest.approx(sum(counts.values()))
    assert by_id[:2].tolist() == [0, 0]


def test_a_flipped_byte_is_refused(own_events: Path) -> None:
    path = own_events.parent / "vocabularies/item_id/00000.tfrecord"
    content = bytearray(path.read_bytes())
    content[40] ^= 4
    path.write_bytes(content)
    with pytest.raises(
        DataRefused, match=r"item_id/00000\.tfrecord: corrupt after 0 tokens: corrupted record at \d+; copy"
    ):
        load_tokens(open_dataset(str(own_events)), "item_id")
