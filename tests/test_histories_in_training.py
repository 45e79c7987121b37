"""Prepare MovieLens 1M with histories and as sequences, and hold the trainer's batches to plain Python."""

import itertools
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import penstock_training  # noqa: F401  (sets the environment TensorFlow reads when it is imported)
from penstock_shared.tokens import PADDING_ID
from penstock_training.data.dataset import Dataset, open_dataset
from penstock_training.data.feed import WEIGHT, Feed
from penstock_training.data.pack import MASK_SUFFIX
from penstock_training.data.vocabulary import load_tokens

BATCH_ROWS = 512


@dataclass
class Log:
    """Hold the log in plain Python: (user, item) by line, and each user's lines in order."""

    pairs: list[tuple[str, str]]
    lines: dict[str, list[int]]


@pytest.fixture(scope="module")
def log(real_data: Path) -> Log:
    text = (real_data / "ml-1m" / "ml-1m_sas.txt").read_text()
    pairs = [tuple(line.split()) for line in text.splitlines()]
    lines: dict[str, list[int]] = {}
    for number, (user, _) in enumerate(pairs, 1):
        lines.setdefault(user, []).append(number)
    return Log(pairs, lines)


def built(name: str, repository: Path, real_data: Path, folder: Path) -> Dataset:
    """Build one of the examples and open it."""
    spec = (repository / "examples" / f"{name}.spec.yaml").read_text()
    path = folder / "spec.yaml"
    path.write_text(spec.replace("../shared/data", str(real_data)))
    command = [sys.executable, "-m", "penstock_dataprep.cli", "build", str(path), "--out", str(folder)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return open_dataset(printed.splitlines()[-1])


def ids(dataset: Dataset, name: str) -> dict[str, int]:
    """Return the id of each token of a vocabulary."""
    held = load_tokens(dataset, name)
    return {token.decode(): held.first_id + rank for rank, token in enumerate(held.tokens)}


def listed(batch: dict[str, np.ndarray], name: str) -> list[list[int]]:
    """Return a dense list feature as lists, once its mask and its padding are seen to agree."""
    numbers, mask = batch[name], batch[name + MASK_SUFFIX]
    assert np.array_equal(mask, np.arange(mask.shape[1]) < mask.sum(axis=1, keepdims=True))
    assert np.array_equal(numbers == PADDING_ID, ~mask)
    return [row[held].tolist() for row, held in zip(numbers, mask, strict=True)]


@pytest.fixture(scope="module")
def with_histories(repository: Path, real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return built("ml-1m", repository, real_data, tmp_path_factory.mktemp("histories"))


@pytest.mark.parametrize("longest_list", [None, 20])
def test_batches_hold_what_users_saw_before(longest_list: int | None, log: Log, with_histories: Dataset) -> None:
    users, items = ids(with_histories, "user_id"), ids(with_histories, "item_id")
    names = ("user_id", "item_id", "line", "history_item_id")
    splits = ("train", "validation", "test")
    feeds = {split: Feed(with_histories, split, BATCH_ROWS, names, longest_list) for split in splits}
    batches = {name: list(feeds[name].evaluation_batches().as_numpy_iterator()) for name in ("validation", "test")}
    batches["train"] = list(feeds["train"].training_batches(1, 0, 3, 32).take(4).as_numpy_iterator())
    length = longest_list or 50
    for split, held in batches.items():
        for batch in held:
            assert batch["history_item_id"].shape == (BATCH_ROWS, length)
            rows = int(batch[WEIGHT].sum()) if WEIGHT in batch else BATCH_ROWS
            histories = listed(batch, "history_item_id")
            for row in range(rows):
                line = int(batch["line"][row])
                user, item = log.pairs[line - 1]
                own = log.lines[user]
                at = own.index(line)
                assert (batch["user_id"][row], batch["item_id"][row]) == (users[user], items[item])
                assert histories[row] == [items[log.pairs[other - 1][1]] for other in own[max(0, at - length) : at]]
                assert {"validation": at == len(own) - 2, "test": at == len(own) - 1}.get(split, at < len(own) - 2)


def test_sequences_hold_all_that_users_saw(log: Log, repository: Path, real_data: Path, tmp_path: Path) -> None:
    dataset = built("ml-1m-sequences", repository, real_data, tmp_path)
    users, items = ids(dataset, "user_id"), ids(dataset, "item_id")
    assert dataset.manifest.accounting.written == len(log.pairs)
    expected = []
    for user, lines in log.lines.items():
        seen = [items[log.pairs[line - 1][1]] for line in lines[:-2]]
        first = len(seen) % 200 or 200
        cuts = [0, *range(first, len(seen) + 1, 200)]
        expected += [(users[user], tuple(seen[start:stop])) for start, stop in itertools.pairwise(cuts)]
    found = []
    for batch in Feed(dataset, "train", BATCH_ROWS, ("user_id", "item_id")).evaluation_batches().as_numpy_iterator():
        rows = int(batch[WEIGHT].sum())
        pairs = zip(batch["user_id"][:rows], listed(batch, "item_id")[:rows], strict=True)
        found += [(int(user), tuple(held)) for user, held in pairs]
    assert sorted(found) == sorted(expected)
