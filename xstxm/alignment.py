"""Drift: how far each frame of a stack has moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import xarray as xr

from xstxm import _frame_images, units
from xstxm._axes import match_pixels
from xstxm._frame_grid import MOVES, Grid
from xstxm.conventions import (
    ENERGY,
    FRAME_FLAGS,
    annotate,
    flag_attrs,
    require_energy,
    signal_of,
    used_pixels,
)
from xstxm.errors import (
    AlignmentWarning,
    ConvergenceWarning,
    OptionError,
    SchemaError,
    check_choice,
    require_whole,
    warn,
)
from xstxm.options import get_options
from xstxm.provenance import describe, note, recorded
from xstxm.roi import Region, region_mask
from xstxm.units import EnergyLike, LengthLike

ReferenceWord: TypeAlias = Literal["model", "neighbours", "previous", "first", "mean"]
AlignTo: TypeAlias = "ReferenceWord | EnergyLike | xr.DataArray"
Transform: TypeAlias = Literal["translation", "similarity"]

LEAST_PIXELS = 24
"""Pixels that the shorter side of a frame needs."""
SUSPECT = 3.0
"""Variance of a pattern over that of noise of which one is warned where it could not be taken off."""


@recorded
def estimate_shifts(
    stack: xr.DataArray | xr.Dataset,
    reference: AlignTo = "model",
    *,
    region: Region | None = None,
    max_shift: LengthLike | None = None,
    step: LengthLike | None = None,
    transform: Transform = "translation",
    n_components: int = 6,
    signal: str = "intensity",
) -> xr.Dataset:
    """Find how far each frame of a stack has to be moved to lie on the others.

    An absorption edge changes the contrast from frame to frame, so that no frame is a good reference for another.
    ``"model"`` takes what the whole stack predicts for the energy of a frame: with the frames moved back by
    d_e, -ln(counts) is a sum of few maps, ``sum_c u_ec v_c(p)``, plus a smooth illumination, and the d_e are those that
    leave least, maps and coefficients eliminated (variable projection). Counts are read on a logarithmic scale, optical
    density as it is.

    Parameters
    ----------
    stack
        Stack, or the array of counts or optical density, with dimensions y and x. All further dimensions, as a
        polarization, are frames too, in the order of the axes; neighbours are neighbours in that order.
    reference
        ``"model"``; or by correlation of the edges in the frames: ``"neighbours"`` (frames 1, 2, 3 and 5 apart, joined by
        robust least squares), ``"previous"``, ``"first"``, ``"mean"``, an energy whose frame is the reference, or an
        image (y, x) on the same pixels, for instance of another detector.
    region
        Pixels to align on: a mask, a box, a polygon, see `roi.region_mask`. By default all, or those of the `mask`
        of the Dataset.
    max_shift
        Farthest that a frame may lie from the middle one along y or x (from the reference, where that is a frame or an
        image), 30 % of the shorter side by default; a number is in the unit of y. Frames beyond are flagged.
    step
        Expected move from a frame to the next, for smooth drift: a random walk of that step is then assumed. By
        default frames move freely. Only for ``"model"``.
    transform
        ``"similarity"`` finds magnification and rotation too, as of a zone plate that follows the energy; pixels have to
        be square, and patterns that stand still are not looked for. Only for ``"model"``.
    n_components
        Most maps that the model may have, and never more than a third of the frames; more than needed do no harm.
        Without meaning for other references.
    signal
        Variable of a Dataset to align on.

    Returns
    -------
    Dataset
        Along energy (and other frame dimensions): `shift_y`, `shift_x` in the unit of the coordinates, added to the
        positions of a frame they move it onto the first sound frame (onto the reference, where one is given);
        `shift_y_stderr`, `shift_x_stderr`, against the mean of the frames, NaN but for the model; `correlation` with
        what the frame was aligned to; `residual_ratio`, NaN but for the model; `frame_quality`, 0 for a frame whose
        shift was found, else bit flags: `not_measured`, `partly_measured`, `no_beam`, `partly_dark`, `constant`, `outlier`,
        `uncertain_shift`. Frames that are flagged are placed between their neighbours, and their numbers are those of
        the attempt. With ``"similarity"`` also `magnification` and `rotation`.
        Attributes tell the reference, the number of maps, and `pattern`, the variance of what stands still on the
        detector over that of noise; it is absent where that is not looked for, as the frames settle with a drift of less than
        0.8 pixels (standard deviation), or may be turned. Eager, on frames of about 512 pixels; a lazy stack is read three times,
        chunk by chunk.

    Raises
    ------
    MissingDimensionError, MissingCoordinateError, SchemaError
        No image, fewer than two frames that hold something or that resemble the others, frames of fewer than 24
        pixels, or coordinates that are not evenly spaced.
    OptionError, ChoiceError, UnitsError
        Values that make no sense, or an unknown reference.

    Warns
    -----
    AlignmentWarning
        Frames whose shift was not found, or a pattern fixed to the detector.
    ConvergenceWarning
        The shifts had not settled in the last step.

    Notes
    -----
    Standard errors come from the scatter of the score over 24 bands of rows (a sandwich estimate), so they
    include correlated noise, patterns, and contrast that the model lacks, though not errors that all rows share.

    References
    ----------
    Golub and Pereyra, Inverse Problems 19, R1 (2003), https://doi.org/10.1088/0266-5611/19/2/201

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(64, 72), drift="100 nm", seed=0)
    >>> shifts = xstxm.estimate_shifts(stack)
    >>> error = shifts.shift_x - stack.true_shift_x
    >>> bool(error.std() < 0.1 * 0.025)  # a tenth of a pixel
    True
    """
    stack = units.dequantify(stack)
    array = signal_of(stack, signal)
    require_energy(array)
    grid = Grid.of(array)
    rank = _check_options(reference, step, transform, n_components, grid)
    units.units_of(array, "what is aligned")
    if min(grid.shape) < LEAST_PIXELS:
        raise SchemaError(
            f"frames of {grid.shape[0]} x {grid.shape[1]} pixels: alignment needs {LEAST_PIXELS} or more a side"
        )
    frames = _frame_images.prepare(array.transpose(*grid.frame_dims, "y", "x"), grid.frame_dims)
    flags = _frame_images.unsound(frames)
    live = ~np.any(list(flags.values()), axis=0)
    if live.size < 2:
        raise SchemaError("a stack of one frame has nothing to be aligned with: merge it with the others first")
    if live.sum() < 2:
        raise SchemaError(
            f"{int(live.sum())} of {live.size} frames hold an image, alignment needs two: see flag_frames(stack)"
        )
    used = frames.reduced_mask(_used(stack, array, region))
    if not used.any():
        raise SchemaError("the pixels to align on are too few: take a larger region, or a mask with less taken out")
    reach = np.full(2, 0.3 * min(grid.shape)) if max_shift is None else grid.pixels(max_shift, "max_shift")
    search = _Search(frames, live, used, reach / frames.factor)
    if isinstance(reference, str) and reference == "model":
        found = search.by_model(None if step is None else grid.pixels(step, "step"), transform, rank)
    else:
        found = search.by_correlation(*_asked(reference, array, grid, frames, live))
    return _result(found, flags, reach, array, grid, describe(reference))


def _check_options(
    reference: AlignTo, step: LengthLike | None, transform: Transform, n_components: int, grid: Grid
) -> int:
    """Return the number of components, after everything that can be wrong with the options."""
    check_choice("transform", transform, Transform)
    if isinstance(reference, str) and reference not in get_args(ReferenceWord) and not any(map(str.isdigit, reference)):
        check_choice("reference", reference, ReferenceWord)
    model = isinstance(reference, str) and reference == "model"
    if not model and (step is not None or transform != "translation"):
        raise OptionError("reference", describe(reference), "step and transform go with reference='model' only")
    if transform == "similarity":
        grid.require_square_pixels("interpolate them first or use transform='translation'")
    return require_whole("n_components", n_components)


def _used(stack: xr.DataArray | xr.Dataset, array: xr.DataArray, region: Region | None) -> np.ndarray:
    """Return the pixels (y, x) to align on. Eager on that image."""
    image = array.isel({dim: 0 for dim in array.dims if dim not in ("y", "x")}, drop=True)
    used = np.ones(image.transpose("y", "x").shape, bool)
    if isinstance(stack, xr.Dataset) and "mask" in stack:
        inside = used_pixels(xr.ones_like(image, dtype=float), stack).notnull()
        used &= np.asarray(inside.all([dim for dim in inside.dims if dim not in ("y", "x")]).transpose("y", "x"))
    if region is not None:
        used &= np.asarray(region_mask(image, region).transpose("y", "x"))
    return used


@dataclass(frozen=True)
class _Found:
    """Displacements of the content of the frames, pixels of the frames; what an estimate does not know is NaN."""

    theta: np.ndarray
    stderr: np.ndarray
    correlation: np.ndarray
    misfit: np.ndarray
    flags: dict[str, np.ndarray]
    """Why frames were not found."""
    fixed: bool
    """Whether they are against a frame or an image that was asked for, and not among each other."""
    facts: dict[str, Any]


@dataclass(frozen=True)
class _Search:
    """Images, the frames among them that hold something, the pixels to use, and how far to look along y and x."""

    frames: _frame_images.FrameImages
    live: np.ndarray
    used: np.ndarray
    reach: np.ndarray

    def by_model(self, step: np.ndarray | None, transform: Transform, rank: int) -> _Found:
        from xstxm._kernels.low_rank_registration import NothingInCommon
        from xstxm._kernels.registration import MISFIT, register

        frames, factor = self.frames, self.frames.factor
        try:
            fit = register(
                frames.images,
                np.where(self.live, frames.weight, 0.0),
                used=self.used,
                reach=self._between_frames(),
                modes=2 if transform == "translation" else 4,
                rank=rank,
                step_prior=None if step is None else step / factor,
                threads=get_options().num_threads,
            )
        except NothingInCommon as error:
            raise SchemaError(
                "the frames have no pixel in common that may be used: take a larger region or a smaller max_shift, and "
                "drop frames that are partly dark, see flag_frames(stack)"
            ) from error
        if not fit.settled:
            warn(f"shifts still changed by {fit.step * factor:.2g} pixels in the last step", ConvergenceWarning)
        if fit.patterned or fit.pattern > SUSPECT:
            done = "it was taken into account, but" if fit.patterned else "it could not be told from the sample, and"
            warn(
                f"a pattern stands still on the detector, {fit.pattern:.0f} times the variance of noise: {done} shifts may "
                "be less certain than their errors; divide the frames by a flat field first",
                AlignmentWarning,
            )
        outlier = self.live & (fit.misfit > MISFIT)
        return _Found(
            theta=_about_the_middle(fit.theta, frames) if fit.theta.shape[1] > 2 else fit.theta * factor,
            stderr=fit.stderr * factor,
            correlation=np.where(self.live, np.sqrt(fit.explained), np.nan),
            misfit=np.where(self.live, fit.misfit, np.nan),
            flags={"outlier": outlier, "uncertain_shift": fit.lost & self.live & ~outlier},
            fixed=False,
            facts={"n_components": fit.rank, "pattern": float(fit.pattern)},
        )

    def _between_frames(self) -> tuple[float, float]:
        """Return how far two frames may lie apart along y and x: twice the farthest, and less than half a side."""
        rows, columns = np.minimum(2 * self.reach, 0.45 * np.array(self.frames.images.shape[1:]))
        return float(rows), float(columns)

    def by_correlation(self, kind: ReferenceWord, at: int | None, image: np.ndarray | None) -> _Found:
        from xstxm._kernels import correlation, registration

        n, live = self.live.size, np.flatnonzero(self.live)
        images = self.frames.images[live]
        seek = registration.Correlated(images, self.used, self._between_frames(), get_options().num_threads)
        if image is None and kind == "first":
            image = images[0 if at is None else int(np.searchsorted(live, at))]
        if image is not None:
            found = seek.to_image(image)
        else:
            found = {"neighbours": seek.to_neighbours, "previous": seek.to_previous, "mean": seek.to_mean}[kind]()
        theta, height = np.zeros((n, 2)), np.full(n, np.nan)
        theta[live], height[live] = found[:, :2] * self.frames.factor, np.clip(found[:, 2], -1, 1)
        unclear = np.zeros(n, bool)
        unclear[live] = found[:, 3] < correlation.UNCLEAR
        nothing = np.full((n, 2), np.nan)
        return _Found(
            theta=theta,
            stderr=nothing,
            correlation=height,
            misfit=nothing[:, 0],
            flags={"uncertain_shift": unclear},
            fixed=image is not None,
            facts={},
        )


def _about_the_middle(theta: np.ndarray, frames: _frame_images.FrameImages) -> np.ndarray:
    """Return displacements of frames from those of smaller images, whose middle is another point, (e, 4)."""
    from xstxm._kernels.low_rank_registration import matrix_of

    size = np.array(frames.images.shape[1:])
    middle = (np.array(frames.stuck.shape) - 1) / 2
    small_middle = 5 * (frames.factor - 1) / 2 + frames.factor * (size - 1) / 2
    out = theta * frames.factor
    for row, small in zip(out, theta, strict=True):
        row[:2] += (np.eye(2) - matrix_of(small, min(size) / 2)) @ (small_middle - middle)
    out[:, 2:] = theta[:, 2:] / (min(size) / 2)
    return out


def _asked(
    reference: AlignTo, array: xr.DataArray, grid: Grid, frames: _frame_images.FrameImages, live: np.ndarray
) -> tuple[ReferenceWord, int | None, np.ndarray | None]:
    """Return the kind of reference, the number of its frame, and its image where it is one of its own. Eager."""
    if isinstance(reference, xr.DataArray):
        if ENERGY in reference.dims:
            raise SchemaError(
                "a reference image has no energy: select one, or estimate the shifts of that stack instead"
            )
        placed = match_pixels(units.dequantify(reference), array, "the reference image")
        image = placed.assign_attrs(reference.attrs).transpose("y", "x")
        like = image.expand_dims("frame")
        return "first", None, _frame_images.prepare(like, ("frame",)).images[0]
    if isinstance(reference, str) and reference in get_args(ReferenceWord):
        return reference, None, None  # type: ignore[return-value]
    energy = np.asarray(array[ENERGY], dtype=float)
    wanted = units.to_magnitude(reference, array[ENERGY], "reference")
    nearest = int(np.abs(energy - wanted).argmin())
    if not energy.min() <= wanted <= energy.max():
        raise OptionError(
            "reference",
            describe(reference),
            f"the stack has no frame near it: its energies are {energy.min():g} to {energy.max():g}",
        )
    if grid.frame_dims != (ENERGY,):
        raise OptionError("reference", describe(reference), "an energy names one frame of a plain stack only")
    if not live[nearest]:
        raise OptionError("reference", describe(reference), "the frame at that energy holds no image: take another")
    return "first", nearest, None


def _result(
    found: _Found, flags: dict[str, np.ndarray], reach: np.ndarray, array: xr.DataArray, grid: Grid, reference: Any
) -> xr.Dataset:
    theta, flags = _placed(found, flags, reach)
    bits = np.zeros(len(theta), np.int16)
    for name, raised in flags.items():
        bits |= np.where(raised, np.int16(FRAME_FLAGS[name]), np.int16(0))
    coords = {
        name: coord.variable
        for name, coord in array.coords.items()
        if set(coord.dims) <= set(grid.frame_dims) and name not in MOVES  # those of an aligned stack
    }

    def along_frames(values: np.ndarray) -> xr.DataArray:
        shaped = np.asarray(values).reshape(grid.frame_shape)
        return xr.DataArray(shaped, dims=grid.frame_dims, coords=coords)

    def annotated(values: np.ndarray, name: str, unit: str | None = None) -> xr.DataArray:
        return annotate(along_frames(values), name, units=unit)

    result = xr.Dataset()
    for k, axis in enumerate(("y", "x")):
        size, unit = abs(grid.steps[k]), grid.units[k]
        result[f"shift_{axis}"] = annotated(-theta[:, k] * grid.steps[k] + 0.0, f"shift_{axis}", unit)
        result[f"shift_{axis}_stderr"] = annotated(found.stderr[:, k] * size, f"shift_{axis}_stderr", unit)
    if theta.shape[1] > 2:
        result["magnification"] = annotated(np.hypot(1 + theta[:, 2], theta[:, 3]), "magnification")
        result["rotation"] = annotated(np.degrees(np.arctan2(theta[:, 3], 1 + theta[:, 2])), "rotation")
    result["correlation"] = annotated(found.correlation, "correlation")
    result["residual_ratio"] = annotated(found.misfit, "residual_ratio")
    quality = along_frames(bits)
    result["frame_quality"] = annotate(quality, "frame_quality", **flag_attrs(FRAME_FLAGS, masks=True))
    _tell(bits, array, grid)
    facts = {key: value for key, value in found.facts.items() if value == value}
    return result.assign_attrs(reference=str(reference), **facts)


def _placed(found: _Found, flags: dict[str, np.ndarray], reach: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return displacements against the first sound frame, or what was asked for, lost frames between others, and all flags."""
    from xstxm._kernels.registration import spread_over

    lost = np.any([*flags.values(), *found.flags.values()], axis=0)
    middle = np.zeros(2) if found.fixed or lost.all() else np.median(found.theta[~lost, :2], axis=0)
    farther = ~lost & (np.abs(found.theta[:, :2] - middle) > reach).any(1)
    sound = np.flatnonzero(~(lost | farther))
    if sound.size < 2:
        raise SchemaError(
            f"{sound.size} of {lost.size} frames could be placed (the others are uncertain, or beyond max_shift): take a "
            "region with clear edges, another reference, or a larger max_shift"
        )
    uncertain = found.flags["uncertain_shift"] | farther
    theta = spread_over(sound, found.theta[sound], lost.size)
    theta = theta if found.fixed else _against(theta[sound[0]], theta)
    return theta, {**flags, **found.flags, "uncertain_shift": uncertain}


