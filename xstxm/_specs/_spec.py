"""What the table of variables is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

ENERGY = "energy"
REFERENCE = "reference"
OTHER_REFERENCE = "other_reference"
PIXEL = "pixel dims"
"""Stands for every dimension except `energy`: (y, x), (position), (theta, y, x) or none."""

STACK = (ENERGY, PIXEL)

Entry = TypeVar("Entry")
Kind: TypeAlias = Literal["float", "int", "bool", "complex", "text"]


@dataclass(frozen=True)
class VariableSpec:
    """What a variable is called, which dimensions and units it has, and what it means.

    A dimension may be one of several: ``energy|cluster``.
    """

    name: str
    dims: tuple[str, ...]
    units: str | None
    kind: Kind
    long_name: str
    doc: str


def specs(*rows: tuple[str, tuple[str, ...], str | None, Kind, str, str]) -> dict[str, VariableSpec]:
    """Return the variables of a topic by name: name, dims, units, kind, long_name, doc."""
    return joined(*({row[0]: VariableSpec(*row)} for row in rows))


def joined(*tables: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return one table of several, none of which may describe what another does."""
    every = {name: entry for table in tables for name, entry in table.items()}
    if len(every) < sum(map(len, tables)):
        raise ValueError("a variable or a result is described twice")
    return every
