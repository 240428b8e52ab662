"""Exceptions and warnings: every one says what was asked, what was found and what to do next.

Each class keeps its facts as attributes and builds its own sentence, so that the wording of the
library lives in this file and callers can react to the facts.
"""

from __future__ import annotations

import difflib
import math
import numbers
import shlex
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain, count
from pathlib import Path
from typing import Any, get_args

_LONG = 100
"""Most characters that a message spends on a value."""

_LISTENER: ContextVar[list[Warning] | None] = ContextVar("listener", default=None)
"""Who is told of warnings in this thread, instead of Python."""


class StxmError(Exception):
    """Base of all errors raised by xstxm."""

    def __init__(self, *facts: Any) -> None:
        super().__init__(*facts)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.__dict__.copy(), str(self)))

    def _say(self, sentence: str, **facts: Any) -> None:
        self.args = (sentence,)
        self.__dict__.update(facts)


def _rebuild(cls: type[StxmError], facts: dict[str, Any], sentence: str) -> StxmError:
    error = cls.__new__(cls)
    error._say(sentence, **facts)
    return error


def _names(names: Iterable[object]) -> str:
    return ", ".join(str(name) for name in names) or "none"


def _quoted(names: Iterable[object], last: str = "or") -> str:
    quoted = [repr(str(name)) for name in names]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} {last} {quoted[-1]}"


def shown(value: Any) -> str:
    """Return what a message shows of a value: arrays of any size by their shape, numbers as numbers, long things in short."""
    if hasattr(value, "sizes") and hasattr(value, "dims"):
        sizes = ", ".join(f"{dim}: {size}" for dim, size in value.sizes.items())
        return f"<{type(value).__name__} ({sizes})>" if sizes else repr(_plain(value))
    if getattr(value, "ndim", 0) and hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"<{type(value).__name__} {value.dtype} {value.shape}>"
    text = " ".join(repr(_plain(value)).split())
    return text if len(text) <= _LONG else f"{text[: _LONG - 20]} ... {text[-12:]}"


def _plain(value: Any) -> Any:
    """Return the number in a numpy number or an array without dimensions, anything else as it is."""
    alone = getattr(value, "ndim", None) == 0 and hasattr(value, "item")
    return value.item() if alone else value


class ChoiceError(StxmError, ValueError):
    """A word outside a closed set of choices."""

    def __init__(self, option: str, value: object, choices: Sequence[str]) -> None:
        close = difflib.get_close_matches(value, choices, n=1) if isinstance(value, str) else []
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        self._say(
            f"unknown {option} {shown(value)}: use {_quoted(choices)}{hint}",
            option=option,
            value=value,
            choices=tuple(choices),
        )


def check_choice(option: str, value: str, literal: Any) -> None:
    """Raise `ChoiceError` unless `value` is one of the words of a `Literal` alias."""
    choices = get_args(literal)
    if not isinstance(value, str) or value not in choices:
        raise ChoiceError(option, value, choices)


class OptionError(StxmError, ValueError):
    """An argument whose value makes no sense."""

    def __init__(self, option: str, value: object, expected: str) -> None:
        self._say(f"{option}={shown(value)}: {expected}", option=option, value=value, expected=expected)


def require_whole(option: str, value: object, least: int = 1, most: int | None = None, what: str = "") -> int:
    """Return a whole number within its limits, both included, or raise `OptionError`; 3.0 is 3, as in an array of no dimensions."""
    number = _real(value)
    if not (number.is_integer() and least <= number <= (math.inf if most is None else most)):
        within = f"of {least} or more" if most is None else f"from {least} to {most}"
        raise OptionError(option, value, f"give a whole number {within}{what and ', '}{what}")
    return int(_plain(value))


def require_number(
    option: str,
    value: object,
    what: str = "a number",
    *,
    least: float = -math.inf,
    most: float = math.inf,
    above: float | None = None,
    below: float | None = None,
    finite: bool = True,
) -> float:
    """Return a number from `least` to `most`, and between `above` and `below`, or raise `OptionError`."""
    number = _real(value)
    inside = least <= number <= most and (above is None or above < number) and (below is None or number < below)
    if not inside or (finite and math.isinf(number)):
        named = (("above", above), ("below", below), ("of at least", least), ("of at most", most))
        limits = [f"{word} {limit:g}" for word, limit in named if limit is not None and math.isfinite(limit)]
        raise OptionError(option, value, f"give {what} {' and '.join(limits)}".rstrip())
    return number


