"""Stacks moved by known shifts, and aligned in one step."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import equal_within, is_lazy
from xstxm.alignment import AlignTo, Grid, Transform, estimate_shifts
from xstxm.conventions import annotate, as_float, quality_bits
from xstxm.errors import EnergyRangeError, MissingVariableError, OptionError, SchemaError, check_choice
from xstxm.options import get_options
from xstxm.provenance import note, recorded
from xstxm.roi import Region
from xstxm.units import LengthLike

Interpolation: TypeAlias = Literal["cubic", "fourier"]
Stack = TypeVar("Stack", xr.DataArray, xr.Dataset)


@recorded
def apply_shifts(
    stack: Stack, shifts: xr.Dataset, *, interpolation: Interpolation = "cubic", crop: bool = False
) -> Stack:
    """Move each frame of a stack by its shift: what lay at a position p comes to lie at p + shift.

    Parameters
    ----------
    stack
        Stack, or an array with dimensions y and x. Every variable of a Dataset with frames is moved by the same
        shifts; images without an energy stay where they are.
    shifts
        `shift_y` and `shift_x` along energy (and other frame dimensions), with units: a result of `estimate_shifts`,
        of this stack or of another detector's, or of `read_shifts`. With `magnification` and `rotation` frames are scaled
        and turned back about their middle as well.
    interpolation
        ``"cubic"``: convolution with the kernel of Keys (1981), four pixels along each axis. ``"fourier"``: the phase of
        the transform of the mirrored frame, which keeps the finest detail and its noise, for frames without NaN that
        are neither scaled nor turned.
    crop
        Keep only the rectangle that every frame covers.

    Returns
    -------
    DataArray or Dataset
        As given, floats with their dtype, counts as integers become float32, with coordinates `shift_y`, `shift_x`, added to those of an earlier move. NaN
        where a frame does not reach; masks and flags move by whole pixels, zero outside. The variance
        `<name>_variance` is that of the interpolated value, ``sum w^2 var`` with the weights w of either kind. In the `quality` of a Dataset such pixels are flagged `outside_overlap`. Lazy.

    Raises
    ------
    MissingVariableError
        `shifts` has no shifts.
    EnergyRangeError, SchemaError
        Shifts of other frames than those of the stack, NaN among them, an I0 that is fixed to the detector, or NaN in
        a frame that is moved by its transform.
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
    >>> stack = xstxm.testing.simulate_stack(shape=(48, 56), drift="60 nm", seed=0)
    >>> moved = xstxm.apply_shifts(stack, xstxm.estimate_shifts(stack), crop=True)
    >>> moved.intensity.sizes["y"] < 48
    True
    """
    check_choice("interpolation", interpolation, Interpolation)
    stack, shifts = units.dequantify(stack), units.dequantify(shifts)
    if isinstance(stack, xr.DataArray):
        grid = Grid.of(stack)
        move = _Move.of(shifts, stack, grid, interpolation)
        moved: Any = move.array(stack, is_variance=str(stack.name).endswith("_variance"))
        return _cropped(_placed(moved, shifts, grid), move, crop)
    names = [name for name, array in stack.data_vars.items() if _is_frames(array)]
    if not names:
        raise SchemaError(
            f"no variable of the stack has frames with y and x (found: {', '.join(map(str, stack.data_vars))})"
        )
    _refuse_detector_i0(stack)
    grid = Grid.of(stack[names[0]])
    move = _Move.of(shifts, stack[names[0]], grid, interpolation)
    moved = {name: move.array(stack[name], is_variance=str(name).endswith("_variance")) for name in names}
    quality = quality_bits({"outside_overlap": ~move.overlap(stack)}, stack.get("quality"))
    return _cropped(_placed(stack.assign({**moved, "quality": quality}), shifts, grid), move, crop)


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
    >>> stack = xstxm.testing.simulate_stack(shape=(48, 56), drift="60 nm", seed=0)
    >>> aligned = xstxm.align(stack, crop=True)
    >>> aligned.shift_y.attrs["units"]
    'um'
    """
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


