import pytest

from penstock_shared.errors import UserMistake
from penstock_training.tpu_check.plan import TablePlan, padded, padding_share
from penstock_training.tpu_check.roofline import roofline
from penstock_training.tpu_check.topology import CHIPS, parse_topology


@pytest.mark.parametrize(
    ("name", "generation", "chips"),
    [
        ("v5e:1x1", "v5e", 1),
        ("v5e:2x4", "v5e", 8),
        ("v6e:16x16", "v6e", 256),
        ("v4:2x2x1", "v4", 4),
        ("v5p:4x4x8", "v5p", 128),
    ],
)
def test_a_slice_is_known_by_its_name(name: str, generation: str, chips: int) -> None:
    topology = parse_topology(name)
    assert (topology.generation, topology.chips, topology.chip) == (generation, chips, CHIPS[generation])


@pytest.mark.parametrize(("name", "near"), [("v5e:2x5", "v5e:2x4"), ("v5e-2x4", "v5e:2x4")])
def test_an_unknown_slice_is_refused_with_the_nearest_and_all(name: str, near: str) -> None:
    with pytest.raises(UserMistake) as refused:
        parse_topology(name)
    assert f"did you mean {near!r}" in str(refused.value)
    assert all(known in str(refused.value) for known in ("v6e:16x16", "v5p:2x2x1", "v4:4x4x4"))


# rows, width, slots, sharded, chips, cores: bytes, bytes of a chip
PLANS = [
    (100_000_000, 64, 1.0, True, 8, 4, 51_200_000_000, 6_400_000_000),  # 100M x 64 with Adagrad
    (100_000_000, 64, 2.0, True, 8, 4, 76_800_000_000, 9_600_000_000),  # with Adam
    (1000, 64, 1.0, False, 8, 4, 512_000, 512_000),  # replicated: each chip has all
    (1001, 64, 0.0, True, 4, 4, 256_256, 32 * 9 * 64 * 4 - 32 * 64 * 4),  # 1,001 rows on 16 cores: 64 each
    (1024, 33, 0.0, True, 8, 0, 135_168, 128 * 40 * 4),  # a width of 33 is held as 40
    (64_000, 64, 1 / 64, True, 8, 1, 16_640_000, 2_080_000),  # one accumulator a row
]


@pytest.mark.parametrize(("rows", "width", "slots", "sharded", "chips", "cores", "total", "per_chip"), PLANS)
def test_a_table_takes_its_rows_and_slots_and_padding(
    rows: int, width: int, slots: float, sharded: bool, chips: int, cores: int, total: int, per_chip: int
) -> None:
    plan = TablePlan("table", rows, width, slots, sharded, chips, cores)
    assert (plan.bytes, plan.bytes_per_chip) == (total, per_chip)


def test_padding_is_what_no_number_is_in() -> None:
    assert [padded(count, 8) for count in (1, 8, 9)] == [8, 8, 16]
    assert padding_share((8, 128, 128), (8, 128, 128)) == 0.0
    assert padding_share((8, 32, 128), (8, 128, 128)) == 0.75
    assert padding_share((4, 64, 128), (8, 128, 128)) == 0.75


def test_a_step_is_bound_by_the_slower_of_its_peaks() -> None:
    bound = roofline(flops=197e12, bytes_moved=2 * 819e9, chip=CHIPS["v5e"])
    assert (bound.compute_seconds, bound.memory_seconds, bound.seconds) == (1.0, 2.0, 2.0)
    assert bound.most_rows_per_second(1000) == 500.0
