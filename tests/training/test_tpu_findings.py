from typing import Any

import pytest

from penstock_training.tpu.limits import Limits
from penstock_training.tpu_check.compile import Compiled
from penstock_training.tpu_check.findings import Findings
from penstock_training.tpu_check.plan import TablePlan
from penstock_training.tpu_check.report import document, lines
from penstock_training.tpu_check.roofline import Roofline
from penstock_training.tpu_check.tiles import Product
from penstock_training.tpu_check.topology import parse_topology
from penstock_training.tpu_check.trace import Exchange
from penstock_training.tpu_check.warn import warnings


def found(**changes: Any) -> Findings:
    topology = parse_topology(changes.pop("slice", "v6e:2x4"))
    tables = [TablePlan("users", 10**9, 64, 1.0, True, topology.chips, topology.chip.sparse_cores)]
    compiled = Compiled(10**9, 3 * 10**8, 2 * 10**8, 10**9, 10**7, 1e12, 1e9, "a chip", "0", "0")
    held: dict[str, Any] = {
        "recipe_path": "recipe.yaml",
        "topology": topology,
        "batch_rows": 1024 * topology.chips,
        "table_optimizer": "adagrad",
        "tables": tables,
        "uneven": None,
        "exchange": Exchange(1, 2, 3),
        "products": [],
        "refusals": [],
        "compiler_words": None,
        "compiled": compiled,
        "bound": Roofline(0.001, 0.002),
        "measured_rows_per_second": 1e9,
    }
    return Findings(**held | changes)


# What is changed: what the only misfit says, None where it fits.
MISFITS = [
    ({"tables": []}, None),
    ({}, "a chip would hold 66,110,000,000 bytes, and has 32,000,000,000"),  # 10^9 x 64 x 4 x 2 / 8, and the step
    ({"slice": "v6e:4x8"}, None),
    ({"slice": "v5e:4x8"}, "a chip would hold 18,110,000,000 bytes, and has 16,000,000,000"),
    ({"tables": [], "compiler_words": "no"}, "the compiler refuses the step"),
    ({"tables": [], "refusals": [None, None]}, "a TPU refuses 2 of its lines"),
    ({"slice": "v6e:4x8", "table_optimizer": "row_wise_adagrad"}, "SparseCores do not update users by row_wise"),
    ({"slice": "v5e:8x8", "table_optimizer": "row_wise_adagrad"}, None),  # no SparseCores
    ({"tables": [], "uneven": "a chip looks up 30 ids"}, "a chip looks up 30 ids"),
    ({"tables": [], "measured_rows_per_second": 1.0}, None),  # slow, but it runs
]


@pytest.mark.parametrize(("changes", "misfit"), MISFITS)
def test_what_does_not_fit_is_said(changes: dict[str, Any], misfit: str | None) -> None:
    misfits = found(**changes).misfits
    assert misfits == [] if misfit is None else [text.startswith(misfit) for text in misfits] == [True], misfits


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"batch_rows": 1000 * 8}, None),
        ({"batch_rows": 1001 * 8}, "1001 rows of a batch are no multiple of 8, the rows of a tile: 7 rows"),
        ({"batch_rows": 64 * 8}, "gets 64 rows of a batch, fewer than the 128"),
        ({"products": [Product(128, 33, 1024, 0.742, None)]}, "74% of the product [128, 33] x [33, 1024] is padding"),
        ({"products": [Product(128, 100, 1024, 0.22, None)]}, None),
        (
            {"tables": [TablePlan("items", 10**6, 33, 0.0, True, 8, 2)]},
            "items: rows of 33 numbers are padded to 40: 18%",
        ),
        ({"slice": "v5e:4x8"}, "v5e has no SparseCores: its TensorCores would look up the rows of users"),
        ({"measured_rows_per_second": 1_024_000.0}, "would take 4 times the rows that this machine feeds"),
    ],
)
def test_what_is_wasted_or_waits_is_warned_of(changes: dict[str, Any], warning: str | None) -> None:
    said = warnings(found(**changes))
    assert said == [] if warning is None else len(said) == 1 and warning in said[0], said


def test_what_sparse_cores_ask_of_each_other_is_told() -> None:
    asked = TablePlan("users", 10**6, 64, 1.0, True, 8, 2, Limits(88, 72, 120_000))
    told = found(tables=[asked, TablePlan("items", 1000, 64, 1.0, False, 8, 2)])
    assert told.hbm_bytes == asked.bytes_per_chip + 120_000 + told.compiled.hbm_bytes
    said = lines(told)
    place = said.index("most that one SparseCore asks of another in a step:")
    assert [line.split() for line in said[place + 1 : place + 4]] == [
        ["table", "ids", "different", "lists"],
        ["users", "88", "72", "120", "kB"],
        [],
    ]
    assert any("64 MB of sharded tables, 120 kB of ids asked of SparseCores" in line for line in said)
    assert document(told)["tables"][0]["limits"] == {"ids": 88, "unique_ids": 72, "list_bytes": 120_000}
    assert not any("SparseCore asks" in line for line in lines(found(slice="v5e:4x8")))