def n_bytes(size: object) -> float:
    """Return a size in bytes, a number or a text with a unit as "2 GB", NaN for anything else, "50" too."""
    if not isinstance(size, str):
        return _real(size)
    from dask.utils import parse_bytes

    try:
        said = size.strip()
        return float(parse_bytes(said)) if said[:1].isdigit() and said[-1:].isalpha() else math.nan
    except (ValueError, OverflowError):
        return math.nan


def size_text(n_bytes: float) -> str:
    """Return a size in powers of 1000: ``"1.02 GB"``."""
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6), ("kB", 3)):
        if n_bytes >= 10**power:
            return f"{n_bytes / 10**power:.4g} {unit}"
    return f"{n_bytes:.0f} B"


def _real(value: object) -> float:
    """Return a number as a float, NaN for anything else: True and "3" are no numbers."""
    value = _plain(value)
    named = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return float(value) if named else math.nan  # type: ignore[arg-type]


class SchemaError(StxmError, ValueError):
    """An object that lacks the dimensions, coordinates or variables of a stack, or has them wrong."""

    def __init__(self, sentence: str) -> None:
        self._say(sentence)


class MissingDimensionError(SchemaError):
    """A dimension is missing."""

    def __init__(self, dim: str, found: Iterable[object], do: str) -> None:
        found = tuple(str(name) for name in found)
        self._say(f"no dimension {dim!r} (found: {_names(found)}): {do}", dim=dim, found=found)


class MissingCoordinateError(SchemaError):
    """A coordinate is missing, of a dimension or beside it."""

    def __init__(self, coord: str, do: str = "") -> None:
        do = do or f"assign one first, e.g. .assign_coords({coord}=({coord!r}, values, {{'units': ...}}))"
        self._say(f"{coord!r} has no coordinate values: {do}", coord=coord)


class MissingVariableError(SchemaError):
    """A variable of the Dataset is missing and cannot be derived."""

    def __init__(self, name: str, found: Iterable[object], do: str) -> None:
        there = tuple(str(other) for other in found)
        known = [other for other in (*there, "optical_density") if other != name]
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        self._say(f"{name!r} is missing (found: {_names(there)}){hint}: {do}", name=name, found=there)


class UnitsError(StxmError, ValueError):
    """A unit that cannot be understood or used."""

    def __init__(self, sentence: str) -> None:
        self._say(sentence)


class MissingUnitsError(UnitsError):
    """A value came without a unit where guessing one would be wrong."""

    def __init__(self, what: str, do: str) -> None:
        self._say(f"{what} has no units: {do}", what=what)


class IncompatibleUnitsError(UnitsError):
    """A value came in units of another kind of quantity."""

    def __init__(self, what: str, found: str, wanted: str, do: str = "") -> None:
        do = do or f"give it in {wanted} or a unit that converts to it"
        self._say(
            f"{what} is in {found!r}, which does not convert to {wanted!r}: {do}",
            what=what,
            found=found,
            wanted=wanted,
        )


class NoStacksError(SchemaError):
    """A tree without a stack, or none of whose stacks can be used."""

    def __init__(self, reasons: Mapping[str, str], found: Iterable[object] = ()) -> None:
        said = f"none of {len(reasons)} stacks can be used: {'; '.join(by_reason(reasons))}"
        empty = f"the tree holds no stack (nodes: {_names(found)}): give nodes data variables, as xr.DataTree.from_dict(stacks)"
        self._say(said if reasons else empty, reasons=dict(reasons))


class EnergyRangeError(StxmError, ValueError):
    """Energies were asked for that are not there, or two energy axes do not meet."""

    def __init__(self, sentence: str) -> None:
        self._say(sentence)


class ReferenceSpectrumError(StxmError, ValueError):
    """Reference spectra that cannot be used."""

    def __init__(self, sentence: str, names: Sequence[str] = ()) -> None:
        self._say(sentence, names=tuple(names))


