"""A synthetic electrode seen at three scales, with the truth beside every image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xstxm.conventions import ENERGY, REFERENCE
from xstxm.errors import OptionError, ReferenceSpectrumError, require_number, require_whole
from xstxm.testing._electrode import Electrode, Layout, Model
from xstxm.testing._expected import pair_correlations
from xstxm.testing._references import FWHM_TO_SIGMA, simulate_references
from xstxm.testing._scene import Scene
from xstxm.testing._stack import (
    Chunks,
    beam,
    chunk_sizes,
    described,
    energy_axis,
    image_of,
    length_in_um,
    linear_absorption,
    stack_of,
    truth,
)
from xstxm.units import LengthLike

_ENERGIES = [
    508, 511, 513.5, 514.6, 515.4, 516, 516.6, 517.2, 517.8, 518.4, 519, 520,
    522, 524, 525, 526.4, 527.6, 528.6, 529.2, 529.8, 530.6, 531.4, 533, 540,
]  # fmt: skip
_NAMES = ("alpha-V2O5", "delta-LiV2O5")
_COVERED = 0.65
"""Share of sample that a detail has, as nearly as its field allows: it shows particles and empty ground."""


@dataclass(frozen=True)
class Instrument:
    """How an image is taken.

    Parameters
    ----------
    pixel_size
        Distance of pixel centres, and side of the squares over which light is averaged; a number is in um.
    psf
        Full width at half maximum of the point-spread function, a Gaussian.
    counts
        Incident counts per pixel at the energy with most.
    """

    pixel_size: LengthLike
    psf: LengthLike
    counts: float = 5000.0


@dataclass(frozen=True)
class _Place:
    """A square of the electrode: what it is called, where its middle is and how wide it is, in um."""

    name: str
    number: int
    patch: int | None
    centre: tuple[float, float]
    size: tuple[float, float]
    instrument: Instrument


@dataclass(frozen=True)
class _View(Scene):
    """A part of an electrode as an instrument sees it."""

    sample: Electrode

    def particle(self, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
        """Return the particle of each pixel of a region (y, x)."""
        return self.sample.particle(self.positions(0, *rows), self.positions(1, *columns))


@dataclass(frozen=True)
class _Images:
    """What all images of an electrode have in common."""

    ground: Electrode
    energy: xr.DataArray
    spectra: xr.DataArray
    grain: float
    stage_error: float
    seed: int
    noise: bool
    chunks: Chunks | None

    def stack(self, place: _Place) -> xr.Dataset:
        """Return the stack of a place, and the truth beside it."""
        i0, current = beam(np.asarray(self.energy), require_number("counts", place.instrument.counts, above=0))
        view = self._view(place, i0)
        cuts = chunk_sizes(self.chunks, (self.energy.size, *view.shape))
        stack = stack_of(view, self.energy, self.spectra, current, "1 ms", cuts)
        number = image_of(view, "particle", cuts, None, np.int32)
        doc = "The same in all images of the electrode; 0 in no particle."
        stack["true_particle"] = truth(("y", "x"), number, None, "True particle", doc)
        if place.patch is not None:
            low, span = _range(self.spectra)
            mean = low + span * self.ground.patch_state[place.patch]
            doc = "Mean of all fields and what this one adds."
            stack["true_field_composition"] = truth((), mean, "1", "True composition of the field", doc)
        rng = np.random.default_rng([self.seed, 7, place.number])
        return _misplaced(stack, rng.normal(0, self.stage_error, 2) + 0.0)

    def _view(self, place: _Place, i0: np.ndarray) -> _View:
        pixel = length_in_um("pixel_size", place.instrument.pixel_size, least=1e-3)
        deviation = length_in_um("psf", place.instrument.psf) * FWHM_TO_SIGMA
        shape = (max(round(place.size[0] / pixel), 1), max(round(place.size[1] / pixel), 1))
        return _View(
            sample=self.ground,
            shape=shape,
            pixel_size=pixel,
            i0=i0,
            absorption=np.asarray(self.spectra.transpose(ENERGY, REFERENCE), dtype=np.float32),
            shifts=np.zeros((self.energy.size, 2)),
            blur=deviation / pixel,
            dead=np.empty(0, dtype=int),
            stuck=np.empty(0, dtype=np.float32),
            seed=int(np.random.SeedSequence([self.seed, 6, place.number]).generate_state(1)[0]),
            noise=self.noise,
            origin=(place.centre[0] - pixel * (shape[0] - 1) / 2, place.centre[1] - pixel * (shape[1] - 1) / 2),
            # the edge of a particle and the point-spread function have to be seen
            samples=int(np.ceil(pixel / min(deviation or np.inf, self.grain / 40) - 1e-6)),
        )


def simulate_tree(
    *,
    n_fields: int = 4,
    energies: Sequence[float] | np.ndarray | xr.DataArray | None = None,
    references: xr.Dataset | None = None,
    electrode: Instrument | None = Instrument("200 nm", "200 nm", 20000.0),
    field: Instrument = Instrument("40 nm", "50 nm", 5000.0),
    detail: Instrument | None = Instrument("8 nm", "10 nm", 2000.0),
    field_size: LengthLike = "6 um",
    detail_size: LengthLike = "1.6 um",
    particle_size: LengthLike = "1 um",
    mean_composition: float | None = None,
    between_fields: float = 0.05,
    between_particles: float = 0.08,
    within_particles: float = 0.06,
    correlation_length: LengthLike = "0.2 um",
    stage_error: LengthLike = "0 nm",
    noise: bool = True,
    seed: int = 0,
    chunks: Chunks | None = None,
) -> xr.DataTree:
    """Simulate one electrode seen at three scales: the whole, fields of it, and a detail in each field. Synthetic.

    All images show one ground truth, a function of position. Irregular flat particles with short edges, four of five of
    which touch a neighbour and none of which overlap, are mixtures of two phases of the composition

        ``q(r) = mean + F[field] + P[particle] + W(r)``.

    F is drawn for each patch of the electrode, in the middle of which a field lies, P for each particle, and W, in
    each particle for itself, is a random field of 48 plane waves with the autocovariance ``s_W^2 exp(-(d / l)^2)``. F and P
    are normal, cut off at 2.5 standard deviations and widened to have the wanted ones. A particle whose composition
    would leave the range of the references is drawn again: one in a thousand by default, one in fifty where the standard
    deviations are as large as is allowed. Nothing is clipped.

    Parameters
    ----------
    n_fields
        Number of fields.
    energies
        Energies in eV, as for `simulate_stack`; by default 24 from 508 to 540 eV.
    references
        Reference set of two phases that differ in composition, in a linear absorption; by default alpha-V2O5 and
        delta-LiV2O5 of `simulate_references`.
    electrode, field, detail
        Pixel size, point-spread function and counts of each kind, see `Instrument`; None leaves the electrode or the
        details out. Light is averaged over the area of a pixel.
    field_size, detail_size
        Width of the square images; a number is in um, as for all lengths.
    particle_size
        Typical diameter of a particle.
    mean_composition
        By default the middle between the references.
    between_fields, between_particles, within_particles
        Standard deviations of F, P and W.
    correlation_length
        The l above, at which the autocovariance within a particle is 1/e.
    stage_error
        Standard deviation, along y and x, of the stage coordinates of each node from the truth.
    noise
        Draw Poisson counts; False gives the expected counts.
    seed
        The same seed gives the same tree, whatever the chunks. The electrode depends on the sizes of fields and
        particles, not on the instruments.
    chunks
        As for `simulate_stack`.

    Returns
    -------
    DataTree
        Nodes ``electrode``, ``field 1`` to ``field n`` and ``detail 1`` to ``detail n``, detail i inside field i, each a stack
        with the truth of `simulate_stack`, of the point in the middle of a pixel and before blur; and with

        - `true_particle` (y, x), int32, numbers that are unique over the electrode, 0 in no particle,
        - `true_stage_shift_y`, `true_stage_shift_x` [um], added to the positions of the node they move it to where it is,
        - `true_field_composition`, mean + F, in fields and details.

        The attributes of the tree say what it was drawn from: see `tree_truth`.

    Raises
    ------
    OptionError
        A value that makes no sense, or standard deviations with which the composition leaves the range of the references.
    UnitsError
        A length in other units, or references that are no linear absorption.
    ReferenceSpectrumError
        References that are not two with different compositions.

    Examples
    --------
    >>> import xstxm
    >>> tree = xstxm.testing.simulate_tree(n_fields=2, electrode=None, detail=None, field_size="3 um")
    >>> list(tree), tree["field 1"].intensity.dims
    (['field 1', 'field 2'], ('energy', 'y', 'x'))
    """
    if not isinstance(field, Instrument):
        raise OptionError("field", field, "give an Instrument('40 nm', '50 nm'); fields are not left out")
    energy = energy_axis(_ENERGIES if energies is None else energies)
    spectra = _two_phases(linear_absorption(_spanning(references, energy), energy))
    grain, width = (
        length_in_um(*size, least=1e-3) for size in (("particle_size", particle_size), ("field_size", field_size))
    )
    spreads = {
        "between_fields": between_fields,
        "between_particles": between_particles,
        "within_particles": within_particles,
    }
    model = _model(
        spectra, mean_composition, spreads, length_in_um("correlation_length", correlation_length, least=1e-3)
    )
    layout, seed = Layout.of(require_whole("n_fields", n_fields), width, grain), require_whole("seed", seed, 0)
    ground = Electrode.draw(np.random.default_rng([seed, 5]), layout, grain, model)
    sizes = (width, length_in_um("detail_size", detail_size, least=1e-3))
    places = _places(ground, layout, (electrode, field, detail), n_fields, sizes)
    away = length_in_um("stage_error", stage_error)
    about = described("synthetic LixV2O5 electrode" if references is None else "synthetic electrode")
    images = _Images(ground, energy, spectra, grain, away, seed, noise, chunks)
    tree = xr.DataTree.from_dict({place.name: images.stack(place).assign_attrs(about) for place in places})
    shared = _mean_correlation(ground, places, model.length, min(model.length / 8, grain / 40))
    tree.attrs = about | _told(model, spectra) | {"true_mean_correlation": shared}
    return tree


def _spanning(references: xr.Dataset | None, energy: xr.DataArray) -> xr.Dataset:
    """Return the references, by default two that are the ends of the lithiation."""
    if references is not None:
        return references
    made = simulate_references(energies=np.union1d(energy, [508.0, 560.0]))
    return made.sel({REFERENCE: list(_NAMES)})


def _two_phases(spectra: xr.DataArray) -> xr.DataArray:
    """Return the spectra of two phases, the smaller composition first."""
    given = np.asarray(spectra["composition"], dtype=float) if "composition" in spectra.coords else np.empty(0)
    if given.size != 2 or not np.isfinite(given).all() or given[0] == given[1]:
        names = [str(name) for name in np.asarray(spectra[REFERENCE])]
        raise ReferenceSpectrumError(
            f"the references are {', '.join(map(repr, names))}, of the compositions {given.tolist() or 'none'}: give two of "
            "different compositions, of which the electrode is a mixture",
            names,
        )
    return spectra.isel({REFERENCE: np.argsort(given)})


def _range(spectra: xr.DataArray) -> tuple[float, float]:
    """Return the smaller composition, and how much larger the other one is."""
    low, high = map(float, spectra["composition"])
    return low, high - low


def _model(spectra: xr.DataArray, mean: float | None, spreads: dict[str, float], length: float) -> Model:
    """Return the distribution of the share of the second phase from that of the composition."""
    low, span = _range(spectra)
    share = 0.5 if mean is None else (require_number("mean_composition", mean) - low) / span
    shares = {
        name: require_number(name, value, "a standard deviation", least=0) / span for name, value in spreads.items()
    }
    return Model(share, **shares, length=length)


def _places(
    ground: Electrode,
    layout: Layout,
    instruments: tuple[Instrument | None, Instrument, Instrument | None],
    n_fields: int,
    sizes: tuple[float, float],
) -> list[_Place]:
    """Return where the images are taken."""
    (electrode, field, detail), (width, detail_width) = instruments, sizes
    if detail is not None and detail_width > width:
        raise OptionError("detail_size", f"{detail_width:g} um", f"a detail lies in its field of {width:g} um")
    middle = (layout.extent[0] / 2, layout.extent[1] / 2)
    places = [] if electrode is None else [_Place("electrode", 0, None, middle, layout.extent, electrode)]
    fields = {k: layout.centre(k) for k in range(n_fields)}
    places += [_Place(f"field {k + 1}", k + 1, k, centre, (width, width), field) for k, centre in fields.items()]
    if detail is not None:
        for k, centre in fields.items():
            inside = _half_covered(ground, centre, width, detail_width)
            number = n_fields + k + 1
            places.append(_Place(f"detail {k + 1}", number, k, inside, (detail_width, detail_width), detail))
    return places


def _half_covered(ground: Electrode, centre: tuple[float, float], width: float, detail: float) -> tuple[float, float]:
    """Return a middle in a field around which a detail sees particles and empty ground."""
    from scipy.ndimage import uniform_filter

    step = width / 128
    y, x = (along + step * (np.arange(128) - 63.5) for along in centre)
    side = max(round(detail / step), 1)
    share = uniform_filter((ground.particle(y, x) > 0).astype(float), side)
    inside = slice(side // 2 + 1, -side // 2 - 1) if side < 126 else slice(63, 65)
    row, column = np.unravel_index(np.abs(share[inside, inside] - _COVERED).argmin(), share[inside, inside].shape)
    return float(y[inside][row]), float(x[inside][column])


def _misplaced(stack: xr.Dataset, error: np.ndarray) -> xr.Dataset:
    """Return a stack whose stage coordinates are wrong, and what sets them right."""
    doc = "Added to the positions of this node it moves them to where they are."
    for dim, distance in zip(("y", "x"), error, strict=True):
        wrong = stack[dim].copy(data=np.asarray(stack[dim]) - distance)
        stack = stack.assign_coords({dim: wrong})
        stack[f"true_stage_shift_{dim}"] = truth((), distance, "um", f"True shift of the stage along {dim}", doc)
    return stack


def _told(model: Model, spectra: xr.DataArray) -> dict[str, float]:
    """Return what the composition was drawn from, as `tree_truth` reads it."""
    low, span = _range(spectra)
    return {
        "true_mean_composition": low + span * model.mean,
        "true_between_fields": span * model.between_fields,
        "true_between_particles": span * model.between_particles,
        "true_within_particles": span * model.within_particles,
        "true_correlation_length": model.length,
    }


def _mean_correlation(ground: Electrode, places: list[_Place], length: float, step: float) -> float:
    """Return the correlation of two points of a particle in the fields, mean over all pairs, weighted by area."""
    found = []
    for place in places:
        if place.name.startswith("field"):
            y, x = (
                along + np.arange(step / 2, width, step) - width / 2
                for along, width in zip(place.centre, place.size, strict=True)
            )
            found.append(pair_correlations(ground.particle(y, x), (step, step), length))
    n, correlated = np.concatenate(found, axis=1)
    return float((correlated / n).sum() / n.sum())
