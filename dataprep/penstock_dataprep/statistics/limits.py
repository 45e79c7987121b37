"""Hold what a build wrote to the limits that its spec sets."""

from penstock_dataprep.spec.spec import LimitsSpec, Spec
from penstock_shared.errors import DataRefused
from penstock_shared.features import Statistics
from penstock_shared.manifest import Table
from penstock_shared.sketches import FeatureDrift, FeatureSketch


def check_limits(
    spec: Spec, sketches: dict[str, FeatureSketch], drifted: dict[str, FeatureDrift], tables: dict[str, Table]
) -> None:
    """Raise DataRefused with every limit that the rows written, or the entity tables, go past.

    `drifted` is of the log's features, and empty without a parent.
    """
    faults = [
        fault
        for name, limits in spec.limits.items()
        if name in sketches
        for fault in _faults(f"limits.{name}", limits, sketches[name], drifted.get(name))
    ]
    for name, table in tables.items():
        faults += _table_faults(spec, name, table)
    if faults:
        raise DataRefused("\n".join([*faults, "Look at the source, or raise the limits; nothing was published."]))


def _table_faults(spec: Spec, name: str, table: Table) -> list[str]:
    rules = spec.tables[name]
    measured = {feature.name: feature.statistics for feature in table.features}
    faults = [
        fault
        for column, limits in rules.limits.items()
        for fault in _faults(f"tables.{name}.limits.{column}", limits, measured[column], table.drift.get(column))
    ]
    missing, allowed = table.missing / max(1, table.accounting.written + table.missing), rules.max_missing_fraction
    if allowed is not None and missing > allowed:
        faults.append(f"tables.{name}.max_missing_fraction: found {missing:.6g}, expected at most {allowed:g}")
    return faults


def _faults(
    place: str, limits: LimitsSpec, measured: FeatureSketch | Statistics, drift: FeatureDrift | None
) -> list[str]:
    found = {
        "max_null_fraction": measured.nulls / max(1, measured.nulls + measured.values),
        "max_oov_fraction": (measured.oov or 0) / max(1, measured.values),
        "max_stability_index": drift.stability_index or 0.0 if drift is not None else 0.0,
    }
    return [
        f"{place}.{key}: found {found[key]:.6g}, expected at most {allowed:g}"
        for key, allowed in limits
        if allowed is not None and found[key] > allowed
    ]
