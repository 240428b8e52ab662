from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from laziness import raise_if_dask_computes
from packed import matched, touching
from scipy import ndimage

import xstxm
from xstxm.conventions import NO_SAMPLE, UNDECIDED
from xstxm.errors import (
    ChoiceError,
    IncompatibleUnitsError,
    MissingCoordinateError,
    MissingDimensionError,
    MissingVariableError,
    NoiseWarning,
    OptionError,
    SchemaError,
    SegmentationWarning,
)

STEP = 0.02
"""Pixel in um."""


def maps(sample, composition=None, error=0.02, step=(STEP, STEP), start=(0.0, 0.0), noise=None):
    """Maps of one image (y, x): an amount of 100 in the sample, and a composition in it."""
    sample = np.asarray(sample)
    axes = {
        dim: (dim, origin + size * np.arange(n), {"units": "um"})
        for dim, origin, size, n in zip(("y", "x"), start, step, sample.shape, strict=True)
    }
    made = xr.Dataset({"total_amount": (("y", "x"), 100.0 * (sample > 0), {"units": "nm"})}, coords=axes)
    if composition is None:
        return made
    values = np.where(sample > 0, composition + (0 if noise is None else error * noise), np.nan)
    made["composition"] = ("y", "x"), values, {"units": "1", "long_name": "x in LixV2O5"}
    made["composition_stderr"] = ("y", "x"), np.full(sample.shape, error), {"units": "1"}
    return made


def table(sample, composition=None, *, label=True, **options):
    """Table of particles whose label is the sample itself."""
    made = {name: options.pop(name) for name in ("error", "step", "start", "noise") if name in options}
    if label:
        options["particle_label"] = np.asarray(sample).astype(int)
    return xstxm.particles(maps(sample, composition, **made), **options)


def ellipse(long, short, angle, shape=(220, 260), step=(STEP, STEP), centre=(2.2, 2.6)):
    """Mask of an ellipse of half axes in um, its longer one turned from x towards y."""
    y, x = np.meshgrid(*(size * np.arange(n) for size, n in zip(step, shape, strict=True)), indexing="ij")
    dy, dx, turn = y - centre[0], x - centre[1], np.radians(angle)
    along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    return (along / long) ** 2 + (across / short) ** 2 < 1


def disc(radius, centre=(2.2, 2.6), **options):
    return ellipse(radius, radius, 0, centre=centre, **options)


def squares(n=20, side=12, gap=2):
    """Numbers of n x n squares (y, x)."""
    number = np.arange(1, n * n + 1).reshape(n, n)
    return np.pad(np.kron(number, np.pad(np.ones((side, side), dtype=int), (0, gap))), (gap, 0))


# ---- shapes


@pytest.mark.parametrize("step", [(0.02, 0.02), (0.02, 0.03)], ids=["square pixels", "oblong pixels"])
@pytest.mark.parametrize("angle", [0, 30, 90, 135])
@pytest.mark.parametrize("axes", [(1.2, 1.2), (1.5, 0.6)], ids=["disc", "ellipse"])
def test_shape__of_an_ellipse_is_known(axes, angle, step):
    long, short = axes
    found = table(ellipse(long, short, angle, step=step, centre=(2.2, 3.1)), step=step, start=(100, -40))
    row = found.isel(particle=0)
    area = np.pi * long * short
    assert float(row.particle_area) == pytest.approx(area, rel=0.006)
    assert float(row.equivalent_diameter) == pytest.approx(2 * np.sqrt(long * short), rel=0.003)
    assert float(row.centroid_y) == pytest.approx(100 + 2.2, abs=0.004)
    assert float(row.centroid_x) == pytest.approx(-40 + 3.1, abs=0.004)
    assert float(row.aspect_ratio) == pytest.approx(long / short, rel=0.006)
    if long > short:
        away = (float(row.orientation) - angle + 90) % 180 - 90
        assert abs(away) < 0.4
    around = np.pi * (3 * (long + short) - np.sqrt((3 * long + short) * (long + 3 * short)))
    assert float(row.perimeter) == pytest.approx(around, rel=0.04 if step[0] != step[1] else 0.025)
    assert not row.touches_edge
    assert found.sizes["contact"] == int(row.n_neighbours) == float(row.contact_length) == 0


def test_shape__agrees_with_scikit_image():
    from skimage.measure import regionprops_table

    label = touching(1, 300, 16)
    names = ("area", "centroid", "perimeter_crofton", "equivalent_diameter_area", "orientation")
    wanted = regionprops_table(label, properties=(*names, "axis_major_length", "axis_minor_length"))
    found = table(label, step=(0.05, 0.05), start=(3.0, 0.0))
    np.testing.assert_allclose(found.particle_area, wanted["area"] * 0.05**2)
    np.testing.assert_allclose(found.centroid_y, 3 + 0.05 * wanted["centroid-0"])
    np.testing.assert_allclose(found.centroid_x, 0.05 * wanted["centroid-1"])
    np.testing.assert_allclose(found.equivalent_diameter, 0.05 * wanted["equivalent_diameter_area"])
    ratio = wanted["axis_major_length"] / wanted["axis_minor_length"]
    np.testing.assert_allclose(found.aspect_ratio, ratio, rtol=0.015)
    away = (90 - np.degrees(wanted["orientation"]) - found.orientation + 90) % 180 - 90
    assert (np.abs(away)[ratio > 1.1] < 0.1).all()
    inner = ~found.touches_edge.values
    np.testing.assert_allclose(
        found.perimeter[inner], 0.05 * wanted["perimeter_crofton"][inner], rtol=1e-6
    )  # theirs counts the edge of the image


