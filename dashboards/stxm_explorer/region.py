"""Pixels with a name, as places on the sample."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
from skimage import measure

from xstxm.errors import OptionError

_MOST_DIGITS = 9
"""Behind the point, of places that are written as steps."""

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

    def simplified(self, length: float) -> Region:
        """Return a polygon without the corners that are less than a length off the line between others."""
        if self.kind != "polygon":
            return self
        line = measure.approximate_polygon(np.asarray(self.outline(), dtype=float), length)
        vertices = tuple((float(x), float(y)) for x, y in line[:-1])
        return Region(self.kind, vertices, self.name) if len(vertices) > 2 else self

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

    def table(self) -> dict[str, Any]:
        """Return the region as JSON knows it."""
        named = {"name": self.name} if self.name else {}
        return {"kind": self.kind, **named, "vertices": [[x, y] for x, y in self.vertices]}

    def short_table(self) -> dict[str, Any]:
        """Return the table in fewer characters: in place of vertices the steps from one to the next, in their last digit."""
        steps = _steps_between(self.vertices) if self.kind == "polygon" else None
        return self.table() if steps is None else {"kind": self.kind, "name": self.name, "steps": steps}

    @classmethod
    def from_table(cls, table: Any) -> Region:
        """Return the region of a table, a short one too.

        Raises
        ------
        OptionError
            It is none.
        """
        try:
            places = _walked(*table["steps"]) if "steps" in table else table["vertices"]
            vertices = tuple((float(x), float(y)) for x, y in places)
            region = cls(table["kind"], vertices, str(table.get("name", ""))[:80])
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            raise OptionError("region", str(table)[:80], "write kind, name and vertices [[x, y], ...] in um") from error
        needed = {"point": (1, 1), "box": (2, 2), "polygon": (3, 10_000)}.get(str(region.kind), (1, 0))
        if not needed[0] <= len(vertices) <= needed[1] or not all(math.isfinite(x + y) for x, y in vertices):
            raise OptionError("region", str(table)[:80], "a point has 1 vertex, a box 2 corners, a polygon 3 or more")
        return region


@functools.lru_cache(maxsize=2000)  # regions are small, and asked for at every change of any choice
def _steps_between(vertices: Vertices) -> tuple[Any, ...] | None:
    """Return the digits that places have, and the steps between them along x and y; None where they have too many."""
    written = [repr(float(place)) for vertex in vertices for place in vertex]
    digits = max(len(text.partition(".")[2]) for text in written)
    if digits > _MOST_DIGITS or "e" in "".join(written):
        return None
    return digits, *(_steps([round(vertex[axis] * 10**digits) for vertex in vertices]) for axis in (0, 1))


def _steps(places: Sequence[int]) -> tuple[int, ...]:
    return (*places[:1], *(after - before for before, after in pairwise(places)))


def _walked(digits: int, *steps: Sequence[int]) -> Iterable[Sequence[float]]:
    """Return the places that such steps lead to."""
    if not 0 <= digits <= _MOST_DIGITS:
        raise ValueError(digits)
    return zip(*([place / 10**digits for place in accumulate(along)] for along in steps), strict=True)


def point(vertex: Any) -> tuple[float, float]:
    """Return a place (x, y) of what JSON holds."""
    (point,) = Region.from_table({"kind": "point", "vertices": [vertex]}).vertices
    return point
