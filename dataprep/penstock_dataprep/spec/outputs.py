"""Tell which features a dataset holds: the spec's columns, their histories, or sequences of them."""

from dataclasses import replace

from penstock_dataprep.spec.lists import list_columns
from penstock_dataprep.spec.spec import Spec
from penstock_dataprep.spec.targets import Target
from penstock_shared.errors import UserMistake


def output_targets(spec: Spec, targets: tuple[Target, ...]) -> tuple[Target, ...]:
    """Return what is written, in the order of the manifest: lists come as targets named for their features.

    Raises UserMistake for a list of lists or of vectors.
    """
    collected = list_columns(spec)
    by_name = {target.name: target for target in targets}
    for column in collected.values():
        if by_name[column].is_list or by_name[column].length is not None:
            place = "history" if spec.history is not None else "sequences"
            raise UserMistake(f"{place}.columns: {column!r} holds a list in each row; expected one value a row")
    if spec.sequences is not None:
        key = by_name[spec.sequences.key]
        return (key, *(replace(by_name[column], is_list=True, null="keep") for column in collected))
    histories = (
        replace(by_name[column], name=name, role="feature", is_list=True, null="keep")
        for name, column in collected.items()
    )
    return (*targets, *histories)


def event_targets(spec: Spec, targets: tuple[Target, ...]) -> tuple[Target, ...]:
    """Return the columns that an event must carry on the way to its lists."""
    if spec.sequences is None:
        return targets
    wanted = (spec.sequences.key, *spec.sequences.columns)
    return tuple(target for target in targets if target.name in wanted)
