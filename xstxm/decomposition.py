"""Singular value decomposition of a stack through its energy-by-energy second moment."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import is_lazy, mixed, over_energy, pixels_last, require_single_chunk, threads_for
from xstxm._device import beside, on_device, on_host
from xstxm._kernels import devices, moments
from xstxm._sums import made_again, pixel_sums
from xstxm.conventions import (
    ENERGY,
    SPECS,
    annotate,
    nothing_usable,
    pixel_dims,
    require_energy,
    require_variable,
    signal_of,
    used_pixels,
)
from xstxm.errors import SchemaError, require_whole
from xstxm.provenance import note, recorded
from xstxm.roi import Region, region_mask
from xstxm.steps import followed

COMPONENT = "component"
RANK = "rank"


@recorded
@on_device
def pca(
    stack: xr.DataArray | xr.Dataset,
    n_components: int | None = None,
    *,
    center: bool = False,
    region: Region | None = None,
    signal: str = "optical_density",
) -> xr.Dataset:
    """Decompose a stack into eigenspectra and eigenimages: the singular value decomposition, without centring.

    ``od(e, p) = sum_c v_c(e) s_c(p)`` with orthonormal eigenspectra v and uncorrelated eigenimages s, the strongest
    first. This is what spectromicroscopy calls PCA: the mean spectrum is not subtracted, so the first component is
    the mean spectrum, nearly, and its image the thickness. Statistics packages centre: ``center=True``.

    Parameters
    ----------
    stack
        Stack, or array with an energy dimension and any others.
    n_components
        Number of components; by default `suggested_components`.
    center
        Subtract the mean spectrum first.
    region
        Pixels to use: a mask, a box or a polygon, see `spectrum`. Those outside the `mask` of a Dataset, and
        those that are not finite at every energy, are left out as well.
    signal
        Variable of a Dataset to decompose.

    Returns
    -------
    Dataset
        Over `component` = 1, 2, ...: `eigenspectra` (component, energy), the largest entry of each positive, and
        `eigenimages` (component, pixel dims) in the units of the signal, NaN in pixels that were left out;
        `eigenvalues`, the mean square of each eigenimage over the pixels used (n - 1 in place of n if centred), and
        `explained_variance_ratio`, their share of all. Besides: `scree` (rank), all eigenvalues;
        `center_spectrum` (energy), what was subtracted, zeros if nothing;
        `noise_floor`, the eigenvalue below which a component is better left out; `suggested_components`, the number
        above it, at least one; `significant_components`, the number that noise does not explain. Eigenimages have the
        dtype of the signal, integers become float32; the rest is float64.

        Lazy where `n_components` is given. Eager without it in one pass over the stack, whose result is an
        energy-by-energy matrix; the eigenimages of a lazy stack are lazy in any case.

    Raises
    ------
    MissingVariableError, MissingUnitsError
        The Dataset has no such signal, or the signal no units.
    OptionError
        `n_components` is not from 1 to the number of energies.
    SchemaError
        No pixel is finite at every energy; it says which frames to leave out. Of a lazy result that shows as NaN.
    ChunkingError
        A large lazy stack with its energies in chunks.

    Notes
    -----
    The eigenvectors of the second moment ``sum_p od(e, p) od(e', p)`` are the eigenspectra. It is summed in float64,
    chunk by chunk, which makes even the smallest eigenvalues those of a singular value decomposition in float64
    to 1e-6; the order of the sum, and with it the chunking, changes them by 1e-12 of the largest.

    `noise_floor` is the optimal hard threshold for white noise of unknown size [1]_, squared.
    `significant_components` counts eigenvalues above the largest that noise of its own size at each energy shows in 95
    of 100 stacks, the limit law [2]_ of what parallel analysis [3]_ draws; the size is what the other energies do not
    predict [4]_. A component may be significant and still add more noise than signal to a reconstruction: that
    number is usually the larger one, and noise that neighbouring energies share counts as signal.

    References
    ----------
    .. [1] Gavish and Donoho, IEEE Trans. Inf. Theory 60, 5040 (2014), doi:10.1109/TIT.2014.2323359
    .. [2] Johnstone, Ann. Stat. 29, 295 (2001), doi:10.1214/aos/1009210544
    .. [3] Horn, Psychometrika 30, 179 (1965), doi:10.1007/BF02289447
    .. [4] Bioucas-Dias and Nascimento, IEEE Trans. Geosci. Remote Sens. 46, 2435 (2008), doi:10.1109/TGRS.2008.918089

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> found = xstxm.pca(stack, 3)
    >>> found.eigenimages.dims, found.eigenimages.attrs["units"]
    (('component', 'y', 'x'), '1')
    >>> bool(found.explained_variance_ratio[0] > 0.9)
    True
    """
    field = field_of(stack, signal, region)
    if n_components is not None:
        n_components = require_components(n_components, field)
    sums = field.sums()
    if n_components is None or not is_lazy(sums):
        sums = field.counted(sums)
    return decomposed({"": field}, {"": sums}, n_components, center)[""]


class Field(NamedTuple):
    """A stack as decompositions read it: its signal, whole spectra in each chunk, and the pixels (pixel dims) that count."""

    array: xr.DataArray
    usable: xr.DataArray
    about: Mapping[Any, Any]
    """What the stack says of itself."""

    def sums(self) -> xr.DataArray:
        """Return the second moment with the sum of the spectra and the number of pixels as its last row (row, column). Lazy."""
        side = self.array.sizes[ENERGY] + 1
        sizes = {"row": side, "column": side}
        threads = threads_for(self.array, self.usable)
        return pixel_sums(moments.second_moment, made_again(self.array), self.usable, sizes, threads=threads)

    def counted(self, sums: xr.DataArray | None = None) -> xr.DataArray:
        """Return the sums in memory, or raise where they hold no pixel. Eager, on an energy-by-energy matrix."""
        found = on_host((self.sums() if sums is None else sums).compute(**followed()))
        if not found[-1, -1]:
            raise nothing_usable(self.array, self.usable)
        return found


def field_of(stack: xr.DataArray | xr.Dataset, signal: str, region: Region | None = None) -> Field:
    """Return what a decomposition reads of a stack: floats, in pixels that neither its `mask` nor a region leaves out."""
    stack = units.dequantify(stack)
    array = floating(signal_of(stack, signal))
    require_energy(array)
    units.units_of(array, f"{signal!r}")
    usable = usable_pixels(array, stack, region)
    array = require_single_chunk(array.rename(array.name or signal), "the decomposition")
    return Field(array, usable, stack.attrs if isinstance(stack, xr.Dataset) else {})


def require_components(n_components: int, field: Field) -> int:
    """Return a number of components that the energies of a field allow."""
    return require_whole("n_components", n_components, 1, field.array.sizes[ENERGY], "the number of energies")


class Weights(NamedTuple):
    """What the fields of a joint analysis count: each as a whole, or each of its pixels."""

    of_fields: np.ndarray
    each_pixel: bool
    evens_noise: bool = False
    """The weight is one over the variance of the noise, which is the same in all pixels with it."""

    def of_pixels(self, number: Sequence[float]) -> np.ndarray:
        """Return the weight of a pixel of each field, given the numbers of pixels.

        All together they weigh as many as pixels of one weight would be that average as much noise (Kish), so that limits
        for noise, which depend on a number of pixels, hold for them. Where weights even the noise, that is all pixels.
        """
        pixels = np.asarray(number, dtype=float)
        each = self.of_fields if self.each_pixel else self.of_fields / np.maximum(pixels, 1)
        square = each**2 @ pixels
        if not square:
            raise SchemaError("the stacks that have a weight hold no pixel that counts: give others a weight")
        if self.evens_noise:
            return each * pixels.sum() / (each @ pixels)
        return each * (each @ pixels) / square


def decomposed(
    fields: Mapping[str, Field],
    sums: Mapping[str, xr.DataArray],
    n_components: int | None,
    center: bool,
    weights: Weights | None = None,
) -> dict[str, xr.Dataset]:
    """Return what `pca` does for each of some fields, on one basis; without weights every pixel counts the same.

    Eager on sums in memory without `n_components`.
    """
    total = on_host(joint_sums(sums, weights))
    if n_components is None:
        n_components = int(moments.decompose(np.asarray(total), 1, center)[-2])
        note(f"{n_components} components above the noise floor")
    energy = require_energy(next(iter(fields.values())).array)
    found = _decomposed(total, energy, n_components, center)
    return {path: _result(field, sums[path], found, center) for path, field in fields.items()}


def joint_sums(sums: Mapping[str, xr.DataArray], weights: Weights | None = None) -> xr.DataArray:
    """Return the weighted sums over the pixels of several fields. Eager on sums in memory where there are weights."""
    parts = list(sums.values())
    if weights is not None:
        weight = weights.of_pixels([float(one[-1, -1]) for one in parts])
        parts = [one * heavy for one, heavy in zip(parts, weight.tolist(), strict=True)]
    return functools.reduce(operator.add, parts)


def _result(field: Field, sums: xr.DataArray, found: xr.Dataset, center: bool) -> xr.Dataset:
    """Return the result of a field: its own eigenimages, on the basis that was found."""
    density = units.units_of(field.array)
    images = _eigenimages(field.array, found, field.usable, center)
    square = units.derive(density, density, "*")
    result = xr.Dataset({"eigenimages": annotate(images, "eigenimages", units=density)}).assign(
        {name: annotate(part, str(name)) for name, part in found.data_vars.items()}
    )
    for name in ("eigenvalues", "scree", "noise_floor"):
        result[name].attrs["units"] = square
    result["center_spectrum"].attrs["units"] = density
    used = {} if is_lazy(sums) else {"n_pixels": int(sums[-1, -1])}
    return result.assign_attrs({**field.about, "signal": str(field.array.name), **used})


def floating(array: xr.DataArray) -> xr.DataArray:
    """Return an array in its own floating dtype; integers and half precision become float32."""
    wide = array.dtype.kind == "f" and array.dtype.itemsize >= 4
    return array.astype(array.dtype.newbyteorder("=") if wide else "float32", copy=False, keep_attrs=True)


def usable_pixels(array: xr.DataArray, stack: xr.DataArray | xr.Dataset, region: Region | None = None) -> xr.DataArray:
    """Return the pixels (pixel dims) that neither a given region nor the `mask` of the stack leaves out."""
    every = beside(array, xr.ones_like(array.isel({ENERGY: 0}, drop=True), dtype=float))
    inside = used_pixels(every, stack) == 1
    if region is not None:
        inside = inside & beside(array, region_mask(array, region))
    return inside.transpose(*pixel_dims(array)).reset_coords(drop=True)


def second_moment(array: xr.DataArray, usable: xr.DataArray) -> xr.DataArray:
    """Return the sum over usable, finite pixels of od(E) od(E'), shape (energy, energy_), in float64. Lazy."""
    array = require_single_chunk(array, "the decomposition")
    moment = Field(array, usable, {}).sums()[:-1, :-1]
    return moment.rename({"row": ENERGY, "column": f"{ENERGY}_"}).assign_coords({ENERGY: array[ENERGY].variable})


def _eigenimages(array: xr.DataArray, found: xr.Dataset, usable: xr.DataArray, center: bool) -> xr.DataArray:
    """Return the scores of every pixel that can be used. Lazy."""
    spectra = found["eigenspectra"]
    images = mixed(array, spectra, ENERGY)
    if center:
        images = images - beside(images, xr.dot(spectra, found["center_spectrum"], dim=ENERGY).astype(array.dtype))
    return images.where(usable & np.isfinite(images)).transpose(COMPONENT, *pixel_dims(array))


def _decomposed(sums: xr.DataArray, energy: xr.DataArray, n_components: int, center: bool) -> xr.Dataset:
    """Return what the moment alone says. Lazy where it is."""
    names = (
        "scree",
        "eigenspectra",
        "center_spectrum",
        "noise_floor",
        "suggested_components",
        "significant_components",
    )
    values = xr.apply_ufunc(
        moments.decompose,
        sums,
        input_core_dims=[["row", "column"]],
        output_core_dims=[[RANK], [COMPONENT, ENERGY], [ENERGY], [], [], []],
        dask="parallelized",
        output_dtypes=[float, float, float, float, int, int],
        dask_gufunc_kwargs={"output_sizes": {RANK: energy.size, COMPONENT: n_components, ENERGY: energy.size}},
        kwargs={"n_components": n_components, "center": center},
    )
    rank = np.arange(1, energy.size + 1)
    coords = {RANK: rank, COMPONENT: rank[:n_components], ENERGY: energy.variable}
    found = xr.Dataset(dict(zip(names, values, strict=True)), coords)
    leading = found["scree"].isel({RANK: slice(n_components)}).rename({RANK: COMPONENT}).drop_vars(COMPONENT)
    leading = leading.assign_coords({COMPONENT: rank[:n_components]})
    return found.assign(eigenvalues=leading, explained_variance_ratio=leading / found["scree"].sum(RANK))


def eigenspectra(
    moment: xr.DataArray, n_pixels: int, n_components: int | None = None, *, least: int = 1, most: int | None = None
) -> xr.DataArray:
    """Return the leading eigenspectra (component, energy) of a second moment, the largest entry of each positive.

    Without `n_components`, those above the noise floor, see `pca`, between `least` and `most`. Eager, on an
    energy-by-energy matrix.
    """
    values, vectors = np.linalg.eigh(np.asarray(moment))
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    if n_components is None:
        above = int((values > moments.noise_floor(values, max(n_pixels, 1))).sum())
        n_components = min(max(above, least), most or len(values), len(values))
    basis = moments.positive_peaks(vectors.T[:n_components])
    component = np.arange(1, len(basis) + 1)
    return xr.DataArray(basis, dims=(COMPONENT, ENERGY), coords={COMPONENT: component, ENERGY: moment[ENERGY]})


def scores(array: xr.DataArray, basis: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the scores (component, pixel dims) on an orthonormal basis and the residual variance (pixel dims). Lazy."""
    projected, variance = over_energy(
        _scores_block,
        array,
        verb="the decomposition",
        output_dims=[[COMPONENT], []],
        output_sizes={COMPONENT: basis.sizes[COMPONENT]},
        kwargs={"basis": basis.transpose(COMPONENT, ENERGY).data, "threads": threads_for(array)},
    )
    dims = pixel_dims(array)
    return projected.transpose(COMPONENT, *dims), variance.transpose(*dims)


def _scores_block(spectra: np.ndarray, basis: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Project an array with energy last."""
    *shape, n_energies = spectra.shape
    basis = devices.beside(spectra, basis).astype(spectra.dtype)
    projected, rss = moments.project(pixels_last(spectra), basis, threads)
    degrees = max(n_energies - len(projected), 1)
    return np.moveaxis(projected.reshape(-1, *shape), 0, -1), (rss / degrees).reshape(shape)


@recorded
@on_device
def reconstruct(pca_result: xr.Dataset, n_components: int | None = None) -> xr.DataArray:
    """Return the stack that the leading components describe: most of the signal, and their share of the noise only.

    ``sum_{c <= n} v_c(e) s_c(p)``, plus the spectrum that was subtracted.

    Parameters
    ----------
    pca_result
        A result of `pca`.
    n_components
        Number of components; by default all that the result holds.

    Returns
    -------
    DataArray
        The signal (energy, pixel dims) under its own name, dtype of the eigenimages. Lazy where the eigenimages are.

    Raises
    ------
    MissingVariableError
        `pca_result` is no result of `pca`.
    OptionError
        It does not hold so many components.

    Notes
    -----
    The result carries no variance: the noise that the components keep is shared by all energies of a pixel.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> clean = xstxm.reconstruct(xstxm.pca(stack, 4))
    >>> clean.dims == stack.optical_density.dims
    True
    """
    pca_result = units.dequantify(pca_result)
    images = require_variable(pca_result, "eigenimages", "call .stxm.pca() first")
    spectra = require_variable(pca_result, "eigenspectra", "call .stxm.pca() first").astype(images.dtype)
    held = images.sizes[COMPONENT]
    if n_components is not None:
        held = require_whole("n_components", n_components, 1, held, "the components that the result holds")
    leading = {COMPONENT: slice(held)}
    signal = mixed(images.isel(leading), spectra.isel(leading), COMPONENT)
    signal = signal + pca_result["center_spectrum"].astype(images.dtype)
    name = str(pca_result.attrs.get("signal", "optical_density"))
    unit = units.units_of(images, "the eigenimages")
    signal = signal.transpose(ENERGY, *pixel_dims(images.isel({COMPONENT: 0})))
    return annotate(signal, name, units=unit) if name in SPECS else signal.rename(name).assign_attrs(units=unit)
