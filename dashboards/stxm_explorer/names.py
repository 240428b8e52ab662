"""Names of files that a page may choose: one plain name, the same on every system."""

from __future__ import annotations

import re
import unicodedata

from stxm_explorer.access import printable
from xstxm.errors import OptionError

LONGEST = 120

_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in "123456789")}


def plain_name(name: str) -> str:
    """Return a name that is one plain file name on every system, its letters composed.

    Raises
    ------
    OptionError
        It has separators, control characters or wildcards, is hidden, reserved, too long, or ends in a dot or a blank.
    """
    composed = unicodedata.normalize("NFC", name)
    problem = _problem(composed)
    if problem:
        raise OptionError(
            "name", printable(re.split(r"[/\\]", composed)[-1], 40), f"{problem}: give a plain name, e.g. maps.nc"
        )
    return composed


def _problem(name: str) -> str:
    stem = name.partition(".")[0].rstrip().lower()
    if not name.strip():
        return "it is empty"
    if not name.isprintable() or _FORBIDDEN.search(name):
        return "it has characters that no file name should have"
    if name[0] in ".-~ " or name[-1] in ". ":
        return "it begins or ends with a character that hides it or changes what it means"
    if stem in _RESERVED:
        return "that name is reserved on Windows"
    return f"it is longer than {LONGEST} bytes" if len(name.encode("utf-8", "replace")) > LONGEST else ""
