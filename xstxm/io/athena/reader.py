"""Athena projects: the absorption of each group, at its calibrated energies."""

from __future__ import annotations

import gzip
import io
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xstxm.errors import CorruptFileError, FileFormatError, MetadataWarning, warn
from xstxm.io._base import convert
from xstxm.io._sources import COPY_AGAIN, Source, called, listed, name_of, read_bytes, read_head, read_text
from xstxm.io.athena.project import Group, parse

LARGEST = 64 * 1024**2
_GZIP = b"\x1f\x8b"
_MARK = b"Athena project"


@dataclass(frozen=True)
class MeasuredSpectrum:
    """Absorption as a file has it: energies in eV, values, how they were made, and their kind where it is said."""

    energy: np.ndarray
    values: np.ndarray
    origin: str
    kind: str


def is_athena(head: bytes, name: str) -> bool:
    """Tell whether the first bytes are those of an Athena project, packed or plain; a damaged archive by its name."""
    if head.startswith(_GZIP):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, 1024)
        except zlib.error:
            return name.lower().endswith(".prj")
    return _MARK in head[:1024]


def read_project(source: Source, *, energy_units: str | None = None) -> dict[str, MeasuredSpectrum]:
    """Read the groups of an Athena project.

    The energies of a group are ``x + bkg_eshift``, as Athena shows them; `origin` says by how much they were moved,
    and whether the values are mu(E), ln(i0/signal) where a group has no other, or normalised. Groups of chi(k) are
    passed over with a warning. Eager.

    Parameters
    ----------
    source
        The project, packed with gzip or plain, of Perl or JSON.
    energy_units
        Units of the energies, eV by default.

    Returns
    -------
    dict
        Label to spectrum; where groups share a label, ``label (group)``, with a warning.

    Raises
    ------
    FileFormatError
        The project holds no group of absorption, or unpacks to more than 64 MiB.
    CorruptFileError
        The project is cut short, or a group has not as many finite energies as values.
    """
    name = called(source)
    text = read_text(io.BytesIO(_unpack(source)))
    if not text.lstrip().startswith("{") and "\n1;" not in text:
        warn(f"{name_of(source)}: the last line of an Athena project is missing: groups may be, too", MetadataWarning)
    try:
        groups = parse(text)
    except ValueError as error:
        raise CorruptFileError(name, "the groups of an Athena project", str(error), COPY_AGAIN) from None
    kept = [group for group in groups if not _is_chi(group)]
    passed = [repr(_label(group)) for group in groups if _is_chi(group)]
    if not kept:
        found, do = f"{len(groups)} groups, none of them" if groups else "no group", "save one from Athena"
        raise FileFormatError(name, "groups of mu(E) or normalised absorption", found, do)
    if passed:
        warn(f"{name_of(source)}: {listed(passed)} hold chi(k), no spectrum of energies: passed over", MetadataWarning)
    names = _names(kept, name_of(source))
    return {key: _spectrum(group, energy_units or "eV", source) for key, group in zip(names, kept, strict=True)}


def _unpack(source: Source) -> bytes:
    """Return the text of a project; a small file that unpacks without end is refused before it fills the memory."""
    name = called(source)
    packed = read_bytes(source) if read_head(source, 2) == _GZIP else b""
    try:
        text = gzip.GzipFile(fileobj=io.BytesIO(packed)).read(LARGEST + 1) if packed else read_head(source, LARGEST + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise CorruptFileError(name, "a gzip archive", f"a damaged one ({error})", COPY_AGAIN) from None
    if len(text) > LARGEST:
        found, do = "more", "save the spectra that you need as a project of their own"
        raise FileFormatError(name, f"a project of at most {LARGEST // 1024**2} MiB when unpacked", found, do)
    return text


def _is_on(group: Group, key: str) -> bool:
    return str(group.settings.get(key, "0")) not in ("", "0", "None")


def _is_chi(group: Group) -> bool:
    return _is_on(group, "is_chi") or group.settings.get("datatype") == "chi"


def _label(group: Group) -> str:
    return str(group.settings.get("label") or group.name)


def _names(groups: Sequence[Group], file: str) -> list[str]:
    labels = [_label(group) for group in groups]
    shared = [label for label, count in Counter(labels).items() if count > 1]
    if shared:
        said = listed([repr(label) for label in shared])
        warn(f"{file}: {said} label several groups: these are called 'label (group)'", MetadataWarning)
    names = [
        f"{label} ({group.name})" if label in shared else label for label, group in zip(labels, groups, strict=True)
    ]
    if len(set(names)) != len(names):
        raise CorruptFileError(file, "groups of different names", "a name twice", "save the project again from Athena")
    return names


def _spectrum(group: Group, units: str, source: Source) -> MeasuredSpectrum:
    energy = _numbers(group, "x", source)
    values, made = _absorption(group, source)
    shift = _numbers(group, "bkg_eshift", source)[0]
    name = called(source)
    if energy.size != values.size or not energy.size or not (energy > 0).all():
        expected = f"as many energies above 0 as values in group {_label(group)!r}"
        raise CorruptFileError(name, expected, f"{energy.size} and {values.size}", "save the project again from Athena")
    moved = f", energies moved by {shift:+g} eV" if shift else ""
    kind = "normalized_absorption" if made == "normalised" else "raw"
    return MeasuredSpectrum(convert(energy, units, "eV", "the energy axis") + shift, values, made + moved, kind)


def _absorption(group: Group, source: Source) -> tuple[np.ndarray, str]:
    """Return the absorption of a group, and how it was made: of the detectors' counts where nothing else is there."""
    if group.arrays.get("y") or not (group.arrays.get("i0") and group.arrays.get("signal")):
        return _numbers(group, "y", source), "normalised" if _is_on(group, "is_nor") else "mu(E)"
    incident, transmitted = (_numbers(group, key, source) for key in ("i0", "signal"))
    if incident.size != transmitted.size or not (incident * transmitted > 0).all():
        expected = f"as many i0 as signal, of one sign, in group {_label(group)!r}"
        found = f"{incident.size} and {transmitted.size}, or zeros"
        raise CorruptFileError(called(source), expected, found, "repair the group in Athena")
    return np.log(incident / transmitted), "ln(i0/signal)"


def _numbers(group: Group, key: str, source: Source) -> np.ndarray:
    """Return an array of a group, or one of its settings, as finite numbers."""
    found = [group.settings.get(key) or 0] if key == "bkg_eshift" else group.arrays.get(key, [])
    try:
        numbers = np.array([float(value) for value in found])
    except (TypeError, ValueError, OverflowError):
        numbers = np.array([np.nan])
    if not np.isfinite(numbers).all():
        expected, do = f"finite numbers as {key!r} of group {_label(group)!r}", "repair the group in Athena"
        raise CorruptFileError(called(source), expected, "others", do)
    return numbers
