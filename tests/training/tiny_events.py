"""Write a small log in which users of a group like the items of that group, as a dataset with a vocabulary each."""

from collections import Counter
from pathlib import Path

import numpy as np
from tiny_dataset import TinyColumn, TinyVocabulary, write_dataset

from penstock_dataprep.records.blocks import Values

GROUPS, USERS, ITEMS, TRAIN_ROWS, TEST_ROWS = 4, 80, 160, 2400, 400
TRAIN_SHARDS, ROWS_PER_BLOCK = 3, 64


def write_events(
    root: Path, layout: str = "blocks", seed: int = 5, stray_item_row: int | None = None, nan_row: int | None = None
) -> Path:
    """Write train and test; some test users and items are not in the vocabularies. Return the manifest's path.

    The item of row `stray_item_row` has an id that no vocabulary has, and the rating of `nan_row` is no number.
    """
    random = np.random.default_rng(seed)
    rows = TRAIN_ROWS + TEST_ROWS
    users = random.integers(0, USERS, rows) * 1000 - 5000
    items = (random.zipf(1.3, rows) % (ITEMS // GROUPS)) * GROUPS + (users // 1000 % GROUPS)
    tokens = np.array([f"item-{item}é" for item in range(ITEMS)])[items]
    ratings = np.clip(np.round(2 * (2 + items % 3 + random.normal(0, 0.5, rows))) / 2, 0.5, 5.0).astype(np.float32)
    if nan_row is not None:
        ratings[nan_row] = np.nan
    train = np.arange(rows) < TRAIN_ROWS
    users[-20:] = 10**12 + np.arange(20)
    vocabularies = {
        "user_id": TinyVocabulary("int64", Counter(users[train].tolist()), oov_buckets=2),
        "item_id": TinyVocabulary("string", Counter(tokens[train].tolist()), min_count=3),
    }

    def shard(rows: np.ndarray) -> dict[str, Values]:
        return {
            "user_id": Values(vocabularies["user_id"].map(users[rows])),
            "item_id": Values(np.where(rows == stray_item_row, 255, vocabularies["item_id"].map(tokens[rows]))),
            "rating": Values(ratings[rows]),
        }

    columns = [
        TinyColumn("user_id", "user", "int32", "u8", vocabulary="user_id"),
        TinyColumn("item_id", "item", "int32", "u8", vocabulary="item_id"),
        TinyColumn("rating", "label", "float32", "f16"),
    ]
    splits = {
        "train": [shard(part) for part in np.array_split(np.flatnonzero(train), TRAIN_SHARDS)],
        "test": [shard(np.flatnonzero(~train))],
    }
    return write_dataset(root, columns, splits, vocabularies, ROWS_PER_BLOCK, layout, name="events")
