"""Hold reading to the rows of a table while it is split among workers.

Rows, sessions and streams are the emulator's; the front splits streams, holds messages back until a split has been
asked for, refuses splits, breaks reads and lets sessions expire.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from apache_beam.runners.portability.fn_api_runner.fn_runner import split_manager
from emulator import Emulator
from front import ROWS_PER_MESSAGE, Front, gives_rows
from logs import build, contents, plain_log, plain_spec, write_parquet
from patience import PATIENCE_SECONDS, wait_until
from test_read import bigquery_spec, rows_of

from penstock_dataprep.plan import plan
from penstock_dataprep.rows.staged import Staged
from penstock_dataprep.sources import SOURCES
from penstock_dataprep.sources.bigquery.clients import read_client
from penstock_dataprep.sources.bigquery.halves import StreamSplitter
from penstock_dataprep.sources.bigquery.session import SessionLostError
from penstock_dataprep.sources.bigquery.share import Share
from penstock_dataprep.sources.bigquery.table import TableOrigin
from penstock_dataprep.sources.bigquery.tracker import ShareTracker
from penstock_dataprep.spec.spec import load_spec
from penstock_dataprep.steps import intake, shares
from penstock_dataprep.storage.scratch import Scratch
from penstock_shared.errors import PenstockError

ROWS = 50_000
COLUMNS = ["item_id", "rating", "timestamp", "user_id"]
# One worker with its own thread for splits, as on a cluster.
ONE_WORKER = ("--runner=FnApiRunner", "--direct_running_mode=multi_threading", "--direct_num_workers=1")


@pytest.fixture(scope="module")
def log() -> pa.Table:
    return plain_log(ROWS, seed=23)


@pytest.fixture(scope="module")
def table(emulator: Emulator, log: pa.Table) -> str:
    return emulator.load("split", log)


class Range:
    """Read the one range of a table in shares, each in a thread of its own."""

    def __init__(self, table: str, folder: Path) -> None:
        origin, _ = SOURCES["bigquery"](load_spec("spec.yaml", yaml.safe_dump(bigquery_spec(table), sort_keys=False)))
        self.origin: TableOrigin = origin.pinned(Scratch(str(folder / "scratch")), "log")
        (self.unit,) = self.origin.units
        self.trackers: list[ShareTracker] = []
        self._pool = ThreadPoolExecutor(16)
        self.reading = []

    def begin(self, share: Share) -> ShareTracker:
        """Start to read a share."""
        tracker = Locked(share)
        self.trackers.append(tracker)
        self.reading.append(self._pool.submit(self._read, tracker))
        return tracker

    def _read(self, tracker: ShareTracker) -> list[pa.RecordBatch]:
        return [piece.decode().batch for piece in self.origin.read_share(self.unit, COLUMNS, tracker)]

    def rows(self) -> list[tuple]:
        """Return all rows once all shares are read, which together must weigh a whole range."""
        batches = [batch for reading in self.reading for batch in reading.result()]
        assert sum(tracker.current_restriction().weight for tracker in self.trackers) == 1
        return rows_of(pa.Table.from_batches(batches))


class Locked(ShareTracker):
    """Let one thread at a time call, as Beam does."""

    def __init__(self, share: Share) -> None:
        self._lock = threading.RLock()
        super().__init__(share, StreamSplitter(read_client()))

    def try_claim(self, position: object) -> bool:
        with self._lock:
            return super().try_claim(position)

    def try_split(self, fraction_of_remainder: float) -> tuple[Share, Share] | None:
        with self._lock:
            return super().try_split(fraction_of_remainder)


@pytest.mark.parametrize("streams", [1, 5])
@pytest.mark.parametrize(("fraction", "breaks"), [(0.02, 0), (0.3, 3), (0.5, 0), (0.9, 6)])
def test_no_row_is_lost_or_doubled_wherever_a_range_is_split(
    front: Front, table: str, log: pa.Table, tmp_path: Path, streams: int, fraction: float, breaks: int
) -> None:
    front.streams, front.breaks = streams, breaks
    front.hold(2)
    reading = Range(table, tmp_path)
    reading.begin(Share())
    # A broken read that is given away before its first message has come is not read on at an offset.
    front.wait_until(lambda: sum(offset > 0 for _, offset in front.reads) >= breaks)
    for messages in (4, 6, 8, 10):
        front.wait_held()
        # Of all that workers have, some is taken, of what was taken too.
        for split in [tracker.try_split(fraction) for tracker in reading.trackers]:
            if split is not None:
                reading.begin(split[1])
        front.hold(messages)
    front.release()
    assert reading.rows() == rows_of(log.select(COLUMNS))
    assert len(reading.trackers) >= 3
    assert front.splits or streams > 1
    assert sum(map(gives_rows, front.sessions)) == 1


def test_a_stream_that_bigquery_will_not_split_is_read_on_and_not_asked_for_again(
    front: Front, table: str, log: pa.Table, tmp_path: Path
) -> None:
    front.streams, front.refusing = 1, 100
    front.hold(3)
    reading = Range(table, tmp_path)
    tracker = reading.begin(Share())
    front.wait_held()
    assert [tracker.try_split(fraction) for fraction in (0.5, 0.5, 0.9)] == [None] * 3
    assert front.refusing == 99
    front.release()
    assert reading.rows() == rows_of(log.select(COLUMNS))


def test_a_split_before_what_is_read_is_dropped(front: Front, table: str, log: pa.Table, tmp_path: Path) -> None:
    front.streams = 1
    front.hold(20)
    reading = Range(table, tmp_path)
    tracker = reading.begin(Share())
    front.wait_held()
    splitter, (stretch,) = StreamSplitter(read_client()), tracker.current_restriction().stretches
    assert splitter(stretch.stream, 10_000, 0.1) is None
    assert splitter(stretch.stream, 10_000, 0.5) is not None
    front.release()
    assert reading.rows() == rows_of(log.select(COLUMNS))


def test_a_share_whose_worker_died_is_read_anew_from_the_same_session(
    front: Front, table: str, log: pa.Table, tmp_path: Path
) -> None:
    front.streams = 3
    front.hold(5)
    died = Range(table, tmp_path)
    tracker = died.begin(Share())
    wait_until(lambda: tracker.current_progress().fraction_completed > 15 * ROWS_PER_MESSAGE / ROWS * 0.99)
    kept, given = tracker.try_split(0.4)
    front.release()
    reading = Range(table, tmp_path)
    for share in (kept, given):
        reading.begin(share)
    assert kept.stretches[-1].end_row == given.stretches[-1].first_row == 5 * ROWS_PER_MESSAGE
    assert reading.rows() == rows_of(log.select(COLUMNS))
    died.reading[0].result()  # Its reads must not go on into the next test.
    assert sum(map(gives_rows, front.sessions)) == 1


def test_streams_that_were_given_away_are_not_waited_for(
    front: Front, table: str, log: pa.Table, tmp_path: Path
) -> None:
    front.streams = 3
    front.hold(2)
    reading = Range(table, tmp_path)
    tracker = reading.begin(Share())
    front.wait_held()
    _, given = tracker.try_split(0.0)
    kept = reading.reading[0].result(timeout=PATIENCE_SECONDS)  # The front still holds them.
    assert sum(batch.num_rows for batch in kept) < ROWS
    front.release()
    reading.begin(given)
    assert reading.rows() == rows_of(log.select(COLUMNS))


def test_a_share_that_ends_inside_a_message_has_no_row_of_the_next(
    front: Front, table: str, log: pa.Table, tmp_path: Path
) -> None:
    front.streams = 2
    reading = Range(table, tmp_path)
    whole = reading.begin(Share())
    reading.rows()
    first, *others = whole.current_restriction().stretches
    shares = [(replace(first, end_row=1234), *others), (replace(first, first_row=1234),)]
    halves = Range(table, tmp_path)
    for stretches in shares:
        halves.begin(Share(whole.current_restriction().session, stretches, 1))
    assert halves.rows() == rows_of(log.select(COLUMNS))


def test_a_share_that_has_fewer_rows_than_before_is_refused(front: Front, table: str, tmp_path: Path) -> None:
    reading = Range(table, tmp_path)
    whole = reading.begin(Share())
    reading.rows()
    share = whole.current_restriction()
    begun = ShareTracker(replace(share, stretches=(replace(share.stretches[0], end_row=ROWS + 1),)), lambda *_: None)
    with pytest.raises(PenstockError, match="a stream gave fewer rows than before"):
        list(reading.origin.read_share(reading.unit, COLUMNS, begun))


def test_a_session_that_expires_after_a_split_loses_the_range_for_all(front: Front, table: str, tmp_path: Path) -> None:
    front.hold(2)
    reading = Range(table, tmp_path)
    tracker = reading.begin(Share())
    front.wait_held()
    _, given = tracker.try_split(0.5)
    other = reading.begin(given)
    front.expire()
    front.release()
    # Each thread meets the loss by itself, so both are waited for.
    for held, share in zip((tracker, other), reading.reading, strict=True):
        with pytest.raises(SessionLostError):
            share.result()
        held.check_done()
        assert held.try_split(0.5) is None


def splitting(front: Front, fractions: list[float], expire: bool) -> Callable[[int], Iterator[float | None]]:
    """Return what makes Beam's own runner split the read of a range while the front holds it."""
    rounds = []

    def split(elements: int) -> Iterator[float | None]:
        rounds.append(elements)
        if len(rounds) > len(fractions):
            return
        front.hold(3)
        yield None  # The runner sends the elements now.
        front.wait_held()
        found = yield fractions[len(rounds) - 1]
        assert found is not None
        assert found.residual_roots
        if expire and len(rounds) == 1:
            front.expire()
        front.release()

    return split


