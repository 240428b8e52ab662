"""Reference sets from several sources as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._references_at import checked_absorption, told_apart
from xstxm.conventions import ENERGY, REFERENCE, SPECS
from xstxm.errors import ReferenceSpectrumError
from xstxm.io.library.reader import joined
from xstxm.io.library.writer import require_plain
from xstxm.provenance import recorded


@recorded
def join_references(sets: Sequence[xr.Dataset] | Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Join reference sets into one, e.g. those of a table with those of regions of a stack.

    Parameters
    ----------
    sets
        Reference sets, in the units of absorption that all share. A mapping gives each a name: references that are called
        alike in two sets then say whose they are, ``"V2O5 (beamline 1)"``.

    Returns
    -------
    Dataset
        `absorption` (reference, energy), float64, in the order of the sets, ascending on the union of all energies in eV, NaN
        where a reference has no data. What is along `reference` in some sets only, as a composition, is empty or NaN
        in the others. Eager.

    Raises
    ------
    ReferenceSpectrumError
        No set, or what is none; names that two sets of a list have; units that differ.
    SchemaError
        A set holds what is no number or word along `reference`, or energies that do not ascend.

    Warns
    -----
    MetadataWarning
        Names that are in two sets of a mapping.

    Examples
    --------
    >>> import xstxm
    >>> known = xstxm.testing.simulate_references().isel(reference=[0, 3])
    >>> own = xstxm.reference_set({"mine": ([508, 518, 560], [0.1, 1.0, 0.4])}, units="1/nm")
    >>> xstxm.join_references([known, own]).reference.values.tolist()
    ['alpha-V2O5', 'gamma-LiV2O5', 'mine']
    """
    given: Any = sets
    single = isinstance(given, xr.Dataset)
    members = [] if single else [*(given.values() if isinstance(given, Mapping) else given)]
    odd = next((type(one).__name__ for one in members if not isinstance(one, xr.Dataset)), None)
    if not members or odd:
        found = odd or ("one Dataset" if single else "none")
        raise ReferenceSpectrumError(
            f"no reference sets to join (found: {found}): pass a list, or {{'name': set, ...}}"
        )
    plain = [_plain(one) for one in members]
    if isinstance(given, Mapping):
        whose = [str(name) for name, one in zip(given, plain, strict=True) for _ in range(one.sizes[REFERENCE])]
        names = iter(told_apart([str(name) for one in plain for name in np.asarray(one[REFERENCE])], whose))
        plain = [one.assign_coords({REFERENCE: [next(names) for _ in range(one.sizes[REFERENCE])]}) for one in plain]
    return joined(plain)


def _plain(references: xr.Dataset) -> xr.Dataset:
    """Return a set with its energies in eV, or say why it is none that can be joined."""
    references = units.dequantify(references)
    checked_absorption(references)
    require_plain(references)
    energy = units.to_units(references[ENERGY].astype(float), "eV", "the energy of the references")
    energy.attrs = {"units": "eV", "long_name": SPECS[ENERGY].long_name}
    return references.assign_coords({ENERGY: energy})
