"""What lies above a map: a cursor, the outlines of regions with their names, a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from bokeh.models import ColumnDataSource
from bokeh.plotting import figure as Figure

Point: TypeAlias = tuple[float, float]
PICK = "#CC0099"
_LONGEST = 22
"""Letters of a name on a map: beyond, it runs out of a small one."""
_HALO, _INK = "#f5f5f5", "#222222"
_NAME: dict[str, Any] = {
    "text_font_size": "12px",
    "text_color": _INK,
    "text_baseline": "bottom",
    "background_fill_color": _HALO,
    "background_fill_alpha": 0.8,
    "padding": 2,
    "y_offset": -4,
}


def shortened(name: str) -> str:
    """Return a name that fits into the smallest map, its middle left out where it is long.

    Examples
    --------
    >>> shortened("the particle on the left of the electrode")
    'the particl…electrode'
    """
    rest = _LONGEST - 1
    return name if len(name) <= _LONGEST else f"{name[: rest - rest // 2].rstrip()}…{name[-(rest // 2) :].lstrip()}"


class Marks:
    """Marks above a map; changing them moves no image."""

    def __init__(self, figure: Figure) -> None:
        self._lines = ColumnDataSource({"xs": [], "ys": [], "color": [], "width": [], "dash": []})
        self._names = ColumnDataSource({"x": [], "y": [], "text": [], "align": []})
        self._across = figure.x_range
        self._points = ColumnDataSource({"x": [], "y": [], "marker": []})
        _draw_lines(figure, self._lines)
        figure.text("x", "y", "text", text_align="align", source=self._names, level="overlay", **_NAME)
        for color, width in ((_HALO, 5), (PICK, 2)):
            figure.scatter(
                "x", "y", marker="marker", source=self._points, size=20, line_color=color, line_width=width,
                fill_color=None, level="overlay",
            )  # fmt: skip

    def show(
        self,
        cursor: Point | None,
        regions: Mapping[str, Sequence[Point]],
        active: str | None,
        line: Sequence[Point] | None,
        colors: Mapping[str, str],
    ) -> None:
        """Show these marks in place of those that were there."""
        outlines = {name: outline for name, outline in regions.items() if len(outline) > 1}
        rows: list[tuple[Sequence[Point], str, int, str]] = [
            (outline, colors.get(name, PICK), 3 if name == active else 2, "solid" if name == active else "dashed")
            for name, outline in outlines.items()
        ]
        rows += [(line, PICK, 2, "solid")] if line else []
        _update(
            self._lines,
            xs=[[x for x, _ in outline] for outline, *_ in rows],
            ys=[[y for _, y in outline] for outline, *_ in rows],
            color=[color for _, color, _, _ in rows],
            width=[width for _, _, width, _ in rows],
            dash=[dash for *_, dash in rows],
        )
        self._name(regions)
        spots = [(*cursor, "cross")] if cursor else []
        spots += [(*points[0], "x") for points in regions.values() if len(points) == 1]
        spots += [(*line[0], "circle_dot")] if line else []
        x, y, marker = ([*column] for column in zip(*spots, strict=True)) if spots else ([], [], [])
        _update(self._points, x=x, y=y, marker=marker)

    def _name(self, regions: Mapping[str, Sequence[Point]]) -> None:
        tops = {name: max(outline, key=lambda point: point[1]) for name, outline in regions.items() if outline}
        x, y = ([place[axis] for place in tops.values()] for axis in (0, 1))
        _update(self._names, x=x, y=y, text=[shortened(name) for name in tops], align=[self._side(each) for each in x])

    def _side(self, x: float) -> str:
        """Return to which side of a place its name is written: to the middle of the map, not beyond its edge."""
        ends: Any = self._across
        share = (x - ends.reset_start) / (ends.reset_end - ends.reset_start) if ends.reset_end is not None else 0.5
        return "left" if share < 1 / 3 else "right" if share > 2 / 3 else "center"


def _draw_lines(figure: Figure, source: ColumnDataSource) -> None:
    """Draw lines that stand out from any colour below."""
    figure.multi_line("xs", "ys", source=source, line_color=_HALO, line_width=5, line_alpha=0.6)
    figure.multi_line("xs", "ys", source=source, line_color="color", line_width="width", line_dash="dash")


def _update(source: ColumnDataSource, **columns: list[Any]) -> None:
    """Send columns only where they changed."""
    if source.data != columns:
        source.data = columns
