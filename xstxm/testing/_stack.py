"""A synthetic STXM stack of LixV2O5 particles, with the truth beside it."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units as _units
from xstxm.conventions import ENERGY, NO_SAMPLE, REFERENCE, SPECS, annotate, flag_attrs
from xstxm.errors import OptionError, UnitsError, check_choice, require_number, require_whole
from xstxm.references import references_at
from xstxm.testing._fields import Sample
from xstxm.testing._references import energies_in_ev, simulate_references
from xstxm.testing._scene import TILE, Scene
from xstxm.units import LengthLike

Chunks: TypeAlias = "Literal['auto'] | Mapping[str, int]"
Cuts: TypeAlias = tuple[tuple[int, ...], ...]
"""Sizes of the chunks along (y, x)."""
_ChunkWord: TypeAlias = Literal["auto"]

_CHUNK_BYTES = 48e6
_THINNEST = 1.0
"""Thickness in nm below which a pixel is empty."""


def simulate_stack(
    *,
    shape: tuple[int, int] = (96, 128),
    energies: Sequence[float] | np.ndarray | xr.DataArray | None = None,
    references: xr.Dataset | None = None,
    pixel_size: LengthLike = "30 nm",
    particle_size: LengthLike | None = None,
    counts: float = 5000.0,
    dwell: float | str = "1 ms",
    psf: LengthLike = "40 nm",
    drift: LengthLike = "0 nm",
    dead_pixels: float = 0,
    noise: bool = True,
    seed: int = 0,
    chunks: Chunks | None = None,
) -> xr.Dataset:
    """Simulate a stack of LixV2O5 particles with known thickness, phases, I0 and drift. Synthetic.

    Irregular platelets of up to about 170 nm lie loosely packed on an empty ground, some on top of each
    other. In each, a state of lithiation that rises or falls towards the surface and varies smoothly sets
    the phases: domains of one phase, mixed where two meet. The beam has a slope, dips of contaminated optics and a decaying
    ring current. Light is absorbed, blurred by the instrument, and counted (Poisson).

    Parameters
    ----------
    shape
        Pixels along (y, x).
    energies
        Energies in eV in any order, or an array of energies with units. By default 121 energies from
        508 to 560 eV, denser at the V L and O K edges.
    references
        Reference set in a linear absorption, e.g. ``1/nm``; `simulate_references` by default.
    pixel_size
        Distance of pixel centres; a number is in um, here and below.
    particle_size
        Typical diameter of a particle; by default 1 um, less where the image is smaller than three of them.
    counts
        Incident counts per pixel at the energy with most.
    dwell
        Exposure of a pixel, recorded as `dwell_time`; a number is in ms.
    psf
        Full width at half maximum of the point-spread function, a Gaussian that blurs transmitted light.
    drift
        Largest distance of an image from the first; a random walk in fractions of a pixel.
    dead_pixels
        Number of pixels, or below 1 their share, that show one count at every energy; for half of them
        that count is zero.
    noise
        Draw Poisson counts; False gives the expected counts.
    seed
        The same seed gives the same stack, whatever the chunks.
    chunks
        None for an array in memory; ``"auto"`` or sizes along y and x, e.g. ``{"y": 256, "x": 256}``, for
        a dask array of whole spectra. Multiples of 128 are fastest: counts are made in tiles of 128.

    Returns
    -------
    Dataset
        A stack: `intensity` (energy, y, x) [count], float32, with `dwell_time` [ms] and
        `ring_current` [mA] along energy; no I0, which the empty pixels show. And the truth, for the first
        image and before blur:

        - `true_thickness` (reference, y, x) [nm], of each phase, float32,
        - `true_composition` (y, x), NaN without sample; where the references carry a composition,
        - `true_label` (y, x), index of the thickest phase, -1 where all of them are below 1 nm together,
        - `true_i0` (energy) [count],
        - `true_shift_y`, `true_shift_x` (energy) [um], added to an image's positions they move it onto
          the first image,
        - `dead` (y, x), the dead pixels.

        Lazy with `chunks`: counts and maps of the sample are made chunk by chunk.

    Raises
    ------
    OptionError
        A value that makes no sense, or chunks that cut the energy axis.
    UnitsError
        A length or time in other units, or references that are no linear absorption.
    EnergyRangeError
        References that do not cover the energies.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> stack.intensity.dims, stack.intensity.attrs["units"]
    (('energy', 'y', 'x'), 'count')
    >>> big = xstxm.testing.simulate_stack(shape=(4096, 4096), chunks={"y": 256, "x": 256})
    >>> big.intensity.chunks is not None
    True
    """
    energy = energy_axis(energies)
    spectra = linear_absorption(references, energy)
    size, pixel = _image_shape(shape), length_in_um("pixel_size", pixel_size, least=1e-6)
    seed = require_whole("seed", seed, 0)
    extent = (size[0] * pixel, size[1] * pixel)
    grain = (
        min(1.0, max(extent) / 3)
        if particle_size is None
        else length_in_um("particle_size", particle_size, least=pixel)
    )
    i0, current = beam(np.asarray(energy), require_number("counts", counts, above=0))
    shifts = _random_walk(energy.size, length_in_um("drift", drift), seed)
    dead, stuck = _dead_pixels(size, dead_pixels, counts, seed)
    scene = Scene(
        sample=Sample.draw(seed, extent, grain, _states(spectra)),
        shape=size,
        pixel_size=pixel,
        i0=i0,
        absorption=np.asarray(spectra.transpose(ENERGY, REFERENCE), dtype=np.float32),
        shifts=shifts / pixel,
        blur=length_in_um("psf", psf) / pixel / np.sqrt(8 * np.log(2)),
        dead=dead,
        stuck=stuck,
        seed=seed,
        noise=noise,
    )
    cuts = chunk_sizes(chunks, (energy.size, *size))
    sample = "synthetic LixV2O5 particles" if references is None else "synthetic particles"
    return stack_of(scene, energy, spectra, current, dwell, cuts).assign_attrs(described(sample))


def stack_of(
    scene: Scene,
    energy: xr.DataArray,
    spectra: xr.DataArray,
    current: np.ndarray,
    dwell: float | str,
    cuts: Cuts | None,
) -> xr.Dataset:
    """Return the stack that a scene gives, and the truth beside it. Lazy where chunks are wanted."""
    along = _along_energy(scene.i0, scene.shifts * scene.pixel_size)
    stack = xr.Dataset({**_maps(scene, cuts), **along}, _coords(scene, energy, spectra, current, dwell))
    return stack.assign(_derived_truth(stack["true_thickness"], spectra))


def described(sample: str) -> dict[str, str]:
    """Return what a simulated stack says about itself."""
    return {"title": f"{sample} (simulated, not measured)", "sample": sample, "scan_type": "sample image stack"}


def energy_axis(energies: Sequence[float] | np.ndarray | xr.DataArray | None) -> xr.DataArray:
    """Return energies in eV as the coordinate that a stack has."""
    grid = energies_in_ev(energies)
    return xr.DataArray(grid, coords={ENERGY: (ENERGY, grid, _attrs("energy"))}, name=ENERGY, attrs=_attrs("energy"))


def linear_absorption(references: xr.Dataset | None, energy: xr.DataArray) -> xr.DataArray:
    """Return the absorption of the references in 1/nm at the energies of the stack."""
    if references is None:
        # A reference set has two energies or more; a stack may have one.
        made = simulate_references(energies=np.union1d(energy, [508.0, 560.0]))
        return made["absorption"].sel({ENERGY: energy})
    spectra = references_at(references, energy)
    found = _units.units_of(spectra)
    if not _units.same_kind(found, "1/nm"):
        raise UnitsError(
            f"the references are in {found!r}, and a thickness times that is no optical density: give them as a "
            "linear absorption, e.g. simulate_references(units='1/nm')"
        )
    return _units.to_units(spectra, "1/nm")


def _states(spectra: xr.DataArray) -> np.ndarray:
    """Return where the phases lie on the path of lithiation: at their compositions, or evenly."""
    if "composition" in spectra.coords and bool(spectra["composition"].notnull().all()):
        return np.asarray(spectra["composition"], dtype=float)
    return np.arange(spectra.sizes[REFERENCE], dtype=float)


def _image_shape(shape: tuple[int, int]) -> tuple[int, int]:
    try:
        rows, columns = (operator.index(size) for size in shape)
    except (TypeError, ValueError):
        rows, columns = 0, 0
    if min(rows, columns) < 1:
        raise OptionError("shape", shape, "give two whole numbers of pixels above zero, (y, x)")
    return rows, columns


def length_in_um(option: str, value: LengthLike, *, least: float = 0.0) -> float:
    """Return a length in um."""
    length = _units.to_magnitude(value, "um", option, spectroscopy=False)
    if not least <= length < np.inf:
        raise OptionError(option, value, f"it is at least {least:g} um" if least else "it is not negative")
    return length


def beam(energy: np.ndarray, counts: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the incident counts and the ring current in mA, in order of acquisition."""
    current = 400 * np.exp(-0.04 * np.linspace(0, 1, energy.size))
    course = (energy - energy.min()) / (np.ptp(energy) or 1.0)
    optics = 1 - 0.22 * course + 0.03 * np.sin(7 * course)
    for centre, depth, width in ((517.5, 0.05, 2.0), (530.0, 0.09, 1.4), (541.0, 0.05, 5.0)):
        optics *= 1 - depth * np.exp(-(((energy - centre) / width) ** 2))
    light = optics * current
    return counts * light / light.max(), current