def store_by_spectra(source: Path | None = None) -> str:
    """Return what to type for a stack whose energies lie in several chunks, as `chunk_report`, warnings and errors say it."""
    if source is None:
        return 'xstxm.write_zarr(stack, "spectra.zarr")'
    stem = f"{source.stem}_spectra" if source.suffix == ".zarr" else source.stem
    names = chain([f"{stem}.zarr"], (f"{stem}_{number}.zarr" for number in count(2)))
    target = next(target for name in names if not (target := source.with_name(name)).exists())
    return f"xstxm convert {shlex.quote(str(source))} {shlex.quote(str(target))}"


STORE_BY_IMAGES = "take the file as it was measured, an image in a chunk; of a store by spectra `xstxm convert spectra.zarr images.hdf5` makes one"
"""What to do with a stack whose images lie in several chunks."""


class ChunkingError(StxmError, ValueError):
    """Chunks cut apart what is needed whole: the spectrum of a pixel, or the image of an energy."""

    def __init__(self, verb: str, dims: Sequence[str], n_chunks: int, size: str, limit: str, store: str) -> None:
        whole = ", ".join(f"{dim}=-1" for dim in dims)
        self._say(
            f"{verb} needs {' and '.join(map(repr, dims))} in one chunk, found {n_chunks} chunks of a {size} stack, too big to "
            f"rechunk unasked (limit {limit}): {store}, or call .chunk({whole}) first where all of it fits into memory",
            verb=verb,
            dims=tuple(dims),
            n_chunks=n_chunks,
        )


class DeviceError(StxmError, TypeError):
    """Arrays on a device, such as a GPU, that a verb does not work with, or that do not lie together.

    Attributes: `verb`, `found` (the package of each array on a device, by name), `others` (arrays that lie elsewhere).
    """

    def __init__(self, verb: str, found: Mapping[str, str], others: Sequence[str]) -> None:
        named = _quoted(found, "and")
        arrays = f"{named} {'is a' if len(found) == 1 else 'are'} {_names(dict.fromkeys(found.values()))} " + (
            "array" if len(found) == 1 else "arrays"
        )
        if others:
            where = f"{_quoted(others, 'and')} {'lies' if len(others) == 1 else 'lie'} elsewhere"
            do = ".as_numpy() brings a DataArray or Dataset to the host, .copy(data=cupy.asarray(array.data)) an array to the device"
            self._say(f"{verb} needs all images in one place: {arrays}, {where}; {do}", found=found, others=others)
        else:
            do = f".as_numpy() brings {'it' if len(found) == 1 else 'them'} to the host"
            self._say(f"{verb} works on numpy and dask arrays, {arrays}: {do}", found=found, others=others)
        self.verb = verb


class RecipeError(StxmError, ValueError):
    """An analysis whose record cannot be replayed, or a recipe that lacks an input."""

    def __init__(self, sentence: str) -> None:
        self._say(sentence)


class ClusterError(StxmError, RuntimeError):
    """Workers that cannot do what is asked of them, or went away."""

    def __init__(self, sentence: str) -> None:
        self._say(sentence)


def unfit_workers(reasons: Mapping[str, str], of: int) -> ClusterError:
    """Return what is said of workers by their addresses, with what keeps each from the work and what to do."""
    return ClusterError(f"{len(reasons)} of {of} workers cannot do it: {'; '.join(by_reason(reasons))}")


class FileFormatError(StxmError, OSError):
    """A file that is not what it was taken for."""

    def __init__(self, path: object, expected: str, found: str, do: str = "") -> None:
        name = Path(path).name if isinstance(path, str | Path) else str(path)
        self._say(
            f"{name}: expected {expected}, found {found}" + (f": {do}" if do else ""),
            path=str(path),
            expected=expected,
            found=found,
        )

    def __str__(self) -> str:
        return str(self.args[0])


class UnsupportedScanError(FileFormatError):
    """A scan that the reader knows and cannot turn into a stack."""


class CorruptFileError(FileFormatError):
    """A file that is broken or incomplete."""


