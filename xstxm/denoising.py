"""Denoising: along energy by a matrix that all pixels share, or frame by frame."""

from __future__ import annotations

import functools
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import is_lazy, pixels_last, require_single_chunk
from xstxm._kernels import smoothing
from xstxm.conventions import (
    ENERGY,
    as_float,
    nothing_usable,
    replace_signal,
    require_energy,
    require_image,
    signal_of,
    variance_of,
)
from xstxm.decomposition import Field, eigenspectra, usable_pixels
from xstxm.errors import (
    OptionError,
    SchemaError,
    check_choice,
    require_number,
    require_whole,
)
from xstxm.provenance import note, recorded
from xstxm.units import EnergyLike

DenoiseMethod: TypeAlias = Literal["svd", "savgol", "nlm", "tv"]

TAKES: dict[str, tuple[str, ...]] = {
    "svd": ("n_components",),
    "savgol": ("window", "order"),
    "nlm": ("strength", "patch_size", "patch_distance"),
    "tv": ("strength",),
}
"""The options of each method."""
DRAWS = 16
"""Frames with fresh noise from which the variance of a filtered frame is estimated."""


@overload
def denoise(
    stack: xr.DataArray,
    method: DenoiseMethod = ...,
    *,
    n_components: int | None = ...,
    window: EnergyLike | None = ...,
    order: int | None = ...,
    strength: float | None = ...,
    patch_size: int | None = ...,
    patch_distance: int | None = ...,
    signal: str = ...,
) -> xr.DataArray: ...
@overload
def denoise(
    stack: xr.Dataset,
    method: DenoiseMethod = ...,
    *,
    n_components: int | None = ...,
    window: EnergyLike | None = ...,
    order: int | None = ...,
    strength: float | None = ...,
    patch_size: int | None = ...,
    patch_distance: int | None = ...,
    signal: str = ...,
) -> xr.Dataset: ...
@recorded
def denoise(
    stack: xr.DataArray | xr.Dataset,
    method: DenoiseMethod = "svd",
    *,
    n_components: int | None = None,
    window: EnergyLike | None = None,
    order: int | None = None,
    strength: float | None = None,
    patch_size: int | None = None,
    patch_distance: int | None = None,
    signal: str = "optical_density",
) -> xr.DataArray | xr.Dataset:
    """Take noise out of a stack, along energy (``"svd"``, ``"savgol"``) or frame by frame (``"nlm"``, ``"tv"``).

    Along energy every spectrum y becomes ``W y`` and its variance ``(W * W) var``, with one matrix W for all pixels:
    the projection onto the leading eigenspectra, or local polynomials (Savitzky-Golay) in energy, not in points.

    Parameters
    ----------
    stack
        Stack or array with an energy dimension.
    method
        ``"svd"``: keep the leading eigenspectra; ``"savgol"``: local polynomials along energy; ``"nlm"``: non-local
        means, ``"tv"``: total variation (Chambolle), of each frame (y, x), by scikit-image.
    n_components
        For ``"svd"``: how many eigenspectra to keep; by default those above the noise floor.
    window
        For ``"savgol"``: full width in energy, both ends included; by default five median steps of the axis.
    order
        For ``"savgol"``: order of the polynomials, 2 by default.
    strength
        For ``"nlm"`` and ``"tv"``: strength over the noise of the frame, 0.8 and 1 by default. The noise is estimated
        from the frame's mixed second differences.
    patch_size, patch_distance
        For ``"nlm"``: size of the patches that are compared, 5 pixels by default, and how far apart they may lie, 6.
    signal
        Variable of a Dataset.

    Returns
    -------
    DataArray or Dataset
        As given, with the signal replaced, in its own units and dtype (integers become float32). A variable
        ``<signal>_variance`` is carried along: exactly for ``"savgol"``, for ``"svd"`` with the eigenspectra taken as
        known, and for the others from 16 repeats with noise of that size. Values that are not finite are left
        out of what their neighbours become and stay as they are. Lazy.

    Raises
    ------
    OptionError
        An option of another method, or a value that makes no sense.
    SchemaError
        A method along energy with one energy only; ``"svd"`` without a pixel that is finite at every energy (a lazy stack: when computed).
    MissingDimensionError
        A method that works on frames, and no y and x.
    ChunkingError
        A large lazy stack whose energies are in chunks, or its images, for a method that works on frames.
    ChoiceError
        Unknown method.

    Notes
    -----
    The pixels outside a `mask` of the Dataset are denoised too, and do not count for the eigenspectra.

    References
    ----------
    Savitzky and Golay, Anal. Chem. 36, 1627 (1964), doi 10.1021/ac60214a047; Buades et al., Multiscale Model. Simul. 4,
    490 (2005), doi 10.1137/040616024; Chambolle, J. Math. Imaging Vis. 20, 89 (2004), doi
    10.1023/B:JMIV.0000011325.36760.1e.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> smooth = xstxm.denoise(stack, "savgol", window="1.5 eV")
    >>> (smooth.optical_density - stack.optical_density).dims
    ('energy', 'y', 'x')
    """
    check_choice("method", method, DenoiseMethod)
    options: dict[str, Any] = {
        "n_components": n_components,
        "window": window,
        "order": order,
        "strength": strength,
        "patch_size": patch_size,
        "patch_distance": patch_distance,
    }
    options = _own_options(method, options)
    stack = units.dequantify(stack)
    array = signal_of(stack, signal)
    require_energy(array)
    if method in ("svd", "savgol") and array.sizes[ENERGY] < 2:
        found = f"the stack has {array.sizes[ENERGY]}"
        raise SchemaError(f"{method!r} needs two energies or more, {found}: pass method='nlm' or method='tv'")
    floats, variance = as_float(array), variance_of(stack, signal)
    if method == "svd":
        smooth, spread = _by_svd(floats, variance, usable_pixels(floats, stack), options["n_components"])
    elif method == "savgol":
        smooth, spread = _by_polynomials(floats, variance, options["window"], options["order"])
    else:
        smooth, spread = _by_frame(floats, variance, method, options)
    smooth = smooth.transpose(*array.dims).assign_attrs(array.attrs).rename(array.name)
    if spread is not None and variance is not None:
        spread = spread.transpose(*array.dims).assign_attrs(variance.attrs)
    return replace_signal(stack, signal, smooth, spread)


