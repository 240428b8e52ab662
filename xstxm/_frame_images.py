"""The frames of a stack as comparable images of moderate size, read chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xstxm.conventions import measure_of
from xstxm.options import get_options
from xstxm.steps import followed

if TYPE_CHECKING:
    from xstxm._kernels.pyramid import Scale

WORKING_SIZE = 512
"""Pixels on the shorter side of the images, roughly: a factor of two is halved or not at its geometric middle."""
SAMPLE_SIZE = 128
"""Pixels on the shorter side of the sample that sets the scale of a frame."""
CHECKED = 16
"""Frames in which hot and dead pixels are looked for."""
DIM = 0.02
"""Mean of a frame over the median one below which the beam was off."""
PARTLY = 0.05
"""Share of the pixels of a frame that are so dark from which the beam was off for a part of it."""


@dataclass(frozen=True)
class FrameImages:
    """Images (frame, y, x), float32, and how they were made."""

    images: np.ndarray
    level: int
    scale: Scale
    stuck: np.ndarray
    """Hot and dead pixels (y, x) of the frames themselves."""

    @property
    def factor(self) -> int:
        """Pixels of a frame along one pixel of an image."""
        return 2**self.level

    @property
    def weight(self) -> np.ndarray:
        """Inverse variance of each frame up to a factor: transmitted counts; 0 of a frame without a finite value."""
        mean = self.scale.mean if self.scale.logarithmic else np.exp(-self.scale.mean)
        return np.where(np.isfinite(mean), np.maximum(mean, 0), 0)

    def reduced_mask(self, mask: np.ndarray) -> np.ndarray:
        """Return a mask (y, x) at the size of the images."""
        from xstxm._kernels.pyramid import reduced_mask

        return reduced_mask(mask, self.level)


def prepare(array: xr.DataArray, frame_dims: Sequence[Hashable]) -> FrameImages:
    """Return the images of a stack (frame dims, y, x). Eager on the images; reads a lazy stack three times."""
    import dask

    from xstxm._kernels import pyramid

    measure = measure_of(array)
    flat = array.data.reshape(-1, *array.shape[-2:])
    short = min(flat.shape[1:])
    level = max(0, round(math.log2(short / WORKING_SIZE)))
    stride = max(1, short // SAMPLE_SIZE)
    (sample,) = dask.compute(flat[:, ::stride, ::stride], **followed())
    scale = pyramid.scale_of(
        sample.reshape(len(flat), -1), logarithmic=measure != "density", counting=measure == "counts"
    )
    stuck = _stuck(flat, scale)
    images = _images(flat, scale, ~stuck, level)
    unknown = ~pyramid.reduced_mask(~stuck, level)
    if unknown.any():
        images = np.stack([pyramid.filled(image, unknown) for image in images])
    return FrameImages(images, level, scale, stuck)


def unsound(frames: FrameImages) -> dict[str, np.ndarray]:
    """Return the flags of frames that hold no image."""
    mean = frames.scale.mean
    missing = ~np.isfinite(mean)
    middle = float(np.median(mean[~missing])) if not missing.all() else 0.0
    dark = ~missing & (mean < DIM * middle) if frames.scale.logarithmic else np.zeros(mean.size, bool)
    flat = np.array([np.ptp(image) == 0 for image in frames.images]) & ~missing & ~dark
    share = frames.scale.missing
    holes = ~missing & (share - np.median(share) > PARTLY)
    partly = _partly_dark(frames, ~missing & ~dark & ~flat)
    return {
        "not_measured": missing,
        "partly_measured": holes,
        "no_beam": dark,
        "partly_dark": partly,
        "constant": flat,
    }


def _partly_dark(frames: FrameImages, live: np.ndarray) -> np.ndarray:
    """Return the frames in which the beam was off for a part: two alike would get a component of their own.

    Dark pixels count where the sample transmits more than in half of the pixels, as in `flag_frames`, because thick grains
    at a white line are dark too; and in lines, because a beam is lost for whole lines.
    """
    if not frames.scale.logarithmic or not live.any():
        return np.zeros(live.size, bool)
    stride = max(1, min(frames.images.shape[1:]) // 64)
    sample = frames.images[:, ::stride, ::stride]
    middle = np.median(sample[live], axis=0)
    darker = sample - middle
    darker -= np.quantile(darker, 0.1, axis=(1, 2), keepdims=True)
    pixels = (darker > -math.log(DIM))[:, middle <= np.median(middle)].mean(1)
    rows, columns = ((np.quantile(darker, 0.1, axis=axis) > -math.log(DIM)).mean(1) for axis in (2, 1))
    return live & (np.max([pixels, rows, columns], axis=0) > PARTLY)


def _stuck(flat: Any, scale: Scale) -> np.ndarray:
    """Return the pixels that lie at the ends of the scale in more than half of some frames. Eager on that image."""
    picked = np.unique(np.linspace(0, len(flat) - 1, CHECKED).astype(int))

    def hits(frame: np.ndarray, e: int) -> np.ndarray:
        ends = scale.at_an_end(scale.image(frame, e)[None], e)[0]
        return (ends | ~np.isfinite(frame)).astype(np.int16)

    if isinstance(flat, np.ndarray):
        total = sum(hits(flat[e], e) for e in picked)
    else:
        total = sum(flat[e].map_blocks(hits, e=int(e), dtype=np.int16) for e in picked).compute(**followed())
    return np.asarray(total) > len(picked) / 2


def _images(flat: Any, scale: Scale, known: np.ndarray, level: int) -> np.ndarray:
    """Return the reduced images. Eager."""
    from xstxm._kernels import pyramid

    if isinstance(flat, np.ndarray):
        images = np.empty((len(flat), *(_reduced_sizes((n,), level)[0] for n in flat.shape[1:])), np.float32)

        def one(e: int) -> None:
            images[e] = pyramid.reduced(scale.image(flat[e], e)[None], known, level)[0]

        with ThreadPoolExecutor(get_options().num_threads) as pool:
            list(pool.map(one, range(len(flat))))
        return images
    import dask.array as da

    margin = pyramid.overlap(level)
    chunked = flat.rechunk({axis: _cut(flat.chunks[axis], level) for axis in (1, 2)})
    edges = [np.cumsum([0, *sizes]) for sizes in chunked.chunks]

    def block(frames: np.ndarray, block_info: Any = None) -> np.ndarray:
        at = block_info[0]["chunk-location"]
        first, top, left = (int(edge[k]) for edge, k in zip(edges, at, strict=True))
        part = known[top : top + frames.shape[1], left : left + frames.shape[2]]
        return pyramid.reduced(scale.images(frames, first), part, level)

    smaller = tuple(_reduced_sizes(sizes, level) for sizes in chunked.chunks[1:])
    out = da.map_overlap(
        block,
        chunked,
        depth={0: 0, 1: (0, margin), 2: (0, margin)},
        boundary="none",
        trim=False,
        allow_rechunk=False,
        chunks=(chunked.chunks[0], *smaller),
        dtype=np.float32,
        meta=np.empty((0, 0, 0), np.float32),
    )
    return np.asarray(out.compute(**followed()))


def _cut(sizes: Sequence[int], level: int) -> tuple[int, ...]:
    """Return chunk sizes that are multiples of 2**level, none too small to be halved with what its neighbour lends."""
    factor, total = 2**level, sum(sizes)
    least = 8 * factor if level else 1
    edges = [0]
    for edge in np.cumsum(sizes)[:-1]:
        even = int(edge) // factor * factor
        if even - edges[-1] >= least and total - even >= least:
            edges.append(even)
    return tuple(int(n) for n in np.diff([*edges, total]))


def _reduced_sizes(sizes: Sequence[int], level: int) -> tuple[int, ...]:
    """Return the sizes of chunks after they were halved: the last one loses what lies beyond the border."""
    last = sizes[-1]
    for _ in range(level):
        last = (last - 4) // 2
    return (*(n // 2**level for n in sizes[:-1]), last)