@pytest.mark.parametrize(("fractions", "expire"), [([0.5, 0.3, 0.8], False), ([0.5], True)])
def test_a_build_that_beam_splits_gives_the_same_bytes(
    front: Front, table: str, log: pa.Table, tmp_path: Path, fractions: list[float], expire: bool
) -> None:
    of_files = build(plain_spec(write_parquet(log, tmp_path / "log")), tmp_path / "files")
    front.streams = 3
    with split_manager("Read/ParDo(SharedStep)", splitting(front, fractions, expire)):
        built = build(bigquery_spec(table), tmp_path / "split", ONE_WORKER)
    assert contents(built) == contents(of_files)
    assert built.manifest.digest == of_files.manifest.digest
    assert built.manifest.accounting == of_files.manifest.accounting
    assert sum(map(gives_rows, front.sessions)) == 1 + expire
    assert bool(front.splits) == (not expire)


def test_what_another_attempt_staged_is_not_taken_for_rows_of_this_one(
    front: Front, table: str, tmp_path: Path
) -> None:
    spec = load_spec("spec.yaml", yaml.safe_dump(bigquery_spec(table), sort_keys=False))
    job = plan(spec, str(tmp_path), [], None, None)
    job = replace(job, origin=job.origin.pinned(job.scratch, "log"))
    (numbered,) = enumerate(job.units)
    for batch in shares.read(job, numbered, Locked(Share())):
        for valid in intake.validate(job, batch):
            list(intake.stage(job, valid))
    assert [held.rows for held in intake.recall_unit(job, numbered) if isinstance(held, Staged)] == [ROWS]
    # Of the second attempt, whose session has another order, all is read and nothing staged.
    list(shares.read(job, numbered, Locked(Share())))
    (unfinished,) = intake.recall_unit(job, numbered)
    assert unfinished.tag == "unfinished"
