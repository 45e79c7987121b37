import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_dataset import TinyColumn, write_dataset

from penstock_dataprep.records.blocks import Values
from penstock_shared import UserMistake
from penstock_training.data.dataset import open_dataset
from penstock_training.data.feed import WEIGHT, Feed, share_order
from penstock_training.data.lanes import Host, Share, evaluation_range, evaluation_steps, share_of, window_ranges

BATCH_ROWS = 24
ROWS_PER_SHARD = (170, 33, 90)
ROWS = sum(ROWS_PER_SHARD)


@pytest.mark.parametrize(
    ("host", "hosts", "lanes", "batch_rows", "expected"),
    [
        (0, 1, 1, 8, Share(range(1), 0, 8)),
        (0, 1, 4, 8, Share(range(4), 0, 2)),
        (1, 2, 4, 8, Share(range(2, 4), 0, 2)),
        (3, 4, 4, 8, Share(range(3, 4), 0, 2)),
        (1, 2, 1, 8, Share(range(1), 4, 8)),
        (2, 4, 2, 8, Share(range(1, 2), 0, 2)),
        (3, 4, 2, 8, Share(range(1, 2), 2, 4)),
    ],
)
def test_shares(host: int, hosts: int, lanes: int, batch_rows: int, expected: Share) -> None:
    assert share_of(Host(host, hosts), lanes, batch_rows) == expected


@pytest.mark.parametrize(
    ("hosts", "lanes", "batch_rows", "message"),
    [
        (1, 3, 8, r"batch_rows is 8, which training.lanes, 3, does not divide; take a multiple of it, such as 9"),
        (3, 1, 8, r"batch_rows is 8, which the number of hosts, 3, does not divide; .* such as 9"),
        (2, 3, 12, r"training.lanes is 3, but there are 2 hosts; expected a multiple of the hosts \(such as 2\)"),
    ],
)
def test_what_does_not_divide_is_refused(hosts: int, lanes: int, batch_rows: int, message: str) -> None:
    with pytest.raises(UserMistake, match=message):
        share_of(Host(0, hosts), lanes, batch_rows)


@st.composite
def lanes_and_hosts(draw: st.DrawFn) -> tuple[int, int, int]:
    fewer, times = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    lanes, hosts = draw(st.permutations([fewer, fewer * times]))
    return lanes, hosts, max(lanes, hosts) * draw(st.integers(1, 3))


