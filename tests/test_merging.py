from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from laziness import raise_if_dask_computes

import xstxm
from xstxm.conventions import FRAME_FLAGS, QUALITY_FLAGS, flag_attrs
from xstxm.errors import (
    AlignmentWarning,
    ChoiceError,
    EnergyRangeError,
    IncompatibleUnitsError,
    MetadataWarning,
    MissingCoordinateError,
    MissingVariableError,
    OptionError,
    SchemaError,
)


@pytest.fixture
def halves(stack):
    """The stack cut in two at 515 eV."""
    return [xstxm.sel_energy(stack, None, 515.2), xstxm.sel_energy(stack, 515.3, None)]


def with_dwell(stack, dwell):
    """Return the stack as another exposure would have given it."""
    factor = dwell / stack["dwell_time"]
    counts = (stack["intensity"] * factor).astype("float32").assign_attrs(stack["intensity"].attrs)
    return stack.assign(intensity=counts).assign_coords(dwell_time=((), dwell, {"units": "ms"}))


def test_merge_stacks__of_two_ranges_is_the_whole(stack, halves):
    merged = xstxm.merge_stacks(halves)
    xr.testing.assert_equal(merged["intensity"].drop_vars("dwell_time"), stack["intensity"].drop_vars("dwell_time"))
    assert merged["intensity"].dtype == np.float32
    assert merged["dwell_time"].dims == ("energy",)
    assert merged["energy"].attrs == stack["energy"].attrs
    assert merged.attrs["title"] == "a test"
    assert list(merged.stxm.history["operation"]) == ["sel_energy", "merge_stacks"]


def test_merge_stacks__keeps_the_order_given(stack, halves):
    merged = xstxm.merge_stacks([halves[1], halves[0].isel(energy=slice(None, None, -1))])
    expected = [*halves[1]["energy"].values, *halves[0]["energy"].values[::-1]]
    np.testing.assert_array_equal(merged["energy"], expected)
    xr.testing.assert_equal(
        merged.sortby("energy")["intensity"].drop_vars("dwell_time"), stack["intensity"].drop_vars("dwell_time")
    )


@pytest.mark.parametrize("tolerance", [None, 0.02, "20 meV"])
def test_merge_stacks__averages_energies_within_the_tolerance(stack, tolerance):
    shift = 0.006 if tolerance is None else 0.015
    other = stack.isel(energy=slice(5, None)).assign_coords(energy=stack["energy"][5:] + shift)
    other["energy"].attrs["units"] = "eV"
    doubled = other.assign(intensity=(other["intensity"] * 3).assign_attrs(units="count"))
    merged = xstxm.merge_stacks([stack, doubled], tolerance=tolerance)
    factor = np.where(np.arange(42) < 5, 1, 2)
    np.testing.assert_allclose(merged["intensity"], stack["intensity"] * factor[:, None, None], rtol=1e-6)
    np.testing.assert_allclose(merged["energy"], stack["energy"] + np.where(np.arange(42) < 5, 0, shift / 2))
    assert "37 energies averaged" in merged.attrs["history"]
    far = other.assign_coords(energy=("energy", stack["energy"].values[5:] + 0.03, {"units": "eV"}))
    assert xstxm.merge_stacks([stack, far], tolerance=tolerance).sizes["energy"] == 42 + 37


def test_merge_stacks__keep_and_error(stack):
    kept = xstxm.merge_stacks([stack, stack.isel(energy=[3, 4])], repeats="keep")
    assert kept.sizes["energy"] == 44
    with pytest.raises(EnergyRangeError, match="more than one frame at 508, 509 eV: pass repeats='average' or"):
        xstxm.merge_stacks([stack, stack.isel(energy=[3, 4])], repeats="error")
    assert xstxm.merge_stacks([stack], repeats="error").sizes["energy"] == 42


def test_merge_stacks__counts_of_different_exposures_are_those_of_the_mean_exposure(stack, i0, density):
    merged = xstxm.merge_stacks([stack, with_dwell(stack, 6.0)])
    np.testing.assert_allclose(merged["dwell_time"], 4.0)
    np.testing.assert_allclose(merged["intensity"], stack["intensity"] * 2, rtol=1e-6)
    rate = (i0 / 2.0).assign_attrs(units="count/ms")
    np.testing.assert_allclose(xstxm.optical_density(merged, rate)["optical_density"], density, atol=1e-5)


