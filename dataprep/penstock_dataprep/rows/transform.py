"""Make features of valid columns: what no training row decides at once, the rest once their statistics are known."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from penstock_dataprep.rows.staged import StagedColumn, StagedRows
from penstock_dataprep.spec.targets import Target
from penstock_dataprep.transforms import TRANSFORMS, Measure, Transform
from penstock_shared.errors import DataRefused

Measures = dict[str, Measure]  # by column


def transform_valid(valid: pa.RecordBatch, targets: tuple[Target, ...]) -> pa.RecordBatch:
    """Return valid rows with every column transformed whose transform depends on its own values alone."""
    arrays = [_transform_now(valid.column(target.name), target) for target in targets]
    return pa.RecordBatch.from_arrays(arrays, names=valid.schema.names)


def measure_rows(rows: StagedRows, targets: tuple[Target, ...], is_counted: np.ndarray | None) -> Measures:
    """Return the measures of the columns that need one, over the rows where `is_counted`, or over all."""
    found = {}
    for target in targets:
        if target.is_measured and target.transform is not None:
            held = rows.columns[target.name]
            masks = [mask for mask in (is_counted, held.present) if mask is not None]
            numbers = held.numbers[np.logical_and.reduce(masks)] if masks else held.numbers
            if len(numbers):
                found[target.name] = target.transform.measure(numbers)
    return found


def merge_measures(parts: Iterable[Measures]) -> Measures:
    """Return the measures of all rows."""
    merged: Measures = {}
    for part in parts:
        for name, measure in part.items():
            merged[name] = merged[name].merge(measure) if name in merged else measure
    return merged


def settle(targets: tuple[Target, ...], measures: Measures) -> dict[str, Transform]:
    """Return each column's transform with its numbers. Raises DataRefused where there is nothing to measure."""
    settled = {}
    for target in targets:
        if target.transform is not None:
            if target.is_measured and target.name not in measures:
                raise DataRefused(
                    f"columns.{target.name}.transform: no training row has a value, so there is nothing to measure; "
                    "give the numbers in the spec, or leave the column out"
                )
            settled[target.name] = target.transform.settle(measures.get(target.name))
    return settled


def transform_staged(held: StagedColumn, settings: Transform) -> pa.Array:
    """Return a staged column of numbers transformed, nulls kept."""
    numbers = pa.array(held.numbers, mask=None if held.present is None else ~held.present)
    return TRANSFORMS[settings.kind](settings, numbers)


def _transform_now(column: pa.Array, target: Target) -> pa.Array:
    if target.transform is None or target.is_measured:
        return column
    settings = target.transform.settle(None)
    return TRANSFORMS[settings.kind](settings, column)
