"""What users draw on a figure with its box and its lasso."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from stxm_explorer.figures.marks import Point

Kind: TypeAlias = Literal["point", "box", "polygon"]


def drawn_region(geometry: Mapping[str, Any]) -> tuple[Kind, tuple[Point, ...]] | None:
    """Return a box by two corners, or a polygon; nothing where it has no area."""
    if geometry["type"] == "rect":
        (left, right), (bottom, top) = (sorted((geometry[f"{dim}0"], geometry[f"{dim}1"])) for dim in ("x", "y"))
        return ("box", ((left, bottom), (right, top))) if left < right and bottom < top else None
    vertices = tuple((float(x), float(y)) for x, y in zip(geometry["x"], geometry["y"], strict=True))
    return ("polygon", vertices) if len(vertices) > 2 else None


def drawn_polygon(geometry: Mapping[str, Any]) -> list[Point]:
    """Return the vertices of what was drawn, four of a box; none where it has no area."""
    drawn = drawn_region(geometry)
    if drawn is None or drawn[0] == "polygon":
        return [*drawn[1]] if drawn else []
    (left, bottom), (right, top) = drawn[1]
    return [(left, bottom), (right, bottom), (right, top), (left, top)]