def test_contacts__are_as_long_as_the_chord_between_two_discs():
    apart, radius = 1.6, 1.0
    left = disc(radius, centre=(2.2, 2.6 - apart / 2))
    label = np.where(left, 1, np.where(disc(radius, centre=(2.2, 2.6 + apart / 2)), 2, 0))
    label[(label == 1) & (STEP * np.arange(label.shape[1]) > 2.6)] = 2
    found = table(label)
    chord = 2 * np.sqrt(radius**2 - apart**2 / 4)
    assert [int(found[name][0]) for name in ("contact_particle", "contact_other")] == [1, 2]
    assert float(found.contact_pair_length[0]) == pytest.approx(chord, rel=0.08)
    np.testing.assert_allclose(found.contact_length, found.contact_pair_length[0])
    np.testing.assert_array_equal(found.n_neighbours, 1)
    arc = 2 * radius * (np.pi - np.arccos(apart / 2 / radius))
    np.testing.assert_allclose(found.perimeter, arc + chord, rtol=0.03)


def test_contacts__of_a_chain_are_pairs_of_the_numbers_given():
    label = np.zeros((9, 30), dtype=int)
    label[2:7, 2:10], label[2:7, 10:18], label[2:7, 18:26] = 30, 7, 12
    found = table(label)
    assert found.particle.values.tolist() == [7, 12, 30]
    pairs = zip(found.contact_particle.values.tolist(), found.contact_other.values.tolist(), strict=True)
    assert {*pairs} == {(7, 12), (7, 30)}
    assert found.n_neighbours.sel(particle=[7, 12, 30]).values.tolist() == [2, 1, 1]
    np.testing.assert_allclose(found.contact_length.sum(), 2 * found.contact_pair_length.sum())


def test_touches_edge__where_the_image_may_cut():
    label = np.zeros((20, 24), dtype=int)
    label[:4, 4:8], label[8:12, 8:12], label[14:20, 15:19], label[8:12, 20:24], label[8:12, :4] = 1, 2, 3, 4, 5
    assert table(label).touches_edge.values.tolist() == [True, False, True, True, True]


# ---- search


def blurred(truth, rng, blur=0.5, noise=8):
    """An amount (y, x): plates of differing thickness, seen with a probe and counting noise."""
    thick = rng.uniform(70, 130, truth.max() + 1)
    thick[0] = 0
    return ndimage.gaussian_filter(thick[truth], blur) + rng.normal(0, noise, truth.shape)


@pytest.mark.parametrize("radius", [12, 20])
def test_particles__finds_irregular_ones_that_touch(radius):
    shared, ratio, n_found = [], [], 0
    for seed in range(4):
        truth = touching(seed, 24 * radius, radius)
        made = maps(truth)
        made["total_amount"] = ("y", "x"), blurred(truth, np.random.default_rng(seed))
        found = xstxm.particles(made)
        overlap, areas = matched(truth, found.particle_label.values)
        shared += overlap.tolist()
        ratio += areas[overlap > 0.7].tolist()
        n_found += found.sizes["particle"]
    assert len(shared) > 200
    assert np.mean(np.array(shared) > 0.7) > 0.95
    assert abs(np.mean(ratio) - 1) < 0.03
    assert abs(n_found / len(shared) - 1) < 0.04


def test_particles__parts_no_single_irregular_one():
    truth = touching(3, 480, 20, most=1)
    made = maps(truth)
    made["total_amount"] = ("y", "x"), blurred(truth, np.random.default_rng(0))
    found = xstxm.particles(made)
    assert found.sizes["particle"] == truth.max() > 30
    assert (matched(truth, found.particle_label.values)[0] > 0.85).all()


def test_particles__parts_no_rod():
    rods = np.zeros((200, 200), dtype=int)
    for k, row in enumerate(range(15, 190, 30)):
        rods[row : row + 14, 20:180] = k + 1
    ragged = ndimage.gaussian_filter((rods > 0).astype(float), 1) + np.random.default_rng(0).normal(0, 0.1, rods.shape)
    made = maps(rods)
    made["total_amount"] = ("y", "x"), ragged
    assert xstxm.particles(made).sizes["particle"] == rods.max()


@pytest.mark.parametrize("max_neck", [0, 0.3, 0.9])
def test_max_neck__is_the_width_of_the_neck_over_that_of_the_smaller_part(max_neck):
    sample = disc(1.0, centre=(2.2, 1.4)) | disc(0.7, centre=(2.2, 3.6))
    sample |= (np.abs(np.arange(220) * STEP - 2.2) < 0.35)[:, None] & (np.abs(np.arange(260) * STEP - 2.6) < 1)
    assert table(sample, label=False, max_neck=max_neck).sizes["particle"] == (2 if max_neck > 0.5 else 1)


def test_particles__found_count_from_the_largest():
    label = table(touching(5, 300, 14), label=False)
    assert (np.diff(label.particle_area) <= 0).all()
    assert label.particle.values.tolist() == list(range(1, label.sizes["particle"] + 1))
    assert label.particle_label.dtype == np.int32


def test_fill_holes__fills_those_of_one_particle_and_no_pore():
    ring = disc(1.6) & ~disc(0.7)
    assert float(table(ring, label=False).particle_area[0]) == pytest.approx(np.pi * 1.6**2, rel=0.01)
    hollow = table(ring, label=False, fill_holes=False)
    assert float(hollow.particle_area.sum()) == pytest.approx(np.pi * (1.6**2 - 0.7**2), rel=0.01)
    at = [(2.2 + np.sin(t) * 1.1, 2.6 + np.cos(t) * 1.1) for t in np.pi * np.array([0.5, 7 / 6, 11 / 6])]
    three = np.any([disc(0.98, centre=place) for place in at], axis=0)
    found = table(three, label=False)
    assert found.sizes["particle"] == 3
    assert found.particle_label[110, 130] == 0
    corners = (found.particle_label.values > 0) & ~three
    assert corners.sum() < 9  # where two meet, holes of a pixel or two
    np.testing.assert_array_equal(ndimage.binary_fill_holes(three), ndimage.binary_fill_holes(three | corners))


