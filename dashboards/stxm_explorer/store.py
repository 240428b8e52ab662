"""Data: reads files below the root folder and runs calls of xstxm; what they return is shared by all sessions, read-only.

A result is named by the script that makes it and the times at which its files changed, so a file written anew is read anew.
"""

from __future__ import annotations

import functools
import glob
import math
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

import xstxm
from stxm_explorer.access import refuse_links_out, resolve
from stxm_explorer.cache import Cache
from stxm_explorer.calls import Call, File, Output, script
from stxm_explorer.catalogue import Catalogue, catalogue
from stxm_explorer.jobs import Job
from stxm_explorer.notes import heard
from xstxm.errors import OptionError, SchemaError

IN_MEMORY = 1_500_000_000
"""Bytes up to which a result is held in memory; a larger one stays lazy."""

CACHE = 6_000_000_000
"""Bytes of results that are kept for all sessions."""

_STEPS = 16
"""Parts in which long work on a stack in memory is done, so that it tells how far it is and can be stopped."""

_IN_PARTS = {"xstxm.fit", "xstxm.phase_map"}
_MODULES = {"xstxm": xstxm, "xr": xr}
_RESULTS = Cache(CACHE)
_NOTES: dict[str, list[str]] = {}


class Store:
    """The files below a root folder and what is computed from them."""

    def __init__(self, root: Path, *, client: Any = None) -> None:
        self.root = root.resolve()
        self.client = client
        """Of a dask cluster that does the work, if any."""

    def catalogue(self) -> Catalogue:
        """Return the files that can be opened."""
        return catalogue(self.root)

    def name_of(self, path: str | None) -> str:
        """Return a file's name relative to the root folder; nothing for one that is not below it."""
        if not path:
            return ""
        found = Path(path).resolve()
        return found.relative_to(self.root).as_posix() if found.is_relative_to(self.root) else ""

    def key(self, call: Call) -> str:
        """Return the name of a result in the cache.

        Raises
        ------
        OutsideRootError
            A file is not there, or not below the root folder.
        """
        stamps = [f"# {name} {self._changed(name)}" for name in sorted(call.files())]
        item = [f"# {call.arguments[1]}"] if call.function == "[]" else []
        return "\n".join([str(self.root), script([call]), *item, *stamps])

    def ready(self, call: Call) -> Any:
        """Return a result that is there already, else None."""
        return _RESULTS.get(self.key(call))

    def run(self, call: Call, job: Job | None = None) -> Any:
        """Return the result of a call, made where it is not there yet."""
        key, job = self.key(call), job or Job()

        def make() -> Any:
            with heard() as told:
                result = self._make(call, job)
            if told:
                _NOTES[key] = told
            return result

        return _RESULTS.once(key, make, job)

    def notes(self, call: Call) -> list[str]:
        """Return what xstxm warned of when it made a result, apart from what that was made of."""
        return _NOTES.get(self.key(call), [])

    def write(self, call: Call, folder: Path, job: Job | None = None) -> None:
        """Run a call that writes its `Output` into a folder."""
        self._call(call, job or Job(), folder)

    def is_lazy(self, call: Call) -> bool:
        """Tell whether a result that is there is larger than what is held in memory."""
        result = self.ready(call)
        return result is not None and _is_lazy(result)

    def _make(self, call: Call, job: Job) -> Any:
        result = self._call(call, job, None)
        if call.function == "xstxm.open_stack" and not {"y", "x"} <= {*result.dims}:
            dims = tuple(result.dims)
            raise SchemaError(f"the explorer shows images, this scan has {dims}: open it with xstxm.open_stack")
        if _is_lazy(result) and result.nbytes < IN_MEMORY:
            return self._compute(result, job)
        return result

    def _call(self, call: Call, job: Job, folder: Path | None) -> Any:
        job.step()
        arguments = [self._value(argument, job, folder) for argument in call.arguments]
        options = {name: self._value(value, job, folder) for name, value in call.options.items()}
        if call.function == "[]":
            return operator.getitem(*arguments)
        if call.function in _IN_PARTS and self.client is None:
            arguments[0] = _in_parts(arguments[0])
        if call.function.startswith("."):
            try:
                return getattr(arguments[0], call.function[1:])(*arguments[1:], **options)
            except KeyError as error:  # of xarray, for a name that other data had
                chosen = ", ".join(f"{name} {value}" for name, value in options.items() if isinstance(value, str))
                raise OptionError("choice", chosen, "these data have none of that name: choose another") from error
        module, *path = call.function.split(".")
        function: Any = functools.reduce(getattr, path, _MODULES[module])
        return function(*arguments, **options)

    def _value(self, value: Any, job: Job, folder: Path | None) -> Any:
        if isinstance(value, Call):
            return self.run(value, job)
        if isinstance(value, File):
            return self.path(value.name)
        if isinstance(value, Output):
            assert folder is not None
            return folder / value.name
        if isinstance(value, Mapping):
            return {name: self._value(item, job, folder) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._value(item, job, folder) for item in value)
        return value

    def _compute(self, lazy: Any, job: Job) -> Any:
        if self.client is None:
            return lazy.compute(scheduler="threads")
        from stxm_explorer.cluster import computed

        return computed(lazy, self.client, job)

    def path(self, name: str) -> Path:
        """Return the path of a file below the root folder.

        Raises
        ------
        OutsideRootError
            It is not there, or not below the root folder.
        """
        path = resolve(self.root, name)
        refuse_links_out(self.root, path)
        return path

    def _changed(self, name: str) -> int:
        path = resolve(self.root, name)
        parts = [path, path.parent]
        if path.suffix.lower() == ".hdr":
            parts += path.parent.glob(f"{glob.escape(path.stem)}*")
        return max(part.stat().st_mtime_ns for part in parts)


def _is_lazy(result: Any) -> bool:
    arrays = result.variables.values() if isinstance(result, xr.Dataset) else [result]
    return any(getattr(array, "chunks", None) for array in arrays)


def _in_parts(stack: xr.Dataset | xr.DataArray) -> xr.Dataset | xr.DataArray:
    """Return a stack in memory as parts of some rows; one that is lazy, small or a spectrum as it is."""
    if _is_lazy(stack) or "y" not in stack.dims or stack.nbytes < 20_000_000:
        return stack
    return stack.chunk(y=max(math.ceil(stack.sizes["y"] / _STEPS), 1))
