"""Images as they are sent to the browser: the part that is seen, with about as many pixels as the screen has for it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from bokeh.colors import RGB, named
from numpy.typing import NDArray

from xstxm.conventions import NO_SAMPLE, UNDECIDED
from xstxm.errors import SchemaError
from xstxm.plot import UNDECIDED_COLOR

Array: TypeAlias = NDArray[Any]
STRIPE_COLOR = "#5c5c5c"
_BAND = 64
"""Rows of an image that are made coarse at a time."""
_FAINTEST = 0.15
"""Opacity of the least sure pixel, which is still seen."""
_STRIPES, _STRIPE = 8, 3
"""Period and width of the stripes on what is undecided, in pixels of the screen."""


@dataclass(frozen=True)
class Window:
    """A rectangle on the sample, in the unit of the coordinates."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def width(self) -> float:
        """Length along x."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Length along y."""
        return self.top - self.bottom

    def holds(self, x: float, y: float) -> bool:
        """Return whether a point lies inside."""
        return self.left <= x <= self.right and self.bottom <= y <= self.top


@dataclass(frozen=True)
class Crop:
    """The pixels that are sent: `rows` and `columns` of the image, each block of `factor` (y, x) as one."""

    rows: slice
    columns: slice
    factor: tuple[int, int]
    window: Window

    @property
    def empty(self) -> bool:
        """Whether nothing of the image is seen."""
        return self.rows.start >= self.rows.stop or self.columns.start >= self.columns.stop

    def of(self, values: Array) -> Array:
        """Return the pixels of an upright image, not yet coarse."""
        return values[self.rows, self.columns]


def outer_edges(image: xr.DataArray) -> Window:
    """Return the outer edges of the pixels of an image (y, x)."""
    step = _step(image["x"]) or _step(image["y"]) or 1.0
    left, right = _edges(np.asarray(image["x"], dtype=float), step)
    bottom, top = _edges(np.asarray(image["y"], dtype=float), _step(image["y"]) or step)
    return Window(left, bottom, right, top)


def _step(centres: xr.DataArray) -> float:
    return abs(float(centres[-1] - centres[0])) / (centres.size - 1) if centres.size > 1 else 0.0


def _edges(centres: Array, step: float) -> tuple[float, float]:
    return float(min(centres[0], centres[-1])) - step / 2, float(max(centres[0], centres[-1])) + step / 2


def upright(image: xr.DataArray) -> Array:
    """Return the values (y, x, ...), lowest y and smallest x first. Eager."""
    values = np.asarray(image.transpose("y", "x", ...))
    down, left = (bool(image[dim][0] > image[dim][-1]) for dim in ("y", "x"))
    return values[:: -1 if down else 1, :: -1 if left else 1]


def whole_labels(labels: Array, n_classes: int) -> Array:
    """Return labels as small whole numbers, no sample where there is none.

    Raises
    ------
    SchemaError
        A label that is none of the classes.
    """
    if labels.dtype.kind == "f":
        labels = np.where(np.isnan(labels), NO_SAMPLE, labels)
    if labels.size and not UNDECIDED <= labels.min() <= labels.max() < n_classes:
        found = f"{labels.min():g} to {labels.max():g}"
        raise SchemaError(f"labels from {found}, and {n_classes} colours: give each label from 0 on a colour")
    return labels.astype(np.int8 if n_classes < 128 else np.int16)


def crop_to(extent: Window, shape: tuple[int, int], view: Window, frame: tuple[int, int]) -> Crop:
    """Return what is sent of an image (y, x) that fills an extent, for a view in a frame (width, height) of the screen.

    All of it where the screen has pixels enough. Blocks lie on one grid, so that panning moves none of them.
    """
    across, columns, left, right = _along(extent.left, extent.width, shape[1], view.left, view.right, frame[0])
    upwards, rows, bottom, top = _along(extent.bottom, extent.height, shape[0], view.bottom, view.top, frame[1])
    return Crop(rows, columns, (upwards, across), Window(left, bottom, right, top))


def _along(
    origin: float, length: float, size: int, low: float, high: float, screen: int
) -> tuple[int, slice, float, float]:
    """Return factor, pixels and their ends along one dimension."""
    step = length / size
    if round(size / max(screen, 1)) <= 1:
        return 1, slice(0, size), origin, origin + length
    factor = max(round((high - low) / step / max(screen, 1)), 1)
    first, last = math.floor((low - origin) / step / factor), math.ceil((high - origin) / step / factor)
    start, stop = max(first, 0) * factor, min(last, math.ceil(size / factor)) * factor
    return factor, slice(start, max(min(stop, size), start)), origin + start * step, origin + stop * step


def block_mean(values: Array, factor: tuple[int, int]) -> Array:
    """Return the mean of the blocks of an image (y, x, ...) in float32; NaN is left out, a block at the end is smaller."""
    with np.errstate(over="ignore", invalid="ignore"):
        if factor == (1, 1):
            return values.astype(np.float32)
        return np.concatenate([_mean(band, factor) for band in _bands(values, factor)])


def _mean(values: Array, factor: tuple[int, int]) -> Array:
    if values.dtype.kind != "f":
        values = values.astype(np.float32)
    mean = _block_sum(values, factor) / _block_sizes(values.shape, factor)
    if np.isnan(mean).any():
        missing = np.isnan(values)
        total = _block_sum(np.where(missing, values.dtype.type(0), values), factor)
        found = _block_sizes(values.shape, factor) - _block_count(missing, factor)
        mean = np.where(found > 0, total / np.maximum(found, 1), np.nan)
    return mean.astype(np.float32)


