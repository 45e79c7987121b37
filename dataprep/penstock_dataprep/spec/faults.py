"""Find what does not fit together in a spec whose parts are right, each for itself."""

from typing import TYPE_CHECKING

from penstock_dataprep.spec.columns import VocabularySpec
from penstock_dataprep.spec.lists import list_faults
from penstock_shared.strict import nearest

if TYPE_CHECKING:
    from penstock_dataprep.spec.spec import Spec


def cross_faults(spec: "Spec") -> list[str]:
    """Return what is wrong with a spec whose parts are right, each for itself."""
    faults = []
    for role in ("user", "item", "label", "time"):
        holders = [name for name, column in spec.columns.items() if column.role == role]
        if len(holders) > 1 and role != "label":
            faults.append(f"columns: {' and '.join(holders)} both have role {role}, expected at most one")
    owners = [name for name, column in spec.columns.items() if isinstance(column.vocabulary, VocabularySpec)]
    for name, column in spec.columns.items():
        if isinstance(column.vocabulary, str) and column.vocabulary not in owners:
            faults.append(
                f"columns.{name}.vocabulary: found {column.vocabulary!r}, expected rules or the name of a column "
                f"with a vocabulary of its own; {nearest(column.vocabulary, owners)}"
            )
    for name in spec.limits.keys() - spec.columns.keys():
        faults.append(f"limits.{name}: no such column; {nearest(name, spec.columns)}")
    needs = {"time": ("time",), "leave_last": ("time", "user"), "entity_hash": ()}[spec.split.by]
    for need in needs:
        if spec.role(need) is None:  # type: ignore[arg-type]
            faults.append(f"split: by {spec.split.by} needs a column with role {need}; give one that role")
    time = spec.role("time")
    if "time" in needs and time is not None and spec.columns[time].null_policy == "keep":
        faults.append(
            f"columns.{time}.null: found keep, expected reject or default: split by {spec.split.by} goes by time"
        )
    if spec.split.by == "time" and spec.split.test_fraction + spec.split.validation_fraction >= 1:
        faults.append("split: test_fraction and validation_fraction leave no rows to train on")
    if spec.split.by == "entity_hash":
        entity = spec.columns.get(spec.split.column)
        if entity is None or entity.vocabulary is None:
            with_tokens = [name for name, held in spec.columns.items() if held.vocabulary is not None]
            faults.append(
                f"split.column: found {spec.split.column!r}, expected a column with a vocabulary; "
                f"{nearest(spec.split.column, with_tokens)}"
            )
    tables = [fault for table in spec.tables for fault in _table_faults(spec, table)]
    return [*faults, *list_faults(spec), *tables]


def _table_faults(spec: "Spec", table: str) -> list[str]:
    faults = []
    held, rules = spec.tables[table], {name: rules for name, (rules, _) in spec.vocabularies().items()}
    if table not in rules:
        faults.append(
            f"tables.{table}: expected the name of a column with a vocabulary of its own; {nearest(table, rules)}"
        )
    elif rules[table].encoding == "hash":
        faults.append(
            f"tables.{table}: its vocabulary has encoding hash, so entities share ids; expected a table of tokens"
        )
    owners = [name for name, column in held.columns.items() if isinstance(column.vocabulary, VocabularySpec)]
    for name, column in held.columns.items():
        place = f"tables.{table}.columns.{name}"
        if column.role not in ("feature", "time"):
            faults.append(f"{place}.role: found {column.role!r}, expected 'feature' or 'time'")
        if isinstance(column.vocabulary, str) and column.vocabulary not in (*owners, *rules):
            known = nearest(column.vocabulary, (*owners, *rules))
            faults.append(f"{place}.vocabulary: found {column.vocabulary!r}, expected rules or a vocabulary; {known}")
        if f"{table}.{name}" in spec.columns:
            faults.append(f"{place}: a column of the log has the name {table}.{name}, which its vocabulary would have")
        if column.role == "time" and column.null_policy == "keep":
            faults.append(f"{place}.null: found keep, expected reject or default: an entity's latest row counts")
    for name in held.limits.keys() - held.columns.keys():
        faults.append(f"tables.{table}.limits.{name}: no such column; {nearest(name, held.columns)}")
    if sum(column.role == "time" for column in held.columns.values()) > 1:
        faults.append(f"tables.{table}: several columns have role time, expected at most one")
    return faults
