"""The accessor `.stxm` of xarray's objects, whose module is imported when it is first used."""

from __future__ import annotations

import importlib
from typing import Any

import xarray as xr


class _Accessor:
    """A class that is imported when it is first called, or asked for what it has."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def _load(self) -> Any:
        return getattr(importlib.import_module(self._module), self._name)

    def __call__(self, obj: Any) -> Any:
        return self._load()(obj)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._load(), name)


_of_stacks: Any = _Accessor("xstxm.accessor", "StxmAccessor")
xr.register_dataset_accessor("stxm")(_of_stacks)
xr.register_dataarray_accessor("stxm")(_of_stacks)
xr.register_datatree_accessor("stxm")(_Accessor("xstxm.tree_accessor", "StxmTreeAccessor"))
