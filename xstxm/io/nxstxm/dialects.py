"""Which program wrote an entry, by the marks that its files bear."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from xstxm.io._hdf5 import attribute, field_text, inside

if TYPE_CHECKING:
    import h5py

_ITS_ENTRY = re.compile(r"/entry\d+")


def wrote(program: str, entry: h5py.Group) -> bool:
    """Tell whether a file, or an entry of it, names a program as its writer."""
    said = [attribute(entry.file, "creator"), attribute(entry, "creator"), field_text(entry, "program_name")]
    return any(program in word.lower() for word in said if word)


def unverified(entry: h5py.Group) -> str:
    """Return the program whose layout an entry has, where no file of it was ever met; else nothing."""
    version = pystxmcontrol(entry)
    if version is not None:
        return f"ALS pystxmcontrol {version:g}"
    beamlines = [field_text(entry, f"{place}/beamline") for place in ("collection", "instrument")]
    if any(name and name.lower() == "hermes" for name in beamlines):
        return "SOLEIL HERMES"
    if field_text(entry, "definition") == "NXstxm" and _number(field_text(entry, "version")) == 1:
        return "CLS pyStxm"
    return ""


def pystxmcontrol(entry: h5py.Group) -> float | None:
    """Return the version of an entry that pystxmcontrol wrote, 0 where it bears none; None for other programs.

    Version 3 has it in ``version``; before it stood in ``definition``, as its value or its attribute, or nowhere.
    """
    definition = inside(entry, "definition")
    said = field_text(entry, "definition")
    marks = [field_text(entry, "version"), said, None if definition is None else attribute(definition, "version")]
    numbers = [number for number in map(_number, marks) if number is not None]
    new = [number for number in numbers if 2 <= number < 10]
    nameless = said is None or _number(said) is not None
    old = _ITS_ENTRY.fullmatch(entry.name) and ("motors" in entry or (nameless and "entry0" in entry.file))
    if wrote("pixelator", entry) or not (new or old):
        return None
    return (new or numbers or [0.0])[0]


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
