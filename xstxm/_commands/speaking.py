"""How commands speak: results, progress, warnings, errors and interrupts, in the words of the command line."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import typer
from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from typer.core import TyperGroup, TyperOption

from xstxm.errors import StxmError

out = Console()
notes = Console(stderr=True)

INTERRUPTED = 130
COMPILING = "compiling: these options are used for the first time, later runs start at once"
_TROUBLE = {"diff": 2}
"""Exit status of an error where it is not 1, which `diff` keeps for a difference."""
_KEYWORD = re.compile(r"(?<![\w.('\"=-])([a-z]\w*)=(True\b|(?=[\s,;:)]|$))?")
_CALL = re.compile(r"(?<![\w.])([a-z]\w*)\(([^()]*)\)")


class Commands(TyperGroup):
    """Commands whose errors, warnings and interrupts are lines."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; an error is one line on stderr."""
        try:
            with _plain_warnings(partial(self._worded, ctx)):
                return super().invoke(ctx)
        except KeyboardInterrupt as error:
            note("interrupted")
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError:  # somebody stopped reading what is printed
            raise
        except (StxmError, OSError) as error:
            note(f"error: {self._worded(ctx, _sentence(error))}", style="red")
            raise typer.Exit(_TROUBLE.get(ctx.invoked_subcommand, 1)) from error

    def _worded(self, ctx: Any, sentence: str) -> str:
        """Return a sentence in the words of the command that runs."""
        command = self.commands.get(ctx.invoked_subcommand)
        options = [one for one in command.params if isinstance(one, TyperOption)] if command else []
        return in_words_of({str(one.name): max(one.opts, key=len) for one in options}, sentence)


def say(text: str) -> None:
    """Print a line of results as it is."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def note(text: str, *, style: str = "") -> None:
    """Print a line on stderr, where it is no part of the results."""
    notes.print(text, markup=False, highlight=False, soft_wrap=True, style=style)


def progress(*columns: ProgressColumn) -> Progress:
    """Return a line that moves while something works, on stderr where that is a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), *columns, TimeElapsedColumn())
    return Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal)


@contextmanager
def compiling_is_told(tell: Callable[[str], None] = note) -> Iterator[None]:
    """Say so, once, when a kernel is compiled that no earlier run has left compiled."""
    from numba.core import event

    said: list[str] = []

    class Told(event.Listener):
        def on_start(self, event: object) -> None:
            if not said:
                said.append(COMPILING)
                tell(COMPILING)

        def on_end(self, event: object) -> None:
            pass

    with event.install_listener("numba:compile", Told()):
        yield


def in_words_of(options: Mapping[str, str], sentence: str) -> str:
    """Return a sentence of the library with options where it names parameters that the command has.

    ``overwrite=True`` becomes ``--overwrite``, ``pixel_size="50 nm"`` becomes ``--pixel-size "50 nm"``, and
    ``sel_energy("510 eV", "545 eV")`` becomes ``--sel-energy "510 eV" "545 eV"``.
    """

    def option(found: re.Match[str]) -> str:
        if found[1] not in options:
            return found[0]
        return options[found[1]] + (" " if found[2] is None else "")

    def call(found: re.Match[str]) -> str:
        return f"{options[found[1]]} {found[2].replace(',', '')}" if found[1] in options else found[0]

    return _CALL.sub(call, _KEYWORD.sub(option, sentence))


def _sentence(error: StxmError | OSError) -> str:
    """Return what went wrong, without the number that an operating system gives it."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror.lower()}"
    return str(error)


@contextmanager
def _plain_warnings(worded: Callable[[str], str]) -> Iterator[None]:
    """Print each warning once, without the line of code that it came from."""
    told: set[str] = set()

    def show(message: Warning | str, *where: Any, **how: Any) -> None:
        text = worded(" ".join(str(message).split()))
        if text not in told:
            told.add(text)
            note(f"warning: {text}", style="yellow")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
