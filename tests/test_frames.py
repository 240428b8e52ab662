from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from laziness import raise_if_dask_computes

import xstxm
from xstxm.conventions import FRAME_FLAGS
from xstxm.errors import EnergyRangeError, MissingVariableError, OptionError, SchemaError, UnitsError


@pytest.fixture
def sound() -> xr.Dataset:
    """Forty noisy frames, not square, over the V L and O K edges."""
    energies = np.concatenate([np.arange(510, 528, 0.6), np.linspace(528.3, 545, 10)])
    return xstxm.testing.simulate_stack(shape=(30, 44), energies=energies, seed=4)[["intensity"]]


def broken(stack, **frames):
    """Return a copy of the stack with frames replaced: {"f7": values}."""
    copy = stack.copy(deep=True)
    for name, values in frames.items():
        copy["intensity"][int(name[1:])] = values
    return copy


def raised(flags, name):
    return np.flatnonzero(np.asarray(flags["frame_quality"]) & FRAME_FLAGS[name]).tolist()


@pytest.mark.parametrize("counts", [30, 300, 5000])
@pytest.mark.parametrize("drift", ["0 nm", "150 nm"])
def test_flag_frames__of_a_sound_stack_across_two_edges_are_none(counts, drift):
    stack = xstxm.testing.simulate_stack(shape=(48, 64), counts=counts, drift=drift, seed=1)
    flags = xstxm.flag_frames(stack)
    xstxm.testing.assert_conforms(flags, "flag_frames")
    assert not flags["frame_quality"].any()


@pytest.mark.parametrize("n", [1, 2, 5, 10, 24])
def test_flag_frames__of_a_few_coarse_energies_are_none(n):
    stack = xstxm.testing.simulate_stack(shape=(30, 44), energies=np.linspace(512, 533, n), seed=2)
    assert not xstxm.flag_frames(stack)["frame_quality"].any()


def test_flag_frames__of_a_measured_stack_are_none(real_data):
    stack = xr.open_dataset(real_data / "fe-l-edge-stack" / "71214078.hdr", engine="stxm").load()
    flags = xstxm.flag_frames(stack)
    assert not flags["frame_quality"].any()
    assert float(flags["frame_similarity"].min()) > 0.98


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_flag_frames__names_what_is_wrong_with_each_frame(sound):
    rng = np.random.default_rng(0)
    frames = np.asarray(sound["intensity"])
    partly_dark, partly_measured = frames[12].copy(), frames[16].copy()
    partly_dark[20:] = rng.poisson(2, (10, 44))
    partly_measured[10:] = np.nan
    stack = broken(
        sound,
        f3=rng.poisson(3, (30, 44)),
        f8=np.nan,
        f12=partly_dark,
        f16=partly_measured,
        f20=2000,
        f24=np.roll(frames[24], (9, 13), (0, 1)),
        f28=frames[27],
        f32=frames[2],
    )
    flags = xstxm.flag_frames(stack)
    found = {name: raised(flags, name) for name in FRAME_FLAGS}
    assert found["not_measured"] == [8]
    assert found["partly_measured"] == [16]
    assert found["no_beam"] == [3]
    assert found["partly_dark"] == [12]
    assert found["constant"] == [20]
    assert 24 in found["outlier"]
    assert found["duplicate_frame"] == [28, 32]
    assert found["duplicate_energy"] == []
    assert flags["duplicate_of"][[27, 28, 32]].values.tolist() == [-1, 27, 2]
    assert set(np.flatnonzero(flags["frame_quality"])) == {3, 8, 12, 16, 20, 24, 28, 32}
    kept = stack.isel(energy=flags["frame_quality"] == 0)
    assert kept.sizes["energy"] == stack.sizes["energy"] - 8


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(("value", "flag"), [(np.nan, "not_measured"), (7.0, "constant")])
def test_flag_frames__of_a_stack_without_anything_in_it(sound, value, flag):
    flags = xstxm.flag_frames(xr.full_like(sound, value))
    assert raised(flags, flag) == list(range(40))
    assert set(np.unique(flags["frame_quality"])) == {FRAME_FLAGS[flag]}


def test_flag_frames__of_integers(sound):
    expected = xstxm.flag_frames(sound)["frame_similarity"]
    found = xstxm.flag_frames(sound.astype("uint16"))
    np.testing.assert_allclose(found["frame_similarity"], expected, rtol=1e-6)


def test_flag_frames__reports_the_numbers_behind_the_flags(sound):
    frames = np.asarray(sound["intensity"])
    half_dark = frames[12].copy()
    half_dark[15:] = 0
    flags = xstxm.flag_frames(broken(sound, f12=half_dark))
    np.testing.assert_allclose(flags["frame_mean"][5], frames[5].mean(), rtol=1e-6)
    assert flags["frame_mean"].attrs["units"] == "count"
    image = (frames.sum(0) - frames[12] + half_dark) / len(frames)
    bright = image >= np.median(image)
    assert float(flags["dark_fraction"][12]) == pytest.approx(bright[15:].sum() / bright.sum())


