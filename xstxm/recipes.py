"""Recipes: an analysis as a file, taken from the record of its result, replayed on other stacks."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import xarray as xr

from xstxm._digests import digest
from xstxm._recipe_arrays import (
    Given,
    as_kind,
    is_listed,
    listed,
    read_beside,
    unlisted,
    write_beside,
)
from xstxm._recipe_record import Collected, Input, Step, split, tell_unrecorded, verbs
from xstxm._replay import Inputs, after_each
from xstxm.errors import CorruptFileError, RecipeError, RecipeWarning, shown, warn
from xstxm.io._toml import plain, read_toml, write_toml
from xstxm.provenance import entries

__all__ = ["Input", "Recipe", "Step"]

_FORMAT = 1
_EXPECTED = "a recipe that xstxm saved"


@dataclass(frozen=True, eq=False)
class Recipe:
    """The steps of an analysis with their parameters and inputs.

    Made by `Recipe.from_result`, kept by `save`, read by `Recipe.load`, replayed by `apply`. A recipe calls recorded public
    functions of xstxm and nothing else.

    Parameters
    ----------
    steps
        The calls, in their order.
    inputs
        The arrays that they need besides the stack, by name.
    reader
        How the file of the stack was opened; `apply` is given a stack, the command line opens files alike.
    version
        Of xstxm, when the analysis was done.
    folder
        Where files of inputs are looked for; that of the recipe's own file.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)[["intensity"]]
    >>> references = xstxm.testing.simulate_references()
    >>> maps = xstxm.phase_map(xstxm.optical_density(stack), references)
    >>> recipe = xstxm.Recipe.from_result(maps, inputs={"references": references})
    >>> recipe.apply(stack).equals(maps)
    True
    """

    steps: tuple[Step, ...]
    inputs: Mapping[str, Input] = field(default_factory=dict)
    reader: Step | None = None
    version: str = ""
    folder: Path | None = None

    @classmethod
    def from_result(cls, result: xr.DataArray | xr.Dataset, inputs: Mapping[str, Given] | None = None) -> Recipe:
        """Return the recipe of a result, from the record that it carries.

        Parameters
        ----------
        result
            What a verb of xstxm returned, or that read back from a file.
        inputs
            Arrays that steps were given besides the stack, by the names of the parameters: they become part of the recipe.
            Of those left out, the recipe keeps how they were read from a file or made from the stack; without either, they
            have to be passed to `apply`.

        Returns
        -------
        Recipe
            From the first step after the reader to the last. Eager on `inputs`.

        Raises
        ------
        RecipeError
            No step is recorded, a step is no public function, or `inputs` are not what the steps were given.

        Warns
        -----
        RecipeWarning
            The stack changed between two steps by other means, or a step joins several stacks: the recipe begins after it.
        """
        record = entries(result)
        reader, own, before = split(record)
        if not own:
            raise RecipeError(
                "the result has no recorded step: give what a verb of xstxm returned, attributes included"
            )
        tell_unrecorded(record)
        collected = Collected(record, before, inputs or {})
        steps = tuple(collected.step(entry, before + k) for k, entry in enumerate(own))
        if unused := [name for name in collected.given if name not in collected.used]:
            names = ", ".join(map(repr, collected.inputs)) or "none"
            raise RecipeError(f"no step was given {', '.join(map(repr, unused))}: the inputs are {names}")
        return cls(steps, collected.inputs, reader, str(own[-1].get("version", "")))

    def apply(self, stack: xr.DataArray | xr.Dataset, inputs: Mapping[str, Any] | None = None) -> Any:
        """Return what the last step returns, of another stack.

        Parameters
        ----------
        stack
            What the first step is given.
        inputs
            Arrays, or paths of their files, by name, for those that the recipe does not hold, or in place of its own.

        Returns
        -------
        DataArray, Dataset or DataTree
            With a record of its own. Lazy where the steps are.

        Raises
        ------
        RecipeError
            An input is missing, or this version of xstxm lacks a step or a parameter.

        Warns
        -----
        RecipeWarning
            An input is not the recorded one.
        """
        ready = self.with_inputs(inputs)
        held = Inputs(ready.inputs, {}, ready.folder)
        return after_each(ready.steps, stack, held.during)[-1]

    def with_inputs(self, inputs: Mapping[str, Any] | None = None) -> Recipe:
        """Return the recipe with all inputs that do not depend on the stack. Eager on them.

        Parameters
        ----------
        inputs
            As in `apply`.

        Returns
        -------
        Recipe
            Its `digest` tells which inputs it has.
        """
        held = Inputs(self.inputs, inputs or {}, self.folder)
        found = {name: held.fixed(name) for name in self.inputs}
        return replace(self, inputs={name: _with_data(name, item, found[name]) for name, item in self.inputs.items()})

    @property
    def digest(self) -> str:
        """Digest of steps, parameters, inputs and reader: the same for recipes that do the same."""
        table = self._table()
        for name, item in self.inputs.items():
            if item.data is not None:
                table["inputs"][name] = {"digest": digest(item.data)}
        table.pop("version")
        return f"sha256:{hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()}"

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the recipe as TOML, and inputs of more than 20 000 numbers as netCDF beside it. Eager.

        Parameters
        ----------
        path
            The file, e.g. ``"recipe.toml"``; large inputs go to ``recipe-<input>.nc``.
        overwrite
            Replace files that exist.

        Returns
        -------
        Path
            Of the recipe. Each file is written completely or not at all.

        Raises
        ------
        FileExistsError
            A file is there.
        """
        path = Path(path).expanduser()
        table = {"xstxm_recipe": _FORMAT, "digest": self.digest, **self._table()}
        beside: dict[Path, Given] = {}
        for name, item in self.inputs.items():
            if item.data is None:
                continue
            entry = table["inputs"][name]
            entry.update(kind=type(item.data).__name__, digest=digest(item.data))
            if isinstance(item.data, xr.DataArray) and item.data.name is not None:
                entry["name"] = str(item.data.name)
            if is_listed(item.data):
                entry["arrays"] = listed(item.data)
            else:
                entry["file"] = f"{path.stem}-{quote(name.replace(' ', '-'), safe='')}.nc"
                beside[path.parent / entry["file"]] = item.data
        there = [file.name for file in (path, *beside) if file.exists()]
        if there and not overwrite:
            raise FileExistsError(f"{', '.join(there)} exists: pass overwrite=True to replace, or another name")
        for file, data in beside.items():
            write_beside(data, file)
        return write_toml(table, path, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """Read a recipe.

        Parameters
        ----------
        path
            What `save` wrote.

        Returns
        -------
        Recipe
            With `folder`, where files of its inputs are looked for. Eager.

        Raises
        ------
        FileFormatError, CorruptFileError
            It is no recipe, or a broken one.
        RecipeError
            A step is no recorded public function of this version of xstxm.

        Warns
        -----
        RecipeWarning
            Another version of xstxm wrote it, it was edited, or an input is not what its digest says.
        """
        path = Path(path).expanduser()
        table = _parsed(path)
        try:
            reader = _step(table["reader"]) if "reader" in table else None
            steps = tuple(_step(item) for item in table["steps"])
            inputs = {name: _input(name, item, path) for name, item in table.get("inputs", {}).items()}
            recipe = cls(steps, inputs, reader, str(table["version"]), path.resolve().parent)
            edited = table.get("digest", recipe.digest) != recipe.digest
            same_inputs = all(item.digest == table["inputs"][name].get("digest") for name, item in inputs.items())
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            do = "restore the file, or save the recipe again"
            raise CorruptFileError(path, _EXPECTED, f"something else ({shown(str(error))})", do) from error
        import xstxm

        if recipe.version != xstxm.__version__:
            was = f"{path.name} is of xstxm {recipe.version}, this is {xstxm.__version__}"
            warn(f"{was}: results may differ", RecipeWarning)
        if edited and same_inputs:
            warn(f"{path.name} was edited: it does not do what it was saved to do", RecipeWarning)
        return recipe

    def _table(self) -> dict[str, Any]:
        """Return the recipe without the numbers of its inputs."""
        table: dict[str, Any] = {"version": self.version}
        if self.reader is not None:
            table["reader"] = _step_table(self.reader)
        table["steps"] = [_step_table(step) for step in self.steps]
        table["inputs"] = {name: _input_table(item) for name, item in self.inputs.items()}
        return table

    def __repr__(self) -> str:
        lines = [f"<xstxm.Recipe of {len(self.steps)} steps, xstxm {self.version}>"]
        reader = [("read", self.reader)] if self.reader else []
        lines += [f"  {k:>4}  {_said(step)}" for k, step in [*reader, *enumerate(self.steps, 1)]]
        return "\n".join([*lines, *(f"  input {name}: {_origin(item)}" for name, item in self.inputs.items())])


def _with_data(name: str, item: Input, data: Given | None) -> Input:
    if data is None or data is item.data:
        return item
    found = digest(data)
    if item.digest not in (None, found):
        warn(
            f"the input {name!r} is not the recorded one, {item.array}: its numbers, axes or units differ",
            RecipeWarning,
        )
    return replace(item, data=data, digest=found)


def _step_table(step: Step) -> dict[str, Any]:
    optional = {"takes": step.takes, "files": plain(step.files) if step.files is not None else None}
    given = {name: value for name, value in optional.items() if value is not None}
    return {"verb": step.verb, **given, "parameters": plain(step.parameters)}


def _input_table(item: Input) -> dict[str, Any]:
    optional = {"digest": item.digest, "after": item.after, "steps": [_step_table(step) for step in item.steps] or None}
    return {"array": item.array, **{name: value for name, value in optional.items() if value is not None}}


def _parsed(path: Path) -> dict[str, Any]:
    return read_toml(path, "xstxm_recipe", _FORMAT, what="a recipe", do="give a file that Recipe.save wrote")


def _step(table: Mapping[str, Any]) -> Step:
    verb, takes, files = table["verb"], table.get("takes"), table.get("files")
    if not isinstance(verb, str) or verb not in verbs():
        raise RecipeError(f"a recipe cannot call {shown(verb)}: its steps are recorded public functions of xstxm")
    if not isinstance(table["parameters"], dict) or not isinstance(takes, str | None):
        raise TypeError(f"parameters of {verb}")
    if not isinstance(files, str | dict | list | None):
        raise TypeError(f"files of {verb}")
    return Step(verb, table["parameters"], takes, files)


def _input(name: str, table: Mapping[str, Any], path: Path) -> Input:
    steps = tuple(_step(item) for item in table.get("steps", []))
    item = Input(str(table["array"]), table.get("digest"), steps, table.get("after"))
    if item.after is not None and not isinstance(item.after, int):
        raise TypeError(f"after of {name}")
    if "arrays" in table:
        labelled = unlisted(table["arrays"], path, f"the input {name!r}")
    elif "file" in table:
        labelled = read_beside(path.parent / Path(table["file"]).name)
    else:
        return item
    data = as_kind(labelled, table["kind"], table.get("name"))
    if digest(data) != item.digest:
        warn(f"{path.name}: the input {name!r} is not what its digest says, the file was changed", RecipeWarning)
    return replace(item, data=data, digest=digest(data))


def _said(step: Step) -> str:
    """Return a step as a call, defaults left out."""
    defaults = {name: item.default for name, item in inspect.signature(verbs()[step.verb]).parameters.items()}
    given = {name: value for name, value in step.parameters.items() if name not in defaults or defaults[name] != value}
    return f"{step.verb}({', '.join(f'{name}={_shown(value)}' for name, value in given.items())})"


def _shown(value: Any) -> str:
    return str(value["input"]) if isinstance(value, Mapping) and "input" in value else shown(value)


def _origin(item: Input) -> str:
    if item.data is not None:
        return f"{item.array}, in the recipe"
    made = " -> ".join(step.verb for step in item.steps)
    if item.after is not None:
        return f"{item.array}, made from the stack after step {item.after}" + (f": {made}" if made else "")
    return f"{item.array}, {made} of {shown(item.steps[0].files)}" if item.steps else f"{item.array}, to be passed"