def test_fill_holes__fills_pixels_that_are_missing():
    sample = disc(1.0)
    sample[110, 125:129] = sample[100, 130] = False
    assert float(table(sample, label=False).particle_area[0]) == disc(1.0).sum() * STEP**2


@pytest.mark.parametrize("min_area", [0.2, "0.2 um^2", "2e5 nm**2"])
def test_min_area__leaves_small_pieces_out_and_says_how_much(min_area):
    sample = disc(1.0, centre=(2.2, 3.2)) | disc(0.2, centre=(1.0, 1.0))
    assert table(sample, label=False).sizes["particle"] == 2
    found = table(sample, label=False, min_area=min_area)
    assert found.sizes["particle"] == 1
    assert found.attrs["area_left_out"] == pytest.approx(np.pi * 0.2**2, rel=0.05)
    assert found.attrs["min_area"] == pytest.approx(0.2)


def test_min_area__a_small_part_in_contact_belongs_to_the_other():
    sample = disc(1.0) | disc(0.2, centre=(2.2, 2.6 + 1.18))
    assert table(sample, label=False).sizes["particle"] == 2
    found = table(sample, label=False, min_area=0.2)
    assert float(found.particle_area[0]) == pytest.approx(sample.sum() * STEP**2)


def test_min_amount__is_that_of_the_phase_map_unless_given():
    made = maps(disc(1.0), 0.5)
    inner = np.where(disc(0.6), 0, NO_SAMPLE).astype("int16")
    phases = made.assign(phase_label=(("y", "x"), inner), min_amount=7.0)
    found = xstxm.particles(phases)
    assert (float(found.particle_area[0]), found.attrs["min_amount"]) == (
        pytest.approx(np.pi * 0.6**2, rel=0.01),
        7.0,
    )
    for min_amount in (50.0, "0.05 um"):
        found = xstxm.particles(phases, min_amount=min_amount)
        assert float(found.particle_area[0]) == pytest.approx(np.pi, rel=0.01)
        assert found.attrs["min_amount"] == 50
    assert 0 < xstxm.particles(made).attrs["min_amount"] < 100


def test_particles__of_an_image_full_of_sample_is_one_without_a_surface():
    made = maps(np.ones((20, 30)), 0.5, noise=np.random.default_rng(0).normal(size=(20, 30)))
    found = xstxm.particles(made, min_amount=1)
    assert found.sizes["particle"] == 1
    assert bool(found.touches_edge[0])
    assert float(found.perimeter[0]) == 0
    assert found.sizes["distance"] == 0
    assert np.isnan(found.core_shell_difference[0])
    assert float(found.particle_composition[0]) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("where", ["nothing is large enough", "nothing is thick enough", "given"])
def test_particles__none_found_is_an_empty_table_and_a_warning(where):
    made = maps(disc(0.3), 0.5)
    call, told = {
        "nothing is large enough": ({"min_area": 1}, r"largest piece covers 0\.28. um\*\*2, a particle 1 um\*\*2"),
        "nothing is thick enough": ({"min_amount": 200}, r"at least 200 \(nm\) of 'total_amount' the largest piece covers 0 "),
        "given": ({"particle_label": np.zeros((220, 260), int)}, "0 everywhere"),
    }[where]  # fmt: skip
    with pytest.warns(SegmentationWarning, match=told):
        found = xstxm.particles(made, **call)
    assert (found.sizes["particle"], found.sizes["contact"], found.sizes["distance"]) == (0, 0, 0)
    xstxm.testing.assert_conforms(found, "particles")
    assert not found.particle_label.any()
    assert xstxm.particle_table(found).empty


def test_particles__refuses_a_map_without_sample():
    made = maps(disc(0.3), 0.5)
    nothing = xr.full_like(made["total_amount"], NO_SAMPLE).astype("int16")
    with pytest.raises(SchemaError, match=r"holds no sample: pass the least amount .* min_amount=50"):
        xstxm.particles(made.assign(phase_label=nothing))
    with pytest.raises(SchemaError, match="'total_amount' holds no finite number"):
        xstxm.particles(made * np.nan, min_amount=1)


# ---- particles that are given


def test_particle_label__is_taken_as_it_is():
    image = touching(2, 200, 12)
    made = maps(image, 0.5)
    numbers = xr.DataArray(3 * image, dims=("y", "x"), coords={"y": made.y, "x": made.x})
    found = xstxm.particles(made, particle_label=numbers)
    np.testing.assert_array_equal(found.particle_label, numbers)
    assert found.particle.values.tolist() == [3 * k for k in range(1, image.max() + 1)]
    assert "min_amount" not in found.attrs
    for other in (
        numbers.transpose("x", "y"),
        numbers.where(numbers > 0),
        numbers.drop_vars(("y", "x")).astype("uint8"),
        3 * image,
        numbers.chunk(),
    ):
        xr.testing.assert_identical(xstxm.particles(made, particle_label=other).drop_attrs(), found.drop_attrs())
    xr.testing.assert_allclose(xstxm.particles(made, particle_label=found.particle_label), found)


def test_particles__of_a_signal_with_a_value_for_each_phase_says_to_select_one():
    made = maps(disc(1.0), 0.5)
    made["phase_fraction"] = made.composition.expand_dims(phase=["A", "B"])
    with pytest.raises(SchemaError, match=r"'phase_fraction' runs over phase too: .*\.isel\(phase=0\)"):
        xstxm.particles(made, signal="phase_fraction")


