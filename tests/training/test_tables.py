import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from penstock_training.fitting.state import VALUE, State
from penstock_training.models.base import biased_table, normal_table
from penstock_training.optimizers import ROW_OPTIMIZERS, RowOptimizer
from penstock_training.recipe import Adagrad, Adam, Ftrl, RowWiseAdagrad, Sgd
from penstock_training.tables.fill import filled, normal_noise
from penstock_training.tables.slices import slices
from penstock_training.tables.store import read_slices, write_slices

MIB = 1 << 20
OPTIONS = {"adagrad": Adagrad, "adam": Adam, "ftrl": Ftrl, "row_wise_adagrad": RowWiseAdagrad, "sgd": Sgd}


@pytest.mark.parametrize(
    ("rows", "width", "slice_bytes", "expected"),
    [
        (5, 3, 64 * MIB, [(0, 5)]),
        (0, 3, 64 * MIB, []),
        (2048, 1, 4096, [(0, 1024), (1024, 1024)]),
        (5000, 2, 2048 * 8, [(0, 2048), (2048, 2048), (4096, 904)]),
        (1030, 1000, 4096, [(0, 1024), (1024, 6)]),
    ],
)
def test_slices_cover_a_table_once(rows: int, width: int, slice_bytes: int, expected: list[tuple[int, int]]) -> None:
    assert list(slices(rows, width, slice_bytes)) == expected


@pytest.mark.parametrize("width", [1, 3, 16, 33])
def test_noise_drawn_in_slices_is_that_of_the_whole_table(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock_training.tables.slices.slices.__defaults__", (4096 * width,))
    rows, key = 5000, (3, 0x7FFFFFFF)
    assert len(list(slices(rows, width))) == 5
    expected = tf.random.stateless_normal([rows, width], key, stddev=0.05, alg="philox")
    np.testing.assert_array_equal(filled(rows, width, normal_noise(key, width, 0.05)), expected)


def test_a_table_starts_from_the_same_numbers_in_every_version() -> None:
    table = normal_table("users", 3, 2, 0.05, 1).numpy()
    assert (
        table.tolist() == tf.random.stateless_normal([3, 2], (1, 344172009), stddev=0.05, alg="philox").numpy().tolist()
    )
    biased = biased_table("users", np.array([0.5, 1, 2]), 2, 0.05, 1).numpy()
    assert biased[:, :2].tolist() == table.tolist()
    assert biased[:, 2].tolist() == [0.5, 1, 2]


def test_a_table_and_its_slots_are_made_without_a_second_copy() -> None:
    rows, width = 1 << 20, 32
    normal_table("warm", 1 << 10, width, 0.05, 1)
    Path("/proc/self/clear_refs").write_text("5")  # The peak starts from here.
    before = memory_bytes("VmRSS")
    table = normal_table("large", rows, width, 0.05, 1)
    optimizer = ROW_OPTIMIZERS["ftrl"]([table], Ftrl(kind="ftrl"))
    held = 3 * rows * width * 4
    assert optimizer.slots["large"].shape == [rows, 2 * width]
    assert memory_bytes("VmHWM") - before < held + 64 * MIB
    # Nor does the first update copy what it touches a row of.
    optimizer.apply(table, tf.IndexedSlices(tf.ones([1, width]), tf.constant([7])), tf.constant(0, tf.int64))
    assert memory_bytes("VmHWM") - before < held + 64 * MIB


def test_tables_are_saved_and_restored_in_place_slice_by_slice(
    tmp_path: Path, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock_training.tables.store.STORED_BYTES", 4096)
    values = random.normal(size=(5000, 3)).astype(np.float32)
    table, slots = tf.Variable(values, name="a.b"), tf.Variable(values[:, :1], name="a.b.slots")
    rest = tf.Variable(5)
    state = State({"a.b": table}, {"a.b": slots}, tf.train.Checkpoint(rest=rest))
    prefix = str(tmp_path / "state")
    state.write(prefix)
    assert len(list(tmp_path.glob("state.data-*"))) == 1 + 5 + 5
    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} == {"state"}
    # Any tool of TensorFlow sees whole tensors.
    np.testing.assert_array_equal(tf.train.load_checkpoint(prefix).get_tensor(f"tables/a..b/{VALUE}"), values)
    for variable in (table, slots, rest):
        variable.assign(tf.zeros_like(variable))
    state.read(prefix)
    np.testing.assert_array_equal(table, values)
    np.testing.assert_array_equal(slots, values[:, :1])
    assert int(rest) == 5


def test_a_larger_table_reads_the_rows_there_are_and_others_are_refused(tmp_path: Path) -> None:
    prefix = str(tmp_path / "state")
    (part,) = write_slices(prefix, {"held": tf.Variable(tf.ones([3, 2]))})
    larger = tf.Variable(tf.zeros([5, 2]))
    read_slices(part, {"held": larger})
    assert larger.numpy()[:, 0].tolist() == [1, 1, 1, 0, 0]
    for name, shape in (("held", [2, 2]), ("held", [5, 3]), ("other", [3, 2])):
        with pytest.raises(ValueError, match=re.escape(f"expected {shape}")):
            read_slices(part, {name: tf.Variable(tf.zeros(shape))})


@pytest.mark.parametrize("kind", ROW_OPTIMIZERS)
def test_a_grown_table_takes_old_rows_and_their_slots_bit_for_bit(kind: str, tmp_path: Path) -> None:
    def state(rows: int) -> tuple[tf.Variable, RowOptimizer, State]:
        table = normal_table("users", rows, 3, 0.05, 1)
        optimizer = ROW_OPTIMIZERS[kind]([table], OPTIONS[kind](kind=kind))
        return table, optimizer, State({"users": table}, optimizer.slots, tf.train.Checkpoint())

    old, optimizer, saved = state(5)
    gradient = tf.IndexedSlices(tf.ones([2, 3]), tf.constant([0, 4]))
    optimizer.apply(old, gradient, tf.constant(0, tf.int64))
    saved.write(str(tmp_path / "state"))
    grown, larger, into = state(9)
    fresh, unused, _ = state(9)
    read_slices(str(tmp_path / "state"), into.tables)
    assert grown.numpy().tobytes() == old.numpy().tobytes() + fresh.numpy()[5:].tobytes()
    assert set(larger.slots) == ({"users"} if larger.slot_names else set())
    for name, slots in larger.slots.items():
        assert (
            slots.numpy().tobytes()
            == optimizer.slots[name].numpy().tobytes() + unused.slots[name].numpy()[5:].tobytes()
        )


def memory_bytes(what: str) -> int:
    held = re.search(rf"^{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    assert held is not None
    return int(held[1]) << 10
