"""The `.stxm` accessor of a tree of stacks: the verbs of one stack at every node, and those of all nodes together."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar

import xarray as xr

from xstxm import (
    _nodes,
    _tree_tables,
    absorption,
    alignment,
    cleaning,
    comparing,
    contrast,
    corrections,
    correlations,
    decomposition,
    denoising,
    edges,
    energy,
    energy_shift,
    evaluation,
    features,
    fitting,
    frames,
    incident,
    interfaces,
    lengthscales,
    mechanics,
    noise,
    operando,
    patterns,
    phases,
    polarization,
    profiles,
    ptychography,
    references,
    regions,
    roi,
    shaping,
    shifting,
    strains,
    tables,
    tracking,
    trees,
    unmixing,
)
from xstxm._particles import particles
from xstxm._partition import Choose, ClusterMethod
from xstxm._tree_basis import JointEnergies, NodeWeights
from xstxm._tree_energies import Energies, MatchNodes
from xstxm._unknowns import Background
from xstxm.accessor import StxmAccessor
from xstxm.clustering import Normalize
from xstxm.plot import StxmTreePlotAccessor
from xstxm.plot._accessor import of_one_stack
from xstxm.roi import Region
from xstxm.units import AmountLike

P = ParamSpec("P")
R = TypeVar("R")


def _over_stacks(verb: Callable[Concatenate[Any, P], Any]) -> Callable[Concatenate[StxmTreeAccessor, P], xr.DataTree]:
    """Return the method that applies a verb of one stack to every stack of a tree, with the options of the verb."""
    return _each(verb, lambda tree, *args, **kwargs: trees.map_stacks(tree, verb, *args, kwargs=kwargs))


def _each(
    verb: Callable[Concatenate[Any, P], Any], of_tree: Callable[..., xr.DataTree]
) -> Callable[Concatenate[StxmTreeAccessor, P], xr.DataTree]:
    """Return a function of a tree as a method that shows the options of a verb of one stack."""
    told = (
        f"Apply `xstxm.{verb.__name__}` to every stack.\n\n{(verb.__doc__ or '').splitlines()[0]} The options are those of "
        "the function; one that is a DataTree is taken node by node, see `xstxm.trees.map_stacks`."
    )
    return _method(verb, of_tree, told, "xr.DataTree")


def _together(verb: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[StxmTreeAccessor, P], R]:
    """Return the method of a verb that takes the maps of many fields."""
    told = f"{(verb.__doc__ or '').splitlines()[0]}\n\nOf all nodes together, see `xstxm.{verb.__name__}`."
    return _method(verb, verb, told, inspect.signature(verb).return_annotation)


def _method(
    verb: Callable[Concatenate[Any, P], Any], of_tree: Callable[..., R], told: str, returns: str
) -> Callable[Concatenate[StxmTreeAccessor, P], R]:
    """Return a function of a tree as a method that shows the options of a verb."""

    @functools.wraps(verb)
    def method(self: StxmTreeAccessor, *args: P.args, **kwargs: P.kwargs) -> R:
        return of_tree(self._tree, *args, **kwargs)

    _, *options = inspect.signature(verb).parameters.values()
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    method.__signature__ = inspect.Signature([own, *options], return_annotation=returns)  # type: ignore[attr-defined]
    method.__doc__ = told
    return method


class StxmTreeAccessor:
    """X-ray spectromicroscopy on a tree of stacks."""

    def __init__(self, tree: xr.DataTree) -> None:
        self._tree = tree

    def __repr__(self) -> str:
        return _tree_tables.as_text(self._tree)

    def __getattr__(self, name: str) -> Any:
        """Say where what one stack has is found."""
        raise of_one_stack(self, name, StxmAccessor, name)

    @property
    def stacks(self) -> dict[str, xr.Dataset]:
        """The nodes that hold data, by path, see `xstxm.trees.stacks`."""
        return _nodes.stacks(self._tree)

    @property
    def plot(self) -> StxmTreePlotAccessor:
        """Drawings of the maps of the tree, with HoloViews."""
        return StxmTreePlotAccessor(self._tree)

    def map(
        self,
        func: Callable[..., Any],
        *args: Any,
        kwargs: Mapping[str, Any] | None = None,
        errors: _nodes.OnError = "leave_out",
    ) -> xr.DataTree:
        """Apply a function of one stack to every stack, see `xstxm.trees.map_stacks`."""
        return trees.map_stacks(self._tree, func, *args, kwargs=kwargs, errors=errors)

    def compute(self) -> xr.DataTree:
        """Return the tree in memory, node after node, see `xstxm.trees.compute`. Eager."""
        return trees.compute(self._tree)

    def summary(self) -> xr.Dataset:
        """Return a table over the nodes, see `xstxm.trees.summary`."""
        return trees.summary(self._tree)

    # ---- all nodes together

    def match_energies(
        self,
        energies: Energies | None = None,
        *,
        how: MatchNodes = "exact",
        tolerance: float | str | None = None,
    ) -> xr.DataTree:
        """Bring all stacks onto one energy axis, see `xstxm.trees.match_energies`."""
        return trees.match_energies(self._tree, energies, how=how, tolerance=tolerance)

    def pca(
        self,
        n_components: int | None = None,
        *,
        center: bool = False,
        weights: NodeWeights = "equal",
        energies: JointEnergies = "exact",
        region: Region | xr.DataTree | None = None,
        signal: str = "optical_density",
    ) -> xr.DataTree:
        """Decompose all stacks on one set of eigenspectra, see `xstxm.trees.pca`."""
        return trees.pca(
            self._tree,
            n_components,
            center=center,
            weights=weights,
            energies=energies,
            region=region,
            signal=signal,
        )

    def cluster(
        self,
        n_clusters: int | None = None,
        *,
        n_components: int | None = None,
        method: ClusterMethod = "kmeans",
        normalize: Normalize = "thickness",
        background: Background = "constant",
        choose: Choose = "silhouette",
        max_clusters: int = 6,
        min_amount: AmountLike | xr.DataTree | None = None,
        weights: NodeWeights = "equal",
        energies: JointEnergies = "exact",
        region: Region | xr.DataTree | None = None,
        seed: int = 0,
        signal: str = "optical_density",
    ) -> xr.DataTree:
        """Group the pixels of all stacks by the shape of their spectra, see `xstxm.trees.cluster`."""
        return trees.cluster(
            self._tree,
            n_clusters,
            n_components=n_components,
            method=method,
            normalize=normalize,
            background=background,
            choose=choose,
            max_clusters=max_clusters,
            min_amount=min_amount,
            weights=weights,
            energies=energies,
            region=region,
            seed=seed,
            signal=signal,
        )

    coarse_grain = _together(lengthscales.coarse_grain)
    correlation_length = _together(correlations.correlation_length)
    heterogeneity = _together(lengthscales.heterogeneity)
    time_series = _together(operando.time_series)

    # ---- verbs of one stack

    align = _over_stacks(shifting.align)
    apply_shifts = _over_stacks(shifting.apply_shifts)
    bin_pixels = _over_stacks(shaping.bin_pixels)
    calibrate_energy = _over_stacks(energy.calibrate_energy)
    compare = _over_stacks(comparing.compare)
    concentration = _over_stacks(strains.concentration)
    crop = _over_stacks(shaping.crop)
    denoise = _over_stacks(denoising.denoise)
    despike = _over_stacks(cleaning.despike)
    dichroism = _over_stacks(polarization.dichroism)
    difference_map = _over_stacks(contrast.difference_map)
    drop_frames = _over_stacks(frames.drop_frames)
    edge_map = _over_stacks(features.edge_map)
    estimate_energy_shift = _over_stacks(energy_shift.estimate_energy_shift)
    estimate_i0 = _over_stacks(incident.estimate_i0)
    estimate_shifts = _over_stacks(alignment.estimate_shifts)
    evaluate_energies = _over_stacks(evaluation.evaluate_energies)
    fit = _over_stacks(fitting.fit)
    flag_frames = _over_stacks(frames.flag_frames)
    from_transmission = _over_stacks(ptychography.from_transmission)
    gradient = _over_stacks(interfaces.gradient)
    interface_density = _over_stacks(patterns.interface_density)
    interface_map = _over_stacks(interfaces.interface_map)
    interp_energy = _over_stacks(energy.interp_energy)
    join_phase_shift = _over_stacks(ptychography.join_phase_shift)
    level_lines = _over_stacks(corrections.level_lines)
    line_profile = _over_stacks(profiles.line_profile)
    mcr = _over_stacks(unmixing.mcr)
    nmf = _over_stacks(unmixing.nmf)
    normalize_current = _over_stacks(corrections.normalize_current)
    normalize_edge = _over_stacks(edges.normalize_edge)
    optical_density = _over_stacks(absorption.optical_density)
    particles = _over_stacks(particles)
    peak_map = _over_stacks(features.peak_map)
    phase_map = _each(phases.phase_map, trees.phase_map)
    phase_summary = _over_stacks(regions.phase_summary)
    predict = _over_stacks(fitting.predict)
    ratio_map = _over_stacks(contrast.ratio_map)
    reconstruct = _over_stacks(decomposition.reconstruct)
    repair_pixels = _over_stacks(cleaning.repair_pixels)
    residual = _over_stacks(fitting.residual)
    sel_energy = _over_stacks(energy.sel_energy)
    spectrum = _over_stacks(roi.spectrum)
    strain = _over_stacks(strains.strain)
    stress = _over_stacks(mechanics.stress)
    subtract_dark = _over_stacks(corrections.subtract_dark)
    thickness = _over_stacks(tables.thickness)
    track_particles = _over_stacks(tracking.track_particles)
    two_point_correlation = _over_stacks(patterns.two_point_correlation)
    with_references = _over_stacks(references.with_references)
    with_variance = _over_stacks(noise.with_variance)