def test_particle_label__needs_no_amount():
    image = touching(2, 200, 12)
    found = xstxm.particles(maps(image, 0.5)[["composition", "composition_stderr"]], particle_label=image)
    np.testing.assert_allclose(found.particle_composition, 0.5)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        pytest.param(np.full((8, 9), 0.5), "not whole", id="fractions"),
        pytest.param(np.ones((8, 9), bool), r"is bool, wanted whole numbers.*scipy\.ndimage\.label", id="a mask"),
        pytest.param(np.full((8, 9), -1), r"from -1 to -1, wanted 0 in none", id="below zero"),
        pytest.param(np.full((8, 9), 2**33), r"wanted 0 in none", id="too large"),
        pytest.param(np.ones((8, 8), int), "8 pixels along 'x', the stack 9", id="other pixels"),
    ],
)
def test_particle_label__refuses_what_is_no_image_of_particles(image, told):
    with pytest.raises(SchemaError, match=told):
        xstxm.particles(maps(np.ones((8, 9)), 0.5), particle_label=image)


@pytest.mark.parametrize(
    "image",
    [np.ones(9, int), np.ones((2, 8, 9), int), "particle_label", xr.Dataset({"particle_label": ("y", [1])})],
    ids=["a line", "a volume", "a name", "a Dataset"],
)
def test_particle_label__refuses_what_is_no_image(image):
    with pytest.raises(OptionError, match=r"give an image \(y, x\) of whole numbers"):
        xstxm.particles(maps(np.ones((8, 9)), 0.5), particle_label=image)


@pytest.mark.parametrize("option", ["min_amount", "min_area"])
def test_particle_label__refuses_options_of_the_search(option):
    with pytest.raises(OptionError, match="taken as they are: leave it out"):
        table(np.ones((8, 9)), **{option: 1.0})


# ---- phases and composition


@pytest.fixture(scope="module")
def simulated():
    stack = xstxm.testing.simulate_stack(shape=(110, 130), seed=4)
    return stack, xstxm.phase_map(stack, xstxm.testing.simulate_references())


LAGS = xr.DataArray(
    np.array([[0, 0.2, 0.1], [0.3, 1, 0.3], [0.1, 0.2, 0]]),
    dims=("lag_y", "lag_x"),
    coords={"lag_y": [-1, 0, 1], "lag_x": [-1, 0, 1]},
)


@pytest.mark.parametrize("correlation", [None, LAGS], ids=["independent", "correlated"])
def test_means__are_those_of_phase_summary(simulated, correlation):
    _, phases = simulated
    found = xstxm.particles(phases, fill_holes=False, noise_correlation=correlation)
    xstxm.testing.assert_conforms(found, "particles")
    regions = xstxm.phase_summary(phases, found.particle_label, noise_correlation=correlation).rename(region="particle")
    assert found.sizes["particle"] > 5
    for name, wanted in {
        "particle_composition": "sample_composition",
        "particle_composition_stderr": "sample_composition_stderr",
        "particle_phase_fraction": "mean_fraction",
        "particle_phase_fraction_stderr": "mean_fraction_stderr",
        "particle_area_fraction": "area_fraction",
        "particle_area": "area",
    }.items():
        np.testing.assert_allclose(found[name], regions[wanted], rtol=1e-5, atol=1e-7, err_msg=name)


def test_means__are_near_the_truth_of_a_simulated_stack(simulated):
    stack, phases = simulated
    found = xstxm.particles(phases, min_area="0.05 um^2")
    truth = stack.true_composition.where(stack.true_label >= 0)
    wanted = [float(truth.where(found.particle_label == k).mean()) for k in found.particle]
    np.testing.assert_allclose(found.particle_composition, wanted, atol=0.02)
    spread = [float(truth.where(found.particle_label == k).std()) for k in found.particle]
    np.testing.assert_allclose(found.composition_spread, spread, atol=0.03)


def test_interface_length__is_that_of_the_particle_alone(simulated):
    _, phases = simulated
    found = xstxm.particles(phases)
    for k in found.particle.values[:4]:
        alone = phases.assign(phase_label=phases.phase_label.where(found.particle_label == k, NO_SAMPLE).astype(int))
        wanted = float(xstxm.interface_map(alone).total_interface_length)
        assert float(found.particle_interface_length.sel(particle=k)) == pytest.approx(wanted)


def test_interface_length__bridges_an_undecided_pixel():
    sample = np.ones((20, 20), int)
    label = np.where(np.arange(20) < 10, 0, 1) * np.ones((20, 1), int)
    label[:, 10] = UNDECIDED
    made = maps(sample, 0.5).assign(phase_label=(("y", "x"), label))
    fraction = np.stack([label == 0, label != 0]).astype(float)
    made = made.assign(phase_fraction=(("phase", "y", "x"), fraction)).assign_coords(phase=["a", "b"])
    found = xstxm.particles(made, particle_label=sample)
    wanted = float(xstxm.interface_map(made).total_interface_length)
    assert float(found.particle_interface_length[0]) == pytest.approx(wanted)
    assert wanted > 0.3
    np.testing.assert_allclose(found.particle_area_fraction[:, 0], [0.5, 0.5])
    assert "particle_phase_fraction_stderr" not in found


def test_composition__is_absent_where_there_is_none():
    found = table(disc(1.0), label=False)
    assert not [name for name in found.variables if "composition" in name or "core" in name or "profile" in name]
    assert "distance" not in found.dims


def radial(slope=0.3, radius=1.2):
    """A disc whose composition rises from its outline inwards."""
    y, x = np.meshgrid(STEP * np.arange(220) - 2.2, STEP * np.arange(260) - 2.6, indexing="ij")
    return disc(radius), 0.2 + slope * (radius - np.hypot(y, x))


