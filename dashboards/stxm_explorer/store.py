"""Data: reads files below the root folder and runs calls of xstxm; what they return is shared by all sessions, read-only.

A result is named by the script that makes it and the times at which its files changed, so a file written anew is read anew.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr
from skimage import measure

import xstxm
from stxm_explorer import clouds, surveys
from stxm_explorer.access import refuse_links_out, resolve, stamp
from stxm_explorer.cache import Cache, Made, memory
from stxm_explorer.calls import IN_MEMORY, Call, File, Function, Given, Output, Upload, script
from stxm_explorer.catalogue import Catalogue, catalogue
from stxm_explorer.cluster import Cluster
from stxm_explorer.jobs import Job, Stopped
from stxm_explorer.names import plain_name
from stxm_explorer.uploads import Uploads
from xstxm.errors import OptionError, SchemaError, StxmError, heard

CACHE = 6_000_000_000
"""Bytes of results that are kept for all sessions."""

FRESH = 1.0
"""Seconds for which the time at which a file changed is taken as known."""

_STEPS = 16
"""Parts in which long work on a stack in memory is done, so that it tells how far it is and can be stopped."""

_IN_PARTS = {"xstxm.fit", "xstxm.phase_map"}
_MODULES = {"xstxm": xstxm, "xr": xr, "measure": measure, "clouds": clouds, "surveys": surveys}
_PARTS = {"[]", ".isel"}
"""Calls that return a part of their first argument as it is."""

_LITTLE = 1_000_000
"""Bytes with which anything is done in no time, once it is compiled."""

_DONE: set[str] = set()
"""Functions that this process has run: the first time, some are compiled."""

_RESULTS = Cache(CACHE)
_STORES = itertools.count(1)


class NotGivenError(StxmError):
    """An array of a notebook is wanted on a page that was opened without it."""

    def __init__(self, name: str) -> None:
        self._say(f"the {name} was an array in a notebook, this page has files: open the explorer from the notebook")


class Store:
    """The files below a root folder and what is computed from them."""

    def __init__(
        self,
        root: Path,
        *,
        cluster: Cluster | None = None,
        given: Mapping[str, xr.Dataset | xr.DataArray] | None = None,
    ) -> None:
        self.root = root.resolve()
        self.given = dict(given or {})
        """Arrays that came with the page, by name."""
        self._whose = f"{self.root} {next(_STORES) if self.given else ''}\n"
        self._stamps: dict[File, tuple[float, str]] = {}
        self._closed = False
        self.cluster = cluster
        """Does the work, if there is one."""
        self.uploads = Uploads()

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
        stamps = sorted({self._stamp(file) for file in call.files()})
        item = [repr(call.arguments[1])] if call.function == "[]" else []  # which takes no line in a script
        return self._whose + "\n".join([script([call], named=False), *item, *stamps])

    def _stamp(self, file: File) -> str:
        """Return a file and when it changed, looked up once in a while: the folder may be a slow one; that of uploads is not."""
        now = time.monotonic()
        if isinstance(file, Upload) or (known := self._stamps.get(file)) is None or now - known[0] >= FRESH:
            path = self._file(file)
            known = self._stamps[file] = now, f"# {path} {stamp(path)}"
        return known[1]

    def ready(self, call: Call) -> Any:
        """Return a result that is there already, else None."""
        if call.function == "":
            return self.given.get(call.arguments[0].name)
        made = _RESULTS.get(self.key(call))
        return None if made is None else made.result

    def run(self, call: Call, job: Job | None = None) -> Any:
        """Return the result of a call, made where it is not there yet."""
        job = job or Job()
        if call.function == "" or call.passing:
            return self._call(call, job, None)
        if call.function in _PARTS and not _is_lazy(whole := self.run(call.arguments[0], job)):
            return self._part(call, whole, job)  # what is in memory already is not kept once more
        made = _RESULTS.once(self.key(call), lambda: self._make(call, job), job)
        if self._closed:  # while it was made
            self._forget()
        return made.result

    def notes(self, call: Call) -> tuple[str, ...]:
        """Return what xstxm warned of when it made a result, apart from what that was made of."""
        made = _RESULTS.get(self.key(call))
        return () if made is None else made.notes

    def at_once(self, call: Call) -> Any:
        """Return what takes no time, made on the spot; None where there is more to do.

        That is a frame or the spectrum of a pixel of a stack in memory, and anything that is made of a few spectra.
        """
        return self.run(call) if self._is_light(call) else None

    def write(self, call: Call, folder: Path, job: Job | None = None) -> None:
        """Run a call that writes its `Output` into a folder."""
        self._call(call, job or Job(), folder)

    def close(self) -> None:
        """Remove the files that were sent, and forget what was made of arrays, which nobody else has."""
        self._closed = True
        self.uploads.close()
        self._forget()

    def _forget(self) -> None:
        if self.given:
            _RESULTS.clear(self._whose)

    def _make(self, call: Call, job: Job) -> Made:
        with heard() as told:
            result = self._call(call, job, None)
            if call.function == "xstxm.open_stack" and not {"y", "x"} <= {*result.dims}:
                dims = ", ".join(map(str, result.dims))
                raise SchemaError(f"the explorer shows images, this scan runs over {dims}: open a stack of images")
            if _is_lazy(result) and result.nbytes < IN_MEMORY:
                result = self._compute(result, job)
        return Made(result, tuple(dict.fromkeys(map(str, told))))

    def _call(self, call: Call, job: Job, folder: Path | None) -> Any:
        job.step()
        if self._closed:
            raise Stopped(job.label)
        arguments = [self._value(argument, job, folder) for argument in call.arguments]
        options = {name: self._value(value, job, folder) for name, value in call.options.items()}
        if call.function == "":
            return arguments[0]
        if call.function == "[]":
            return operator.getitem(*arguments)
        if call.function in _IN_PARTS:
            arguments[0] = _in_parts(arguments[0])
        if call.function.startswith("."):
            return _method(call.function, arguments, options)
        result = _named(call.function)(*arguments, **options)
        _DONE.add(call.function)
        return result

    def _part(self, call: Call, whole: Any, job: Job) -> Any:
        job.step()
        if call.function == "[]":
            return whole[call.arguments[1]]
        return _method(call.function, [whole, *call.arguments[1:]], call.options)

    def _is_light(self, call: Call) -> bool:
        parts = [*call.parts()]
        if call.function.startswith("xstxm.") and call.function not in _DONE:
            return False
        return not any(isinstance(part, File) for part in parts) and all(
            self._is_at_hand(part, call) for part in parts if isinstance(part, Call)
        )

    def _is_at_hand(self, part: Call, call: Call) -> bool:
        """Tell whether an argument of a call is there, in memory, and not much for that call."""
        result = self.ready(part)
        if result is None:
            return self._is_light(part)
        return not _is_lazy(result) and (memory(result) < _LITTLE or call.function in _PARTS or _is_of_pixel(call))

    def _value(self, value: Any, job: Job, folder: Path | None) -> Any:
        if isinstance(value, Call):
            return self.run(value, job)
        if isinstance(value, File):
            return self._file(value) if isinstance(value, Upload) else self.path(value.name)
        if isinstance(value, Given):
            return self._given(value.name)
        if isinstance(value, Function):
            return _named(value.name)
        if isinstance(value, Output):
            assert folder is not None
            return folder / plain_name(value.name)
        if isinstance(value, Mapping):
            return {name: self._value(item, job, folder) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._value(item, job, folder) for item in value)
        return value

    def _compute(self, lazy: Any, job: Job) -> Any:
        return xstxm.compute(lazy, scheduler="threads") if self.cluster is None else self.cluster.computed(lazy, job)

    def _given(self, name: str) -> xr.Dataset | xr.DataArray:
        if name not in self.given:
            raise NotGivenError(name)
        return self.given[name]

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

    def _file(self, file: File) -> Path:
        """Return the path of a file, of which it is not yet known whether it takes anything from elsewhere."""
        if not isinstance(file, Upload):
            return resolve(self.root, file.name)
        if file.name not in self.uploads.files:
            raise OptionError("references", file.name, "it was sent to another page: send it again, or remove it")
        return self.uploads.files[file.name]


def _named(name: str) -> Any:
    """Return a public function."""
    module, *path = name.split(".")
    return functools.reduce(getattr, path, _MODULES[module])


def _method(function: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Return what a method of the first argument returns."""
    try:
        return getattr(arguments[0], function[1:])(*arguments[1:], **options)
    except KeyError as error:  # of xarray, for a name that other data had
        chosen = ", ".join(f"{name} {value}" for name, value in options.items() if isinstance(value, str | list))
        raise OptionError("choice", chosen[:80], "these data have none of that name: choose another") from error


def _is_lazy(result: Any) -> bool:
    arrays = result.variables.values() if isinstance(result, xr.Dataset) else [result]
    return any(getattr(array, "chunks", None) for array in arrays)


def _is_of_pixel(call: Call) -> bool:
    """Tell whether a call reads the spectrum of one pixel."""
    if call.function != "xstxm.spectrum" or not isinstance(call.arguments[1], Mapping):
        return False
    return all(isinstance(place, float) for place in call.arguments[1].values())


def _in_parts(stack: xr.Dataset | xr.DataArray) -> xr.Dataset | xr.DataArray:
    """Return a stack in memory as parts of some rows; one that is lazy, small or a spectrum as it is."""
    if _is_lazy(stack) or "y" not in stack.dims or stack.nbytes < 20_000_000:
        return stack
    return stack.chunk(y=max(math.ceil(stack.sizes["y"] / _STEPS), 1))
