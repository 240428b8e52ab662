"""Which reference spectra there are, and what is known of them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar

import param

from stxm_explorer.settings import Settings, by_name

KINDS = {
    "As the file says": "",
    "Measured, on a scale of its own": "raw",
    "Edge step of one": "normalized_absorption",
    "Optical density": "optical_density",
    "Absorption per nm": "linear_absorption",
    "Absorption in cm2/g": "mass_absorption",
}

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


class References(Settings):
    """Which substances may be there."""

    files = param.List([], item_type=str, doc="Tables of spectra, relative to the root folder.")
    in_memory = param.Boolean(False, doc="The references are those of the notebook that opened the page.")
    uploads = param.List([], item_type=str, doc="Tables of spectra that were sent to the page.")
    kind: Any = param.Selector(default="", objects=list(KINDS.values()), doc="What the values are.")
    names = param.List([], item_type=str, doc="Names of the spectra in the files, once they were read.")
    unused = param.List([], item_type=str, doc="Names of those that no fit uses.")
    composition = param.Dict({}, doc="Composition by name, e.g. of V2O5 0 and of LiV2O5 1.")
    brought = param.Dict({}, doc="Composition by name that references in memory came with.")
    colors = param.Dict({}, doc="Colours by name; those of the palette for all others.")
    counts = param.Number(
        1000.0, bounds=(1, 1e9), doc="Incident counts of a pixel at each energy, for what can be told apart."
    )

    _MOST: ClassVar = {"files": 50, "uploads": 50}

    def choose(self, files: list[str], uploads: list[str] | None = None) -> None:
        """Take other files: what is in them is not known until they are read.

        Raises
        ------
        OptionError
            They are too many.
        """
        uploads = self.uploads if uploads is None else uploads
        self.require_room("files", files)
        self.param.update(files=files, uploads=uploads, names=[], in_memory=False, brought={})

    @property
    def used(self) -> list[str]:
        """Names of the spectra that fits use."""
        return [name for name in self.names if name not in self.unused]

    @property
    def compositions(self) -> dict[str, float]:
        """Composition of each spectrum that fits use; nothing where one of them has none."""
        known = {name: float(self.composition[name]) for name in self.used if name in self.composition}
        return known if len(known) == len(self.used) else {}

    def _value(self, name: str, table: Mapping[str, Any]) -> Any:
        value = super()._value(name, table)
        if name in ("composition", "brought"):
            return by_name(name, value, lambda part: isinstance(part, int | float) and math.isfinite(part))
        if name == "colors":
            return by_name(name, value, lambda part: bool(_COLOR.fullmatch(str(part))))
        return value
