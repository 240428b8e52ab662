"""A goal beside what was measured: as a row of a table, and as a mark in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from measuring import spread

HEADER = """\
| what | goal | measured | held | seconds | memory, MB | tasks |
|---|---|---|---|---|---|---|"""
COLOURS = {True: "#1b9e77", False: "#d95f02", None: "#888888"}


@dataclass(frozen=True)
class Ratios:
    """Ratios (round), and the goal they have if any: at least that many times faster, or at most that many times a bound."""

    values: np.ndarray
    goal: float | None
    faster: bool
    other: str

    @property
    def held(self) -> bool | None:
        if self.goal is None:
            return None
        middle = np.median(self.values)
        return bool(middle >= self.goal if self.faster else middle <= self.goal)


@dataclass(frozen=True)
class Row:
    """A goal and what was found.

    `held` is None where there is no goal, or none for this size; `why` says so, or why a goal is not held. Seconds and memory at the
    peak, GB beyond what was resident before, are those of xstxm and of what it is compared with.
    """

    what: str
    goal: str
    measured: str
    held: bool | None
    why: str = ""
    ratios: Ratios | None = None
    seconds: Sequence[float] = ()
    memory: Sequence[float] = ()
    tasks: int | None = None

    def __str__(self) -> str:
        held = {True: "yes", False: f"**no**: {self.why}", None: self.why or "not judged"}
        cells = (
            self.what,
            self.goal,
            self.measured,
            held[self.held],
            " / ".join(f"{value:.2g}" if value < 100 else f"{value:.0f}" for value in self.seconds),
            " / ".join(f"{value * 1e3:.0f}" for value in self.memory),
            "" if self.tasks is None else str(self.tasks),
        )
        return f"| {' | '.join(cells)} |"


def at_least(
    what: str,
    peer: str,
    goal: float,
    ours: np.ndarray,
    theirs: np.ndarray,
    why: str,
    *,
    note: str = "",
    judged: bool = True,
    memory: Sequence[float] = (),
) -> Row:
    """Return the row of a goal that is a speed over that of a peer; seconds (round) of both."""
    ratios = Ratios(theirs / ours, goal if judged else None, True, peer)
    measured, seconds = f"{spread(ratios.values)} x{note}", (np.median(ours), np.median(theirs))
    return Row(what, f"{goal:g} x {peer}", measured, ratios.held, why if judged else "", ratios, seconds, memory)


def at_most(
    what: str,
    bound: str,
    goal: float,
    ours: np.ndarray,
    theirs: np.ndarray,
    why: str,
    *,
    note: str = "",
    memory: Sequence[float] = (),
    tasks: int | None = None,
) -> Row:
    """Return the row of a goal that is a time over that of a bound; seconds (round) of both."""
    ratios = Ratios(ours / theirs, goal, False, bound)
    measured, seconds = f"{spread(ratios.values)} x{note}", (np.median(ours), np.median(theirs))
    return Row(what, f"within {goal:g} x {bound}", measured, ratios.held, why, ratios, seconds, memory, tasks)


def plot(rows: Sequence[Row], path: str, title: str) -> None:
    """Draw the ratios of all rows that have them, those of speeds above those of bounds, with the goals as marks."""
    import matplotlib

    matplotlib.use("Agg")
    grey = "#808080"  # readable on white and on black
    style = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), grey)
    style |= {"svg.fonttype": "none", "svg.hashsalt": "xstxm", "font.size": 9, "axes.spines.top": False}
    drawn = [row for row in rows if row.ratios is not None]
    if not drawn:
        raise ValueError(
            "none of these rows is a ratio, and there is nothing to draw: add --topics, or leave --plot away"
        )
    parts = [[row for row in drawn if row.ratios.faster is faster] for faster in (True, False)]
    titles = (
        "times as fast as (goal: at the mark or right of it)",
        "times as long as (goal: at the mark or left of it)",
    )
    with matplotlib.rc_context(style | {"axes.spines.right": False}):
        _draw([(part, title) for part, title in zip(parts, titles, strict=True) if part], path, title)


def _draw(parts: list[tuple[list[Row], str]], path: str, title: str) -> None:
    from matplotlib import pyplot

    lines = sum(len(rows) + 3 for rows, _ in parts)
    heights = [len(rows) + 1 for rows, _ in parts]
    figure, axes = pyplot.subplots(
        len(parts), figsize=(9, 0.27 * lines), height_ratios=heights, squeeze=False, layout="constrained"
    )
    figure.suptitle(title)
    for axis, (rows, label) in zip(axes[:, 0], parts, strict=True):
        for at, row in enumerate(rows):
            found, colour = row.ratios, COLOURS[row.held]
            axis.plot([found.values.min(), found.values.max()], [at, at], color=colour, lw=2)
            axis.plot(np.median(found.values), at, "o", color=colour)
            if found.goal is not None:
                axis.plot(found.goal, at, "|", color="#808080", ms=13, mew=2)
        axis.set(xscale="log", xlabel=label, ylim=(len(rows) - 0.5, -0.5))
        axis.set_yticks(range(len(rows)), [f"{row.what}: {row.ratios.other}".replace("`", "") for row in rows])
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.grid(axis="x", alpha=0.3)
    figure.savefig(path, transparent=True, metadata={"Date": None} if path.endswith(".svg") else None)
    pyplot.close(figure)
