"""Turn rows as read into rows as wanted, and set aside each row that breaks a rule, with reason and place."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock_dataprep.rows.rejects import Faults, malformed, rejected
from penstock_dataprep.sources import SourceBatch
from penstock_dataprep.spec.columns import NullDefault
from penstock_dataprep.spec.targets import Target

# What one unit of a type coarser than a microsecond counts.
MICROSECONDS = {"s": 1_000_000, "ms": 1000, "date32[day]": 86_400_000_000, "date64[ms]": 1000}


def validate(source: SourceBatch, targets: tuple[Target, ...]) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Return (valid rows with the targets' names and types, rejected rows of REJECT_SCHEMA).

    A row is rejected for its first fault: columns in the spec's order, and in a column type, then null, then
    range, then the length of a vector. NaN counts as null. `row` counts from 1 in its file, a header not counted.
    """
    batch = source.batch
    faults = Faults(np.zeros(batch.num_rows, np.uint16), [])
    arrays = [_validate_column(batch.column(target.source), target, faults) for target in targets]
    valid = pa.RecordBatch.from_arrays(arrays, names=[target.name for target in targets])
    rejects = malformed(source)
    if faults.fault.any():
        rejects = pa.concat_batches([rejects, rejected(source, targets, faults)])
        valid = valid.filter(pa.array(faults.fault == 0))
    return valid, rejects


def _validate_column(found: pa.Array, target: Target, faults: Faults) -> pa.Array:
    if pa.types.is_dictionary(found.type):
        found = found.dictionary_decode()
    if target.length is not None:
        return _validate_vector(_only_lists(found, target, faults), target.length, target, faults)
    if target.takes_lists:
        return _validate_list(_only_lists(found, target, faults), target, faults)
    if pa.types.is_floating(found.type):
        found = _nan_to_null(found)
    converted, wrong = convert(found, target.value_type)
    if wrong is not None:
        faults.add(wrong, target.name, "type")
    if converted.null_count:
        if isinstance(target.null, NullDefault):
            converted = pc.fill_null(converted, pa.scalar(target.null.default, target.value_type))
        elif target.null == "reject":
            faults.add(_to_numpy(converted.is_null()), target.name, "null")
    if target.range is not None:
        _check_range(converted, target.range, target.name, faults)
    return converted


def _only_lists(found: pa.Array, target: Target, faults: Faults) -> pa.Array:
    """Return `found`, or empty lists where it holds none: all null, or single values, which are faults."""
    if pa.types.is_fixed_size_list(found.type):
        return found.cast(pa.list_(found.type.value_type))
    if pa.types.is_list(found.type) or pa.types.is_large_list(found.type):
        return found
    faults.add(_to_numpy(found.is_valid()), target.name, "type")
    return pa.nulls(len(found), target.arrow_type)


def _validate_list(found: pa.Array, target: Target, faults: Faults) -> pa.Array:
    found = pc.fill_null(found, pa.scalar([], found.type)) if found.null_count else found
    lengths = _to_numpy(pc.list_value_length(found)).astype(np.int64)
    values = found.flatten()
    owner = np.repeat(np.arange(len(found)), lengths)
    converted, wrong = convert(_nan_to_null(values) if pa.types.is_floating(values.type) else values, target.value_type)
    for bad, reason in (
        (wrong, "type"),
        (_to_numpy(converted.is_null()) if target.vocabulary is None else None, "null"),
    ):
        if bad is not None and bad.any():
            mask = np.zeros(len(found), bool)
            mask[owner[bad]] = True
            faults.add(mask, target.name, reason)
    if target.range is not None:
        inner = Faults(np.zeros(len(values), np.uint16), [])
        _check_range(converted, target.range, target.name, inner)
        mask = np.zeros(len(found), bool)
        mask[owner[inner.fault > 0]] = True
        faults.add(mask, target.name, "range")
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), converted)


def _validate_vector(found: pa.Array, length: int, target: Target, faults: Faults) -> pa.Array:
    """Return lists that are all of one length; in the places of faulty ones lie zeros, until the rows are dropped."""
    missing = _to_numpy(found.is_null())
    if target.null == "reject":
        faults.add(missing, target.name, "null")
    lists = _validate_list(found, target, faults)
    lengths = np.diff(lists.offsets.to_numpy())
    is_whole = lengths == length
    faults.add(~is_whole & ~missing, target.name, "length")
    default = target.null.default if isinstance(target.null, NullDefault) else 0
    vectors = np.full((len(lists), length), default, np.float32)
    numbers = lists.flatten().fill_null(0).to_numpy(zero_copy_only=False)
    vectors[is_whole] = numbers[np.repeat(is_whole, lengths)].reshape(-1, length)
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), length)


