"""How one stack is prepared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import param

from stxm_explorer.region import Region
from stxm_explorer.settings import Settings

I0_SOURCES = {"Brightest pixels": "brightest", "Region": "region", "File": "file", "In the stack": "stack"}
I0_UNITS = {"As the file says": "", "counts": "count", "counts per ms": "count/ms", "counts per s": "count/s"}
ALIGN_TO = {
    "Model of the whole stack": "model",
    "Neighbouring frames": "neighbours",
    "Frame before": "previous",
    "First frame": "first",
    "Mean of the frames": "mean",
}
TRANSFORMS = {"Shift": "translation", "Shift, magnification, rotation": "similarity"}
NOISES = {"As the stack states, else from the fit": "", "Photon counting": "poisson"}
STEPS = ("Frames", "Alignment", "I0", "Optical density")


class Field(Settings):
    """One stack of the material, and how it is prepared."""

    label = param.String("", doc="Name of the field, e.g. electrode or particle.")
    file = param.String("", doc="Stack, relative to the root folder.")
    in_memory = param.Boolean(False, doc="The stack is an array of the notebook that opened the page, not a file.")
    region = param.Integer(None, allow_None=True, bounds=(0, 999), doc="Which region of a scan of several, from 0.")
    entry = param.String("", doc="Which entry of a file with several scans.")
    start = param.Number(None, allow_None=True, doc="Lowest energy that is used, in the unit of the stack.")
    stop = param.Number(None, allow_None=True, doc="Highest energy that is used.")
    dropped = param.List([], item_type=float, doc="Energies of frames that are left out.")
    despike = param.Boolean(False, doc="Replace counts that stand out from their neighbours in space and energy.")
    align = param.Boolean(False, doc="Move every frame onto the others; the margin that some lack becomes empty.")
    align_to: Any = param.Selector(
        default="model", objects=list(ALIGN_TO.values()), doc="What each frame is compared with to find its shift."
    )
    align_region = param.ClassSelector(
        class_=Region, default=None, allow_None=True, doc="Pixels that shifts are found on; all without one."
    )
    max_shift = param.Number(None, allow_None=True, bounds=(0, None), doc="Farthest shift, in the unit of y.")
    transform: Any = param.Selector(
        default="translation", objects=list(TRANSFORMS.values()), doc="A zone plate that follows the energy magnifies."
    )
    crop = param.Boolean(False, doc="Keep only the rectangle that every frame covers.")
    i0_source: Any = param.Selector(
        default="brightest",
        objects=list(I0_SOURCES.values()),
        doc="Where the incident intensity comes from: pixels without sample, a region without sample, or a spectrum.",
    )
    i0_fraction = param.Number(0.1, bounds=(0.01, 0.5), step=0.01, doc="Share of the pixels taken as empty.")
    i0_region = param.ClassSelector(class_=Region, default=None, allow_None=True, doc="Region without sample.")
    i0_file = param.String("", doc="I0 spectrum, relative to the root folder.")
    i0_units: Any = param.Selector(default="", objects=list(I0_UNITS.values()), doc="Rates and counts differ.")
    noise: Any = param.Selector(
        default="", objects=list(NOISES.values()), doc="Where the errors of optical densities come from."
    )
    gain = param.Number(1.0, bounds=(0, None), doc="Photons for one count, with photon counting.")
    thick = param.Number(2.2, bounds=(0, None), doc="Optical density above which a pixel is flagged as too thick.")
    saturation = param.Number(
        None, allow_None=True, bounds=(0, None), doc="Counts from which a pixel is flagged as saturated."
    )

    def uses(self, energy: float) -> bool:
        """Tell whether the frame at an energy is used."""
        low = -math.inf if self.start is None else self.start
        high = math.inf if self.stop is None else self.stop
        return bool(low <= energy <= high) and energy not in self.dropped

    def _value(self, name: str, table: Mapping[str, Any]) -> Any:
        if name in ("i0_region", "align_region") and table.get(name) is not None:
            return Region.from_table(table[name])
        return super()._value(name, table)