class _Move:
    """Shifts of the frames of one grid, in pixels, and how they are applied."""

    def __init__(
        self, grid: Grid, pixels: np.ndarray, matrices: np.ndarray | None, interpolation: Interpolation
    ) -> None:
        self.grid, self.pixels, self.matrices, self.interpolation = grid, pixels, matrices, interpolation

    @classmethod
    def of(cls, shifts: xr.Dataset, stack: xr.DataArray, grid: Grid, interpolation: Interpolation) -> _Move:
        """Return the move of a stack by shifts of the same frames. Eager on the shifts."""
        along = []
        for axis, size, unit in zip(("y", "x"), grid.steps, grid.units, strict=True):
            if f"shift_{axis}" not in shifts:
                raise MissingVariableError(
                    f"shift_{axis}", shifts.variables, "pass a result of estimate_shifts or read_shifts"
                )
            found = units.to_units(shifts[f"shift_{axis}"], unit, f"shift_{axis}")
            along.append(_of_the_frames(found, stack, grid) / size)
        pixels = np.stack(along, axis=-1)
        if not np.isfinite(pixels).all():
            raise SchemaError(
                "some shifts are NaN: fill them, e.g. shifts.interpolate_na('energy'), or drop those frames"
            )
        if "rotation" not in shifts and "magnification" not in shifts:
            return cls(grid, pixels, None, interpolation)
        if interpolation == "fourier":
            raise OptionError(
                "interpolation", interpolation, "frames that are scaled or turned are moved by 'cubic' only"
            )
        magnification = cls._given(shifts, "magnification", "1", 1.0, stack, grid)
        angle = cls._given(shifts, "rotation", "rad", 0.0, stack, grid)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        return cls(grid, pixels, np.moveaxis(magnification * turn, (0, 1), (-2, -1)), interpolation)

    @staticmethod
    def _given(shifts: xr.Dataset, name: str, unit: str, default: float, stack: xr.DataArray, grid: Grid) -> np.ndarray:
        if name not in shifts:
            return np.full(grid.frame_shape, default)
        return _of_the_frames(units.to_units(shifts[name], unit, name), stack, grid)

    def array(self, array: xr.DataArray, *, is_variance: bool) -> xr.DataArray:
        """Return the moved frames, in the order of the dimensions of `array`. Lazy where it is."""
        ordered = array.transpose(*self.grid.frame_dims, "y", "x")
        ordered = ordered if _is_flags(ordered) else as_float(ordered)
        if is_lazy(ordered):
            data = self._lazily(ordered.data, is_variance)
        else:
            values = np.asarray(ordered)
            self._refuse_nan(values)
            data = self._block(
                values, (slice(None),) * len(self.grid.frame_dims), is_variance, get_options().num_threads
            )
        return ordered.copy(data=data).transpose(*array.dims)

    def _lazily(self, data: Any, is_variance: bool) -> Any:
        import dask.array as da

        n_frame_dims = len(self.grid.frame_dims)
        depth = self._margins(data.dtype)
        data = data.rechunk({axis: -1 for axis, margin in depth.items() if margin == 0})

        def block(frames: np.ndarray, block_info: Any = None) -> np.ndarray:
            self._refuse_nan(frames)
            place = block_info[0]["array-location"][:n_frame_dims]
            return self._block(frames, tuple(slice(*ends) for ends in place), is_variance, 1)

        return da.map_overlap(
            block,
            data,
            depth=depth,
            boundary="none",
            dtype=data.dtype,
            meta=np.empty((0,) * data.ndim, data.dtype),
        )

    def _margins(self, dtype: np.dtype) -> dict[int, int]:
        """Return what a block needs of its neighbours along the axes of y and x; 0 where it needs them whole."""
        whole = self.matrices is not None or self.interpolation == "fourier" or dtype.kind != "f"
        farthest = np.ceil(np.abs(self.pixels).reshape(-1, 2).max(0)).astype(int) + 2
        return {
            len(self.grid.frame_dims) + k: 0 if whole or margin >= n else int(margin)
            for k, (margin, n) in enumerate(zip(farthest, self.grid.shape, strict=True))
        }

    def _refuse_nan(self, values: np.ndarray) -> None:
        if self.interpolation == "fourier" and values.dtype.kind == "f" and np.isnan(values).any():
            raise SchemaError("a frame with NaN has no transform: use interpolation='cubic', or fill it first")

    def _block(self, frames: np.ndarray, place: tuple[slice, ...], is_variance: bool, threads: int) -> np.ndarray:
        from xstxm._kernels.moving import move_frames

        return move_frames(
            frames,
            self.pixels[place],
            method=self.interpolation,
            squared=is_variance,
            matrices=None if self.matrices is None else self.matrices[place],
            threads=threads,
        )

    def overlap(self, stack: xr.DataArray | xr.Dataset) -> xr.DataArray:
        """Return the pixels that every frame covers."""
        from xstxm._kernels.moving import covered

        every = np.ones(self.grid.shape, bool)
        matrices = [None] * self.pixels.size if self.matrices is None else list(self.matrices.reshape(-1, 2, 2))
        for shift, matrix in zip(self.pixels.reshape(-1, 2), matrices, strict=False):
            every &= covered(self.grid.shape, shift, matrix)
        return xr.DataArray(every, dims=("y", "x"), coords={"y": stack["y"], "x": stack["x"]})