@pytest.mark.parametrize("step", [None, "20 nm", 60.0, "0.1 um"])
def test_profile__of_a_radial_composition_is_known(step):
    sample, composition = radial()
    found = table(sample, composition, error=1e-4, profile_step=step)
    profile = found.composition_profile.isel(particle=0)
    enough = found.n_profile_pixels[0] > 30
    depth = 1e-3 * found.distance
    np.testing.assert_allclose(
        profile.where(enough, drop=True), (0.2 + 0.3 * depth).where(enough, drop=True), atol=0.004
    )
    assert found.distance.attrs["units"] == "nm"
    assert float(found.distance[0]) == {None: 10, "20 nm": 10, 60.0: 30, "0.1 um": 50}[step]
    assert int(found.n_profile_pixels.sum()) == sample.sum()


def test_core_shell__of_a_radial_composition_is_known():
    sample, composition = radial()
    found = table(sample, composition, error=1e-4)
    radius = np.linspace(0, 1.2, 100_001)
    state, inner = 0.2 + 0.3 * (1.2 - radius), radius < 0.6
    core, shell = (np.average(state[of], weights=radius[of]) for of in (inner, ~inner))
    assert float(found.core_shell_difference[0]) == pytest.approx(core - shell, rel=0.02)
    assert float(found.core_shell_score[0]) == pytest.approx(1, abs=0.01)
    spread = np.sqrt(np.average(state**2, weights=radius) - np.average(state, weights=radius) ** 2)
    assert float(found.composition_spread[0]) == pytest.approx(spread, rel=0.01)
    assert float(found.composition_gradient[0]) == pytest.approx(0.3, rel=0.01)
    assert found.composition_gradient.attrs["units"] == "1/um"


def test_core_shell__a_slope_across_is_none():
    sample = disc(1.2)
    across = 0.5 + 0.2 * (STEP * np.arange(260) - 2.6) * np.ones((220, 1))
    found = table(sample, across, error=1e-4)
    assert abs(float(found.core_shell_difference[0])) < 1e-3
    assert abs(float(found.core_shell_score[0])) < 0.01
    assert float(found.composition_gradient[0]) == pytest.approx(0.2, rel=1e-3)


def test_surface__free_of_other_particles():
    label = np.zeros((44, 84), int)
    label[2:42, 2:42], label[2:42, 42:82] = 1, 2
    outline, free = (table(label, 0.5, surface=surface) for surface in ("outline", "free"))
    assert (outline.n_profile_pixels.sum("distance") == 1600).all()
    assert outline.n_profile_pixels[0, 0] == 4 * 39
    assert free.n_profile_pixels[0, 0] == 40 + 2 * 39
    whole = table((label > 0).astype(int), 0.5)
    np.testing.assert_array_equal(free.n_profile_pixels.sum("particle"), whole.n_profile_pixels[0])


def test_surface__is_not_where_the_image_ends():
    found = table(np.pad(np.ones((10, 20), int), ((0, 1), (0, 0))), 0.5)
    assert found.n_profile_pixels[0].values.tolist() == [20] * 10


# ---- noise


def noisy(rng, truth=0.5, error=0.05, correlated=False):
    """Squares with a composition, and the noise that its errors state."""
    label = squares(n=20, side=14)
    noise = rng.normal(size=label.shape)
    if correlated:
        noise = ndimage.correlate(noise, np.ones((2, 2)) / 2, mode="wrap")
    return label, np.broadcast_to(truth, label.shape), noise, error


PAIRED = xr.DataArray(
    np.outer([0.5, 1, 0.5], [0.5, 1, 0.5]),
    dims=("lag_y", "lag_x"),
    coords={"lag_y": [-1, 0, 1], "lag_x": [-1, 0, 1]},
)
"""Correlation of means over 2 x 2 pixels."""


@pytest.mark.parametrize("correlated", [False, True], ids=["independent", "correlated"])
def test_noise__alone_leaves_no_spread_and_errors_are_those_found(correlated):
    label, truth, noise, error = noisy(np.random.default_rng(1), correlated=correlated)
    found = table(label, truth, error=error, noise=noise, noise_correlation=PAIRED if correlated else None)
    n = found.sizes["particle"]
    assert n == 400
    square = np.sign(found.composition_spread) * found.composition_spread**2
    assert abs(float(square.mean())) < 4 * float(square.std()) / np.sqrt(n)
    assert 0.3 < float((found.composition_spread < 0).mean()) < 0.7
    for name in ("particle_composition", "core_shell_difference"):
        away = (found[name] - (0.5 if name == "particle_composition" else 0)) / found[f"{name}_stderr"]
        assert float(away.std()) == pytest.approx(1, abs=0.12), name
        assert abs(float(away.mean())) < 4 / np.sqrt(n), name
    beyond = (np.abs(found.composition_spread) > 2 * found.composition_spread_stderr).mean()
    assert 0.01 < float(beyond) < 0.1
    assert float(found.core_shell_score.isnull().mean()) > 0.9
    first = (found.composition_profile - 0.5)[:, 0] / found.composition_profile_stderr[:, 0]
    assert float(first.std()) == pytest.approx(1, abs=0.12)


def test_noise__alone_leaves_no_gradient():
    label, truth, noise, error = noisy(np.random.default_rng(2))
    found = table(label, truth, error=error, noise=noise)
    square = np.sign(found.composition_gradient) * found.composition_gradient**2
    assert abs(float(square.mean())) < 4 * float(square.std()) / 20
    beyond = (np.abs(found.composition_gradient) > 2 * found.composition_gradient_stderr).mean()
    assert 0.01 < float(beyond) < 0.1