def test_merge_stacks__ranges_of_different_exposures_meet_one_rate(halves, i0, density):
    merged = xstxm.merge_stacks([halves[0], with_dwell(halves[1], 5.0)])
    rate = (i0 / 2.0).assign_attrs(units="count/ms")
    np.testing.assert_allclose(xstxm.optical_density(merged, rate)["optical_density"], density, atol=1e-5)


def test_merge_stacks__a_missing_pixel_leaves_the_others(stack, i0, density):
    longer = with_dwell(stack, 6.0)
    longer["intensity"][7, 2, 3] = np.nan
    both = stack.copy(deep=True)
    both["intensity"][9, 1, 1] = np.nan
    longer["intensity"][9, 1, 1] = np.nan
    merged = xstxm.merge_stacks([both, longer])
    assert np.argwhere(merged["intensity"].isnull().values).tolist() == [[9, 1, 1]]
    rate = (i0 / 2.0).assign_attrs(units="count/ms")
    od = xstxm.optical_density(merged, rate)["optical_density"]
    assert float(od[7, 2, 3]) == pytest.approx(float(density[7, 2, 3]), abs=1e-5)


def test_merge_stacks__rates_and_densities_count_by_their_exposure(stack):
    rates = stack.assign(intensity=(stack["intensity"] / 2).assign_attrs(units="count/ms"))
    other = rates.assign(intensity=(rates["intensity"] * 3).assign_attrs(units="count/ms"))
    other = other.assign_coords(dwell_time=((), 6.0, {"units": "ms"}))
    merged = xstxm.merge_stacks([rates, other])
    expected = (2 * rates["intensity"] + 6 * other["intensity"]) / 8
    np.testing.assert_allclose(merged["intensity"], expected, rtol=1e-6)


@pytest.mark.parametrize(("unit", "squared"), [("count", "count**2"), ("1", "1")])
def test_merge_stacks__variances_are_those_of_the_average(unit, squared):
    rng = np.random.default_rng(0)
    coords = {"energy": ("energy", [510.0, 520.0], {"units": "eV"})}

    def repeat(dwell):
        mean, variance = (100 * dwell, 9 * dwell) if unit == "count" else (100, 9 / dwell)
        values = rng.normal(mean, np.sqrt(variance), (2, 60, 70))
        dims = ("energy", "y", "x")
        return xr.Dataset(
            {
                "intensity": (dims, values, {"units": unit}),
                "intensity_variance": (dims, values * 0 + variance, {"units": squared}),
                "intensity_stderr": (dims, values * 0 + np.sqrt(variance), {"units": unit}),
            },
            coords={**coords, "dwell_time": ((), dwell, {"units": "ms"})},
        )

    merged = xstxm.merge_stacks([repeat(1.0), repeat(3.0), repeat(0.5)])
    assert float(merged["intensity"].mean()) == pytest.approx(100 * (1.5 if unit == "count" else 1), rel=0.01)
    variance = float(merged["intensity_variance"][0, 0, 0])
    assert float(merged["intensity"].var()) == pytest.approx(variance, rel=0.05)
    assert float(merged["intensity_stderr"][0, 0, 0]) == pytest.approx(np.sqrt(variance))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.integers(0, 1000))
def test_merge_stacks__one_stack_has_its_repeats_averaged(steps, seed):
    rng = np.random.default_rng(seed)
    energy = 500.0 + np.array(steps)
    values = rng.uniform(1, 9, (len(steps), 2, 3))
    array = xr.DataArray(
        values, dims=("energy", "y", "x"), coords={"energy": ("energy", energy, {"units": "eV"})}, attrs={"units": "1"}
    )
    merged = xstxm.merge_stacks([array])
    found = list(dict.fromkeys(energy))
    assert merged["energy"].values.tolist() == found
    np.testing.assert_allclose(merged, [values[energy == e].mean(0) for e in found])


