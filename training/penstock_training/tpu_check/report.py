"""Tell what a check found, to people and to machines."""

from dataclasses import asdict
from typing import Any

from penstock_training.tpu_check.findings import Findings
from penstock_training.tpu_check.plan import TablePlan
from penstock_training.tpu_check.refused import Refusal
from penstock_training.tpu_check.warn import warnings

TABLE_HEADER = ("table", "rows", "width", "slots", "bytes", "a chip", "")
LIMITS_HEADER = ("table", "ids", "different", "lists")
UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def document(found: Findings) -> dict[str, Any]:
    """Return all that was found, sizes in bytes and times in seconds."""
    return {
        "recipe": found.recipe_path,
        "topology": {"name": found.topology.name, "chips": found.topology.chips, "chip": asdict(found.topology.chip)},
        "batch_rows": found.batch_rows,
        "chip_rows": found.chip_rows,
        "tables": [
            asdict(table) | {"bytes": table.bytes, "bytes_per_chip": table.bytes_per_chip} for table in found.tables
        ],
        "refused": [asdict(refusal) for refusal in found.refusals],
        "compiler_words": found.compiler_words,
        "compiled": None if found.compiled is None else asdict(found.compiled),
        "hbm_bytes_per_chip": found.hbm_bytes,
        "exchange_per_step": asdict(found.exchange),
        "products": [asdict(product) for product in found.products],
        "bound": None if found.bound is None else asdict(found.bound) | {"seconds": found.bound.seconds},
        "rows_per_second": {
            "needed_at_bound": found.needed_rows_per_second,
            "measured": found.measured_rows_per_second,
        },
        "warnings": warnings(found),
        "misfits": found.misfits,
    }


def lines(found: Findings) -> list[str]:
    """Return what was found in lines for people."""
    topology = found.topology
    said = [
        f"{found.recipe_path} on {topology.name}: {topology.chips} chips, each {found.chip_rows:,} of the "
        f"{found.batch_rows:,} rows of a batch",
        "",
        *_columns([TABLE_HEADER, *(_table(table) for table in found.tables)]),
        "",
        *_limits(found.tables),
    ]
    said += ["refused by a TPU: nothing"] if not found.refusals else ["refused by a TPU:"]
    for refusal in found.refusals:
        said += _refusal(refusal)
    if found.compiler_words is not None:
        said += ["refused by the compiler:", *(f"  {line}" for line in found.compiler_words.splitlines())]
    said += ["", *_chip(found)]
    said += [f"warning: {warning}" for warning in warnings(found)]
    return said


def _chip(found: Findings) -> list[str]:
    chip, compiled, bound, exchange = found.topology.chip, found.compiled, found.bound, found.exchange
    if compiled is None or bound is None:
        return [f"sharded tables take {_bytes(found.sharded_bytes)} of a chip's {_bytes(chip.hbm_bytes)}"]
    lists = f"{_bytes(found.list_bytes)} of ids asked of SparseCores, " if found.list_bytes else ""
    return [
        f"one chip, compiled for {compiled.chip} by libtpu {compiled.libtpu}:",
        f"  HBM    {_bytes(found.hbm_bytes)} of {_bytes(chip.hbm_bytes)}: "
        f"{_bytes(found.sharded_bytes)} of sharded tables, {lists}{_bytes(compiled.argument_bytes)} of arguments, "
        f"{_bytes(compiled.output_bytes - compiled.alias_bytes)} of outputs in places of their own, "
        f"{_bytes(compiled.temporary_bytes)} of temporaries, {_bytes(compiled.code_bytes)} of code",
        f"  step   {compiled.flops:,.0f} FLOP, {_time(bound.compute_seconds)} at peak; "
        f"{_bytes(compiled.bytes_moved)} moved, {_time(bound.memory_seconds)} at peak",
        f"  others {_bytes(exchange.activation_bytes)} of activations, {_bytes(exchange.gathered_bytes)} of rows of "
        f"other chips, {_bytes(exchange.summed_bytes)} of dense gradients to sum, in each step; not in the times",
        f"  input  a step takes {_time(bound.seconds)} or more, so {found.needed_rows_per_second:,.0f} rows/s are the "
        f"most it could take; this machine feeds {found.measured_rows_per_second:,.0f} rows/s",
    ]


def _limits(tables: list[TablePlan]) -> list[str]:
    rows = [
        (table.name, f"{held.ids:,}", f"{held.unique_ids:,}", _bytes(held.list_bytes))
        for table in tables
        if (held := table.limits) is not None
    ]
    if not rows:
        return []
    return ["most that one SparseCore asks of another in a step:", *_columns([LIMITS_HEADER, *rows]), ""]


def _table(table: TablePlan) -> tuple[str, ...]:
    where = "sharded by row" if table.sharded else "replicated, updated densely"
    sizes = (f"{table.rows:,}", str(table.width), f"{table.slots:g}", _bytes(table.bytes), _bytes(table.bytes_per_chip))
    return (table.name, *sizes, where)


def _refusal(refusal: Refusal) -> list[str]:
    place = ["  (made by no line of a model)"]
    if refusal.line is not None:
        gradient = "  (its gradient)" if refusal.line.gradient else ""
        place = [f"  {refusal.line}{gradient}", f"    {refusal.line.text}"]
    return [*place, f"    {', '.join(refusal.ops)} {refusal.reason}: {refusal.makes}"]


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _bytes(count: float) -> str:
    for size, unit in UNITS:
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:,.3g} us" if seconds < 1e-3 else f"{seconds * 1e3:,.3g} ms"
