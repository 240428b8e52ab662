"""How commands open their files: the options of `xstxm.open_stack`, declared once."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any

import typer

from xstxm.io.formats import FORMATS

_PANEL = "Reading files that leave something out"
_ENDINGS = [ending for one in FORMATS for ending in re.findall(r"\.\w+", one.files)]

StackFile = Annotated[
    str,  # Path takes a slash of a URL
    typer.Argument(
        metavar="FILE",
        help=f"Stack: a file ({', '.join(dict.fromkeys(_ENDINGS))}), a pattern, a folder of files of one energy each, or a URL.",
        show_default=False,
    ),
]


def _option(help: str, **more: Any) -> Any:
    return typer.Option(help=help, rich_help_panel=_PANEL, **more)


def _reader(
    *,
    energies: Annotated[str | None, _option("Text file of the energies of images, one in each line.")] = None,
    kind: Annotated[str | None, _option("What the numbers are: intensity or optical_density.")] = None,
    pixel_size: Annotated[str | None, _option('Size of a pixel, e.g. "50 nm".')] = None,
    region: Annotated[int | None, _option("Region of an SDF scan, from 0.")] = None,
    entry: Annotated[str | None, _option("Entry of an NXstxm file, e.g. entry1.")] = None,
    detector: Annotated[str | None, _option("Detector or channel that becomes the intensity.")] = None,
    axes: Annotated[str | None, _option("Axes of a Data Exchange file in their order, e.g. x:y:energy.")] = None,
) -> None:
    """Declare the options."""


def reads_a_stack(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `open_stack`; those that are given come to it as the mapping `reader`."""
    own, shared = (inspect.signature(one, eval_str=True).parameters for one in (command, _reader))

    @functools.wraps(command)
    def run(**given: Any) -> None:
        asked = {name: given.pop(name) for name in shared}
        command(**given, reader={name: value for name, value in asked.items() if value is not None})

    named = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for name, one in own.items() if name != "reader"]
    both = [*named, *shared.values()]
    run.__signature__ = inspect.Signature(both)  # type: ignore[attr-defined]  # of which typer makes the options
    run.__annotations__ = {one.name: one.annotation for one in both}
    return run