def order_of_host(
    host: Host, lanes: int, batch_rows: int, rows: int, window_batches: int, step: int
) -> list[list[int]]:
    """Return the rows of each batch of a host from `step` on, windows permuted as numpy does."""
    share, lane_batch_rows = share_of(host, lanes, batch_rows), batch_rows // lanes
    window, skip = divmod(step, window_batches)
    first_rows, end_rows = window_ranges(share.lanes, lanes, rows, window_batches * lane_batch_rows, window)
    read = np.concatenate([np.zeros(0, int), *(np.arange(*ends) for ends in zip(first_rows, end_rows, strict=True))])
    batches: list[list[int]] = []
    rows_per_window = len(share.lanes) * window_batches * lane_batch_rows
    for number, start in enumerate(range(0, len(read), rows_per_window), window):
        held = read[start : start + rows_per_window]
        orders = [
            tf.constant(np.random.default_rng([number, lane]).permutation(len(held) // len(share.lanes)), tf.int32)
            for lane in share.lanes
        ]
        order = share_order(orders, share, lane_batch_rows).numpy()
        batches += held[order].reshape(-1, share.rows).tolist()
    return batches[skip:]


@settings(max_examples=30, deadline=None)
@given(lanes_and_hosts(), st.integers(0, 300), st.integers(1, 4), st.data())
def test_the_order_is_the_same_for_any_hosts(
    lanes_hosts_batch: tuple[int, int, int], rows: int, window_batches: int, data: st.DataObject
) -> None:
    lanes, hosts, batch_rows = lanes_hosts_batch
    whole = order_of_host(Host(), lanes, batch_rows, rows, window_batches, 0)
    assert len(whole) == rows // batch_rows
    assert len({row for batch in whole for row in batch}) == len(whole) * batch_rows
    step = data.draw(st.integers(0, max(0, len(whole) - 1)))
    parts = [order_of_host(Host(index, hosts), lanes, batch_rows, rows, window_batches, step) for index in range(hosts)]
    assert [list(itertools.chain(*batch)) for batch in zip(*parts, strict=True)] == whole[step:]


@pytest.mark.parametrize("first_window", [0, 2, 5])
def test_a_host_reads_only_the_rows_of_its_lanes(first_window: int) -> None:
    first_rows, end_rows = window_ranges(range(2, 4), 4, 403, 30, first_window)
    read = {row for first, end in zip(first_rows, end_rows, strict=True) for row in range(first, end)}
    start = min(30 * first_window, 100)
    assert read == {*range(200 + start, 300), *range(300 + start, 400)}


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 3000))
def test_hosts_evaluate_each_row_in_equally_many_steps(hosts: int, rows_per_part: int, rows: int) -> None:
    ranges = [evaluation_range(Host(index, hosts), rows) for index in range(hosts)]
    assert [row for first, end in ranges for row in range(first, end)] == list(range(rows))
    steps = evaluation_steps(hosts, rows, hosts * rows_per_part)
    assert max(-(-(end - first) // rows_per_part) for first, end in ranges) == steps


def test_hosts_that_do_not_divide_an_evaluation_batch_are_refused() -> None:
    with pytest.raises(
        UserMistake, match=r"evaluation\.batch_rows is 8, which the number of hosts, 3, does not divide"
    ):
        evaluation_steps(3, 100, 8)


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Feed:
    columns = [
        TinyColumn("row", "feature", "int32", "u16"),
        TinyColumn("history", "feature", "int32", "u24", lengths="u8"),
    ]
    shards = []
    for first, rows in zip(np.cumsum([0, *ROWS_PER_SHARD]), ROWS_PER_SHARD, strict=False):
        number = np.arange(first, first + rows)
        shards.append({"row": Values(number), "history": Values(np.repeat(number, number % 3), number % 3)})
    manifest_path = write_dataset(tmp_path_factory.mktemp("lanes"), columns, {"train": shards})
    return Feed(open_dataset(str(manifest_path)), "train", BATCH_ROWS, ("row", "history"))


def rows_of(batches: tf.data.Dataset) -> list[list[int]]:
    read = []
    for batch in batches:
        rows, lengths = batch["row"].numpy(), batch["history.mask"].numpy().sum(axis=1)
        np.testing.assert_array_equal(lengths, rows % 3 * batch.get(WEIGHT, tf.ones(len(rows))).numpy())
        read.append(rows.tolist())
    return read


@pytest.mark.parametrize(
    ("hosts", "lanes", "window_blocks", "first_step"), [(2, 1, 3, 5), (1, 4, 1, 7), (2, 4, 2, 4), (4, 2, 1, 9)]
)
def test_the_parts_of_the_hosts_are_the_batch_of_one_host(
    feed: Feed, hosts: int, lanes: int, window_blocks: int, first_step: int
) -> None:
    whole = rows_of(feed.training_batches(5, 1, 0, window_blocks, lanes))
    assert len(whole) == ROWS // BATCH_ROWS
    assert len({row for batch in whole for row in batch}) == len(whole) * BATCH_ROWS
    parts = [
        rows_of(feed.training_batches(5, 1, first_step, window_blocks, lanes, Host(index, hosts)))
        for index in range(hosts)
    ]
    assert [list(itertools.chain(*batch)) for batch in zip(*parts, strict=True)] == whole[first_step:]


@pytest.mark.parametrize("hosts", [2, 3])
def test_hosts_evaluate_every_row_once(feed: Feed, hosts: int) -> None:
    parts = [list(feed.evaluation_batches(Host(index, hosts))) for index in range(hosts)]
    assert len({len(part) for part in parts}) == 1
    batches = [batch for part in parts for batch in part]
    assert {len(batch["row"]) for batch in batches} == {BATCH_ROWS // hosts}
    weights = np.concatenate([batch[WEIGHT] for batch in batches])
    rows = np.concatenate([batch["row"] for batch in batches])
    assert rows[weights == 1].tolist() == list(range(ROWS))
