"""What the user chose: parameters only, no widget, no data.

The choices are checked by their parameters (kind, bounds, members of a list), also those that come from outside: a state
round-trips through JSON, which a file or the address of the page can hold.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, ClassVar

import param

from stxm_explorer.choices.export import MAP_FORMATS, PICTURE_FORMATS, PICTURES, RESULTS, TABLES, Export
from stxm_explorer.choices.field import ALIGN_TO, I0_SOURCES, I0_UNITS, NOISES, STEPS, TRANSFORMS, Field
from stxm_explorer.choices.fit import BACKGROUNDS, METHODS, PHASES_FROM, SELECTIONS, Fit
from stxm_explorer.choices.internal import Internal
from stxm_explorer.choices.references import KINDS, References
from stxm_explorer.choices.scales import FRAMES, LENGTH_TABS, QUANTITIES, WEIGHTS, Scales
from stxm_explorer.choices.unmix import (
    DECOMPOSITIONS,
    GROUPINGS,
    MOST_CLUSTERS,
    MOST_COMPONENTS,
    NORMALIZATIONS,
    NUMBERED_BY,
    UNMIX_TABS,
    Unmix,
)
from stxm_explorer.choices.view import BELOW, COLORS, IMAGES, PAGES, SIGNALS, TAPS, View
from stxm_explorer.region import Region
from stxm_explorer.settings import Settings, unused
from xstxm.errors import OptionError

__all__ = [
    "ALIGN_TO",
    "BACKGROUNDS",
    "BELOW",
    "COLORS",
    "DECOMPOSITIONS",
    "FRAMES",
    "GROUPINGS",
    "I0_SOURCES",
    "I0_UNITS",
    "IMAGES",
    "KINDS",
    "LENGTH_TABS",
    "LONGEST_QUERY",
    "MAP_FORMATS",
    "MAX_STATE",
    "METHODS",
    "MOST_CLUSTERS",
    "MOST_COMPONENTS",
    "NOISES",
    "NORMALIZATIONS",
    "NUMBERED_BY",
    "PAGES",
    "PHASES_FROM",
    "PICTURES",
    "PICTURE_FORMATS",
    "QUANTITIES",
    "RESULTS",
    "SELECTIONS",
    "SIGNALS",
    "STEPS",
    "TABLES",
    "TAPS",
    "TOO_LONG",
    "TRANSFORMS",
    "UNMIX_TABS",
    "WEIGHTS",
    "ExplorerState",
    "Export",
    "Field",
    "Fit",
    "Internal",
    "References",
    "Region",
    "Scales",
    "Settings",
    "Unmix",
    "View",
    "unused",
]

MAX_STATE = 2_000_000
"""Characters of a state that is taken from outside; as many regions as there can be, drawn by hand, have half of it."""


LONGEST_QUERY = 20_000
"""Characters of an address that the server takes for sure: it comes back to it three times over, in 64 kB of headers."""

_LARGEST = 1e15
"""No choice is a number beyond it."""

TOO_LONG = "too-long"
"""What the address holds in place of choices that are too many for it."""


class ExplorerState(Settings):
    """The choices of one session."""

    fields = param.List([], item_type=Field, doc="Stacks that are open.")
    regions = param.List([], item_type=Region, doc="Named regions, shared by all fields that they lie in.")
    references = param.ClassSelector(class_=References, constant=True, instantiate=True, default=References())
    fit = param.ClassSelector(class_=Fit, constant=True, instantiate=True, default=Fit())
    unmix = param.ClassSelector(class_=Unmix, constant=True, instantiate=True, default=Unmix())
    scales = param.ClassSelector(class_=Scales, constant=True, instantiate=True, default=Scales())
    export = param.ClassSelector(class_=Export, constant=True, instantiate=True, default=Export())
    view = param.ClassSelector(class_=View, constant=True, instantiate=True, default=View())

    _ITEMS: ClassVar = {"fields": Field.from_table, "regions": Region.from_table}
    _MOST: ClassVar = {"fields": 60, "regions": 100}

    def __init__(self, **choices: Any) -> None:
        super().__init__(**choices)
        self._listeners: list[Callable[[], None]] = []
        self._heard: list[Settings] = []
        for group in (self, self.references, self.fit, self.unmix, self.scales, self.export, self.view):
            group.param.watch(self._tell, group._choices())
        self._hear_fields()

    @property
    def field(self) -> Field | None:
        """The field that is shown: the chosen one, else the first."""
        named = (field for field in self.fields if field.label == self.view.field)
        return next(named, self.fields[0] if self.fields else None)

    @property
    def place(self) -> tuple[str, str]:
        """The page that is looked at, and the tab on it."""
        view = self.view
        tabs = {"Data": view.data, "Prepare": view.prepare, "Unmix": self.unmix.tab, "Length scales": self.scales.tab}
        return view.page, tabs.get(view.page, "")

    def open(self, file: str, *, region: int | None = None, entry: str = "") -> Field:
        """Add a field for a stack, or return the one that is there, and look at it.

        Raises
        ------
        OptionError
            As many are open as there can be.
        """
        which = (file, region, entry)
        field = next((field for field in self.fields if (field.file, field.region, field.entry) == which), None)
        if field is None:
            label = " ".join(
                [PurePosixPath(file).stem, *([] if region is None else [f"region {region}"]), entry]
            ).strip()
            label = unused(label, [field.label for field in self.fields])
            field = Field(file=file, region=region, entry=entry, label=label)
            self.require_room("fields", [*self.fields, field])
            self.fields = [*self.fields, field]
        self.view.field = field.label
        return field

    def close(self, field: Field) -> None:
        """Forget a field."""
        self.fields = [kept for kept in self.fields if kept is not field]

    def add_region(self, region: Region) -> None:
        """Add a region under a name that no other has, and look at it.

        Raises
        ------
        OptionError
            There are as many as there can be.
        """
        self.require_room("regions", [*self.regions, region])
        name = unused(region.name or "region", [known.name for known in self.regions])
        self.regions = [*self.regions, replace(region, name=name)]
        self.view.region = name

    def rename_region(self, region: Region, name: str) -> None:
        """Give a region another name, with a number where that is taken."""
        name = unused(name.strip()[:80], [known.name for known in self.regions if known is not region])
        with param.parameterized.batch_call_watchers(self.view):
            self.regions = [replace(known, name=name) if known is region else known for known in self.regions]
            self.view.region = name

    def remove_region(self, region: Region) -> None:
        """Forget a region."""
        self.regions = [known for known in self.regions if known is not region]
        if self.view.region == region.name:
            self.view.region = ""

    def rename(self, field: Field, label: str) -> None:
        """Call a field by another name.

        Raises
        ------
        OptionError
            It is empty, too long, or the name of another one.
        """
        label, shown = label.strip(), self.field is field
        if not label or len(label) > 60:
            raise OptionError("name", label[:60], "give the field a name of 1 to 60 characters")
        if any(other.label == label for other in self.fields if other is not field):
            raise OptionError("name", label, "another field is called so: names tell fields apart")
        with param.parameterized.batch_call_watchers(self.view):
            if shown:
                self.view.field = label
            for internal in self.references.internal:
                if internal.field == field.label:
                    internal.field = label
            field.label = label

    def refer(self, *, region: Region | None = None, cluster: int = 0) -> Internal:
        """Take the mean spectrum of a region, a cluster or the lasso, in the field that is shown, as a reference."""
        assert self.field is not None
        made = Internal.of(self.field.label, self.unmix, self.fit, region=region, cluster=cluster)
        return self.references.add(made)

    def listen(self, changed: Callable[[], None]) -> None:
        """Call a function after every change."""
        self._listeners.append(changed)

    def to_json(self) -> str:
        """Return the choices as text."""
        return json.dumps(self.table(), indent=1)

    def from_json(self, text: str) -> None:
        """Take the choices of a text.

        Raises
        ------
        OptionError
            It is too long, or no state; the state is as before.
        """
        if len(text) > MAX_STATE:
            raise OptionError("state", f"{len(text)} characters", f"take a file of at most {MAX_STATE}")
        try:
            self.restore(json.loads(text, parse_constant=_refuse, parse_float=_number, parse_int=_number))
        except OptionError:
            raise
        except (ValueError, RecursionError) as error:
            raise OptionError("state", text[:40], "expected the JSON that the explorer writes") from error

    def to_query(self) -> str:
        """Return the choices as a short word for the address of a page, `TOO_LONG` where they do not fit there."""
        packed = zlib.compress(json.dumps(self.table(short=True), separators=(",", ":")).encode(), 9)
        word = base64.urlsafe_b64encode(packed).decode().rstrip("=")
        return word if len(word) <= LONGEST_QUERY else TOO_LONG

    def from_query(self, word: str) -> None:
        """Take the choices of such a word; errors as of `from_json`."""
        if word == TOO_LONG:
            raise OptionError(
                "state", word, "those choices were too many for an address: open a file of them on page Export"
            )
        try:
            packed = base64.urlsafe_b64decode(word + "=" * (-len(word) % 4))
            unpacking = zlib.decompressobj()
            text = unpacking.decompress(packed, MAX_STATE + 1).decode()
        except (ValueError, binascii.Error, zlib.error) as error:
            raise OptionError("state", word[:40], "the link is cut off or changed: copy the whole link") from error
        self.from_json(text)

    def _value(self, name: str, table: Mapping[str, Any]) -> Any:
        value = super()._value(name, table)
        if name in ("fields", "regions"):
            names = [each.label if isinstance(each, Field) else each.name for each in value]
            if twice := next((one for one in names if names.count(one) > 1), None):
                raise OptionError(f"state: {name}", twice[:80], "two have that name: names tell them apart")
        return value

    def _tell(self, *events: Any) -> None:
        if any(event.obj is self and event.name == "fields" for event in events):
            self._hear_fields()
        for listener in [*self._listeners]:
            listener()

    def _hear_fields(self) -> None:
        for field in self.fields:
            if not any(field is heard for heard in self._heard):
                field.param.watch(self._tell, field._choices())
        self._heard = [*self.fields]


def _refuse(word: str) -> float:
    """Refuse NaN and Infinity, which JSON does not know and no choice can be."""
    raise ValueError(word)


def _number(word: str) -> float:
    """Return a number, refuse one with which nobody can compute."""
    number = int(word) if word.lstrip("-").isdecimal() else float(word)
    return number if abs(number) < _LARGEST else _refuse(word)