class NoRoomError(StxmError, OSError):
    """A disk that is full, or a quota."""

    path: str
    needed: str
    free: str

    def __init__(self, path: Path, needed: str, free: str, then: str = "") -> None:
        self._say(
            f"{path.name}: there is no room for it in {path.parent}, where {free} are free"
            + (f" and it needs up to {needed}" if needed else "")
            + ": make room or give another folder. Nothing of it is left, and what was there before still is"
            + (f". {then}" if then else ""),
            path=str(path),
            needed=needed,
            free=free,
        )

    def __str__(self) -> str:
        return str(self.args[0])


class MissingDependencyError(StxmError, ImportError):
    """An optional package is needed."""

    def __init__(self, purpose: str, package: str, extra: str = "") -> None:
        install = f"'xstxm[{extra}]'" if extra else package
        self._say(
            f"{purpose} needs {package}, which is not installed: pip install {install}",
            package=package,
            extra=extra,
        )


class StxmWarning(UserWarning):
    """Base of all warnings raised by xstxm."""


class NonPositiveIntensityWarning(StxmWarning):
    """Counts of zero or less became NaN and are flagged."""


class ExtrapolationWarning(StxmWarning):
    """A spectrum was continued beyond its data, on request."""


class MetadataWarning(StxmWarning):
    """Metadata of a file is missing, doubtful or contradicts itself."""


class IncompleteWarning(MetadataWarning):
    """A file lacks frames, rows, points or chunks that it announces; what is there is read."""


class ConvergenceWarning(StxmWarning):
    """An iteration ended before it converged."""


class AlignmentWarning(StxmWarning):
    """Frames whose shift could not be found or may be less certain than it says, or stacks that do not lie on each other."""


class CollinearityWarning(StxmWarning):
    """Reference spectra that are so nearly mixtures of each other that no realistic measurement tells them apart."""


class NoiseWarning(StxmWarning):
    """What a fit leaves is much more, or much less, than the noise that was given; or the noise is not known."""


class RecipeWarning(StxmWarning):
    """A recipe does not repeat all that was done, or is replayed with other inputs or by another version."""


class SegmentationWarning(StxmWarning):
    """An image in which no particle was found."""


class PerformanceWarning(StxmWarning):
    """Something works, but slower or larger than it could."""


class LeftOutWarning(StxmWarning):
    """Nodes of a tree that a verb could not be applied to, each with the reason."""


def left_out_warning(reasons: Mapping[str, str], of: int) -> str:
    """Return what is said of the nodes of a tree that are left out."""
    return (
        f"{len(reasons)} of {of} nodes {'is' if len(reasons) == 1 else 'are'} left out: {'; '.join(by_reason(reasons))}. "
        "A node that is left out is empty and says why in its attribute left_out"
    )


def by_reason(reasons: Mapping[str, str]) -> list[str]:
    """Return names and reasons, those with the same reason together."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return [f"{_quoted(group, 'and')}: {reason}" for reason, group in names.items()]


def require_free(paths: Sequence[Path], overwrite: bool) -> None:
    """Refuse to replace what nobody said to replace.

    Raises
    ------
    FileExistsError
        One of the files or folders is there, and `overwrite` is off.
    """
    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        raise FileExistsError(f"{there[0]} exists: pass overwrite=True to replace it, or give another name")


@contextmanager
def heard() -> Iterator[list[Warning]]:
    """Take what xstxm warns of in this thread meanwhile, instead of Python, whose filters all threads share.

    Examples
    --------
    >>> with heard() as told:
    ...     warn("the energies of a.hdf5 have no unit", MetadataWarning)
    >>> [str(warning) for warning in told]
    ['the energies of a.hdf5 have no unit']
    """
    told: list[Warning] = []
    token = _LISTENER.set(told)
    try:
        yield told
    finally:
        _LISTENER.reset(token)


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line of the user's call: the first frame outside the package, and outside xarray.

    A reader is called by `xarray.open_dataset`, whose lines mean nothing to the user. Who listens with `heard` is told instead.
    """
    if (told := _LISTENER.get()) is not None:
        told.append(category(message))
        return
    package = str(Path(__file__).parent)
    frame, depth = sys._getframe(1), 2
    while frame.f_back is not None and (
        frame.f_code.co_filename.startswith(package) or frame.f_globals.get("__name__", "").startswith("xarray.")
    ):
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, category, stacklevel=depth)
