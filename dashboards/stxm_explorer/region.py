"""Pixels with a name, as places on the sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from xstxm.errors import OptionError

Vertices: TypeAlias = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Region:
    """Pixels with a name: a point, a box by two corners, or a polygon; (x, y) in um, so that it holds at any scale."""

    kind: Literal["point", "box", "polygon"]
    vertices: Vertices
    name: str = ""

    def rounded(self, length: float) -> Region:
        """Return the region with coordinates that read well, moved by less than a length."""
        digits = max(math.ceil(-math.log10(length)), 0)
        vertices = tuple((round(float(x), digits), round(float(y), digits)) for x, y in self.vertices)
        return Region(self.kind, vertices, self.name)

    def for_xstxm(self) -> Any:
        """Return the region as `xstxm.spectrum` takes it."""
        if self.kind == "polygon":
            return [tuple(vertex) for vertex in self.vertices]
        if self.kind == "point":
            ((x, y),) = self.vertices
            return {"x": x, "y": y}
        (left, bottom), (right, top) = self.vertices
        return {"x": (left, right), "y": (bottom, top)}

    def outline(self) -> list[tuple[float, float]]:
        """Return the closed line around the region; of a point the point."""
        if self.kind != "box":
            return [*self.vertices, *self.vertices[:1]] if self.kind == "polygon" else list(self.vertices)
        (left, bottom), (right, top) = self.vertices
        return [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]

    @classmethod
    def from_table(cls, table: Any) -> Region:
        """Return the region of a table.

        Raises
        ------
        OptionError
            It is none.
        """
        try:
            vertices = tuple((float(x), float(y)) for x, y in table["vertices"])
            region = cls(table["kind"], vertices, str(table.get("name", ""))[:80])
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise OptionError("region", str(table)[:80], "write kind, name and vertices [[x, y], ...] in um") from error
        needed = {"point": (1, 1), "box": (2, 2), "polygon": (3, 10_000)}.get(str(region.kind), (1, 0))
        if not needed[0] <= len(vertices) <= needed[1] or not all(math.isfinite(x + y) for x, y in vertices):
            raise OptionError("region", str(table)[:80], "a point has 1 vertex, a box 2 corners, a polygon 3 or more")
        return region


def point(vertex: Any) -> tuple[float, float]:
    """Return a place (x, y) of what JSON holds."""
    (point,) = Region.from_table({"kind": "point", "vertices": [vertex]}).vertices
    return point
