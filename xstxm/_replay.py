"""Steps of a recipe become calls: of recorded public functions, and of nothing else."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr

from xstxm import mechanics
from xstxm._recipe_arrays import Given, as_kind, read_beside
from xstxm._recipe_record import READERS, Input, Step, in_memory, variables_of, verbs
from xstxm.errors import RecipeError, shown
from xstxm.io._sources import is_hdf5, read_head
from xstxm.io.library import is_library
from xstxm.io.sdf import is_sdf

Lookup = Callable[[str], Any]


def value_of(value: Any, lookup: Lookup) -> Any:
    """Return a parameter of a call: inputs by their names, tables with a type as what they stand for."""
    if isinstance(value, list):
        return [value_of(item, lookup) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "input" in value:
        return lookup(value["input"])
    if "type" not in value:
        return {key: value_of(item, lookup) for key, item in value.items()}
    if value["type"] == "none":
        return None
    if value["type"] == "mapping":
        return {key: value_of(item, lookup) for key, item in value["items"]}
    return _made(value["type"], {key: value_of(item, lookup) for key, item in value.items() if key != "type"})


def _made(name: Any, fields: Mapping[str, Any]) -> Any:
    types: dict[str, Any] = {
        key: cls for key, cls in vars(mechanics).items() if is_dataclass(cls) and not key.startswith("_")
    }
    if name not in types:
        raise RecipeError(f"a recipe cannot make a {shown(name)}: it makes {', '.join(types)}")
    try:
        return types[name](**fields)
    except TypeError as error:
        raise RecipeError(f"{name} of the recipe does not fit this version of xstxm: {error}") from error


def call(step: Step, given: Any, lookup: Lookup) -> Any:
    """Return what a step makes of what the step before returned, or of files."""
    verb = verbs()[step.verb]
    parameters = {name: value_of(value, lookup) for name, value in step.parameters.items()}
    _, *others = inspect.signature(verb).parameters
    if unknown := [name for name in parameters if name not in others]:
        raise RecipeError(f"{step.verb} of this version of xstxm has no {', '.join(map(repr, unknown))}")
    if step.takes is not None and isinstance(given, xr.Dataset):
        if step.takes not in given:
            found = ", ".join(map(str, given.data_vars))
            raise RecipeError(f"{step.verb} was given the array {step.takes!r}, which is missing (found: {found})")
        given = given[step.takes]
    return verb(given, **parameters)


def after_each(steps: Sequence[Step], stack: Any, lookup: Callable[[list[Any]], Lookup]) -> list[Any]:
    """Return the stack and what it is after each step; `lookup` gets what there is so far."""
    results = [stack]
    for step in steps:
        results.append(call(step, results[-1], lookup(results)))
    return results


class Inputs:
    """The inputs of a recipe while it is replayed: given ones, those of the recipe, files, and what the stack makes."""

    def __init__(self, inputs: Mapping[str, Input], given: Mapping[str, Any], folder: Path | None) -> None:
        if unknown := [name for name in given if name not in inputs]:
            names = ", ".join(map(repr, inputs)) or "none"
            raise RecipeError(f"the recipe has no input {', '.join(map(repr, unknown))}: its inputs are {names}")
        self._inputs, self._given, self._folder = inputs, given, folder
        self._open: list[str] = []

    def fixed(self, name: str) -> Given | None:
        """Return an input that does not depend on the stack; None for one that does. Eager."""
        item, given = self._inputs[name], self._given.get(name)
        if given is None and item.data is not None:
            return item.data
        if isinstance(given, str | os.PathLike):
            return in_memory(name, self._from_path(name, Path(given).expanduser()))
        if given is not None:
            return in_memory(name, given)
        if item.after is not None:
            return None
        if not item.steps:
            raise RecipeError(f"the recipe does not hold {name!r}, {item.array}: {_pass(name)}")
        return in_memory(name, self._from_files(name, self._folder or Path.cwd()))

    def during(self, results: Sequence[Any]) -> Lookup:
        """Return what finds an input by its name, where the recipe has come to `results`."""

        def lookup(name: str) -> Any:
            if name not in self._inputs or name in self._open:
                raise RecipeError(f"the recipe has no input {name!r} that comes first: save it again")
            self._open.append(name)
            try:
                found = self.fixed(name)
                return self._from_stack(name, results) if found is None else found
            finally:
                self._open.remove(name)

        return lookup

    def _from_stack(self, name: str, results: Sequence[Any]) -> Any:
        item = self._inputs[name]
        if item.after is None or not 0 <= item.after < len(results):
            raise RecipeError(f"the recipe makes {name!r} after step {item.after}, which comes later: save it again")
        return after_each(item.steps, results[item.after], lambda _: self.during(results))[-1]

    def _from_path(self, name: str, path: Path) -> Any:
        item = self._inputs[name]
        if not path.exists():
            raise RecipeError(f"{name!r} was to be read from {path}, which is not there: {_pass(name)}")
        if item.steps and item.after is None and path.suffix != ".nc":
            return self._from_files(name, path)
        verb = _text_reader(item)
        if verb is not None and path.is_file() and not is_hdf5(read_head(path)):
            return verbs()[verb](path)
        labelled = read_beside(path)
        if item.array.startswith("<dataset"):
            return labelled
        if len(labelled.data_vars) != 1:
            raise RecipeError(f"{path.name} holds {len(labelled.data_vars)} variables, wanted one for {name!r}")
        only = next(iter(labelled.data_vars))
        return as_kind(labelled.rename({only: "data"}), "DataArray", str(only))

    def _from_files(self, name: str, where: Path) -> Any:
        """Return what the recorded reader makes of its files in a folder, or of one file, and the steps that follow."""
        reader, *steps = self._inputs[name].steps
        if reader.verb not in READERS:
            raise RecipeError(f"{name!r} begins with {reader.verb!r}, which reads no file: {_pass(name)}")
        files = _located(reader, name, where)
        if isinstance(files, Path) and files.is_file() and _says_all(reader.verb, read_head(files)):
            reader = replace(reader, parameters={})
        return after_each(steps, call(reader, files, self.during([])), lambda _: self.during([]))[-1]


def _says_all(verb: str, head: bytes) -> bool:
    """Tell whether a file says itself what a reader of texts has to be told: units, compositions."""
    return (verb == "read_references" and is_library(head)) or (verb == "read_i0" and is_sdf(head))


def _text_reader(item: Input) -> str | None:
    """Return the verb that reads a text with such an input, by what it was."""
    if "reference: " in item.array and "absorption" in variables_of(item.array):
        return "read_references"
    return "read_i0" if item.array.startswith("<array i0 ") else None


def _located(reader: Step, name: str, where: Path) -> Any:
    """Return the file that is given, or the paths of a reader's files in a folder, which have to be there."""
    if where.is_file():
        return where
    files = reader.files or ()
    named = {"": files} if isinstance(files, str) else dict(files if isinstance(files, Mapping) else enumerate(files))
    paths = {key: where / Path(str(file)).name for key, file in named.items()}
    missing = [path.name for path in paths.values() if not path.is_file() and not any(where.glob(path.name))]
    if missing or not paths:
        raise RecipeError(f"{name!r} was read from {', '.join(missing)}, which is not in {where}: {_pass(name)}")
    if isinstance(files, str):
        return paths[""]
    return paths if isinstance(files, Mapping) else [*paths.values()]


def _pass(name: str) -> str:
    return f"pass inputs={{{name!r}: array or path}}, on the command line --input '{name}=PATH'"