def _own_options(method: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a method; one given for another method is an error."""
    for name, value in options.items():
        if value is not None and name not in TAKES[method]:
            owners = " and method=".join(repr(owner) for owner, names in TAKES.items() if name in names)
            raise OptionError(
                name, value, f"it belongs to method={owners}, {method!r} takes {', '.join(TAKES[method])}"
            )
    for name in ("order", "patch_size", "patch_distance"):
        if options[name] is not None:
            options[name] = require_whole(name, options[name], 0 if name == "order" else 1)
    if options["strength"] is not None:
        options["strength"] = require_number("strength", options["strength"], above=0)
    return options


def _along_energy(
    array: xr.DataArray, variance: xr.DataArray | None, block: Any, *others: xr.DataArray
) -> tuple[xr.DataArray, xr.DataArray | None]:
    """Apply `block(values, variance, *others)`, energy last, to every pixel. Lazy."""
    arrays = [require_single_chunk(a, "denoise") for a in (array, variance) if a is not None]
    result = xr.apply_ufunc(
        functools.partial(_block, block, len(arrays)),
        *arrays,
        *others,
        input_core_dims=[[ENERGY]] * len(arrays) + [list(other.dims) for other in others],
        output_core_dims=[[ENERGY]] * len(arrays),
        dask="parallelized",
        output_dtypes=[a.dtype for a in arrays],
    )
    return (result, None) if variance is None else result


def _block(block: Any, n_arrays: int, *arrays: np.ndarray) -> Any:
    shape = arrays[0].shape
    pixels = [pixels_last(array) for array in arrays[:n_arrays]]
    found = block(pixels[0], pixels[1] if n_arrays > 1 else None, *arrays[n_arrays:])
    placed = [np.moveaxis(array.reshape(shape[-1:] + shape[:-1]), 0, -1) for array in found[:n_arrays]]
    return placed[0] if n_arrays == 1 else tuple(placed)


def _by_polynomials(
    array: xr.DataArray, variance: xr.DataArray | None, window: EnergyLike | None, order: int | None
) -> tuple[xr.DataArray, xr.DataArray | None]:
    axis, unit = np.asarray(array[ENERGY], dtype=float), units.units_of(array[ENERGY])
    steps = np.diff(np.unique(axis))
    if window is None:
        width = 5 * float(np.median(steps)) if steps.size else np.inf
        note(f"window of {width:g} {unit}")
    else:
        width = units.to_magnitude(window, unit, "window", spectroscopy=False)
    degree = 2 if order is None else order
    if not width > 0:
        raise OptionError("window", window, "give a width above zero")
    whole = smoothing.local_polynomial(axis, width, degree, np.ones(axis.size, dtype=bool))
    if np.allclose(whole, np.eye(axis.size)):
        raise _nothing_to_smooth(axis, unit, width, degree, window)
    matrix_of = functools.partial(smoothing.local_polynomial, axis, width, degree, whole=whole)
    return _along_energy(array, variance, functools.partial(smoothing.smooth_pixels, matrix_of=matrix_of))


def _nothing_to_smooth(
    axis: np.ndarray, unit: str, width: float, degree: int, window: EnergyLike | None
) -> OptionError:
    """Return the error of a window that nowhere holds more energies than a polynomial has coefficients."""
    different = np.unique(axis)
    told = f"no window of {width:g} {unit} holds more than {degree + 1} energies, nothing would change: "
    if different.size <= degree + 1:
        most = f"give at most {different.size - 2}, the stack has {different.size} different energies"
        return OptionError(
            "order", degree, told + (most if different.size > 2 else "they are too few, pass method='svd'")
        )
    least = 2 * np.sort(np.abs(different - different[:, None]), axis=1)[:, degree + 1].min()
    do = f"pass window='{np.ceil(least * 1e3) / 1e3:g} {unit}' or more, or a lower order"
    return OptionError("order", degree, told + do) if window is None else OptionError("window", window, told + do)


def _by_svd(
    array: xr.DataArray, variance: xr.DataArray | None, inside: xr.DataArray, n_components: int | None
) -> tuple[xr.DataArray, xr.DataArray | None]:
    n_energies = array.sizes[ENERGY]
    if n_components is not None:
        n_components = require_whole("n_components", n_components, 1, n_energies, "the number of energies")
    whole = require_single_chunk(array, "denoise")
    sums = Field(whole, inside, {}).sums()
    if not is_lazy(sums) and not sums[-1, -1]:
        raise nothing_usable(whole, inside)
    basis = xr.apply_ufunc(
        functools.partial(_leading, n_components=n_components),
        sums,
        input_core_dims=[["row", "column"]],
        output_core_dims=[["component", ENERGY]],
        dask="parallelized",
        output_dtypes=[float],
        dask_gufunc_kwargs={"output_sizes": {"component": n_energies, ENERGY: n_energies}},
    )
    if not is_lazy(basis):
        note(f"{int(basis.any(ENERGY).sum())} of {n_energies} components kept")
    return _along_energy(whole, variance, _project, basis)


def _leading(sums: np.ndarray, *, n_components: int | None) -> np.ndarray:
    """Return the leading eigenspectra of the sums of a field, in as many rows as energies: their number may be open."""
    moment, n_pixels = sums[:-1, :-1], sums[-1, -1]
    if not n_pixels:
        raise SchemaError(
            "no pixel is finite at every energy: stack.optical_density.count(['y', 'x']) says how many are finite at each; "
            "leave frames that lack many out first, e.g. stack.drop_isel(energy=[3])"
        )
    labelled = xr.DataArray(moment, dims=(ENERGY, f"{ENERGY}_"), coords={ENERGY: np.arange(len(moment))})
    basis = np.asarray(eigenspectra(labelled, int(n_pixels), n_components))
    return np.concatenate([basis, np.zeros((len(moment) - len(basis), len(moment)))])


def _project(values: np.ndarray, variance: np.ndarray | None, basis: np.ndarray) -> Any:
    matrix_of = functools.partial(smoothing.projector, basis[basis.any(1)])
    return smoothing.smooth_pixels(values, variance, matrix_of)


def _by_frame(
    array: xr.DataArray, variance: xr.DataArray | None, method: str, options: dict[str, Any]
) -> tuple[xr.DataArray, xr.DataArray | None]:
    require_image(array, f"{method!r} works on frames (y, x): pass method='svd' or method='savgol'")
    smoother = _frame_filter(method, options)
    arrays = [array] if variance is None else [array, variance]
    arrays = [require_single_chunk(a, "denoise", "y", "x") for a in arrays]
    result = xr.apply_ufunc(
        functools.partial(_filter_frames, smoother=smoother),
        *arrays,
        input_core_dims=[["y", "x"]] * len(arrays),
        output_core_dims=[["y", "x"]] * len(arrays),
        dask="parallelized",
        output_dtypes=[a.dtype for a in arrays],
    )
    return (result, None) if variance is None else result


def _filter_frames(frames: np.ndarray, variance: np.ndarray | None = None, *, smoother: Any) -> Any:
    smooth, spread = np.empty_like(frames), None if variance is None else np.empty_like(variance)
    for at in np.ndindex(frames.shape[:-2]):
        smooth[at], found = smoothing.filter_frame(
            frames[at], None if variance is None else variance[at], smoother, DRAWS
        )
        if spread is not None:
            spread[at] = found
    return smooth if spread is None else (smooth, spread)


def _frame_filter(method: str, options: dict[str, Any]) -> Any:
    strength = options["strength"]
    if method == "tv":
        return functools.partial(_total_variation, strength=1.0 if strength is None else strength)
    return functools.partial(
        _nonlocal_means,
        strength=0.8 if strength is None else strength,
        patch_size=options["patch_size"] or 5,
        patch_distance=options["patch_distance"] or 6,
    )


def _total_variation(frame: np.ndarray, *, strength: float) -> np.ndarray:
    from skimage.restoration import denoise_tv_chambolle

    sigma = smoothing.frame_noise(frame)
    return denoise_tv_chambolle(frame, weight=strength * sigma) if sigma > 0 else frame


def _nonlocal_means(frame: np.ndarray, *, strength: float, patch_size: int, patch_distance: int) -> np.ndarray:
    from skimage.restoration import denoise_nl_means

    sigma = smoothing.frame_noise(frame)
    if not sigma > 0:
        return frame
    return denoise_nl_means(
        frame, patch_size=patch_size, patch_distance=patch_distance, h=strength * sigma, sigma=sigma, fast_mode=True
    )