@pytest.mark.parametrize("correlated", [False, True], ids=["independent", "correlated"])
def test_noise__is_taken_off_what_is_there(correlated):
    rng = np.random.default_rng(3)
    wave = 0.5 + 0.15 * np.sin(np.arange(322) / 3)
    label, truth, noise, error = noisy(rng, truth=wave, correlated=correlated)
    clean = table(label, truth, error=1e-9)
    found = table(label, truth, error=error, noise=noise, noise_correlation=PAIRED if correlated else None)
    for name in ("composition_spread", "composition_gradient"):
        square, wanted = (np.sign(one[name]) * one[name] ** 2 for one in (found, clean))
        away = square - wanted
        assert abs(float(away.mean())) < 4 * float(away.std()) / 20, name
        assert float(wanted.mean()) > 10 * float(away.std()) / 20, name
    away = (found.composition_spread - clean.composition_spread) / found.composition_spread_stderr
    assert float(away.std()) == pytest.approx(1, abs=0.15)


def test_noise__is_taken_off_the_share_that_depth_explains():
    rng = np.random.default_rng(5)
    label = squares(n=12, side=20)
    depth = ndimage.distance_transform_edt(label > 0)
    composition = 0.5 + 0.01 * depth + 0.03 * np.sign(np.sin(np.arange(label.shape[1])))
    clean = table(label, composition, error=1e-9).core_shell_score
    found = table(label, composition, error=0.04, noise=rng.normal(size=label.shape)).core_shell_score
    assert 0.3 < float(clean.mean()) < 0.7
    assert float(found.mean()) == pytest.approx(float(clean.mean()), abs=0.03)


def test_noise__unknown_is_said():
    made = maps(disc(1.0), 0.5, noise=np.random.default_rng(0).normal(size=(220, 260))).drop_vars("composition_stderr")
    with pytest.warns(NoiseWarning, match="'composition' has no standard errors: .* assign composition_stderr"):
        found = xstxm.particles(made)
    assert not [name for name in found if str(name).endswith("_stderr")]
    assert float(found.composition_spread[0]) == pytest.approx(0.02, rel=0.05)


def test_noise__of_one_pixel_is_nan():
    label = np.pad(np.ones((1, 1), int), 3)
    found = table(label, 0.5)
    assert np.isnan(found.composition_spread[0])
    assert np.isnan(found.composition_gradient[0])
    assert float(found.particle_composition_stderr[0]) == pytest.approx(0.02)
    assert float(found.aspect_ratio[0]) == pytest.approx(1)


def test_signal__another_has_its_own_name():
    made = maps(disc(1.0), 0.5).rename(composition="thickness", composition_stderr="thickness_stderr")
    made["thickness"].attrs.update(units="nm", long_name="Thickness")
    made["thickness_stderr"].attrs.update(units="nm")
    found = xstxm.particles(made, signal="thickness")
    assert found.thickness_spread.attrs["units"] == "nm"
    assert found.thickness_gradient.attrs["units"] == "nm/um"
    assert found.particle_thickness.attrs["long_name"] == "Mean Thickness of the particle"
    assert not [name for name in found if "composition" in str(name)]
    assert found.attrs["signal"] == "thickness"


# ---- laws


@st.composite
def labelled(draw):
    shape = draw(st.tuples(st.integers(6, 18), st.integers(6, 18)))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    grid = rng.integers(0, 4, (4, 4))
    label = np.kron(grid, np.ones((5, 5), int))[: shape[0], : shape[1]]
    return label, rng.random(shape), rng.uniform(0.01, 0.05, shape)


def measured(label, value, error, step=(0.02, 0.03)):
    made = maps(np.ones_like(label), value, step=step).assign(composition_stderr=(("y", "x"), error))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SegmentationWarning)
        return xstxm.particles(made, particle_label=label)


SAME = {"orientation", "centroid_y", "centroid_x", "contact_particle", "contact_other", "contact_pair_length"}
"""What may change where an image is turned; and pairs may change their order."""


def assert_same(found, wanted):
    for name in wanted.data_vars:
        if name != "particle_label" and name not in SAME:
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-6, err_msg=str(name))
    np.testing.assert_allclose(np.sort(found.contact_pair_length), np.sort(wanted.contact_pair_length), rtol=1e-6)


@given(labelled(), st.booleans(), st.booleans())
@settings(max_examples=25, deadline=None)
def test_law__flipping_the_image_only_turns_the_orientation(image, down, across):
    flip = (slice(None, None, -1 if down else 1), slice(None, None, -1 if across else 1))
    wanted, found = measured(*image), measured(*(part[flip] for part in image))
    assert_same(found, wanted)
    sign = -1 if down != across else 1
    away = (found.orientation - sign * wanted.orientation + 90) % 180 - 90
    assert (np.abs(away)[wanted.aspect_ratio > 1.001] < 1e-3).all()


@given(labelled())
@settings(max_examples=25, deadline=None)
def test_law__coordinates_that_descend_are_the_same_image(image):
    wanted = measured(*image)
    made = maps(np.ones_like(image[0]), image[1], step=(0.02, 0.03)).assign(composition_stderr=(("y", "x"), image[2]))
    label = xr.DataArray(image[0], dims=("y", "x"), coords={"y": made.y, "x": made.x})
    turned = made.isel(y=slice(None, None, -1)).transpose("x", "y")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SegmentationWarning)
        found = xstxm.particles(turned, particle_label=label.isel(y=slice(None, None, -1)))
    assert_same(found, wanted)
    for name in ("centroid_y", "centroid_x", "orientation"):
        round_ones = wanted.aspect_ratio < 1.001 if name == "orientation" else wanted.aspect_ratio < 0
        np.testing.assert_allclose(found[name].where(~round_ones), wanted[name].where(~round_ones), atol=1e-6)


@given(labelled())
@settings(max_examples=25, deadline=None)
def test_law__transposing_the_image_swaps_the_axes(image):
    wanted = measured(*image)
    found = measured(*(part.T for part in image), step=(0.03, 0.02))
    assert_same(found, wanted)
    np.testing.assert_allclose(found.centroid_y, wanted.centroid_x, atol=1e-9)
    away = (found.orientation - (90 - wanted.orientation) + 90) % 180 - 90
    assert (np.abs(away)[wanted.aspect_ratio > 1.001] < 1e-3).all()


