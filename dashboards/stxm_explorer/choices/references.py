"""Which reference spectra there are, and what is known of them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar

import param

from stxm_explorer.choices.internal import Internal
from stxm_explorer.settings import Settings, by_name, unused
from xstxm.errors import OptionError

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
    internal = param.List([], item_type=Internal, doc="Mean spectra of pixels of the open stacks.")
    kind: Any = param.Selector(default="", objects=list(KINDS.values()), doc="What the values are.")
    names = param.List([], item_type=str, doc="Names of the spectra, once their files were read.")
    unused = param.List([], item_type=str, doc="Names of those that no fit uses.")
    composition = param.Dict({}, doc="Composition by name, e.g. of V2O5 0 and of LiV2O5 1.")
    brought = param.Dict({}, doc="Composition by name that the references came with.")
    colors = param.Dict({}, doc="Colours by name; those of the palette for all others.")
    counts = param.Number(
        None,
        allow_None=True,
        bounds=(1, 1e9),
        doc="Incident counts of a pixel at each energy, for what can be told apart: by default the I0 of the stack, and "
        "1,000 where that is no counts.",
    )

    _ITEMS: ClassVar = {"internal": Internal.from_table}
    _MOST: ClassVar = {"files": 50, "uploads": 50, "internal": 100}

    def choose(self, files: list[str], uploads: list[str] | None = None) -> None:
        """Take other files: what is in them is not known until they are read.

        Raises
        ------
        OptionError
            They are too many.
        """
        uploads = self.uploads if uploads is None else uploads
        self.require_room("files", files)
        own = {name: number for name, number in self.composition.items() if self.brought.get(name) != number}
        self.param.update(files=files, uploads=uploads, names=[], in_memory=False, composition=own, brought={})

    def learn(self, names: list[str], brought: Mapping[str, float]) -> None:
        """Take the names of the spectra that were read, and the compositions that came with them."""
        if names != self.names or brought != self.brought:
            composition = {**brought, **self.composition}
            self.param.update(names=names, brought={**brought}, composition=composition)

    def add(self, internal: Internal) -> Internal:
        """Add a mean spectrum of pixels, under a name that no other reference has."""
        added = internal.renamed(unused(internal.label or "pixels", self._taken()))
        known = bool(self.names) or not (self.files or self.uploads or self.in_memory)
        self.param.update(
            internal=[*self.internal, added],
            names=[*self.names, added.label] if known else [],
            unused=self._but(added.label),
        )
        return added

    def remove(self, internal: Internal) -> None:
        """Forget a mean spectrum."""
        self.param.update(
            internal=[kept for kept in self.internal if kept is not internal],
            names=[name for name in self.names if name != internal.label],
            unused=self._but(internal.label),
        )

    def rename(self, internal: Internal, label: str) -> None:
        """Give a mean spectrum another name, with a number where that is taken; what was said of it goes along."""
        self._rename(internal, unused(label.strip()[:60], [name for name in self._taken() if name != internal.label]))

    def namesake(self, names: list[str]) -> Internal | None:
        """Return a mean spectrum whose name a table has, too: of those that were read, both say in brackets whose they are."""
        lost = (one for one in self.internal if one.label not in names)
        return next((one for one in lost if any(name.startswith(f"{one.label} (") for name in names)), None)

    def set_apart(self, internal: Internal) -> str:
        """Give a mean spectrum a name that no other reference has, and return it; what was said of it goes along."""
        label = unused(internal.label, self._taken())
        self._rename(internal, label)
        return label

    def _rename(self, internal: Internal, label: str) -> None:
        named = {internal.label: label}
        self.param.update(
            internal=[one.renamed(label) if one is internal else one for one in self.internal],
            **{what: [named.get(name, name) for name in getattr(self, what)] for what in ("names", "unused")},
            **{
                what: {named.get(name, name): value for name, value in getattr(self, what).items()}
                for what in ("composition", "colors")
            },
        )

    def _taken(self) -> list[str]:
        return [*self.names, *(one.label for one in self.internal)]

    def _but(self, label: str) -> list[str]:
        return [name for name in self.unused if name != label]

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
        if name == "internal":
            labels = [one.label for one in value]
            if twice := next((label for label in labels if labels.count(label) > 1), None):
                raise OptionError("state: references", twice[:80], "two have that name: names tell them apart")
        if name in ("composition", "brought"):
            return by_name(name, value, lambda part: isinstance(part, int | float) and math.isfinite(part))
        if name == "colors":
            return by_name(name, value, lambda part: bool(_COLOR.fullmatch(str(part))))
        return value
