"""From counts to the length at which the composition varies: what a whole analysis of a tree says, and the truth."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from packed import matched
from skimage.segmentation import relabel_sequential

import xstxm
from xstxm import testing

pytestmark = pytest.mark.xdist_group("across lengths")

SEEDS = range(12)
ENOUGH = 11
"""Of the seeds, whose 95 % intervals hold the truth. Of intervals half as wide 9 do at most; where the noise is not taken
off, 9 at most at the smallest length; and 9 of correlation lengths where the truth leaves out what the instrument blurs."""

BLUR = np.sqrt(0.05**2 / (8 * np.log(2)) + 0.04**2 / 12)
"""Standard deviation in um of what the field's point-spread function and pixel do to a map. A Gaussian autocovariance
exp(-(d / l)^2) of it is one with l^2 + 4 BLUR^2 in place of l^2."""


@pytest.fixture(scope="module")
def references():
    return testing.simulate_references().sel(reference=["alpha-V2O5", "delta-LiV2O5"])


@pytest.fixture(scope="module")
def analyses(references):
    """Of each seed the tree, its phase maps and its particles, from counts; what light of two particles mixes is in it."""

    def analysed(seed):
        tree = testing.simulate_tree(n_fields=3, electrode=None, detail=None, seed=seed)
        maps = tree.stxm.optical_density(noise="poisson").stxm.phase_map(references)
        return tree, maps, maps.stxm.particles(min_area="0.05 um^2")

    return [analysed(seed) for seed in SEEDS]


def test_heterogeneity__from_counts_holds_the_truth_at_each_length(analyses):
    held = []
    for tree, maps, particles in analyses:
        found, truth = maps.stxm.heterogeneity(particles), testing.tree_truth(tree).true_variance
        held.append(((found.variance_lower <= truth) & (truth <= found.variance_upper)).values)
    assert (np.sum(held, axis=0) >= ENOUGH).all()


def test_correlation_length__from_counts_holds_the_truth(analyses):
    held = []
    for tree, maps, particles in analyses:
        found = maps.stxm.correlation_length(particles=particles, fields="together", n_resamples=4)
        truth = np.hypot(tree.attrs["true_correlation_length"], 2 * BLUR)
        held.append(bool(found.correlation_length_lower <= truth <= found.correlation_length_upper))
        assert not found.correlation_length_upper >= 2 * truth  # no interval where particles hardly hold the length
    assert np.sum(held) >= ENOUGH


def test_coarse_grain__from_counts_holds_the_truth_at_every_length(analyses):
    held = []
    for tree, maps, _ in analyses:
        found = xstxm.coarse_grain(maps["field 1"].to_dataset())
        truth = testing.expected_block_variance(tree["field 1"].true_particle, found.length.values, tree).values
        held.append((found.variance_lower.values <= truth) & (truth <= found.variance_upper.values))
    assert (np.sum(held, axis=0) >= ENOUGH).all()


def test_particles__from_counts_are_found(analyses):
    shared, ratio = [], []
    for tree, _, particles in analyses:
        for name, found in particles.stxm.stacks.items():
            overlap, areas = matched(_large(tree[name].true_particle.values), found.particle_label.values)
            shared += overlap.tolist()
            ratio += areas.tolist()
    assert len(shared) > 900
    assert np.mean(np.array(shared) > 0.7) >= 0.95
    assert abs(np.mean(np.array(ratio)[np.array(shared) > 0.7]) - 1) < 0.03


def _large(label: np.ndarray) -> np.ndarray:
    """Particles (y, x) of 0.05 um^2 or more, numbered from 1."""
    large = np.where(np.bincount(label.ravel())[label] * 0.04**2 >= 0.05, label, 0)
    return relabel_sequential(large)[0]


# ---- the real stack beside its own binned copies

PIXELS = {"whole": 1, "by 2": 2, "by 4": 4}


@pytest.fixture(scope="module")
def copies(real_data):
    """Maps of the iron stack and of its copies in which 2 x 2 and 4 x 4 pixels are one."""
    folder = real_data / "fe-l-edge-stack"
    stack = xstxm.open_stack(folder / "71214078.hdr").load().isel(y=slice(124), x=slice(124))
    composition = {"oxidized": 0, "reduced": 1}
    references = xstxm.read_references({name: folder / f"{name}.t" for name in composition}, composition=composition)
    tree = xr.DataTree.from_dict({name: stack.stxm.bin_pixels(side) for name, side in PIXELS.items()})
    density = tree.stxm.optical_density(xstxm.read_i0(folder / "i0.xsp", units="count/ms"))
    return density.stxm.phase_map(references, background="linear", min_amount=0.6)


def test_binned_copies__have_the_same_fractions_within_errors(copies):
    found = copies.stxm.summary()
    assert list(found.node.values) == list(PIXELS)
    fraction = found.mean_fraction
    error = np.hypot(found.mean_fraction_stderr, found.mean_fraction_bias)
    assert float(error.max()) < 0.02
    joint = np.hypot(error, error.sel(node="whole"))
    assert (np.abs(fraction - fraction.sel(node="whole")) <= 2 * joint).all()


def test_binned_copies__start_where_the_curve_of_the_whole_says(copies):
    curve = copies.stxm.coarse_grain(weight="total_amount")
    for name, side in PIXELS.items():
        start = curve.variance.sel(node=name).dropna("length")[0]
        assert float(start.length) == pytest.approx(side * 0.08)
        there = curve.sel(node="whole", length=start.length)
        assert float(start) == pytest.approx(float(there.variance), rel=0.05)
    whole = copies["whole"].to_dataset()
    first = xstxm.coarse_grain(whole).variance[0]
    assert float(first) == pytest.approx(
        float(whole.composition.var() - (whole.composition_stderr**2).mean()), rel=1e-3
    )
