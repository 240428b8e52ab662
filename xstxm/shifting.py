"""Stacks moved by known shifts, and aligned in one step."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import is_lazy
from xstxm._axes import equal_within, match_pixels
from xstxm._device import beside, on_device, on_host, require_host
from xstxm._frame_grid import MOVES, Grid
from xstxm._kernels import devices
from xstxm._neighbours import by_neighbours
from xstxm.alignment import AlignTo, Transform, estimate_shifts
from xstxm.conventions import (
    ENERGY,
    QUALITY_FLAGS,
    Stack,
    annotate,
    as_float,
    content_of,
    measure_of,
    quality_bits,
    require_variable,
)
from xstxm.errors import EnergyRangeError, OptionError, SchemaError, check_choice
from xstxm.options import get_options
from xstxm.provenance import note, recorded
from xstxm.roi import Region
from xstxm.units import LengthLike

Interpolation: TypeAlias = Literal["cubic", "fourier"]


@recorded
@on_device
def apply_shifts(
    stack: Stack, shifts: xr.Dataset, *, interpolation: Interpolation = "cubic", crop: bool = False
) -> Stack:
    """Move each frame of a stack by its shift: what lay at a position p comes to lie at p + shift.

    Parameters
    ----------
    stack
        Stack, or an array with dimensions y and x. Every variable of a Dataset with y, x and a dimension of the shifts is
        moved; images stay where they are.
    shifts
        `shift_y` and `shift_x` along energy (and other frame dimensions), with units: a result of `estimate_shifts`,
        of this stack or of another detector's, or of `read_shifts`. With `magnification` and `rotation` frames are scaled
        and turned back about their middle as well.
    interpolation
        ``"cubic"``: convolution with the kernel of Keys (1981), four pixels along each axis. ``"fourier"``: the phase of
        the transform of the mirrored frame, which keeps the finest detail and its noise, for frames without NaN that
        are neither scaled nor turned.
    crop
        Keep only the rectangle that every frame covers, in this move and those before it. Eager on `quality` then, and
        on an array that was moved before.

    Returns
    -------
    DataArray or Dataset
        As given, floats with their dtype, counts as integers become float32, NaN where a frame does not reach. A
        variance `<name>_variance` becomes that of the interpolated value, ``sum w^2 var`` with the weights w of
        either kind, and a `<name>_stderr` its root; masks, flags and labels go to the nearest pixel, False and 0
        outside. The shifts are coordinates; those of an earlier move are added. In the `quality` of a Dataset pixels
        that some frame does not reach are flagged `outside_overlap`. Lazy.

    Raises
    ------
    MissingVariableError
        `shifts` has no shifts.
    EnergyRangeError, SchemaError
        Shifts of other frames than those of the stack, NaN among them, counts with an I0 image, which is fixed to the
        detector, NaN in a frame that is moved by its transform, or frames to be turned that were moved before.
    OptionError
        `crop` where the frames have no pixel in common, or ``"fourier"`` for frames that are scaled or turned.

    Notes
    -----
    Interpolation joins the noise of neighbouring pixels; errors of means over pixels that take them as independent come
    out too small. Frames whose shift is zero stay as they are.

    References
    ----------
    Keys, IEEE Trans. Acoust. Speech Signal Process. 29, 1153 (1981), https://doi.org/10.1109/TASSP.1981.1163711

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(48, 56), drift="60 nm", seed=0).isel(energy=slice(60, 80))
    >>> moved = xstxm.apply_shifts(stack, xstxm.estimate_shifts(stack), crop=True)
    >>> moved.intensity.sizes["y"] < 48
    True
    """
    stack, shifts = units.dequantify(stack), units.dequantify(shifts)
    _check_move(stack, interpolation, turned="rotation" in shifts or "magnification" in shifts)
    if isinstance(stack, xr.DataArray):
        move = _Move.of(shifts, stack, interpolation)
        aligned = _placed(move.apply(stack), shifts)
        return _cropped(aligned, np.asarray(on_host(_reached(stack, aligned, move).compute()))) if crop else aligned
    moves = _moves(stack, shifts, interpolation)
    moved = {name: move.apply(stack[name]) for name, move in moves.items()}
    name, move = next(iter(moves.items()))
    outside = ~_reached(stack, moved[name], move)
    quality = quality_bits({"outside_overlap": outside}, stack.get("quality"))
    aligned = _placed(stack.assign({**moved, "quality": quality}), shifts)
    return _cropped(aligned, ~np.asarray(on_host(outside.compute()))) if crop else aligned


@recorded
def align(
    stack: Stack,
    reference: AlignTo = "model",
    *,
    region: Region | None = None,
    max_shift: LengthLike | None = None,
    step: LengthLike | None = None,
    transform: Transform = "translation",
    n_components: int = 6,
    interpolation: Interpolation = "cubic",
    crop: bool = False,
    signal: str = "intensity",
) -> Stack:
    """Align the frames of a stack: `estimate_shifts`, then `apply_shifts`.

    Parameters
    ----------
    stack
        Stack, or the array of counts or optical density.
    reference, region, max_shift, step, transform, n_components, signal
        What the shifts are estimated on, see `estimate_shifts`.
    interpolation, crop
        How the frames are moved, see `apply_shifts`.

    Returns
    -------
    DataArray or Dataset
        As given, every image moved by the same shifts, coordinates `shift_y` and `shift_x` added; the history says
        how many frames were flagged. The shifts are eager, on small images; moving the frames is lazy.

    Raises
    ------
    SchemaError, OptionError, ChoiceError
        As `estimate_shifts` and `apply_shifts`.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(48, 56), drift="60 nm", seed=0).isel(energy=slice(60, 80))
    >>> aligned = xstxm.align(stack, crop=True)
    >>> aligned.shift_y.attrs["units"]
    'um'
    """
    _check_move(units.dequantify(stack), interpolation, turned=transform != "translation")
    shifts = estimate_shifts(
        stack,
        reference,
        region=region,
        max_shift=max_shift,
        step=step,
        transform=transform,
        n_components=n_components,
        signal=signal,
    )
    return apply_shifts(stack, shifts, interpolation=interpolation, crop=crop)


def _check_move(stack: xr.DataArray | xr.Dataset, interpolation: Interpolation, *, turned: bool) -> None:
    """Refuse what no shifts make possible, before they are sought."""
    check_choice("interpolation", interpolation, Interpolation)
    if turned and interpolation == "fourier":
        raise OptionError("interpolation", interpolation, "frames that are scaled or turned are moved by 'cubic' only")
    before = [name for name in MOVES if name in stack.coords]
    if before and (turned or {"magnification", "rotation"} & {*before}):
        raise SchemaError(
            f"the frames have been moved before (coordinates {', '.join(before)}), and turned ones are moved once: find the "
            f"whole transform on the stack as it was, or .drop_vars({before}) to let that move be forgotten"
        )
    if isinstance(stack, xr.Dataset) and "i0" in stack and {"y", "x"} & {*stack["i0"].dims}:
        counts = [name for name, array in stack.data_vars.items() if _are_counts(name, array)]
        if counts:
            raise SchemaError(
                "the stack holds an I0 image, which does not move with the sample: call .stxm.optical_density() first, "
                f"drop_vars({[*counts, 'i0']}), and align with signal='optical_density'"
            )


def _are_counts(name: Hashable, array: xr.DataArray) -> bool:
    return name != "i0" and {ENERGY, "y", "x"} <= {*array.dims} and measure_of(array) in ("counts", "rate")


class _Move:
    """Shifts of the frames of one array, in pixels, and how they are applied."""

    def __init__(
        self, grid: Grid, pixels: np.ndarray, matrices: np.ndarray | None, interpolation: Interpolation
    ) -> None:
        self.grid, self.pixels, self.matrices, self.interpolation = grid, pixels, matrices, interpolation

    @classmethod
    def of(cls, shifts: xr.Dataset, stack: xr.DataArray, interpolation: Interpolation) -> _Move:
        """Return the move of an array by shifts of the same frames. Eager on the shifts."""
        grid = Grid.of(stack)
        do = "pass a result of estimate_shifts or read_shifts"

        def along_frames(name: str, unit: str, default: float | None = None) -> np.ndarray:
            if default is not None and name not in shifts:
                return np.full(grid.frame_shape, default)
            found = units.to_units(require_variable(shifts, name, do), unit, name)
            return _of_the_frames(found, stack, grid)

        along = [along_frames(f"shift_{axis}", unit) for axis, unit in zip(("y", "x"), grid.units, strict=True)]
        pixels = np.stack(along, axis=-1) / grid.steps
        if not np.isfinite(pixels).all():
            raise SchemaError(
                "some shifts are NaN: fill them, e.g. shifts.interpolate_na('energy'), or drop those frames"
            )
        if "rotation" not in shifts and "magnification" not in shifts:
            return cls(grid, pixels, None, interpolation)
        grid.require_square_pixels(
            "interpolate them first, or shifts.drop_vars(['magnification', 'rotation'], errors='ignore')"
        )
        magnification, angle = along_frames("magnification", "1", 1.0), along_frames("rotation", "rad", 0.0)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        return cls(grid, pixels, np.moveaxis(magnification * turn, (0, 1), (-2, -1)), interpolation)

    def apply(self, array: xr.DataArray) -> xr.DataArray:
        """Return the moved frames, in the order of the dimensions of `array`. Lazy where it is."""
        content = content_of(array.name, array)
        ordered = array.transpose(*self.grid.frame_dims, "y", "x")
        if content in ("number", "variance", "stderr"):
            ordered = as_float(ordered)
        if content == "stderr":
            data = self._moved(ordered.copy(data=ordered.data**2), is_variance=True) ** 0.5
        else:
            data = self._moved(ordered, is_variance=content == "variance")
        return ordered.copy(data=data).transpose(*array.dims)

    def _moved(self, frames: xr.DataArray, *, is_variance: bool) -> Any:
        if self.matrices is not None:
            require_host(frames, "apply_shifts of turned or scaled frames")
        if self.interpolation == "fourier":
            require_host(frames, "apply_shifts with interpolation='fourier'")
        turns = [] if self.matrices is None else [self.matrices]
        if is_lazy(frames):
            return self._lazily(frames.data, turns, is_variance)
        return self._block(frames.data, self.pixels, *turns, is_variance=is_variance, threads=None)[0]

    def _lazily(self, data: Any, turns: list[np.ndarray], is_variance: bool) -> Any:
        margin = self._margins()
        whole = {data.ndim - 2 + k: -1 for k, reach in enumerate(margin) if not reach}
        block = functools.partial(self._block, is_variance=is_variance, threads=1)
        return by_neighbours(block, [data.rechunk(whole)], self.pixels, *turns, margin=margin, dtypes=[data.dtype])[0]

    def _margins(self) -> tuple[int, int]:
        """Return what a block needs of its neighbours along y and x; 0 where it needs them whole."""
        if self.matrices is not None or self.interpolation == "fourier":
            return 0, 0
        farthest = np.ceil(np.abs(self.pixels).reshape(-1, 2).max(0)).astype(int) + 2
        rows, columns = (0 if margin >= n else int(margin) for margin, n in zip(farthest, self.grid.shape, strict=True))
        return rows, columns

    def _block(
        self,
        frames: np.ndarray,
        pixels: np.ndarray,
        matrices: np.ndarray | None = None,
        *,
        is_variance: bool,
        threads: int | None,
    ) -> list[np.ndarray]:
        """Return moved frames, alone in a list; by default on as many threads as the options say."""
        from xstxm._kernels import array_moving, moving

        if self.interpolation == "fourier" and frames.dtype.kind == "f" and np.isnan(frames).any():
            raise SchemaError("a frame with NaN has no transform: use interpolation='cubic', or fill it first")
        moved = (array_moving if devices.on_device(frames) else moving).move_frames(
            frames,
            pixels,
            method=self.interpolation,
            squared=is_variance,
            matrices=matrices,
            threads=threads or get_options().num_threads,
        )
        return [moved]

    def covered(self, known: np.ndarray | None = None) -> np.ndarray:
        """Return the pixels (y, x) that every frame covers, with those (y, x) that all had before the move."""
        from xstxm._kernels.moving import covered_by_all

        return covered_by_all(
            self.grid.shape, self.pixels, method=self.interpolation, matrices=self.matrices, known=known
        )


def _moves(stack: xr.Dataset, shifts: xr.Dataset, interpolation: Interpolation) -> dict[Hashable, _Move]:
    """Return the move of every variable of a Dataset that has frames."""
    along = {ENERGY, *shifts.dims}
    frames = {n: array for n, array in stack.data_vars.items() if {"y", "x"} <= {*array.dims} and along & {*array.dims}}
    if not frames:
        raise SchemaError(
            f"no variable of the stack has frames with y and x (found: {', '.join(map(str, stack.data_vars))})"
        )
    return {name: _Move.of(shifts, array, interpolation) for name, array in frames.items()}


def _of_the_frames(found: xr.DataArray, stack: xr.DataArray, grid: Grid) -> np.ndarray:
    """Return values for every frame of the stack, after checking that they belong to these frames."""
    for dim in found.dims:
        if dim not in grid.frame_dims:
            raise SchemaError(
                f"the shifts have a dimension {dim!r}, the frames of {str(stack.name)!r} have {grid.frame_dims}: select "
                "along it, or move that variable by shifts of its own"
            )
        if found.sizes[dim] != stack.sizes[dim]:
            raise SchemaError(
                f"there are {found.sizes[dim]} shifts along {dim!r} and {stack.sizes[dim]} frames: they belong to another stack"
            )
    if ENERGY in found.coords:
        _require_same_energies(found, stack)
    missing = {dim: stack.sizes[dim] for dim in grid.frame_dims if dim not in found.dims}
    plain = match_pixels(found, stack, "the shifts").drop_vars(ENERGY, errors="ignore")
    return np.asarray(plain.expand_dims(missing).transpose(*grid.frame_dims), dtype=float)


def _require_same_energies(found: xr.DataArray, stack: xr.DataArray) -> None:
    unit = units.units_of(stack["energy"])
    given = np.asarray(units.to_units(found["energy"].astype(float), unit, "the energies of the shifts"))
    wanted = np.asarray(stack["energy"], dtype=float)
    off = np.abs(given - wanted) > equal_within(None, unit)
    if off.any():
        at = int(off.argmax())
        raise EnergyRangeError(
            f"the shifts are of other energies, first at frame {at}: {given[at]:g}, the stack {wanted[at]:g} {unit}: "
            "estimate them on this stack, or select the same energies"
        )


def _placed(moved: Any, shifts: xr.Dataset) -> Any:
    """Return a moved stack with what moved it as coordinates."""
    coords = {}
    for name in MOVES:
        if name in shifts:
            unit, found = units.units_of(shifts[name]), shifts[name].variable
            if name in moved.coords:
                found = found + units.to_units(moved[name], unit).variable
            coords[name] = annotate(xr.DataArray(found), name, units=unit).variable
    return moved.assign_coords(coords)


def _reached(stack: xr.DataArray | xr.Dataset, moved: xr.DataArray, move: _Move) -> xr.DataArray:
    """Return the pixels (y, x) that every frame covers in this move and those before it. Lazy where quality is."""
    covered = xr.DataArray(move.covered(), dims=("y", "x"), coords={"y": stack["y"], "x": stack["x"]})
    covered = beside(moved, covered)
    if "shift_y" not in stack.coords:
        return covered
    if isinstance(stack, xr.DataArray) or "quality" not in stack:  # only the values tell
        return covered & moved.notnull().all(move.grid.frame_dims)
    outside = (stack["quality"] & QUALITY_FLAGS["outside_overlap"]) > 0
    before = ~outside.any([dim for dim in outside.dims if dim not in ("y", "x")])
    return xr.apply_ufunc(
        move.covered,
        before,
        input_core_dims=[["y", "x"]],
        output_core_dims=[["y", "x"]],
        dask="parallelized",
        output_dtypes=[bool],
        dask_gufunc_kwargs={"allow_rechunk": True},
    )


def _cropped(moved: Any, inside: np.ndarray) -> Any:
    """Return the largest rectangle of pixels that are inside, found by cutting the side that costs least."""
    top, bottom, left, right = 0, inside.shape[0], 0, inside.shape[1]
    while top < bottom and left < right and not inside[top:bottom, left:right].all():
        part = inside[top:bottom, left:right]
        lost = {
            "top": (~part[0]).mean(),
            "bottom": (~part[-1]).mean(),
            "left": (~part[:, 0]).mean(),
            "right": (~part[:, -1]).mean(),
        }
        side = max(lost, key=lost.__getitem__)
        top, bottom = top + (side == "top"), bottom - (side == "bottom")
        left, right = left + (side == "left"), right - (side == "right")
    if top >= bottom or left >= right:
        raise OptionError("crop", True, "the frames have no pixel in common: pass crop=False, and check the shifts")
    note(f"cropped to {bottom - top} x {right - left} pixels")
    return moved.isel(y=slice(top, bottom), x=slice(left, right))
