"""How phases are arranged: which lie at two points a distance apart, and how much interface there is."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._kernels import autocovariance as kernel
from xstxm._kernels import interfaces as lines
from xstxm._noisy_maps import Step, lag_axis, require_lag, step_of
from xstxm._region_images import Regions, numbered_regions
from xstxm.conventions import NO_SAMPLE, SCHEMAS, UNDECIDED, annotate, require_variable
from xstxm.errors import MissingVariableError, SchemaError, require_whole
from xstxm.provenance import recorded
from xstxm.units import LengthLike

_DENSITIES = SCHEMAS["interface_density"]


@recorded
def two_point_correlation(phases: xr.Dataset, *, max_lag: LengthLike | None = None) -> xr.Dataset:
    """Return how likely two points of the sample at a distance are of these phases, ``P_ij(h)``, averaged over directions.

    Parameters
    ----------
    phases
        A result of `phase_map` with one image.
    max_lag
        Largest distance in um, or with a unit. By default half the shorter side of the field.

    Returns
    -------
    Dataset
        `two_point_probability` (phase, other_phase, lag), over all phases 1 at every `lag` (um, one pixel apart); at lag 0
        the area fractions, at lags beyond all order `two_point_limit` (phase, other_phase), the product of area fractions.
        `two_point_probability_sampling_stderr`, of the material, and `n_pairs` (lag) of pixels. NaN where no two pixels have
        the distance. Eager.

    Raises
    ------
    MissingVariableError, SchemaError
        `phases` is no phase map, holds no sample, or several images.
    OptionError
        `max_lag` below a pixel or beyond the field.
    MissingDimensionError, MissingCoordinateError, UnitsError
        No image, no positions or units.

    Notes
    -----
    A pixel is of the phase of its largest fraction, undecided ones too, as in the area fractions of `phase_summary`. Labels
    that are wrong by noise, a share w of the pixels, each for itself, pull the probabilities towards their limits at every
    lag but 0: of two phases, what is above the limit is (1 - 2 w)^2 of the truth.

    The error is that of a jackknife over 16 tiles of the field; it is too small of a field less than ten domains wide. It
    includes the noise.

    References
    ----------
    S. Torquato, Random Heterogeneous Materials (Springer, 2002), chapter 2, https://doi.org/10.1007/978-1-4757-6355-3

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> found = xstxm.two_point_correlation(phases, max_lag="150 nm")
    >>> float(found.two_point_probability.sum(("phase", "other_phase"))[3].round(6))
    1.0
    """
    phases = units.dequantify(phases)
    label, step = _one_image(phases)
    fraction = require_variable(phases, "phase_fraction", "pass the whole result of phase_map")
    values = np.asarray(fraction.transpose("phase", "y", "x"), dtype=float)
    inside = np.isfinite(values).all(axis=0) & (np.asarray(label) != NO_SAMPLE)
    if not inside.any():
        raise SchemaError("the map holds no sample: check the least amount of a sample pixel")
    largest = np.where(inside, np.argmax(np.where(inside, values, 0), axis=0), -1)
    number = kernel.pairs_of_classes(largest == np.arange(len(values))[:, None, None], step)
    half = min(np.multiply(inside.shape, step)) / 2
    longest = half if max_lag is None else require_lag(max_lag, [(inside.shape, step)])
    n_lags = int(longest / min(step) * 1.000001) + 1
    every = number.sum(axis=(1, 2), keepdims=True)
    found, error = (
        array[..., :n_lags] for array in kernel.jackknifed_share(number, np.broadcast_to(every, number.shape))
    )
    n_pairs = every.sum(axis=0)[0, 0, :n_lags] / 4
    n_pairs[0] *= 2
    area = np.diagonal(found[..., 0])
    dims = ("phase", "other_phase", "lag")
    names = np.asarray(phases["phase"])
    return xr.Dataset(
        {
            "two_point_probability": annotate(xr.DataArray(found, dims=dims), "two_point_probability"),
            "two_point_probability_sampling_stderr": annotate(
                xr.DataArray(error, dims=dims), "two_point_probability_sampling_stderr"
            ),
            "two_point_limit": annotate(xr.DataArray(np.multiply.outer(area, area), dims=dims[:2]), "two_point_limit"),
            "n_pairs": annotate(xr.DataArray(n_pairs, dims="lag"), "n_pairs"),
        },
        coords={"phase": names, "other_phase": names, "lag": lag_axis(n_lags, step)},
    )


def _one_image(phases: xr.Dataset) -> tuple[xr.DataArray, Step]:
    """Return the labels (y, x) of a phase map, and the distance of two pixels along y and x in um."""
    label = require_variable(phases, "phase_label", "call .stxm.phase_map() first")
    step = step_of(label, "the phase map")
    if "phase" not in phases.coords:
        raise MissingVariableError("phase", phases.variables, "pass the whole result of phase_map, it names the phases")
    return label.transpose("y", "x"), step


@recorded
def interface_density(phases: xr.Dataset, regions: Regions | None = None, *, max_gap: int = 1) -> xr.Dataset:
    """Return the length of the interfaces between phases per area of the sample, ``S = L / A``.

    Parameters
    ----------
    phases
        A result of `phase_map` with one image.
    regions
        As in `phase_summary`: by default all of the sample, or a mask, a box, a polygon, or an image of whole numbers, such as
        particles, in which every number above zero is a region.
    max_gap
        Undecided pixels that may lie between two phases, see `interface_map`.

    Returns
    -------
    Dataset
        `interface_density` (phase, other_phase) in 1/um, symmetric, and `total_interface_density`; of both
        ``*_sampling_stderr``, of the material. `area` in um^2 and `undecided_fraction` of the sample. An image of regions adds
        `region`, last. Eager.

    Raises
    ------
    MissingVariableError, SchemaError
        `phases` is no phase map, or holds several images.
    OptionError
        `max_gap` is no whole number, or regions without pixels.
    MissingDimensionError, MissingCoordinateError, UnitsError
        No image, no positions or units.

    Notes
    -----
    Interfaces are those of `interface_map`, within 6 % for a straight one. Only those inside a region count: not those along
    its edge. Undecided pixels belong to the area; where they lie more than `max_gap` wide between two phases the interface
    is not seen, so a large `undecided_fraction` makes the density too small. Single pixels that noise labels wrongly are
    interfaces too, and make it too large.

    The error is that of a jackknife over 16 tiles of the region; it is too small of a region of few domains. It includes the
    noise. NaN of a region in less than two tiles.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> xstxm.interface_density(phases).total_interface_density.attrs["units"]
    '1/um'
    """
    from scipy.ndimage import find_objects

    max_gap = require_whole("max_gap", max_gap, 0)
    phases = units.dequantify(phases)
    label, step = _one_image(phases)
    group, numbers = numbered_regions(label, regions)
    image, number = np.asarray(label), np.asarray(group)
    n_regions = 1 if numbers is None else len(numbers)
    windows = find_objects(number, n_regions)
    found = [
        _densities(np.where(number[window] == g + 1, image[window], NO_SAMPLE), step, phases.sizes["phase"], max_gap)
        for g, window in enumerate(windows)
    ]
    names = np.asarray(phases["phase"])
    made = {}
    for name in found[0]:
        values = np.array([one[name] for one in found])
        dims = ("region", "phase", "other_phase")[: values.ndim]
        made[name] = annotate(xr.DataArray(values, dims=dims).transpose(..., "region"), name)
    density = xr.Dataset(made, coords={"phase": names, "other_phase": names})
    return density.isel(region=0) if numbers is None else density.assign_coords(region=numbers)


def _densities(image: np.ndarray, step: Step, n_phases: int, max_gap: int) -> dict[str, np.ndarray]:
    """Return interface densities of the sample in an image (y, x), with the errors of a jackknife over tiles of it."""
    sample = image != NO_SAMPLE
    area = float(np.prod(step))

    def density(kept: np.ndarray) -> np.ndarray:
        label = np.where(kept, image, NO_SAMPLE)
        _, length = lines.interfaces(label, spacing=step, n_phases=n_phases, max_gap=max_gap, undecided=UNDECIDED)
        with np.errstate(invalid="ignore"):
            return np.append(length.ravel(), length.sum() / 2) / (kept.sum() * area)

    whole = density(sample)
    tiles = kernel.tiles_of(sample)
    error = kernel.jackknife(whole, np.array([density(sample & ~tile) for tile in tiles if len(tiles) > 1]))
    undecided = np.mean(image[sample] == UNDECIDED) if sample.any() else np.nan
    square = (n_phases, n_phases)
    pairs, pairs_error = whole[:-1].reshape(square), error[:-1].reshape(square)
    values = (pairs, pairs_error, whole[-1], error[-1], sample.sum() * area, undecided)
    return {name: np.asarray(value) for name, value in zip(_DENSITIES, values, strict=True)}