def _check_range(converted: pa.Array, allowed: tuple[float, float], name: str, faults: Faults) -> None:
    extremes = pc.min_max(converted)
    smallest, largest = extremes["min"].as_py(), extremes["max"].as_py()
    if smallest is not None and (smallest < allowed[0] or largest > allowed[1]):
        low, high = allowed if pa.types.is_floating(converted.type) else _whole(allowed)
        outside = pc.or_(pc.less(converted, low), pc.greater(converted, high))
        faults.add(_to_numpy(pc.fill_null(outside, False)), name, "range")


def _whole(allowed: tuple[float, float]) -> tuple[pa.Scalar, pa.Scalar]:
    """Return the outermost int64 inside of a range, which Arrow compares exactly: with floats it refuses past 2^53."""
    low, high = (min(max(end, -(2.0**63)), 2.0**63) for end in allowed)
    return tuple(pa.scalar(min(end, 2**63 - 1), pa.int64()) for end in (math.ceil(low), math.floor(high)))


def convert(values: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, np.ndarray | None]:
    """Return (values as type `wanted`, mask of the values that cannot be it, which come out null; None for no such).

    Timestamps and dates become int64 microseconds since 1970; floats become integers only where they are whole.
    """
    if pa.types.is_string(wanted) and (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return _to_text(values)
    if values.type == wanted:
        return _finite(values) if pa.types.is_floating(wanted) else (values, None)
    if pa.types.is_null(values.type):
        return pa.nulls(len(values), wanted), None
    if (pa.types.is_timestamp(values.type) or pa.types.is_date(values.type)) and pa.types.is_int64(wanted):
        return _to_microseconds(values)
    if pa.types.is_floating(wanted):
        numbers, wrong = _cast_each(values, pa.float64())
        finite, infinite = _finite(_nan_to_null(numbers).cast(pa.float32(), safe=False))
        return finite, infinite if wrong is None else wrong if infinite is None else wrong | infinite
    return _cast_each(values, wanted)


def _to_text(values: pa.Array) -> tuple[pa.Array, np.ndarray | None]:
    """Return text as strings, and the mask of what is no UTF-8, at which no reader of Parquet looks."""
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        values = values.view(pa.binary() if pa.types.is_string(values.type) else pa.large_binary())
    return (values, None) if pa.types.is_string(values.type) else _cast_each(values, pa.string())


def _to_microseconds(moments: pa.Array) -> tuple[pa.Array, np.ndarray | None]:
    """Return timestamps or dates as microseconds since 1970, and the mask of those that int64 does not hold."""
    unit = str(moments.type) if pa.types.is_date(moments.type) else moments.type.unit
    limit = (2**63 - 1) // MICROSECONDS.get(unit, 1)
    numbers = (moments.cast(pa.int32()) if pa.types.is_date32(moments.type) else moments).cast(pa.int64())
    extremes, wrong = pc.min_max(numbers), None
    smallest, largest = extremes["min"].as_py(), extremes["max"].as_py()
    if unit in MICROSECONDS and smallest is not None and (smallest < -limit or largest > limit):
        wrong = _to_numpy(pc.fill_null(pc.or_(pc.less(numbers, -limit), pc.greater(numbers, limit)), False))
        moments = pc.if_else(pa.array(wrong), pa.scalar(None, moments.type), moments)
    return moments.cast(pa.timestamp("us"), safe=False).cast(pa.int64()), wrong


def _finite(values: pa.Array) -> tuple[pa.Array, np.ndarray | None]:
    numbers = values.fill_null(0).to_numpy(zero_copy_only=False)
    infinite = np.isinf(numbers)
    if not infinite.any():
        return values, None
    return pc.if_else(pa.array(infinite), pa.scalar(None, values.type), values), infinite


def _nan_to_null(values: pa.Array) -> pa.Array:
    is_nan = pc.is_nan(values)
    if not pc.any(is_nan).as_py():
        return values
    return pc.if_else(is_nan, pa.scalar(None, values.type), values)


def _cast_each(values: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, np.ndarray | None]:
    """Cast, and where some values cannot be cast find them by halving."""
    wrong = np.zeros(len(values), bool)
    exact = not (pa.types.is_integer(values.type) and pa.types.is_floating(wanted))

    def attempt(start: int, stop: int) -> list[pa.Array]:
        piece = values.slice(start, stop - start)
        try:
            return [piece.cast(wanted, safe=exact)]
        except pa.ArrowException:
            if stop - start == 1:
                wrong[start] = piece.null_count == 0
                return [pa.nulls(1, wanted)]
            middle = (start + stop) // 2
            return attempt(start, middle) + attempt(middle, stop)

    pieces = attempt(0, len(values))
    return (pieces[0] if len(pieces) == 1 else pa.concat_arrays(pieces)), (wrong if wrong.any() else None)


def _to_numpy(mask: pa.Array) -> np.ndarray:
    return mask.to_numpy(zero_copy_only=False)