def test_flag_frames__similarity_is_that_of_a_linear_regression_on_the_neighbours(sound):
    flags = xstxm.flag_frames(sound)
    frames = np.asarray(sound["intensity"], dtype=float).reshape(sound.sizes["energy"], -1)
    for e in (2, 17, 30):
        others = np.column_stack([np.ones(frames.shape[1]), *frames[[e - 2, e - 1, e + 1, e + 2]]])
        left = frames[e] - others @ np.linalg.lstsq(others, frames[e], rcond=None)[0]
        assert float(flags["frame_similarity"][e]) == pytest.approx(1 - left.var() / frames[e].var(), abs=1e-6)


def test_flag_frames__contrast_that_inverts_is_no_outlier(sound):
    frames = np.asarray(sound["intensity"])
    inverted = broken(sound, **{f"f{e}": 2 * frames[e].mean() - frames[e] for e in range(20, sound.sizes["energy"])})
    assert not xstxm.flag_frames(inverted)["frame_quality"].any()


@pytest.mark.parametrize("order", ["reversed", "shuffled"])
def test_flag_frames__do_not_depend_on_the_order_of_the_energies(sound, order):
    frames = np.asarray(sound["intensity"])
    stack = broken(sound, f24=np.roll(frames[24], 15, axis=1), f8=0)
    at = np.arange(stack.sizes["energy"])[::-1]
    at = at if order == "reversed" else np.random.default_rng(0).permutation(at)
    expected = xstxm.flag_frames(stack).isel(energy=at).drop_vars("duplicate_of")
    xr.testing.assert_allclose(xstxm.flag_frames(stack.isel(energy=at)).drop_vars("duplicate_of"), expected)


def test_flag_frames__an_energy_that_is_there_twice_is_flagged_the_second_time(sound):
    energy = np.asarray(sound["energy"]).copy()
    energy[9], energy[20] = energy[10] + 0.004, energy[3]
    stack = sound.assign_coords(energy=("energy", energy, sound["energy"].attrs))
    assert raised(xstxm.flag_frames(stack), "duplicate_energy") == [10, 20]
    assert raised(xstxm.flag_frames(stack, tolerance="1 meV"), "duplicate_energy") == [20]


@pytest.mark.parametrize(
    "chunks", [{"y": 7, "x": 20}, {"energy": -1, "y": 30}], ids=["dask by pixel", "dask in one chunk"]
)
def test_flag_frames__is_the_same_for_every_chunking_and_passes_twice(sound, chunks):
    frames = np.asarray(sound["intensity"])
    stack = broken(sound, f24=np.roll(frames[24], 15, axis=1), f8=0, f30=np.nan)
    with raise_if_dask_computes(max_computes=2):
        lazy = xstxm.flag_frames(stack.chunk(chunks))
    xr.testing.assert_allclose(lazy, xstxm.flag_frames(stack))


def test_flag_frames__leaves_out_what_the_mask_does(sound):
    frames = np.asarray(sound["intensity"]).copy()
    frames[12, 15:] = 0
    mask = xr.DataArray(np.tile(np.arange(30)[:, None] < 15, (1, 44)), dims=("y", "x"))
    stack = broken(sound, f12=frames[12])
    assert raised(xstxm.flag_frames(stack), "partly_dark") == [12]
    assert not xstxm.flag_frames(stack.assign(mask=mask))["frame_quality"].any()
    with pytest.raises(SchemaError, match="no pixel is left to use"):
        xstxm.flag_frames(stack.assign(mask=mask & False))


def test_flag_frames__of_a_series_are_judged_apart(sound):
    series = xr.concat([sound, broken(sound, f6=0)], xr.DataArray([0.0, 30.0], dims="theta"))
    flags = xstxm.flag_frames(series)
    xstxm.testing.assert_conforms(flags, "flag_frames")
    assert flags["frame_quality"].dims == ("energy", "theta")
    np.testing.assert_array_equal(np.argwhere(flags["frame_quality"].values), [[6, 1]])


