"""Make histories and sequences in plain Python, row by row, to hold builds against."""

import struct
from collections import Counter
from typing import Any

from logs import Built, id_of, vocabulary_tokens

from penstock_shared.tokens import hash_token, mix64

Row = dict[str, Any]


def place_of(row: Row, spec: dict[str, Any]) -> int:
    """Return a row's place in the global order: the keyed hash of its columns."""
    state = mix64(spec["shuffle"]["seed"])
    for name, column in spec["columns"].items():
        value = row[name]
        if "vocabulary" in column:
            word = hash_token(value)
        elif isinstance(value, float):
            word = struct.unpack("<I", struct.pack("<f", value))[0]
        else:
            word = value & (2**64 - 1)
        state = mix64(state ^ word)
    return state


def in_order(rows: list[Row], spec: dict[str, Any]) -> list[Row]:
    """Return rows by user, time and place."""
    return sorted(rows, key=lambda row: (row["user_id"], row["timestamp"], place_of(row, spec)))


def split_last(rows: list[Row], spec: dict[str, Any], n: int, validation_n: int) -> dict[str, list[Row]]:
    """Split rows by each user's last ones; no two rows may be equal."""
    splits: dict[str, list[Row]] = {"train": [], "validation": [], "test": []}
    ordered = in_order(rows, spec)
    for user in {row["user_id"] for row in rows}:
        own = [row for row in ordered if row["user_id"] == user]
        held_out = n + validation_n if len(own) > n + validation_n else 0
        for at, row in enumerate(own, held_out - len(own)):
            splits["train" if at < 0 else "validation" if at < validation_n else "test"].append(row)
    return splits


def split_at(rows: list[Row], cut: int) -> dict[str, list[Row]]:
    """Split rows at a time."""
    return {
        "train": [row for row in rows if row["timestamp"] < cut],
        "test": [row for row in rows if row["timestamp"] >= cut],
    }


class Ids:
    """Map tokens as the vocabularies of a built dataset do."""

    def __init__(self, built: Built, spec: dict[str, Any]) -> None:
        """Read the vocabularies."""
        self.buckets = {name: held.oov_buckets for name, held in built.manifest.vocabularies.items()}
        self.ranks = {
            name: {token: rank for rank, (token, _) in enumerate(vocabulary_tokens(built, name))}
            for name in built.manifest.vocabularies
        }

    def value(self, row: Row, name: str) -> Any:
        """Return what is written of a row's column."""
        return id_of(row[name], self.ranks[name], self.buckets[name]) if name in self.ranks else row[name]


def with_histories(splits: dict[str, list[Row]], spec: dict[str, Any], ids: Ids) -> dict[str, Counter]:
    """Return the rows of each split with their histories, as tuples in the order of the features."""
    rules = spec["history"]
    ordered = in_order([row for rows in splits.values() for row in rows], spec)
    by_user: dict[Any, list[Row]] = {}
    for row in ordered:
        by_user.setdefault(row["user_id"], []).append(row)
    return {
        split: Counter(
            (
                *(ids.value(row, name) for name in spec["columns"]),
                *(
                    tuple(
                        ids.value(other, name)
                        for other in by_user[row["user_id"]]
                        if other["timestamp"] < row["timestamp"]
                    )[-rules["length"] :]
                    for name in rules["columns"]
                ),
            )
            for row in rows
        )
        for split, rows in splits.items()
    }


def as_sequences(splits: dict[str, list[Row]], spec: dict[str, Any], ids: Ids) -> dict[str, Counter]:
    """Return the sequences of each split, as tuples in the order of the features."""
    rules = spec["sequences"]
    length = rules["length"]
    found: dict[str, Counter] = {}
    for split, rows in splits.items():
        found[split] = Counter()
        for user in {row["user_id"] for row in rows}:
            own = in_order([row for row in rows if row["user_id"] == user], spec)
            first = len(own) % length or length
            pieces = [own[:first], *(own[at : at + length] for at in range(first, len(own), length))]
            for piece in pieces:
                lists = (tuple(ids.value(row, name) for row in piece) for name in rules["columns"])
                found[split][(ids.value(piece[0], "user_id"), *lists)] += 1
    return found
