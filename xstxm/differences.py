"""How far two maps of the same pixels differ: bias, limits of agreement, and whether their errors explain it."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import is_lazy
from xstxm._axes import match_energy, match_pixels
from xstxm._kernels import agreement
from xstxm._region_images import lags_of
from xstxm.conventions import (
    ENERGY,
    annotate,
    as_float,
    content_of,
    require_energy,
    require_image,
    require_variable,
    stderr_of,
    variance_of,
    without_coords,
)
from xstxm.errors import SchemaError, require_number
from xstxm.interfaces import spacing
from xstxm.provenance import recorded

_NAMES = (
    "bias",
    "bias_stderr",
    "bias_sampling_stderr",
    "difference_spread",
    "difference_rms",
    "difference_limit_sampling_stderr",
    "map_correlation",
    "share_beyond",
    "n_differences",
)
_PLAIN = {"map_correlation", "share_beyond", "n_differences"}
"""What has no units of the map."""


@recorded
def bland_altman(
    one: xr.Dataset | xr.DataArray,
    other: xr.Dataset | xr.DataArray,
    *,
    signal: str = "composition",
    confidence_level: float = 0.95,
    noise_correlation: xr.DataArray | None = None,
) -> xr.Dataset:
    """Return how far two maps of the same pixels differ, ``d = other - one``: mean, and the limits that hold most of d.

    The bias is the mean of d, the limits of agreement [1]_ are ``bias -+ z s`` with s the standard deviation of d, z = 1.96
    for 95 %.

    Parameters
    ----------
    one, other
        Results that hold the map, as of `phase_map`; or the maps themselves, with y and x.
    signal
        Variable of a Dataset. Its errors are read from ``<signal>_stderr``, or ``<signal>_variance``, where one is there.
    confidence_level
        Share of the pixels between the limits, and confidence of the joint error beyond which two values differ.
    noise_correlation
        Correlation of the noise of two pixels of `one` against their lag, as `regions.noise_correlation` returns it. By
        default pixels are independent.

    Returns
    -------
    Dataset
        Over the pixels with a value in both maps, `n_differences` of them, for each value of every dimension but y and x, in
        the units of `one`: `bias`, its error in these very pixels `bias_stderr`, from their noise, NaN where a map states
        none, and `bias_sampling_stderr`, how far it is from that of many such fields, from the autocovariance of d;
        `difference_spread`, the s above; `difference_lower` and `difference_upper`, the limits, both with the error
        `difference_limit_sampling_stderr`; `difference_rms`; `map_correlation`; and `share_beyond`, the share of the pixels
        that differ by more than their joint error: 5 % of them where noise alone explains d. Lazy, an image in one chunk.

    Raises
    ------
    MissingVariableError, MissingDimensionError
        A Dataset lacks `signal`, or a map has no y and x.
    SchemaError
        Other pixels, or maps of labels.
    EnergyRangeError
        Stacks on other energies.
    IncompatibleUnitsError
        The maps are in units of different kinds.

    Notes
    -----
    The sampling errors are those of `phase_summary`: NaN where the maps hold less than five independent patches. The joint
    error takes the two maps as independent.

    References
    ----------
    .. [1] J. M. Bland, D. G. Altman, Lancet 327, 307 (1986), https://doi.org/10.1016/S0140-6736(86)90837-8

    Examples
    --------
    >>> import xstxm
    >>> maps = [xstxm.phase_map(xstxm.testing.simulate_stack(shape=(24, 32), counts=c),
    ...         xstxm.testing.simulate_references()) for c in (5000, 9000)]
    >>> found = xstxm.bland_altman(*maps)
    >>> bool(found.difference_lower < found.bias < found.difference_upper)
    True
    """
    from scipy.special import ndtri

    level = require_number("confidence_level", confidence_level, "a share", above=0, below=1)
    score = float(ndtri(0.5 + level / 2))
    (value, error), (second, error_second) = (_map_of(given, signal) for given in (one, other))
    unit = str(value.attrs.get("units", "1"))
    if {*value.dims} != {*second.dims}:
        raise SchemaError(f"the maps have dims {value.dims} and {second.dims}: compare maps of the same pixels")
    moved = [_placed(array, value, unit) for array in (second, error_second)]
    options = {
        "step": tuple(abs(spacing(value, dim)) for dim in ("y", "x")),
        "score": score,
        "correlation": None if noise_correlation is None else lags_of(noise_correlation, ("y", "x")),
    }
    found = _over_images([value, moved[0], error, moved[1]], options)
    found["difference_lower"] = found["bias"] - score * found["difference_spread"]
    found["difference_upper"] = found["bias"] + score * found["difference_spread"]
    stamped = {name: annotate(array, name, units=None if name in _PLAIN else unit) for name, array in found.items()}
    for name in ("difference_lower", "difference_upper"):
        stamped[name] = stamped[name].assign_attrs(confidence_level=level)
    return xr.Dataset(stamped).assign_attrs(signal=str(value.name or signal), confidence_level=level)


def _map_of(given: xr.Dataset | xr.DataArray, signal: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Return a map and its standard error, NaN where it states none."""
    given = units.dequantify(given)
    do = "name the variable that holds the map, e.g. signal='composition'"
    array = require_variable(given, signal, do) if isinstance(given, xr.Dataset) else given
    if content_of(array.name, array) != "number":
        raise SchemaError(f"{str(array.name)!r} holds no numbers that could differ: compare labels with xstxm.compare")
    require_image(array, "maps of the same pixels have y and x")
    array = as_float(array)
    error = stderr_of(given, signal)
    variance = variance_of(given, signal)
    if error is None and variance is not None:
        error = (variance**0.5).assign_attrs(units=array.attrs.get("units", "1"))
    return array, xr.full_like(array, np.nan) if error is None else error


def _placed(array: xr.DataArray, model: xr.DataArray, unit: str) -> xr.DataArray:
    """Return an array on the pixels, and the energies, of the one map and in its units."""
    given = array.assign_attrs(units=array.attrs.get("units", "1"))
    if ENERGY in given.dims:
        given = match_energy(given, require_energy(model), how="exact", what="the other map", whose="the one")
    return match_pixels(units.to_units(given, unit, "the other map"), model, "the other map")


def _over_images(maps: list[xr.DataArray], options: dict[str, object]) -> dict[str, xr.DataArray]:
    """Return the statistics of each image."""
    dims = ["y", "x"]
    whole = [item.chunk(dict.fromkeys(dims, -1)) if is_lazy(item) else item for item in maps]
    found = xr.apply_ufunc(
        agreement.differences,
        *(without_coords(item, *dims) for item in whole),
        input_core_dims=[dims] * len(whole),
        output_core_dims=[[]] * len(_NAMES),
        vectorize=True,
        dask="parallelized",
        output_dtypes=[float] * (len(_NAMES) - 1) + [int],
        kwargs=options,
    )
    return dict(zip(_NAMES, found, strict=True))