def _random_walk(n: int, distance: float, seed: int) -> np.ndarray:
    """Return shifts in um (energy, 2): zero at first, `distance` at the farthest."""
    steps = np.random.default_rng([seed, 3]).normal(size=(n, 2))
    steps[0] = 0
    walk = np.cumsum(steps, axis=0)
    farthest = np.hypot(*walk.T).max()
    return walk * (distance / farthest if farthest else 0.0) + 0.0


def _dead_pixels(shape: tuple[int, int], wanted: float, counts: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return flat indices, ascending, and what each dead pixel shows: half of them nothing, half a count."""
    pixels = shape[0] * shape[1]
    number = wanted * pixels if 0 < wanted < 1 else wanted
    if not 0 <= wanted <= pixels or (wanted >= 1 and wanted != int(wanted)):
        raise OptionError("dead_pixels", wanted, f"give a number up to {pixels}, or a share below 1")
    rng = np.random.default_rng([seed, 4])
    where = np.sort(rng.choice(pixels, size=round(number), replace=False))
    stuck = np.round(counts * rng.uniform(0.02, 0.6, where.size))
    stuck[rng.permutation(where.size)[: where.size // 2]] = 0
    return where, stuck.astype(np.float32)


def chunk_sizes(chunks: Chunks | None, shape: tuple[int, int, int]) -> Cuts | None:
    """Return the sizes of the chunks along (y, x), or None for arrays in memory."""
    if chunks is None:
        return None
    if isinstance(chunks, str):
        check_choice("chunks", chunks, _ChunkWord)
        chunks = {}
    unknown = [dim for dim in chunks if dim not in (ENERGY, "y", "x")]
    if unknown or not all(isinstance(size, int) and (size > 0 or size == -1) for size in chunks.values()):
        raise OptionError("chunks", dict(chunks), "give sizes along y and x, e.g. {'y': 256, 'x': 256}")
    if chunks.get(ENERGY, -1) not in (-1, shape[0]):
        raise OptionError("chunks", dict(chunks), "counts are made as whole spectra: leave energy out, rechunk after")
    side = max(int(np.sqrt(_CHUNK_BYTES / 4 / shape[0])) // TILE, 1) * TILE
    return tuple(_cut(size, chunks.get(dim, side)) for dim, size in zip(("y", "x"), shape[1:], strict=True))


def _cut(size: int, step: int) -> tuple[int, ...]:
    """Cut an axis into chunks of one size and a rest."""
    step = size if step == -1 else min(step, size)
    rest = size % step
    return (step,) * (size // step) + ((rest,) if rest else ())


def _maps(scene: Scene, cuts: Cuts | None) -> dict[str, xr.DataArray]:
    """Return counts, thickness and dead pixels, in memory or by chunk."""
    n_energies, n_phases = scene.absorption.shape
    counts = image_of(scene, "counts", cuts, n_energies, np.float32)
    thickness = image_of(scene, "thickness", cuts, n_phases, np.float32)
    dead = image_of(scene, "dead_mask", cuts, None, bool)
    doc = "Of each phase, for the first image and before blur."
    return {
        "intensity": annotate(xr.DataArray(counts, dims=(ENERGY, "y", "x")), "intensity"),
        "true_thickness": truth((REFERENCE, "y", "x"), thickness, "nm", "True thickness", doc),
        "dead": truth(("y", "x"), dead, None, "Dead pixels", "One count at every energy, half of them none."),
    }


def image_of(scene: Scene, method: str, cuts: Cuts | None, depth: int | None, dtype: Any) -> Any:
    """Evaluate a method of the scene over the image: now, or chunk by chunk with dask."""
    if cuts is None:
        return getattr(scene, method)((0, scene.shape[0]), (0, scene.shape[1]))
    import dask.array as da

    chunks = cuts if depth is None else ((depth,), *cuts)
    meta = np.empty((0,) * len(chunks), dtype=dtype)
    return da.map_blocks(_block, scene=scene, method=method, chunks=chunks, dtype=dtype, meta=meta)


def _block(scene: Scene, method: str, block_info: Any = None) -> np.ndarray:
    rows, columns = block_info[None]["array-location"][-2:]
    block: np.ndarray = getattr(scene, method)(tuple(rows), tuple(columns))
    return block


def _along_energy(i0: np.ndarray, shifts: np.ndarray) -> dict[str, xr.DataArray]:
    doc = "Added to the positions of an image it moves them onto the first image."
    return {
        "true_i0": truth((ENERGY,), i0, "count", "True incident intensity", "Expected counts without a sample."),
        "true_shift_y": truth((ENERGY,), shifts[:, 0], "um", "True shift along y", doc),
        "true_shift_x": truth((ENERGY,), shifts[:, 1], "um", "True shift along x", doc),
    }


def _derived_truth(thickness: xr.DataArray, spectra: xr.DataArray) -> dict[str, xr.DataArray]:
    """Return label and composition of the true thickness. Lazy where it is."""
    total = thickness.sum(REFERENCE)
    sample = total >= _THINNEST
    label = thickness.argmax(REFERENCE).where(sample, NO_SAMPLE).astype("int16")
    names = {str(name): k for k, name in enumerate(np.asarray(spectra[REFERENCE]))}
    label.attrs = {
        "long_name": "True phase",
        "comment": "Index of the thickest phase, -1 without sample.",
        **flag_attrs({"no sample": NO_SAMPLE, **names}, masks=False),
    }
    if "composition" not in spectra.coords:
        return {"true_label": label}
    weights = spectra["composition"].astype(thickness.dtype).reset_coords(drop=True)
    mean = ((thickness * weights).sum(REFERENCE) / total.where(sample)).astype(thickness.dtype)
    name = spectra["composition"].attrs.get("long_name", "Composition")
    mean.attrs = {"units": "1", "long_name": f"True {name}", "comment": "Mean over the thickness, NaN without sample."}
    return {"true_composition": mean, "true_label": label}


def _coords(
    scene: Scene, energy: xr.DataArray, spectra: xr.DataArray, current: np.ndarray, dwell: float | str
) -> dict[str, Any]:
    exposure = require_number("dwell", _units.to_magnitude(dwell, "ms", "dwell", spectroscopy=False), above=0)
    return {
        ENERGY: energy[ENERGY],
        "y": ("y", scene.positions(0, 0, scene.shape[0]), _attrs("y")),
        "x": ("x", scene.positions(1, 0, scene.shape[1]), _attrs("x")),
        "dwell_time": (ENERGY, np.full(energy.size, exposure), _attrs("dwell_time")),
        "ring_current": (ENERGY, current, _attrs("ring_current")),
        REFERENCE: (REFERENCE, np.asarray(spectra[REFERENCE])),
    }


def _attrs(name: str) -> dict[str, str]:
    spec = SPECS[name]
    return {"units": str(spec.units), "long_name": spec.long_name}


def truth(dims: tuple[str, ...], values: Any, units: str | None, long_name: str, doc: str) -> xr.DataArray:
    """Return what is known of a simulated stack, with what it is called; `units` None for what has none."""
    attrs = {"units": units, "long_name": long_name, "comment": doc}
    return xr.DataArray(values, dims=dims, attrs={key: value for key, value in attrs.items() if value is not None})