def block_mode(labels: Array, factor: tuple[int, int], n_classes: int) -> Array:
    """Return the most frequent label of the blocks of an image (y, x): a mean would invent classes.

    Of labels equally frequent a class comes before undecided, and that before no sample.
    """
    if factor == (1, 1):
        return labels
    return np.concatenate([_mode(band, factor, n_classes) for band in _bands(labels, factor)])


def _mode(labels: Array, factor: tuple[int, int], n_classes: int) -> Array:
    winner: Array = np.array(NO_SAMPLE, dtype=labels.dtype)
    most: Array = np.array(0, dtype=np.uint8)
    for label in (*range(n_classes), UNDECIDED, NO_SAMPLE):
        count = _block_count(labels == label, factor)
        winner = np.where(count > most, winner.dtype.type(label), winner)
        most = np.maximum(most, count)
    return winner


def _bands(values: Array, factor: tuple[int, int]) -> Iterator[Array]:
    """Yield rows of whole blocks, few enough that what is made of them stays in the cache of the processor."""
    rows = max(_BAND // factor[0], 1) * factor[0]
    for first in range(0, values.shape[0], rows):
        yield values[first : first + rows]


def _block_count(found: Array, factor: tuple[int, int]) -> Array:
    """Return how many pixels of each block are true."""
    narrow = factor[0] * factor[1] < 256
    return _block_sum(found.view(np.uint8) if narrow else found.astype(np.uint32), factor)


def _block_sum(values: Array, factor: tuple[int, int]) -> Array:
    """Return the sums of the blocks; adding slices of whole rows is several times faster than a sum over two axes."""
    for axis, step in enumerate(factor):
        if (rest := -values.shape[axis] % step) > 0:
            pad = [(0, 0)] * values.ndim
            pad[axis] = (0, rest)
            values = np.pad(values, pad)
        before: list[Any] = [slice(None)] * axis
        total = values[(*before, slice(0, None, step))].copy()
        for offset in range(1, step):
            total += values[(*before, slice(offset, None, step))]
        values = total
    return values


def _block_sizes(shape: tuple[int, ...], factor: tuple[int, int]) -> Array:
    """Return how many pixels each block has, with one more axis for each further dimension of the image."""
    rows, columns = (
        np.minimum(step, size - np.arange(0, size, step), dtype=np.int32)
        for size, step in zip(shape, factor, strict=False)
    )
    sizes = np.multiply.outer(rows, columns).astype(np.float32)
    return sizes.reshape(*sizes.shape, *[1] * (len(shape) - 2))


def picture_of_classes(labels: Array, colors: Sequence[str], opacity: Array | None) -> Array:
    """Return the colours (y, x) of labels as Bokeh takes them, transparent where there is no sample."""
    opaque = [(*rgb(color), 255) for color in (*colors, UNDECIDED_COLOR)]
    table = np.array([*opaque, (0, 0, 0, 0)], dtype=np.uint8)
    picture = table[labels]
    if opacity is not None:
        sure = np.clip(np.nan_to_num(opacity), _FAINTEST, 1)
        picture[..., 3] = np.where(labels >= 0, np.rint(255 * sure), picture[..., 3])
    return packed(picture)


def picture_of_bands(bands: Array) -> Array:
    """Return the colours (y, x) of red, green and blue (y, x, band) in 0 to 1, transparent where one is missing."""
    picture = np.zeros((*bands.shape[:2], 4), dtype=np.uint8)
    picture[..., :3] = np.rint(255 * np.clip(np.nan_to_num(bands), 0, 1))
    picture[..., 3] = np.where(np.isfinite(bands).all(axis=-1), 255, 0)
    return packed(picture)


def stripes(labels: Array, window: Window, view: Window, frame: tuple[int, int]) -> Array:
    """Return diagonal stripes over what is undecided, one number for each pixel of the screen (height, width)."""
    across = view.left + (np.arange(frame[0]) + 0.5) / frame[0] * view.width
    upwards = view.bottom + (np.arange(frame[1]) + 0.5) / frame[1] * view.height
    columns = np.floor((across - window.left) / window.width * labels.shape[1]).astype(int)
    rows = np.floor((upwards - window.bottom) / window.height * labels.shape[0]).astype(int)
    inside = ((rows >= 0) & (rows < labels.shape[0]))[:, None] & ((columns >= 0) & (columns < labels.shape[1]))
    seen = labels[np.clip(rows, 0, labels.shape[0] - 1)][:, np.clip(columns, 0, labels.shape[1] - 1)]
    diagonal = np.add.outer(np.arange(frame[1]), np.arange(frame[0])) % _STRIPES < _STRIPE
    picture = np.zeros((*seen.shape, 4), dtype=np.uint8)
    picture[inside & diagonal & (seen == UNDECIDED)] = (*rgb(STRIPE_COLOR), 255)
    return packed(picture)


def packed(picture: Array) -> Array:
    """Return one number for the four bytes of each pixel."""
    return np.ascontiguousarray(picture).view(np.uint32)[..., 0]


def rgb(color: str) -> tuple[int, int, int]:
    """Return red, green and blue, each to 255, of a colour ``#rrggbb`` or of a name of CSS."""
    known = RGB.from_hex_string(color) if color.startswith("#") else getattr(named, color.lower()).to_rgb()
    return known.r, known.g, known.b
