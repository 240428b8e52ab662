"""Calls of xstxm as values: one description that the store runs and the script prints.

Two calls are the same if they read the same but for the names of results, so the text of the script that makes a result is its
key in the cache, and what is on the screen is what the script makes.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WIDTH = 100
"""Characters after which a call takes a line for each argument."""

IN_MEMORY = 1_500_000_000
"""Bytes up to which a result is held in memory; a larger one stays lazy."""

FOLDER = "exported"
"""What a script writes into, so that no file lies among those that it reads."""

_MODULES = {"xstxm": "import xstxm", "xr": "import xarray as xr", "measure": "from skimage import measure"}


class Missing(Exception):
    """A choice that has to be made first; its text says which."""


@dataclass(frozen=True)
class File:
    """A file below the root folder."""

    name: str


@dataclass(frozen=True)
class Upload(File):
    """A file that was sent to the page; a script says so, since it is not below the root folder."""


@dataclass(frozen=True)
class Output:
    """A file that is written: into the output folder, or to be downloaded."""

    name: str


@dataclass(frozen=True)
class Given:
    """An array that whoever opened the explorer gave it, by its name in the script."""

    name: str


@dataclass(frozen=True)
class Function:
    """A public function that is given to another one."""

    name: str


@dataclass(frozen=True, eq=False)
class Call:
    """A public function with its arguments, which may be calls, alone or in lists and tables.

    A function that begins with a dot is a method of the first argument; ``[]`` takes one item of it, and no function at all
    leaves it as it is.
    """

    function: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    """Of the result in a script; without one, the call is made for what it does."""

    def __getitem__(self, key: str | list[str]) -> Call:
        return Call("[]", (self, key), name=key if isinstance(key, str) else "")

    @property
    def passing(self) -> bool:
        """Whether the result is made again when it is needed: a drawing or another form of one that is kept."""
        return self.function in ("xstxm.compute", ".to_dataframe") or self.function.startswith("xstxm.plot.")

    def parts(self) -> Iterator[Any]:
        """Give every call and file in the arguments, those inside lists and tables too."""
        yield from _leaves([*self.arguments, *self.options.values()])

    def files(self) -> set[File]:
        """Return the files that are read, by this call or on the way to it."""
        return {part for call in ordered([self]) for part in call.parts() if isinstance(part, File)}


def call(function: str, *arguments: Any, name: str = "", **options: Any) -> Call:
    """Return a call of xstxm."""
    prefix = "" if function.startswith((".", "xr.")) else "xstxm."
    return Call(prefix + function, arguments, options, name)


def ordered(calls: Sequence[Call]) -> list[Call]:
    """Return calls and all that they need, each after what it needs, equal ones once."""
    found: dict[int, Call] = {}

    def visit(wanted: Call) -> None:
        if id(wanted) not in found:
            for part in wanted.parts():
                if isinstance(part, Call):
                    visit(part)
            found[id(wanted)] = wanted

    for wanted in calls:
        visit(wanted)
    return [*found.values()]


def script(calls: Sequence[Call], comment: str = "", *, named: bool = True) -> str:
    """Return the Python script that makes some results; it reads from the root folder, and writes into a folder in it.

    It reads a stack into memory by the rule of the server, whatever that has there: one choice, one script.
    Where it is not read but compared, the results are not `named`: what a field is called changes no number.
    """
    names: dict[int, str] = {}
    lines: dict[str, str] = {}
    body: list[str] = []
    steps = ordered(calls)
    parts = [part for each in steps for part in each.parts()]
    writes = any(isinstance(part, Output) for part in parts)
    given = {part.name for part in parts if isinstance(part, Given)}
    taken = {*_MODULES, *keyword.kwlist, *given, *(("output", "Path") if writes else ())}
    for each in steps:
        text = _expression(each, names)
        if (
            text in lines
            or each.function == ""
            or (each.function == "[]" and not any(each is wanted for wanted in calls))
        ):
            names[id(each)] = lines.get(text, text)
            continue
        variable = _variable(each.name if named else "result", taken) if each.name else ""
        taken.add(variable)
        names[id(each)] = lines[text] = variable
        body.append(f"{variable} = {text}" if variable else text)
        if each.function == "xstxm.open_stack":
            body += [f"if {variable}.nbytes < {IN_MEMORY:_}:", f"    {variable}.load()"]
    folder = [f"output = Path({FOLDER!r})", "output.mkdir(exist_ok=True)"] if writes else []
    used = ["from pathlib import Path", ""] if writes else []
    used += [line for module, line in _MODULES.items() if any(f"{module}." in text for text in body)]
    sent = sorted({part.name for part in parts if isinstance(part, Upload)})
    notes = [f"# {repr(name)[1:-1]} was sent to the page: put it into the folder where this is run" for name in sent]
    return "\n".join([*([f'"""{comment}"""', ""] if comment else []), *used, "", *notes, *folder, *body, ""])


def _expression(call: Call, names: Mapping[int, str]) -> str:
    arguments = [_literal(argument, names) for argument in call.arguments]
    if call.function == "":
        return arguments[0]
    if call.function == "[]":
        return f"{arguments[0]}[{arguments[1]}]"
    head = f"{arguments.pop(0)}{call.function}" if call.function.startswith(".") else call.function
    parts = [*arguments, *(f"{name}={_literal(value, names)}" for name, value in call.options.items())]
    line = f"{head}({', '.join(parts)})"
    return line if len(line) < WIDTH or not parts else f"{head}(\n    " + ",\n    ".join(parts) + ",\n)"


def _literal(value: Any, names: Mapping[int, str]) -> str:
    if isinstance(value, Call):
        return names[id(value)]
    if isinstance(value, Given | Function):
        return value.name
    if isinstance(value, Output):
        return f"output / {value.name!r}"
    if isinstance(value, File):
        return repr(value.name)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_literal(item, names)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_literal(item, names) for item in value) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(_literal(item, names) for item in value) + ("," if len(value) == 1 else "") + ")"
    return repr(value)


def _leaves(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, Mapping):
            yield from _leaves([*value.values()])
        elif isinstance(value, list | tuple):
            yield from _leaves(value)
        elif isinstance(value, Call | File | Given | Output):
            yield value


def _variable(name: str, taken: set[str]) -> str:
    """Return a name that Python takes and no other result has."""
    word = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name).strip("_").lower()
    word = f"_{word}" if not word or word[0].isdigit() else word
    return word if word not in taken else next(w for k in range(2, len(taken) + 3) if (w := f"{word}_{k}") not in taken)