def _against(frame: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Return displacements against those of one frame."""
    if theta.shape[1] == 2:
        return theta - frame
    from xstxm._kernels.low_rank_registration import matrix_of

    back = np.linalg.inv(matrix_of(frame, 1.0))
    out = np.empty_like(theta)
    for row, moved in zip(out, theta, strict=True):
        combined = matrix_of(moved, 1.0) @ back
        row[:2] = moved[:2] - combined @ frame[:2]
        row[2:] = combined[0, 0] - 1, combined[0, 1]
    return out


def _tell(bits: np.ndarray, array: xr.DataArray, grid: Grid) -> None:
    """Warn of the frames whose shift was not found, by their energies."""
    at = np.flatnonzero(bits)
    if not at.size:
        return
    along = grid.frame_dims.index(ENERGY)
    energies = np.asarray(array[ENERGY], dtype=float)[np.unravel_index(at, grid.frame_shape)[along]]
    shown = ", ".join(f"{energy:.6g}" for energy in energies[:8]) + (", ..." if at.size > 8 else "")
    note(f"{at.size} frames flagged")
    warn(
        f"the shift of {at.size} of {bits.size} frames was not found (at {shown} {units.units_of(array[ENERGY])}): they are "
        "placed between their neighbours and flagged in 'frame_quality'",
        AlignmentWarning,
    )