@pytest.mark.filterwarnings("ignore:no stack says its dwell_time")
def test_merge_stacks__masks_flags_marks_and_positions(stack, halves):
    first, second = (half.drop_vars("dwell_time") for half in halves)
    flags = flag_attrs(QUALITY_FLAGS, masks=True)
    mask, bits = np.ones((6, 9), bool), np.zeros((6, 9), "int16")
    mask[0, 0] = False
    bits[2, 2] = 4
    first = first.assign(mask=(("y", "x"), mask), quality=(("y", "x"), bits, flags), spike=first["intensity"] < 0)
    second = second.assign(
        mask=(("y", "x"), ~np.eye(6, 9, 2, dtype=bool)),
        quality=(("y", "x"), bits * 2, flags),
        spike=second["intensity"] > 0,
    ).assign_coords(x=second["x"] + 1e-6)
    merged = xstxm.merge_stacks([first, second])
    np.testing.assert_array_equal(merged["mask"], mask & ~np.eye(6, 9, 2, dtype=bool))
    assert int(merged["quality"][2, 2]) == 12
    assert merged["quality"].attrs["flag_meanings"] == flags["flag_meanings"]
    np.testing.assert_array_equal(merged["spike"].any(("y", "x")), np.arange(42) >= first.sizes["energy"])
    np.testing.assert_array_equal(merged["x"], stack["x"])
    marked = xstxm.merge_stacks([first.drop_vars("quality"), first.drop_vars("quality").assign(spike=~first["spike"])])
    assert bool(marked["spike"].all())


def test_merge_stacks__brings_units_together(halves):
    other = halves[1].assign_coords(
        energy=("energy", halves[1]["energy"].values / 1000, {"units": "keV"}),
        dwell_time=((), 0.002, {"units": "s"}),
    )
    merged = xstxm.merge_stacks([halves[0], other])
    xr.testing.assert_allclose(merged.drop_attrs(), xstxm.merge_stacks(halves).drop_attrs())
    assert merged["energy"].attrs["units"] == "eV"


def test_merge_stacks__is_lazy(stack, halves):
    other = [halves[0], with_dwell(xstxm.sel_energy(stack, 514, None), 6.0)]
    lazy_given = [part.chunk(y=2) for part in other]
    with raise_if_dask_computes():
        lazy = xstxm.merge_stacks(lazy_given)
    xr.testing.assert_allclose(lazy.compute(), xstxm.merge_stacks(other))


def test_merge_stacks__of_arrays_and_transposed_dimensions(halves):
    first, second = (half["intensity"] for half in halves)
    merged = xstxm.merge_stacks([first, second.transpose("x", "energy", "y")])
    assert isinstance(merged, xr.DataArray)
    assert merged.dims == ("energy", "y", "x")
    assert merged.name == "intensity"
    np.testing.assert_array_equal(merged, xstxm.merge_stacks(halves)["intensity"])


def test_merge_stacks__leaves_out_attributes_that_differ(halves):
    other = halves[1].assign_attrs(title="another")
    merged = xstxm.merge_stacks([halves[0], other])
    assert "title" not in merged.attrs
    assert merged.attrs["scan_type"] == "sample image stack"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param(
            lambda s: s.assign_coords(x=s["x"] + 0.03),
            SchemaError,
            "'intensity' of stack 2 and the stack differ along 'x'",
            id="grid",
        ),
        pytest.param(lambda s: s.isel(y=slice(5)), SchemaError, "5 pixels along 'y', the stack 6", id="size"),
        pytest.param(
            lambda s: s.assign(intensity=s["intensity"].assign_attrs(units="count/ms")),
            IncompatibleUnitsError,
            "'intensity' of stack 2 is in 'count/ms'",
            id="rate",
        ),
        pytest.param(lambda s: s.drop_vars("dwell_time"), MissingCoordinateError, "stack 2 lacks it", id="dwell"),
        pytest.param(
            lambda s: s.rename(intensity="counts"),
            MissingVariableError,
            r"'counts' is missing \(found: dwell_time, intensity\): the first lacks it",
            id="variable",
        ),
        pytest.param(
            lambda s: s.assign(extra=s["intensity"] * 1),
            MissingVariableError,
            r"'extra' is missing \(found: dwell_time, intensity\): the first lacks it",
            id="extra variable",
        ),
        pytest.param(
            lambda s: s.drop_vars("intensity"),
            MissingVariableError,
            r"'intensity' is missing \(found: dwell_time\): stack 2 lacks it",
            id="no variable",
        ),
        pytest.param(lambda s: s.assign(image=s["intensity"][0]), SchemaError, "'image' differs between", id="image"),
        pytest.param(
            lambda s: xstxm.normalize_current(
                s.assign_coords(ring_current=((), 400.0, {"units": "mA"})), 300
            ).drop_vars("ring_current"),
            SchemaError,
            "scaled to 300 mA, that of the first to None",
            id="current",
        ),
        pytest.param(lambda s: s["intensity"], OptionError, "give Datasets, or DataArrays, not both", id="mixed"),
    ],
)
def test_merge_stacks__refuses(halves, change, error, message):
    with pytest.raises(error, match=message):
        xstxm.merge_stacks([halves[0], change(halves[1])])