def test_flag_frames__of_a_line_scan(sound):
    line = broken(sound, f6=0).isel(y=9).rename(x="position")
    assert np.flatnonzero(xstxm.flag_frames(line)["frame_quality"]).tolist() == [6]


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        pytest.param(
            lambda s: s,
            {"dark_share": 2},
            OptionError,
            "dark_share=2: give a share of at least 0 and of at most 1",
            id="share",
        ),
        pytest.param(lambda s: s, {"signal": "od"}, MissingVariableError, "'od' is missing", id="signal"),
        pytest.param(lambda s: s.isel(y=0, x=0), {}, SchemaError, "a single spectrum has no frames", id="spectrum"),
        pytest.param(
            lambda s: s["intensity"].rename("mine").assign_attrs(units="1"),
            {},
            SchemaError,
            "judged by their counts",
            id="density",
        ),
    ],
)
def test_flag_frames__refuses(sound, change, options, error, message):
    with pytest.raises(error, match=message):
        xstxm.flag_frames(change(sound), **options)


def test_flag_frames__thresholds_act(sound):
    frames = np.asarray(sound["intensity"]).copy()
    frames[10, 25:] = np.nan
    stack = broken(sound, f8=0.1 * frames[8], f10=frames[10], f24=np.roll(frames[24], 15, axis=1))
    assert np.flatnonzero(xstxm.flag_frames(stack)["frame_quality"]).tolist() == [10, 24]
    assert raised(xstxm.flag_frames(stack, dark_share=0.2), "no_beam") == [8]
    assert raised(xstxm.flag_frames(stack, max_missing=0.3), "partly_measured") == []
    assert raised(xstxm.flag_frames(stack, min_similarity=0.0), "outlier") == []


AXES = [
    pytest.param(lambda stack: stack, id="dataset"),
    pytest.param(lambda stack: stack["intensity"], id="array"),
    pytest.param(lambda stack: stack.isel(energy=slice(None, None, -1)), id="descending energies"),
    pytest.param(lambda stack: stack.chunk(energy=1), id="dask by frame"),
]


@pytest.mark.parametrize("kind", AXES)
@pytest.mark.parametrize(
    "asked",
    [
        pytest.param([510.6, 512.4], id="numbers"),
        pytest.param(["510.6 eV", "0.5124 keV"], id="texts"),
        pytest.param(xr.DataArray([0.5124, 0.5106], dims="energy", attrs={"units": "keV"}), id="array in keV"),
    ],
)
def test_drop_frames__leaves_out_these_and_no_others(sound, kind, asked):
    given_stack = kind(sound)
    with raise_if_dask_computes():
        kept = xstxm.drop_frames(given_stack, asked)
    places = [k for k, energy in enumerate(given_stack["energy"].values) if round(energy, 3) not in (510.6, 512.4)]
    assert len(places) == 38
    xr.testing.assert_identical(kept.drop_attrs(deep=False), given_stack.isel(energy=places).drop_attrs(deep=False))


def test_drop_frames__takes_one_energy_alone(sound):
    assert xstxm.drop_frames(sound, "510.6 eV").sizes["energy"] == 39
    assert xstxm.drop_frames(sound, 510.6).sizes["energy"] == 39


def test_drop_frames__names_the_nearest_frame_only(sound):
    close = sound.assign_coords(energy=("energy", 510 + 0.004 * np.arange(40), {"units": "eV"}))
    kept = xstxm.drop_frames(close, 510.009)
    np.testing.assert_array_equal(kept["energy"], np.delete(close["energy"], 2))


def test_drop_frames__of_one_energy_measured_twice_leaves_neither(sound):
    energies = np.r_[510.0, 510.0, sound["energy"].values[2:]]
    twice = sound.assign_coords(energy=("energy", energies, {"units": "eV"}))
    assert xstxm.drop_frames(twice, 510.0).sizes["energy"] == 38


def test_drop_frames__is_part_of_a_recipe(sound):
    dropped = xstxm.drop_frames(sound, [510.6])
    again = xstxm.Recipe.from_result(dropped).apply(sound)
    np.testing.assert_array_equal(again["energy"], dropped["energy"])


@pytest.mark.parametrize(
    ("asked", "error", "sentence"),
    [
        pytest.param([510.6, 511.0], EnergyRangeError, "no frame at 511 eV .* nearest to 511 is 511.2", id="between"),
        pytest.param(900, EnergyRangeError, "40 energies, 510-545 eV", id="beyond"),
        pytest.param(
            xr.DataArray(np.r_[510:545:0.001], attrs={"units": "eV"}, dims="e"),
            EnergyRangeError,
            "no frame at",
            id="many",
        ),
        pytest.param([], OptionError, "one or more", id="none"),
        pytest.param([np.nan], UnitsError, "finite", id="no number"),
    ],
)
def test_drop_frames__refuses_what_is_not_there(sound, asked, error, sentence):
    with pytest.raises(error, match=sentence):
        xstxm.drop_frames(sound, asked)


def test_drop_frames__keeps_at_least_one(sound):
    with pytest.raises(EnergyRangeError, match="all 40 frames"):
        xstxm.drop_frames(sound, sound["energy"])
