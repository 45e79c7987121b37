"""Hold the histories of appended rows to plain Python over the rows of all versions."""

import itertools
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from event_logs import BY_TIME, BY_USER, document
from event_reference import Ids, Row, place_of
from history_days import LATER, LENGTH, LISTED, OVERLAPPING, RULES, chain_of, day, history, kept_events
from logs import Built, build, contents, rows_of, shards, vocabulary_tokens, write_parquet

from penstock_dataprep.histories import partitions
from penstock_dataprep.verify.dataset import verify
from penstock_shared import DataRefused

Place = tuple[int, int, int]  # (time, day, hash of the row)


def all_rows(built: Built) -> Counter[tuple[Any, ...]]:
    return Counter(row for split in built.manifest.splits for row in rows_of(built, split))


def new_rows(chain: list[Built], number: int) -> Counter[tuple[Any, ...]]:
    """Return the rows that a version added to those of the one before."""
    held = all_rows(chain[number])
    return held - all_rows(chain[number - 1]) if number else held


def events_of(days: list[pa.Table]) -> dict[str, list[tuple[Place, Row]]]:
    """Return the events of each user in order: by time, then by day, then by the hash of the row."""
    spec = document("", BY_TIME, {}, columns=RULES)
    found: dict[str, list[tuple[Place, Row]]] = {}
    for number, table in enumerate(days):
        for row in table.to_pylist():
            found.setdefault(row["user_id"], []).append(((row["timestamp"], number, place_of(row, spec)), row))
    return {user: sorted(held, key=lambda event: event[0]) for user, held in found.items()}


def expected_rows(
    days: list[pa.Table], number: int, built: Built, late: Collection[Place] = ()
) -> Counter[tuple[Any, ...]]:
    """Return what a day's rows must be: with the latest events of all days up to it from before their time."""
    ids = Ids(built, document("", BY_TIME, {}, columns=RULES))
    ids.ranks["kind"] = {}
    found: Counter[tuple[Any, ...]] = Counter()
    for held in events_of(days[: number + 1]).values():
        for place, row in held:
            if place[1] == number and place not in late:
                earlier = [other for (time, *_), other in held if time < place[0]][-LENGTH:]
                lists = (tuple(ids.value(other, name) for other in earlier) for name in LISTED)
                found[(*(ids.value(row, name) for name in RULES), *lists)] += 1
    return found


def late_rows(days: list[pa.Table], kept: int) -> set[Place]:
    """Return the rows that fewer than LENGTH known events come before, where others may have been dropped."""
    late: set[Place] = set()
    for events in events_of(days).values():
        known: list[Place] = []
        dropped = False
        for number in range(len(days)):
            new = [place for place, _ in events if place[1] == number]
            merged = sorted([*known, *new])
            merged = merged[merged.index(known[0]) :] if dropped else merged
            before = {place: sum(other[0] < place[0] for other in merged) for place in new}
            late |= {place for place, count in before.items() if dropped and count < LENGTH}
            dropped |= len(merged) > kept
            known = merged[-kept:]
    return late


@pytest.mark.parametrize(
    ("apart", "kept", "split"),
    [(LATER, None, BY_TIME), (OVERLAPPING, 1000, BY_USER)],
    ids=["each day later", "days that overlap, all events kept"],
)
def test_new_rows_have_the_events_of_all_versions_in_their_histories(
    apart: int, kept: int | None, split: dict[str, Any], tmp_path: Path
) -> None:
    days = [day(number, apart) for number in range(4)]
    chain = chain_of(days, tmp_path, split, kept)
    for number, built in enumerate(chain):
        assert new_rows(chain, number) == expected_rows(days, number, built)
        assert built.manifest.tails is not None
        assert built.manifest.tails.seen == sum(table.num_rows for table in days[: number + 1])
        verify(built.manifest, str(built.path))
    for older, newer in itertools.pairwise(chain):
        assert not all_rows(older) - all_rows(newer)
    # Some tokens that a day's events hold are known only to later versions.
    for name in ("item_id", "shop"):
        early, late = ({token for token, _ in vocabulary_tokens(built, name)} for built in (chain[0], chain[-1]))
        assert len(set(days[0][name].to_pylist()) & (late - early)) > 5
    # Some users have more events than are kept, so that what is kept is not all there is.
    tails = chain[-1].manifest.tails
    assert tails is not None
    assert (tails.events < tails.seen) == (kept is None)


def test_rows_too_late_for_their_history_are_refused_or_left_out(tmp_path: Path) -> None:
    days = [day(number, OVERLAPPING) for number in range(3)]
    with pytest.raises(DataRefused, match=r"of \d+ rows come too late for their history: .* of the latest 7 kept too"):
        chain_of(days, tmp_path / "refused", kept=LENGTH)
    chain = chain_of(days, tmp_path, kept=LENGTH, max_reject_fraction=0.9)
    late = late_rows(days, LENGTH)
    for number, built in enumerate(chain):
        assert new_rows(chain, number) == expected_rows(days, number, built, late)
        verify(built.manifest, str(built.path))
    account = chain[-1].manifest.accounting
    assert account.filtered == {"too late for its history": len(late)}
    assert len(late) > 20
    assert account.written == all_rows(chain[-1]).total()


def test_rows_left_out_by_keep_last_are_in_histories(tmp_path: Path) -> None:
    days = [day(number, LATER) for number in range(2)]
    chain = chain_of(days, tmp_path, keep_last=1)
    assert all_rows(chain[-1]) == expected_rows(days, 1, chain[-1])
    assert verify(chain[-1].manifest, str(chain[-1].path)) > 30


def test_copies_that_are_dropped_are_in_no_history(tmp_path: Path) -> None:
    days = [day(number, LATER) for number in range(2)]
    twice = [pa.concat_tables([table, table]) for table in days]
    chain = chain_of(twice, tmp_path, duplicates="drop")
    assert new_rows(chain, 1) == expected_rows(days, 1, chain[1])
    assert verify(chain[1].manifest, str(chain[1].path)) > 30


def test_only_rows_and_seed_decide_the_bytes_of_an_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    days = [day(number, OVERLAPPING) for number in range(2)]
    late = {"max_reject_fraction": 0.9}
    wanted = chain_of(days, tmp_path / "one", **late)
    # The kept events are cut into more files than those of the version before, and then into fewer.
    for folder, events_per_partition in (("more", [200, 100]), ("fewer", [80, 1 << 18])):
        built: list[Built] = []
        for number, table in enumerate(days):
            monkeypatch.setattr(partitions, "EVENTS_PER_PARTITION", events_per_partition[number])
            files = write_parquet(table, tmp_path / f"{folder}-{number}", files=3, row_group_rows=50)
            spec = document(files, BY_TIME, history(None), columns=RULES, **late)
            flags = ("--direct_num_workers=3",)
            built.append(build(spec, tmp_path / folder, flags, append_to=built[-1] if built else None))
        assert kept_events(built[-1]) == kept_events(wanted[-1])
        assert shards(built[-1]) == shards(wanted[-1])
        verify(built[-1].manifest, str(built[-1].path))
    assert contents(built[-1]) == contents(wanted[-1])