def test_merge_stacks__refuses_nothing_a_typo_and_labels(stack):
    with pytest.raises(OptionError, match="the list is empty"):
        xstxm.merge_stacks([])
    for one in (stack, stack["intensity"], "stack.hdr", None):
        with pytest.raises(OptionError, match=r"give .*merge_stacks\(\[a, b\]\)"):
            xstxm.merge_stacks(one)
    with pytest.raises(OptionError, match=r"stacks='<dataset \(energy: 42, y: 6, x: 9\) with intensity>': give a list"):
        xstxm.merge_stacks(stack)
    with pytest.raises(ChoiceError, match="did you mean 'average'"):
        xstxm.merge_stacks([stack], repeats="averge")
    labels = xr.zeros_like(stack["intensity"], dtype=int).assign_attrs(flag_values=[0])
    with pytest.raises(SchemaError, match="'label' holds labels or words, which have no average"):
        xstxm.merge_stacks([stack.assign(label=labels)] * 2)


def test_merge_stacks__counts_without_an_exposure_are_told(halves):
    with pytest.warns(MetadataWarning, match="no stack says its dwell_time"):
        xstxm.merge_stacks([half.drop_vars("dwell_time") for half in halves])


@pytest.mark.parametrize("per_energy", [False, True])
def test_merge_stacks__one_stack_with_a_dwell_time(stack, per_energy):
    energy = stack["energy"].values.copy()
    energy[7] = energy[3]
    given_stack = stack.assign_coords(energy=("energy", energy, {"units": "eV"}))
    if per_energy:
        given_stack = given_stack.assign_coords(dwell_time=("energy", np.full(42, 2.0), {"units": "ms"}))
    merged = xstxm.merge_stacks([given_stack])
    np.testing.assert_array_equal(merged["energy"], np.delete(energy, 7))
    expected = (stack["intensity"][3] + stack["intensity"][7]) / 2
    np.testing.assert_allclose(merged["intensity"][3], expected, rtol=1e-6)
    assert merged["dwell_time"].dims == given_stack["dwell_time"].dims
    assert float(merged["dwell_time"].max()) == 2.0


def test_merge_stacks__then_flags_find_no_repeat(stack):
    merged = xstxm.merge_stacks([stack, stack.isel(energy=[3, 4])])
    assert not xstxm.flag_frames(merged)["frame_quality"].any()


def test_merge_stacks__an_average_of_repeats_is_no_repeat(stack):
    kept = xstxm.merge_stacks([stack, stack], repeats="keep")
    kept = kept.assign(frame_quality=xstxm.flag_frames(kept)["frame_quality"])
    assert (kept["frame_quality"] != 0).sum() == stack.sizes["energy"]
    assert not xstxm.merge_stacks([kept])["frame_quality"].any()
    dark = xr.where(kept["energy"] == kept["energy"][3], np.int16(4), np.int16(0))
    flags = (kept["frame_quality"] | dark).assign_attrs(kept["frame_quality"].attrs)
    assert np.flatnonzero(xstxm.merge_stacks([kept.assign(frame_quality=flags)])["frame_quality"]).tolist() == [3]


def with_flags(stack, name, *raised):
    """Return the stack with flags of each frame (energy), or each pixel, all the same."""
    known = FRAME_FLAGS if name == "frame_quality" else QUALITY_FLAGS
    bits = np.int16(sum(known[flag] for flag in raised))
    over = stack["energy"] if name == "frame_quality" else stack["intensity"].isel(energy=0, drop=True)
    return stack.assign({name: xr.full_like(over, bits, dtype="int16").assign_attrs(flag_attrs(known, masks=True))})


def flags_of(merged, name):
    known = FRAME_FLAGS if name == "frame_quality" else QUALITY_FLAGS
    values = np.unique(merged[name])
    assert values.size == 1
    return {flag for flag, bit in known.items() if values[0] & bit}


