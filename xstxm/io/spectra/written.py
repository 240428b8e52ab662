"""What the tables of spectra that this package wrote say of their values."""

from __future__ import annotations

from collections.abc import Sequence

from xstxm.errors import ReferenceSpectrumError
from xstxm.io._sources import Source, name_of, read_head

MARK = "# spectra of xstxm, values in "
OWN_ENERGIES = "# nan: that spectrum has no such energy"


def units_said(source: Source) -> str | None:
    """Return the units of the values in a table that `write_csv` wrote, None of any other file."""
    head = read_head(source, 200)
    if not head.startswith(MARK.encode()):
        return None
    said = head[len(MARK) :].split(b"\n")[0].decode("utf-8", "replace").strip()
    return None if said == "unknown units" else said


def has_own_energies(source: Source) -> bool:
    """Tell whether a table that `write_csv` wrote says that its spectra lie on energies of their own."""
    lines = read_head(source, 200 + len(OWN_ENERGIES)).splitlines()
    return len(lines) > 1 and lines[0].startswith(MARK.encode()) and lines[1].strip() == OWN_ENERGIES.encode()


def common_units(files: Sequence[Source]) -> str | None:
    """Return the units that all files say, None where none does.

    Raises
    ------
    ReferenceSpectrumError
        They differ.
    """
    said = {name_of(file): units_said(file) for file in files}
    if len({*said.values()}) > 1:
        told = ", ".join(f"{name} {units or 'says none'}" for name, units in said.items())
        raise ReferenceSpectrumError(
            f"units of the files differ ({told}): read each by itself, or pass units=", [*said]
        )
    return next(iter(said.values()), None)
