"""What is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import param

from stxm_explorer.choices.field import STEPS
from stxm_explorer.region import point
from stxm_explorer.settings import Settings

PAGES = ("Data", "Prepare", "Explore", "Unmix", "Phases", "Length scales", "Export")
SIGNALS = {"Optical density": "optical_density", "Intensity": "intensity"}
IMAGES = {"One energy": "frame", "Difference": "difference", "Ratio": "ratio"}
COLORS = {"Of the stack": "stack", "Of each image": "image"}
TAPS = {"A pixel": "pixel", "Ends of a line": "line"}
BELOW = ("Pixel", "Shares", "Histogram")


class View(Settings):
    """What is looked at: nothing here changes a number."""

    page: Any = param.Selector(default="Data", objects=list(PAGES))
    data: Any = param.Selector(default="Files", objects=["Files", "References"], doc="What page Data shows.")
    listed: Any = param.Selector(default="Stacks", objects=["Stacks", "Spectra"], doc="Which files are listed.")
    search = param.String("", doc="Words that the names of the listed files have.")
    field = param.String("", doc="Label of the field that is shown.")
    signal: Any = param.Selector(default="optical_density", objects=list(SIGNALS.values()))
    energy = param.Number(None, allow_None=True, doc="Energy of the image, in the unit of the stack.")
    prepare: Any = param.Selector(default="Frames", objects=list(STEPS), doc="Step of the preparation.")
    cursor = param.XYCoordinates(None, allow_None=True, doc="Picked pixel (x, y) in um.")
    region = param.String("", doc="Name of the region that is looked at.")
    image: Any = param.Selector(
        default="frame",
        objects=list(IMAGES.values()),
        doc="The image at an energy, or its difference from or ratio to that at another.",
    )
    second = param.Number(
        None,
        allow_None=True,
        doc="The other energy: of a difference or ratio, or of the frame that an alignment is judged by.",
    )
    colors: Any = param.Selector(
        default="stack",
        objects=list(COLORS.values()),
        doc="Whether all images of a stack share one colour scale, or each has its own.",
    )
    density_limits = param.Range(None, allow_None=True, doc="Optical density at the ends of the colour scale.")
    intensity_limits = param.Range(None, allow_None=True, doc="Intensity at the ends of the colour scale.")
    tap: Any = param.Selector(
        default="pixel",
        objects=list(TAPS.values()),
        doc="Whether a tap on the image picks a pixel or the ends of a line.",
    )
    line = param.List(
        [], item_type=tuple, bounds=(0, 2), doc="Ends (x, y) of a line in um, of which a profile is drawn."
    )
    line_width = param.Number(
        0.0, bounds=(0, None), doc="Width in um over which the profile is averaged; 0 is a single line of pixels."
    )
    spread = param.Boolean(True, doc="Draw a band of one standard deviation over the pixels of a region.")
    residual = param.Boolean(False, doc="Draw what the fit leaves.")
    map = param.String(
        "composition", doc="Map beside that of the phases: a variable, or that of a phase after a colon."
    )
    faded = param.Boolean(False, doc="Draw what is less sure fainter.")
    below: Any = param.Selector(default="Pixel", objects=list(BELOW), doc="What stands below the maps of phases.")

    _ITEMS: ClassVar = {"line": point}

    def _value(self, name: str, table: Mapping[str, Any]) -> Any:
        value = super()._value(name, table)
        return tuple(value) if name == "cursor" and isinstance(value, list) else value
