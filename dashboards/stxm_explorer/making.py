"""Files that are made in the background: packed to be downloaded, or written into the folder that the server has for them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stxm_explorer.calls import script
from stxm_explorer.exports import Item
from stxm_explorer.jobs import Job
from stxm_explorer.messages import message, said
from stxm_explorer.outputs import Outputs
from stxm_explorer.store import Store
from xstxm.errors import OptionError, StxmError, heard

COMMENT = (
    "Makes the files that the explorer exported; run it in the folder that it serves: they come into a folder there."
)


@dataclass(frozen=True, eq=False)
class Made:
    """What became of a file: how large it is, what its format had no room for, or why there is none."""

    item: Item
    size: int = 0
    said: tuple[str, ...] = ()
    failed: str = ""


@dataclass(frozen=True, eq=False)
class Package:
    """Files that were made; with their bytes where they are to be downloaded."""

    made: tuple[Made, ...]
    name: str = ""
    data: io.BytesIO | None = None


def packed(store: Store, outputs: Outputs, items: Sequence[Item], stem: str, job: Job) -> Package:
    """Make files for a download; several, or a folder, are one .zip with the script that makes them.

    Raises
    ------
    StxmError
        There is only one file and it cannot be made, or they are larger than a page can send.
    """
    if len(items) == 1 and not items[0].file.endswith((".zarr", ".toml")):
        with heard() as told:
            data = outputs.package(items[0].file, lambda path: store.write(items[0].call, path.parent, job))
        return Package((Made(items[0], data.getbuffer().nbytes, _plain(told, store)),), items[0].file, data)
    made: list[Made] = []

    def fill(folder: Path) -> None:
        made.extend(_each(store, items, job, lambda item: _into(store, item, folder, job)))
        (folder / "export.py").write_text(script([item.call for item in items], COMMENT), encoding="utf-8")

    data = outputs.package(f"{stem}.zip", fill)
    return Package(tuple(made), f"{stem}.zip", data)


def written(store: Store, outputs: Outputs, items: Sequence[Item], overwrite: bool, job: Job) -> Package:
    """Write files into the folder of the server."""

    def write(item: Item) -> int:
        place = outputs.write(item.file, lambda path: store.write(item.call, path.parent, job), overwrite=overwrite)
        return _size(place)

    return Package(tuple(_each(store, items, job, write)))


@dataclass(frozen=True, eq=False)
class RecipeFile:
    """A recipe as text and as a download: alone, or with large inputs beside it in a .zip."""

    text: str
    name: str
    data: io.BytesIO


def recipe_file(store: Store, outputs: Outputs, item: Item) -> RecipeFile:
    """Return the file of a recipe."""
    texts: list[str] = []

    def write(folder: Path) -> None:
        store.write(item.call, folder)
        texts.append((folder / item.file).read_text(encoding="utf-8"))

    name = item.file
    try:
        data = outputs.package(name, lambda path: write(path.parent))
    except OptionError:
        name = f"{name.removesuffix('.toml')}.zip"
        data = outputs.package(name, write)
    return RecipeFile(texts[-1], name, data)


def _each(store: Store, items: Sequence[Item], job: Job, make: Callable[[Item], int]) -> list[Made]:
    """Make one file after the other; one that cannot be made keeps none of the others back."""
    made: list[Made] = []
    for number, item in enumerate(items, 1):
        with heard() as told:
            try:
                made.append(Made(item, make(item), _plain(told, store)))
            except StxmError as error:
                made.append(Made(item, 0, _plain(told, store), message(error, store.root)))
        job.step(number / len(items))
    return made


def _into(store: Store, item: Item, folder: Path, job: Job) -> int:
    store.write(item.call, folder, job)
    return _size(folder / item.file)


def _size(path: Path) -> int:
    return sum(part.stat().st_size for part in [path, *path.rglob("*")] if part.is_file())


def _plain(told: Sequence[Warning], store: Store) -> tuple[str, ...]:
    """Return what was warned of, each once, without folders of the server."""
    return tuple(dict.fromkeys(said(str(one), store.root) for one in told))
