"""One entry for every variable that xstxm reads or writes, and which of them each result holds: a file for each topic."""

from __future__ import annotations

from collections.abc import Mapping

from xstxm._specs import (
    comparing,
    contrast,
    derived,
    design,
    fit,
    frames,
    lengthscales,
    matching,
    operando,
    particles,
    phases,
    profiles,
    ptychography,
    stack,
    structure,
    trees,
)
from xstxm._specs._spec import ENERGY, OTHER_REFERENCE, PIXEL, REFERENCE, VariableSpec, joined

_TOPICS = (
    stack,
    fit,
    phases,
    contrast,
    frames,
    structure,
    derived,
    design,
    comparing,
    particles,
    profiles,
    lengthscales,
    matching,
    ptychography,
    operando,
    trees,
)

SPECS: Mapping[str, VariableSpec] = joined(*(topic.SPECS for topic in _TOPICS))
SCHEMAS: Mapping[str, tuple[str, ...]] = joined(*(topic.SCHEMAS for topic in _TOPICS))

__all__ = ["ENERGY", "OTHER_REFERENCE", "PIXEL", "REFERENCE", "SCHEMAS", "SPECS", "VariableSpec"]
