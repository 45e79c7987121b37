"""Print a forecast: for a person as text, for a machine as JSON."""

from typing import Any

from penstock_dataprep.forecast import Forecast
from penstock_dataprep.forecast.line import Line
from penstock_dataprep.versions.text_table import text_table

BYTE_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def describe_forecast(held: Forecast) -> str:
    """Return a page of text: what was checked, the arithmetic, what it assumes, what would hurt."""
    version = f"  version {held.version}" if held.version else ""
    lines = [f"plan of {held.name}{version}", *(f"  ok: {check}" for check in held.checks)]
    if held.is_built:
        lines.append(f"  {held.manifest} is there: a build would find it, and run nothing")
    lines += ["", text_table(("estimate", "", "how"), [(line.name, show(line), line.how) for line in held.lines])]
    assumed = [
        (name, f"{one.value:,g}" if one.value < 1e5 else f"{one.value:,.0f}", one.unit, one.date, one.source)
        for name, one in held.assumptions.items()
    ]
    lines += [
        "",
        text_table(("assumption", "value", "unit", "as of", "source; change one by --assume NAME=NUMBER"), assumed),
    ]
    lines += ["", *(f"warning: {warning}" for warning in held.warnings)] if held.warnings else ["", "no warnings"]
    return "\n".join(lines)


def show(line: Line) -> str:
    """Return a line's number with its unit; bytes in the unit that suits them."""
    if line.unit.startswith("USD"):
        return f"{line.value:,.2f} {line.unit}"
    if line.unit == "bytes":
        return show_bytes(line.value)
    whole = line.value >= 100 or line.value == int(line.value)
    return f"{line.value:,.0f} {line.unit}" if whole else f"{line.value:,.2f} {line.unit}"


def show_bytes(size: float) -> str:
    """Return a number of bytes in the largest unit of which there is one."""
    unit = 0
    while size >= 1024 and unit < len(BYTE_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:,.0f} bytes" if unit == 0 else f"{size:,.1f} {BYTE_UNITS[unit]}"


def forecast_document(held: Forecast) -> dict[str, Any]:
    """Return a forecast as a JSON document."""
    return {
        "name": held.name,
        "version": held.version,
        "manifest": held.manifest,
        "is_built": held.is_built,
        "checks": list(held.checks),
        "estimates": [line._asdict() for line in held.lines],
        "warnings": list(held.warnings),
        "assumptions": {name: one._asdict() for name, one in held.assumptions.items()},
    }