PARTS = {"frame_quality": "partly_measured", "quality": "outside_overlap"}


@pytest.mark.parametrize("lazy", [False, True], ids=["numpy", "dask"])
@pytest.mark.parametrize("name", ["frame_quality", "quality"])
def test_merge_stacks__an_average_has_a_value_where_any_repeat_has_one(stack, name, lazy):
    part = PARTS[name]
    cases = [
        (["not_measured"], [], set()),
        ([part], [], set()),
        (["not_measured"], ["not_measured"], {"not_measured"}),
        (["not_measured"], [part], {part}),
        (["not_measured", part], ["not_measured"], {"not_measured", part}),
    ]
    for first, second, expected in cases:
        repeats = [with_flags(stack, name, *raised) for raised in (first, second)]
        repeats = [repeat.chunk(energy=10) for repeat in repeats] if lazy else repeats
        assert flags_of(xstxm.merge_stacks(repeats), name) == expected
        assert flags_of(xstxm.merge_stacks(repeats[::-1]), name) == expected


@pytest.mark.parametrize("name", ["frame_quality", "quality"])
def test_merge_stacks__what_went_into_an_average_is_told(stack, name):
    known = FRAME_FLAGS if name == "frame_quality" else QUALITY_FLAGS
    no_value = {"not_measured", "partly_measured", "outside_overlap", "below_noise", "outside_window", "poor_fit"}
    repeated = {"duplicate_frame", "duplicate_energy"}
    for flag in known:
        merged = xstxm.merge_stacks([with_flags(stack, name), with_flags(stack, name, flag)])
        assert flags_of(merged, name) == (set() if flag in no_value | repeated else {flag})


def test_merge_stacks__energies_of_one_stack_keep_its_missing_pixels(stack, halves):
    lost = [with_flags(halves[0], "quality", "not_measured"), with_flags(halves[1], "quality")]
    assert flags_of(xstxm.merge_stacks(lost), "quality") == {"not_measured"}
    partly = [with_flags(stack, "quality", "not_measured"), with_flags(stack.isel(energy=slice(5)), "quality")]
    assert flags_of(xstxm.merge_stacks(partly), "quality") == {"not_measured"}
    partly = [with_flags(stack, "quality"), with_flags(stack.isel(energy=slice(5)), "quality", "not_measured")]
    assert flags_of(xstxm.merge_stacks(partly), "quality") == set()
    assert flags_of(xstxm.merge_stacks(partly, repeats="keep"), "quality") == {"not_measured"}
    unjudged = [with_flags(stack, "quality", "not_measured"), stack]
    assert flags_of(xstxm.merge_stacks(unjudged), "quality") == {"not_measured"}


def test_merge_stacks__flags_of_averages_are_those_of_averaged_data():
    """Two repeats with holes in different places: the flags are what `optical_density` finds in the average."""
    stack = xstxm.testing.simulate_stack(shape=(12, 14), seed=0)
    stack = stack[["intensity"]].assign(i0=stack["true_i0"])
    repeats = [stack.copy(deep=True), stack.copy(deep=True)]
    repeats[0].intensity[3, 2:5] = np.nan
    repeats[1].intensity[3, 4:7] = np.nan
    repeats = [xstxm.optical_density(repeat) for repeat in repeats]
    merged = xstxm.merge_stacks(repeats)
    again = xstxm.optical_density(merged.drop_vars(["optical_density", "quality"]))
    bit = QUALITY_FLAGS["not_measured"]
    np.testing.assert_array_equal(merged["quality"] & bit, again["quality"] & bit)
    assert np.flatnonzero((merged["quality"] & bit).any("x")).tolist() == [4]


@pytest.fixture
def drifting():
    return [xstxm.testing.simulate_stack(shape=(40, 44), drift="60 nm", seed=1)[["intensity"]].isel(energy=part)
            for part in (slice(0, 12), slice(12, 24))]  # fmt: skip