def _is_frames(array: xr.DataArray) -> bool:
    return {"energy", "y", "x"} <= {*array.dims} and array.dtype.kind in "fiub"


def _is_flags(array: xr.DataArray) -> bool:
    return array.dtype == bool or (array.dtype.kind in "iu" and {"flag_masks", "flag_values"} & {*array.attrs} != set())


def _refuse_detector_i0(stack: xr.Dataset) -> None:
    """Refuse an I0 image, which stands still on the detector while the frames move."""
    if "i0" in stack and {"y", "x"} & {*stack["i0"].dims} and "intensity" in stack:
        raise SchemaError(
            "the stack holds an I0 image, which does not move with the sample: call .stxm.optical_density() first, "
            "drop_vars(['intensity', 'i0']), and align with signal='optical_density'"
        )


def _of_the_frames(found: xr.DataArray, stack: xr.DataArray, grid: Grid) -> np.ndarray:
    """Return values for every frame of the stack, after checking that they belong to these frames."""
    for dim in found.dims:
        if dim not in grid.frame_dims:
            raise SchemaError(f"the shifts have a dimension {dim!r}, the frames have {grid.frame_dims}")
        if found.sizes[dim] != stack.sizes[dim]:
            raise SchemaError(
                f"there are {found.sizes[dim]} shifts along {dim!r} and {stack.sizes[dim]} frames: they belong to another stack"
            )
        if dim == "energy" and dim in found.coords:
            _require_same_energies(found, stack)
    missing = {dim: stack.sizes[dim] for dim in grid.frame_dims if dim not in found.dims}
    plain = found.reset_coords(drop=True).drop_vars(list(found.coords), errors="ignore")
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


def _placed(moved: Any, shifts: xr.Dataset, grid: Grid) -> Any:
    """Return a moved stack with its shifts as coordinates."""
    coords = {}
    for axis in ("y", "x"):
        found = shifts[f"shift_{axis}"].reset_coords(drop=True)
        if f"shift_{axis}" in moved.coords:
            before = units.to_units(moved[f"shift_{axis}"].reset_coords(drop=True), found.attrs["units"])
            found = found.copy(data=np.asarray(found) + np.asarray(before.broadcast_like(found).transpose(*found.dims)))
        coords[f"shift_{axis}"] = annotate(found, f"shift_{axis}", units=found.attrs.get("units")).variable
    return moved.assign_coords(coords)


def _cropped(moved: Any, move: _Move, crop: bool) -> Any:
    """Return the largest rectangle that every frame covers, found by cutting the side that costs least."""
    if not crop:
        return moved
    inside = np.asarray(move.overlap(moved))
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