@given(labelled(), st.permutations([1, 2, 3]))
@settings(max_examples=25, deadline=None)
def test_law__numbers_are_only_names(image, names):
    label, *rest = image
    wanted, found = measured(*image), measured(np.array([0, *names])[label], *rest)
    renamed = wanted.assign_coords(particle=np.array([0, *names])[wanted.particle]).sortby("particle")
    assert_same(found, renamed)


@given(labelled(), st.floats(-5, 5), st.floats(0.1, 10))
@settings(max_examples=25, deadline=None)
def test_law__a_scale_and_an_offset_of_the_map_carry_through(image, offset, scale):
    label, value, error = image
    wanted, found = measured(*image), measured(label, offset + scale * value, scale * error)
    for name in ("composition_spread", "composition_gradient", "core_shell_difference"):
        for key in (name, f"{name}_stderr"):
            np.testing.assert_allclose(found[key], scale * wanted[key], rtol=1e-3, atol=2e-3 * scale, err_msg=key)
    np.testing.assert_allclose(
        found.composition_profile, offset + scale * wanted.composition_profile, rtol=1e-6, atol=1e-6
    )


def test_units__positions_in_nm_and_offsets_of_the_stage_change_nothing(simulated):
    _, phases = simulated
    found = xstxm.particles(phases)
    moved = phases.assign_coords({dim: (dim, 1e3 * (phases[dim].values + 50), {"units": "nm"}) for dim in ("y", "x")})
    other = xstxm.particles(moved)
    np.testing.assert_array_equal(other.particle_label, found.particle_label)
    for name, array in found.data_vars.items():
        away = 50 if str(name).startswith("centroid") else 0
        np.testing.assert_allclose(
            other[name], array + away if array.dtype.kind == "f" else array, rtol=1e-5, atol=1e-8
        )
    assert other.centroid_x.attrs["units"] == "um"


# ---- how it is called


def test_particles__keeps_what_is_said_of_the_image():
    made = maps(disc(1.0), 0.5).expand_dims(time=xr.DataArray([3.0, 4.0], dims="time", attrs={"units": "s"}))
    assert float(xstxm.particles(made.isel(time=1)).time) == 4


def test_particles__another_amount_tells_sample_by_its_own_threshold(simulated):
    _, phases = simulated
    thick = phases.assign(thickness=phases.total_amount.where(phases.x > 1.5, 0))
    found = xstxm.particles(thick, amount="thickness")
    assert float(found.centroid_x.min()) > 1.5 > float(xstxm.particles(phases).centroid_x.min())
    assert found.attrs["min_amount"] != float(phases.min_amount)


def test_particles__of_a_measured_map(real_data):
    """Marine particles at the Fe L edge: an oxidised grain in the middle, a reduced one in the corner."""
    folder = real_data / "fe-l-edge-stack"
    stack = xr.open_dataset(folder / "71214078.hdr", engine="stxm").load()
    spectra = {"oxidized": folder / "oxidized.t", "reduced": folder / "reduced.t"}
    references = xstxm.read_references(spectra, composition={"oxidized": 0, "reduced": 1})
    od = xstxm.optical_density(stack, xstxm.read_i0(folder / "i0.xsp", units="count/ms"))
    found = xstxm.particles(xstxm.phase_map(od, references, background="linear"))
    middle, corner = (int(found.particle_label[at]) for at in ((25, 67), (5, 12)))
    grain, reduced = (found.sel(particle=number) for number in (middle, corner))
    assert float(grain.particle_area) == pytest.approx(2.9, abs=0.3)
    assert not grain.touches_edge
    assert float(grain.orientation) == pytest.approx(14, abs=10)
    assert float(grain.particle_composition) < 0.2 < 0.6 < float(reduced.particle_composition)
    assert float(grain.composition_spread) < 0.1 < float(reduced.composition_spread)
    assert float(reduced.particle_interface_length) > float(grain.particle_interface_length) == 0


def test_particles__computes_a_lazy_map_once(simulated):
    _, phases = simulated
    wanted = xstxm.particles(phases)
    with raise_if_dask_computes(max_computes=1):
        found = xstxm.particles(phases.chunk(y=40, x=50))
    xr.testing.assert_allclose(found, wanted)


def test_particles__refuses_more_than_one_image():
    made = maps(disc(1.0), 0.5).expand_dims(time=3)
    with pytest.raises(
        SchemaError, match=r"of one image, '\w+' runs over time too: select one, e\.g\. \.isel\(time=0\)"
    ):
        xstxm.particles(made)
    assert xstxm.particles(made.isel(time=0)).sizes["particle"] == 1


@pytest.mark.parametrize(
    ("made", "error", "told"),
    [
        pytest.param(lambda m: m.drop_vars("total_amount"), MissingVariableError, "phase_map", id="no amount"),
        pytest.param(lambda m: m.isel(y=3), MissingDimensionError, "no dimension 'y'", id="a line"),
        pytest.param(
            lambda m: m.drop_vars("x"), MissingCoordinateError, "'x' has no coordinate values", id="no positions"
        ),
        pytest.param(lambda m: m.isel(x=[0, 1, 2, 9]), SchemaError, "not evenly spaced", id="uneven"),
        pytest.param(lambda m: m.isel(y=[3]), SchemaError, "how large pixels are", id="one row"),
    ],
)
def test_particles__refuses_what_is_no_map(made, error, told):
    with pytest.raises(error, match=told):
        xstxm.particles(made(maps(disc(1.0), 0.5)))


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"signal": "thickness"}, MissingVariableError, "'thickness' is missing"),
        ({"signal": "marks"}, SchemaError, "'marks' holds labels or marks"),
        ({"signal": "phase_fraction"}, SchemaError, r"'phase_fraction' runs over phase too: .*\.isel\(phase=0\)"),
        ({"amount": "mass"}, MissingVariableError, "'mass' is missing"),
        ({"surface": "inner"}, ChoiceError, "unknown surface 'inner'"),
        ({"min_area": "3 um"}, IncompatibleUnitsError, r"min_area is in 'um'"),
        ({"min_area": -1}, OptionError, "an area in um"),
        ({"profile_step": 0.1}, OptionError, "a length in nm of at least 20"),
        ({"max_neck": 2}, OptionError, "a share .* at most 1"),
        ({"noise_correlation": xr.DataArray([1.0], dims="lag")}, SchemaError, "noise_correlation"),
    ],
)
def test_particles__refuses_options_that_make_no_sense(options, error, told):
    fractions = (("phase", "y", "x"), np.full((2, *disc(0.5).shape), 0.5))
    made = maps(disc(1.0), 0.5).assign(marks=(("y", "x"), disc(0.5)), phase_fraction=fractions)
    with pytest.raises(error, match=told):
        xstxm.particles(made, **options)


