"""Hold what a build wrote to the limits that its spec sets."""

from penstock_dataprep.spec import LimitsSpec
from penstock_shared.errors import DataRefused
from penstock_shared.sketches import FeatureDrift, FeatureSketch


def check_limits(
    limits: dict[str, LimitsSpec], sketches: dict[str, FeatureSketch], drifted: dict[str, FeatureDrift]
) -> None:
    """Raise DataRefused with every limit that the rows written go past; `drifted` is empty without a parent."""
    faults = [fault for name, limit in limits.items() for fault in _faults(name, limit, sketches, drifted)]
    if faults:
        raise DataRefused("\n".join([*faults, "Look at the source, or raise the limits; nothing was published."]))


def _faults(
    name: str, limit: LimitsSpec, sketches: dict[str, FeatureSketch], drifted: dict[str, FeatureDrift]
) -> list[str]:
    sketch, drift = sketches.get(name), drifted.get(name)
    found: dict[str, float] = {}
    if sketch is not None:
        found["max_null_fraction"] = sketch.nulls / max(1, sketch.nulls + sketch.values)
        found["max_oov_fraction"] = (sketch.oov or 0) / max(1, sketch.values)
    if drift is not None:
        found["max_stability_index"] = drift.stability_index or 0.0
    return [
        f"limits.{name}.{key}: found {found[key]:.6g}, expected at most {allowed:g}"
        for key, allowed in limit
        if allowed is not None and key in found and found[key] > allowed
    ]