def test_merge_stacks__aligned_each_onto_itself_is_told(drifting):
    each = [part.stxm.align("neighbours") for part in drifting]
    with pytest.warns(AlignmentWarning, match=r"stacks 1 and 2 were aligned each onto a frame of its own: .*'keep'"):
        merged = xstxm.merge_stacks(each)
    assert {"shift_y", "shift_x"} <= {*merged.coords}
    with pytest.warns(AlignmentWarning, match="stack 2 was not aligned and others were"):
        merged = xstxm.merge_stacks([each[0], drifting[1]])
    with pytest.warns(AlignmentWarning, match="stack 1 was not aligned and others were"):
        other = xstxm.merge_stacks([drifting[1], each[0]])
    for both in (merged, other.isel(energy=[*range(12, 24), *range(12)])):
        np.testing.assert_array_equal(both["shift_x"], [*each[0]["shift_x"].values, *np.zeros(12)])
        assert both["shift_x"].attrs["units"] == "um"


def test_merge_stacks__a_frame_that_was_turned_did_not_hold_still(drifting):
    turned = {"magnification": 1.01, "rotation": 0.2, "shift_y": 0.0, "shift_x": 0.0}
    moved = drifting[0].assign_coords({name: ("energy", np.full(12, value)) for name, value in turned.items()})
    single = drifting[1].isel(energy=[0])
    merged = xstxm.merge_stacks([moved, single])
    assert {name: float(merged[name][-1]) for name in turned} == {**dict.fromkeys(turned, 0.0), "magnification": 1.0}
    assert set(turned) <= {*merged.coords}
    with pytest.warns(AlignmentWarning, match="each onto a frame of its own"):
        xstxm.merge_stacks(
            [moved.assign_coords(rotation=("energy", np.zeros(12)), magnification=moved["rotation"] * 0 + 1), single]
        )


def test_merge_stacks__does_what_its_warning_says(drifting):
    whole = xstxm.merge_stacks(drifting, repeats="keep").stxm.align("neighbours")
    xstxm.merge_stacks([whole])
    first = drifting[0].stxm.align("neighbours")
    image = first["intensity"].isel(energy=0)
    xstxm.merge_stacks([first, drifting[1].stxm.align(reference=image)])
    single = drifting[0].isel(energy=[0])
    xstxm.merge_stacks([single, drifting[1].stxm.align(reference=single["intensity"].isel(energy=0))])


def test_merge_stacks__parts_of_one_aligned_stack_are_not_taken_for_stacks_aligned_apart():
    stack = xstxm.testing.simulate_stack(shape=(48, 56), drift="60 nm", seed=0)[["intensity"]]
    aligned = xstxm.align(stack, "previous")
    merged = xstxm.merge_stacks([aligned, aligned.isel(energy=slice(0, 5))])
    np.testing.assert_allclose(merged["shift_y"], aligned["shift_y"])


def test_merge_stacks__refuses_flags_whose_bits_mean_other_things():
    stack = xstxm.testing.simulate_stack(shape=(8, 9), seed=0)[["intensity"]]

    def flagged(meanings):
        bits = xr.ones_like(stack["intensity"][0].drop_vars("energy"), dtype="int16")
        return stack.assign(quality=bits.assign_attrs(flag_masks=np.array([1, 2]), flag_meanings=meanings))

    with pytest.raises(SchemaError, match="the flags of 'quality' mean"):
        xstxm.merge_stacks([flagged("not_measured saturated"), flagged("saturated not_measured")])


@pytest.mark.parametrize(
    ("stacks", "message"), [([], "the list is empty"), ([None, None], "and nothing else"), ("ab", "and nothing else")]
)
def test_merge_stacks__says_what_is_wrong_with_the_list(stacks, message):
    with pytest.raises(OptionError, match=message):
        xstxm.merge_stacks(stacks)


def test_merge_stacks__of_exposures_of_pixels_weighs_the_ring_current_by_them():
    stack = xstxm.testing.simulate_stack(shape=(6, 8), seed=0)[["intensity"]]
    times = 1 + np.random.default_rng(0).random(stack["intensity"].shape)
    each = [
        stack.assign_coords(
            dwell_time=(stack["intensity"].dims, times * k, {"units": "ms"}),
            ring_current=("energy", np.full(stack.sizes["energy"], 100.0 * k), {"units": "mA"}),
        )
        for k in (1, 2)
    ]
    found = xstxm.merge_stacks(each)
    np.testing.assert_allclose(found["dwell_time"], 1.5 * times, rtol=1e-12)
    np.testing.assert_allclose(found["ring_current"], 500 / 3, rtol=1e-12)