def test_particle_table__is_tidy(simulated):
    _, phases = simulated
    found = xstxm.particles(phases)
    rows = xstxm.particle_table(found)
    assert rows.index.name == "particle"
    assert len(rows) == found.sizes["particle"]
    np.testing.assert_array_equal(rows["particle_area [um**2]"], found.particle_area)
    np.testing.assert_array_equal(
        rows["particle_phase_fraction delta"], found.particle_phase_fraction.sel(phase="delta")
    )
    assert rows["touches_edge"].dtype == bool
    assert not [name for name in rows if "profile" in name or "label" in name]
    with pytest.raises(MissingDimensionError, match=r"xstxm\.particles"):
        xstxm.particle_table(phases)


# ---- tables of many images


@pytest.fixture
def tables():
    label = np.zeros((44, 84), int)
    label[2:42, 2:42], label[12:32, 42:82] = 5, 9
    left = table(label, 0.4)
    right = table(disc(1.0), 0.6, label=False, profile_step="20 nm")
    return {"left": left, "right": right}


def test_join_particles__puts_tables_one_after_the_other(tables):
    joined = xstxm.join_particles(tables)
    assert joined.particle.values.tolist() == [1, 2, 3]
    assert joined.node.values.tolist() == ["left", "left", "right"]
    assert joined.particle_number.values.tolist() == [5, 9, 1]
    assert joined.contact_particle.values.tolist() == [1]
    assert joined.contact_other.values.tolist() == [2]
    np.testing.assert_allclose(joined.particle_composition, [0.4, 0.4, 0.6])
    deepest = max(one.sizes["distance"] for one in tables.values())
    assert joined.sizes["distance"] == deepest
    assert joined.n_profile_pixels.dtype.kind == "i"
    np.testing.assert_array_equal(joined.n_profile_pixels.sum("distance"), [1600, 800, disc(1.0).sum()])
    assert "particle_label" not in joined
    assert joined.touches_edge.dtype == bool
    assert xstxm.particle_table(joined)["node"].tolist() == ["left", "left", "right"]
    assert joined.particle_area.attrs["units"] == "um**2"


def test_join_particles__of_a_joined_table_keeps_the_contacts_apart(tables):
    both = xstxm.join_particles({"b": tables["right"], "a": tables["left"]})
    assert both.contact_particle.values.tolist() == [2]
    assert both.particle_number.sel(particle=2) == 5


def test_join_particles__brings_units_together(tables):
    percent = tables["right"].copy()
    percent["particle_composition"] = (100 * percent.particle_composition).assign_attrs(units="percent")
    joined = xstxm.join_particles({"left": tables["left"], "right": percent})
    np.testing.assert_allclose(joined.particle_composition, [0.4, 0.4, 0.6])
    assert joined.particle_composition.attrs["units"] == "1"
    percent["particle_composition"].attrs["units"] = "mol/m**3"
    with pytest.raises(IncompatibleUnitsError):
        xstxm.join_particles({"left": tables["left"], "right": percent})


def test_join_particles__takes_an_empty_table(tables):
    with pytest.warns(SegmentationWarning):
        none = table(disc(0.3), 0.5, label=False, min_area=1)
    joined = xstxm.join_particles({"none": none, **tables})
    assert joined.node.values.tolist() == ["left", "left", "right"]
    xr.testing.assert_allclose(joined, xstxm.join_particles(tables))


def test_join_particles__takes_a_tree(tables):
    tree = xr.DataTree.from_dict(tables)
    xr.testing.assert_identical(xstxm.join_particles(tree).drop_attrs(), xstxm.join_particles(tables).drop_attrs())


def test_join_particles__refuses_tables_that_differ(tables):
    with pytest.raises(OptionError, match="one table of particles or more"):
        xstxm.join_particles([*tables.values()])
    with pytest.raises(OptionError, match="one table of particles or more"):
        xstxm.join_particles({})
    with pytest.raises(MissingDimensionError, match="'maps' is no result of xstxm"):
        xstxm.join_particles({"maps": maps(disc(1.0))})
    without = tables["right"].drop_vars("composition_spread")
    with pytest.raises(SchemaError, match="differ in composition_spread: drop_vars"):
        xstxm.join_particles({"left": tables["left"], "right": without})
    coarse = table(disc(1.0), 0.6, profile_step="50 nm")
    with pytest.raises(
        SchemaError, match=r"20 nm wide in the first table and 50 nm in 'coarse'.*profile_step, e\.g\. '50 nm'"
    ):
        xstxm.join_particles({"left": tables["left"], "coarse": coarse})
    named = {name: one.expand_dims(phase=[name]) for name, one in tables.items()}
    with pytest.raises(SchemaError, match="same references"):
        xstxm.join_particles(named)
