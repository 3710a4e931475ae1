"""The cells of a sweep, as its figures group and name them."""

from collections.abc import Sequence
from typing import Any


def by_row(cells: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The cells of every row by its name, in their order; "" is the name of an only row."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        rows.setdefault(cell.get("row", ""), []).append(cell)
    return rows


def eta_label(cells: Sequence[dict[str, Any]]) -> str:
    """What an axis of the step sizes of these cells says."""
    kind = cells[0].get("eta_kind", "fixed")
    unit = "units of 1/L" if "normalised" in kind else "no unit"
    start = "" if kind.startswith("fixed") else " at the start"
    return f"lower-level step size η{start} ({unit})"
