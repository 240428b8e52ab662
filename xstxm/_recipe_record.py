"""From the record of a result to the steps and inputs of a recipe."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from xstxm._digests import digest
from xstxm._recipe_arrays import Given
from xstxm.errors import OptionError, RecipeError, RecipeWarning, shown, warn

Entry = Mapping[str, Any]

READERS = ("open_stack", "read_electrochemistry", "read_i0", "read_references")
"""Verbs that read a file."""
_ARRAY = re.compile(r"<(array|dataset)\b.*\(.*\).*>", re.DOTALL)
_OTHER = re.compile(r"<\w+( \(.*\))?>", re.DOTALL)
_SIZES = re.compile(r"\(([^()]*)\)")


@dataclass(frozen=True)
class Step:
    """One call of a verb: parameters are plain values, inputs by name."""

    verb: str
    parameters: Mapping[str, Any]
    takes: str | None = None
    """Name of the array that the verb was given where a Dataset holds it."""
    files: str | Mapping[str, str] | Sequence[str] | None = None
    """Names of the files that a reader was given."""


@dataclass(frozen=True, eq=False)
class Input:
    """An array that a step needs besides the stack: itself, or how it is made."""

    array: str
    """What it is, in words."""
    digest: str | None = None
    steps: tuple[Step, ...] = ()
    """How it was made: from a file, the first step, or from what the recipe had after `after` steps."""
    after: int | None = None
    data: Given | None = None


def verbs() -> dict[str, Callable[..., Any]]:
    """Return the functions that a recipe may call: the recorded public ones."""
    import xstxm

    public = {name: getattr(xstxm, name) for name in xstxm.__all__}
    return {name: verb for name, verb in public.items() if inspect.isfunction(verb) and hasattr(verb, "__wrapped__")}


def split(entries: Sequence[Entry]) -> tuple[Step | None, list[Entry], int]:
    """Return the reader of a record, the entries that follow, and how many come before those."""
    first = max((k + 1 for k, entry in enumerate(entries) if _is_start(entry)), default=0)
    start = entries[first - 1] if first else None
    if start is None:
        return None, list(entries), 0
    if start["operation"] in READERS:
        return Step(start["operation"], _of_reader(start), files=start["input"]), list(entries[first:]), first
    warn(
        f"{start['operation']} makes one of several stacks, and a recipe is applied to one: this recipe begins after it",
        RecipeWarning,
    )
    return None, list(entries[first:]), first


def _is_start(entry: Entry) -> bool:
    """Tell whether a step was given something else than one stack."""
    return entry.get("operation") in (*READERS, "open_tree") or isinstance(entry.get("input"), list | Mapping)


def _of_reader(entry: Entry) -> dict[str, Any]:
    return {name: value for name, value in _parameters(entry).items() if value is not None}


def _parameters(entry: Entry) -> dict[str, Any]:
    found = entry.get("parameters")
    if not isinstance(found, Mapping):
        raise RecipeError(
            f"the record of {shown(entry.get('operation'))} has no parameters: it was not written by xstxm"
        )
    return dict(found)


def tell_unrecorded(entries: Sequence[Entry]) -> None:
    """Warn where what a step was given is not what the one before returned."""
    for before, after in itertools.pairwise(entries):
        gave, took = before.get("output"), after.get("input")
        if isinstance(gave, str) and isinstance(took, str) and not _may_hold(gave, took):
            names = f"{before['operation']} and {after['operation']}"
            do = "a recipe cannot repeat that, only what verbs of xstxm do, such as crop and sel_energy"
            warn(f"between {names} {gave} became {took}: {do}", RecipeWarning)


def _may_hold(whole: str, part: str) -> bool:
    """Tell from descriptions whether one is the other, or is selected from it by name."""
    new = set(variables_of(part)) - set(variables_of(whole)) if whole.startswith("<dataset") else set()
    return _sizes(part) <= _sizes(whole) and not new


def _sizes(text: str) -> set[str]:
    found = _SIZES.search(text)
    return set(found.group(1).split(", ")) - {""} if found else set()


def variables_of(text: str) -> list[str]:
    """Return the variables of a Dataset from its description."""
    return text.rstrip(">").partition(") with ")[2].split(", ") if ") with " in text else []


@dataclass
class Collected:
    """The inputs that are found while the steps of a record are gone through."""

    main: Sequence[Entry]
    before: int
    given: Mapping[str, Given]
    inputs: dict[str, Input] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def step(self, entry: Entry, known: int) -> Step:
        """Return the step of an entry, which comes after `known` entries of the main record."""
        verb, took = str(entry.get("operation")), entry.get("input")
        if verb not in verbs():
            raise RecipeError(
                f"step {verb!r} is no verb of this version of xstxm: repeat the analysis with public functions"
            )
        defaults = inspect.signature(verbs()[verb]).parameters
        parameters = {
            name: self._value(name, verb, value, known)
            for name, value in _parameters(entry).items()
            if value is not None or name not in defaults or defaults[name].default is not None
        }
        array = re.match(r"<array (.*?) \(", took) if isinstance(took, str) and verb not in READERS else None
        files = took if verb in READERS else None
        return Step(verb, parameters, takes=array.group(1) if array else None, files=files)

    def _value(self, name: str, verb: str, value: Any, known: int) -> Any:
        if isinstance(value, str) and _ARRAY.fullmatch(value):
            value = {"array": value}
        elif isinstance(value, str) and _OTHER.fullmatch(value):
            raise RecipeError(
                f"{name!r} of {verb} was {value}, of which the record holds nothing: give what a recipe can hold"
            )
        if isinstance(value, Mapping) and "array" in value:
            return {"input": self._input(name, verb, value, known)}
        if isinstance(value, Mapping):
            return {key: self._value(f"{name}.{key}", verb, item, known) for key, item in value.items()}
        return [self._value(name, verb, item, known) for item in value] if isinstance(value, list) else value

    def _input(self, name: str, verb: str, record: Entry, known: int) -> str:
        """Return the name of an input; the second of that name has a number."""
        told = record.get("digest")
        alike = [key for key in self.inputs if re.fullmatch(rf"{re.escape(name)}( \d+)?", key)]
        for key in alike:
            if told is not None and self.inputs[key].digest == told:
                return key
        key = f"{name} {len(alike) + 1}" if alike else name
        data = self._given(key, name, verb, told)
        after, steps = self._made_by(record.get("from") or [], known)
        if data is not None and (after is not None or len(steps) > 1):  # else a file in its place is read alike
            after, steps = None, []
        found = told if told or data is None else digest(data)
        self.inputs[key] = Input(str(record["array"]), found)
        chain = tuple(self.step(entry, known) for entry in steps)
        self.inputs[key] = Input(str(record["array"]), found, chain, after, data)
        return key

    def _given(self, key: str, name: str, verb: str, told: str | None) -> Given | None:
        """Return what the caller gave for an input. Eager."""
        for label in dict.fromkeys([key, name]):
            if label not in self.given:
                continue
            data = in_memory(label, self.given[label])
            if told is None or digest(data) == told:
                self.used.add(label)
                return data
            if label == key:
                raise RecipeError(
                    f"inputs[{label!r}] is not what {verb} was given (recorded {told[:18]}..., found "
                    f"{digest(data)[:18]}...): pass the same array, unchanged"
                )
        return None

    def _made_by(self, chain: Sequence[Entry], known: int) -> tuple[int | None, Sequence[Entry]]:
        """Return after which step of the recipe, and by which further ones, an array was made; or by which from a file."""
        shared = 0
        for one, other in zip(chain, self.main[:known], strict=False):
            if _without_from(one) != _without_from(other):
                break
            shared += 1
        if shared and shared >= self.before:
            return shared - self.before, chain[shared:]
        return None, chain if chain and chain[0].get("operation") in READERS else []


def _without_from(value: Any) -> Any:
    """Return an entry without the records of its arrays, which may have been cut."""
    if isinstance(value, Mapping):
        return {key: _without_from(item) for key, item in value.items() if not (key == "from" and "array" in value)}
    return [_without_from(item) for item in value] if isinstance(value, list) else value


def in_memory(name: str, given: Any) -> Given:
    """Return an input in memory, or say what to give. Eager."""
    if isinstance(given, np.ndarray):
        return given
    if isinstance(given, xr.DataArray | xr.Dataset):
        return given.compute()
    raise OptionError("inputs", {name: type(given).__name__}, "give a DataArray, a Dataset or an array for each name")
