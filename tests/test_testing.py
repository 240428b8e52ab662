from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import xarray as xr
from laziness import raise_if_dask_computes

from xstxm import conventions, testing
from xstxm.errors import ChoiceError, EnergyRangeError, OptionError, UnitsError
from xstxm.references import reference_set

ENERGIES = [508.0, 516.9, 518.4, 529.2, 531.3, 560.0]
TRUTH = {
    "true_thickness": (("reference", "y", "x"), "nm"),
    "true_composition": (("y", "x"), "1"),
    "true_label": (("y", "x"), None),
    "true_i0": (("energy",), "count"),
    "true_shift_y": (("energy",), "um"),
    "true_shift_x": (("energy",), "um"),
    "dead": (("y", "x"), None),
}


@pytest.fixture(scope="module")
def small() -> xr.Dataset:
    return testing.simulate_stack(shape=(40, 52), energies=ENERGIES)


def true_density(stack: xr.Dataset) -> xr.DataArray:
    spectra = testing.simulate_references(energies=stack["energy"])["absorption"]
    return xr.dot(spectra, stack["true_thickness"], dim="reference")


def density(stack: xr.Dataset) -> xr.DataArray:
    return -np.log(stack["intensity"].astype(float) / stack["true_i0"])


# References


def test_simulate_references__conform_and_say_synthetic():
    refs = testing.simulate_references()
    testing.assert_conforms(refs, "reference_set")
    assert refs["absorption"].attrs["units"] == "1/nm"
    assert refs["composition"].attrs == {"units": "1", "long_name": "x in LixV2O5"}
    assert refs["composition"].values.tolist() == [0, 0.4, 1, 1]
    assert set(refs["source"].values) == {"synthetic"}
    assert "synthetic" in refs.attrs["title"]
    assert refs["color"].values.tolist() == list(conventions.PALETTE[:4])


def test_simulate_references__default_axis_is_finer_at_the_edges():
    energy = testing.simulate_references()["energy"].values
    assert (energy[0], energy[-1]) == (508, 560)
    assert 110 <= energy.size <= 130
    steps = np.diff(energy)
    assert (steps > 0).all()
    at_edge = (energy[:-1] > 514) & (energy[:-1] < 520)
    assert steps[at_edge].max() < 0.25 < 0.9 < steps[energy[:-1] > 546].min()


def test_simulate_references__are_as_alike_as_real_phases():
    absorption = testing.simulate_references()["absorption"].transpose("energy", "reference").values
    assert 10 < np.linalg.cond(absorption) < 200


def test_simulate_references__meet_the_tables_beside_the_edges():
    vanadia = testing.simulate_references(energies=[505, 560], units="1/um")["absorption"].isel(reference=0)
    np.testing.assert_allclose(vanadia, [0.75, 6.35], rtol=1e-9)


def test_simulate_references__have_their_features_in_place():
    fine = testing.simulate_references(energies=np.arange(508, 545, 0.02))["absorption"]

    def top(name: str, low: float, high: float) -> float:
        return float(fine.sel(reference=name, energy=slice(low, high)).idxmax("energy"))

    assert top("alpha-V2O5", 516, 521) == pytest.approx(518.4, abs=0.15)
    assert top("alpha-V2O5", 523, 527) == pytest.approx(525.0, abs=0.2)
    assert top("alpha-V2O5", 528, 530.3) == pytest.approx(529.2, abs=0.15)
    assert top("alpha-V2O5", 530.6, 532.5) == pytest.approx(531.3, abs=0.15)
    lowered = top("alpha-V2O5", 516, 521) - top("delta-LiV2O5", 516, 521)
    assert 0.2 < lowered < 0.4, "0.5-0.7 eV per unit of valence, which falls by a half"
    t2g = fine.sel(energy=529.3, method="nearest")
    assert (t2g.sel(reference="alpha-V2O5") > t2g.sel(reference="epsilon-Li0.4V2O5")).item()
    assert (t2g.sel(reference="epsilon-Li0.4V2O5") > t2g.sel(reference="delta-LiV2O5")).item()


def test_simulate_references__optical_density_is_that_of_the_thickness():
    linear = testing.simulate_references()["absorption"]
    thick = testing.simulate_references(units="1", thickness="0.2 um")["absorption"]
    assert thick.attrs["units"] == "1"
    np.testing.assert_allclose(thick, 200 * linear)


def test_simulate_references__take_energies_with_units():
    energies = xr.DataArray([0.510, 0.530], dims="energy", attrs={"units": "keV"})
    assert testing.simulate_references(energies=energies)["energy"].values.tolist() == [510, 530]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        pytest.param({"units": "s"}, UnitsError, "does not convert to 's'", id="units of another kind"),
        pytest.param({"thickness": "0 nm"}, OptionError, "a thickness is above zero", id="no thickness"),
        pytest.param({"thickness": "5 eV"}, UnitsError, "thickness is in 'eV'", id="thickness in eV"),
        pytest.param({"energies": [518, 518]}, OptionError, "give each energy once", id="an energy twice"),
        pytest.param({"energies": []}, OptionError, "one or more finite numbers", id="no energies"),
        pytest.param({"energies": [518]}, OptionError, "two energies or more", id="one energy"),
        pytest.param({"energies": "518 eV"}, OptionError, "one or more finite numbers", id="a word"),
        pytest.param({"energies": [518, np.nan]}, OptionError, "one or more finite numbers", id="NaN"),
        pytest.param({"energies": [700, 720]}, OptionError, "made for 450-650 eV", id="iron"),
    ],
)
def test_simulate_references__refuse(options, error, message):
    with pytest.raises(error, match=message):
        testing.simulate_references(**options)


# Stacks


def test_simulate_stack__conforms_and_looks_like_a_file(small):
    testing.assert_conforms(small, "stack")
    intensity = small["intensity"]
    assert intensity.dims == ("energy", "y", "x")
    assert intensity.dtype == np.float32
    assert intensity.attrs["units"] == "count"
    assert small["energy"].values.tolist() == ENERGIES
    units = {"energy": "eV", "y": "um", "x": "um", "dwell_time": "ms", "ring_current": "mA"}
    assert {name: small[name].attrs["units"] for name in units} == units
    assert "i0" not in small
    assert "optical_density" not in small
    assert "synthetic" in small.attrs["title"]
    assert small.attrs["scan_type"] == "sample image stack"
    assert set(intensity.coords) == {"energy", "y", "x", "dwell_time", "ring_current"}


def test_simulate_stack__truth_has_dims_units_and_a_sentence(small):
    assert set(small.data_vars) == {"intensity", *TRUTH}
    for name, (dims, units) in TRUTH.items():
        assert small[name].dims == dims, name
        assert small[name].attrs.get("units") == units, name
        assert small[name].attrs["long_name"], name
        assert small[name].attrs["comment"], name
    assert small["true_label"].attrs["flag_meanings"].split()[:2] == ["no_sample", "alpha-V2O5"]


def test_simulate_stack__survives_netcdf(small, tmp_path):
    small.to_netcdf(tmp_path / "stack.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "stack.nc", engine="h5netcdf") as back:
        xr.testing.assert_equal(back.load(), small)


@pytest.mark.parametrize("drift", ["0 nm", "45 nm"])
def test_simulate_stack__first_image_is_thickness_times_absorption(drift):
    stack = testing.simulate_stack(shape=(40, 52), energies=ENERGIES, psf=0, noise=False, drift=drift)
    first = {"energy": 0}
    np.testing.assert_allclose(density(stack).isel(first), true_density(stack).isel(first), atol=2e-5)
    if drift == "0 nm":
        np.testing.assert_allclose(density(stack), true_density(stack), atol=2e-5)


def test_simulate_stack__blur_acts_on_transmitted_light():
    from scipy.ndimage import gaussian_filter

    stack = testing.simulate_stack(shape=(40, 52), energies=ENERGIES, psf="90 nm", noise=False)
    sigma = 90 / 30 / np.sqrt(8 * np.log(2))
    light = (
        gaussian_filter(np.exp(-true_density(stack).values), (0, sigma, sigma)) * stack["true_i0"].values[:, None, None]
    )
    inside = (slice(None), slice(6, -6), slice(6, -6))
    np.testing.assert_allclose(stack["intensity"].values[inside], light[inside], rtol=1e-4)


def test_simulate_stack__composition_and_label_follow_the_thickness(small):
    thickness = small["true_thickness"]
    total = thickness.sum("reference")
    sample = small["true_label"] >= 0
    assert thickness.min() >= 0
    xr.testing.assert_equal(sample, (total >= 1).rename("true_label"))
    xr.testing.assert_equal(sample, small["true_composition"].notnull().rename("true_label"))
    x = xr.DataArray([0, 0.4, 1, 1], dims="reference")
    expected = ((thickness * x).sum("reference") / total).where(sample)
    np.testing.assert_allclose(small["true_composition"], expected, rtol=1e-5)
    np.testing.assert_array_equal(small["true_label"].where(sample), thickness.argmax("reference").where(sample))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [(96, 128), (24, 32)])
def test_simulate_stack__has_empty_area_pure_domains_and_mixtures(shape, seed):
    stack = testing.simulate_stack(shape=shape, energies=ENERGIES, seed=seed, noise=False)
    label = stack["true_label"].values
    assert 0.15 < (label < 0).mean() < 0.9
    assert len(np.unique(label[label >= 0])) >= 3
    fraction = (stack["true_thickness"] / stack["true_thickness"].sum("reference")).max("reference").values[label >= 0]
    assert 0.3 < (fraction > 0.999).mean() < 0.95
    assert (fraction < 0.8).mean() > 0.02
    assert 0.8 < float(density(stack).max()) < 4
    assert float((density(stack) > 2.2).mean()) < 0.03


def test_simulate_stack__counts_scatter_like_poisson():
    options = {"shape": (64, 64), "energies": ENERGIES, "counts": 800, "seed": 5}
    noisy, expected = (
        testing.simulate_stack(noise=noise, **options)["intensity"].astype(float) for noise in (True, False)
    )
    chi2 = float(((noisy - expected) ** 2 / expected).mean())
    assert chi2 == pytest.approx(1, abs=5 * np.sqrt(2 / noisy.size))
    assert bool((noisy == noisy.round()).all())
    assert float(((noisy - expected) / np.sqrt(expected)).mean()) == pytest.approx(0, abs=5 / np.sqrt(noisy.size))


def test_simulate_stack__i0_peaks_at_counts_and_has_structure():
    stack = testing.simulate_stack(shape=(4, 4), counts=1234)
    i0 = stack["true_i0"]
    assert float(i0.max()) == pytest.approx(1234)
    assert i0.sel(energy=530, method="nearest") < min(i0.sel(energy=[526, 534], method="nearest"))
    assert (stack["ring_current"].diff("energy") < 0).all()


def test_simulate_stack__empty_pixels_show_i0():
    from xstxm.absorption import estimate_i0

    stack = testing.simulate_stack(shape=(64, 64), energies=ENERGIES)
    np.testing.assert_allclose(estimate_i0(stack)["i0"], stack["true_i0"], rtol=0.01)


def test_simulate_stack__a_seed_is_a_stack():
    options = {"shape": (20, 24), "energies": ENERGIES, "drift": "40 nm", "dead_pixels": 3}
    first, again, other = (testing.simulate_stack(seed=seed, **options) for seed in (7, 7, 8))
    xr.testing.assert_identical(first, again)
    assert not first["intensity"].equals(other["intensity"])
    assert not first["true_thickness"].equals(other["true_thickness"])


def test_simulate_stack__keeps_the_order_of_energies():
    options = {"shape": (20, 24), "psf": 0, "noise": False}
    up = testing.simulate_stack(energies=ENERGIES, **options)
    down = testing.simulate_stack(energies=ENERGIES[::-1], **options)
    assert down["energy"].values.tolist() == ENERGIES[::-1]
    np.testing.assert_allclose(density(down).sortby("energy"), density(up), atol=2e-5)


def test_simulate_stack__a_single_energy_is_a_stack():
    stack = testing.simulate_stack(shape=(5, 7), energies=[518.4], drift="30 nm")
    testing.assert_conforms(stack, "stack")
    assert stack["intensity"].shape == (1, 5, 7)


# Chunks


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param({"y": 128, "x": 128}, id="chunks that are tiles"),
        pytest.param({"y": 50, "x": 97}, id="chunks across tiles"),
        pytest.param({"y": -1}, id="whole columns"),
        pytest.param("auto", id="auto"),
    ],
)
def test_simulate_stack__chunks_change_nothing(chunks):
    options = {"shape": (140, 150), "energies": ENERGIES[:3], "drift": "40 nm", "dead_pixels": 0.01, "seed": 2}
    eager = testing.simulate_stack(**options)
    lazy = testing.simulate_stack(chunks=chunks, **options)
    assert lazy["intensity"].chunks[0] == (3,)
    for name in ("intensity", "dead", "true_label"):
        np.testing.assert_array_equal(lazy[name], eager[name])
    np.testing.assert_allclose(lazy["true_thickness"], eager["true_thickness"], atol=1e-3)
    np.testing.assert_allclose(lazy["true_composition"], eager["true_composition"], atol=1e-4)


def test_simulate_stack__has_no_seams_between_tiles(monkeypatch):
    from xstxm.testing import _scene

    options = {"shape": (150, 140), "energies": ENERGIES, "drift": "100 nm", "noise": False}
    tiled = testing.simulate_stack(**options)
    monkeypatch.setattr(_scene, "TILE", 1024)
    np.testing.assert_allclose(tiled["intensity"], testing.simulate_stack(**options)["intensity"], rtol=2e-5)


def test_simulate_stack__makes_a_chunk_in_little_more_than_its_size():
    stack = testing.simulate_stack(shape=(1024, 1024), chunks={"y": 256, "x": 256})
    block = stack["intensity"].data.blocks[0, 1, 2]
    tracemalloc.start()
    block.max().compute(scheduler="sync")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.3 * block.nbytes


def test_simulate_stack__computes_nothing_until_asked():
    with raise_if_dask_computes():
        stack = testing.simulate_stack(
            shape=(20000, 20000), energies=ENERGIES, chunks="auto", drift="50 nm", dead_pixels=9
        )
        testing.assert_conforms(stack, "stack")
    lazy = ["intensity", "true_thickness", "true_composition", "true_label", "dead"]
    assert all(stack[name].chunks is not None for name in lazy)
    with raise_if_dask_computes(max_computes=1):
        corner = stack["intensity"].isel(y=slice(3), x=slice(-3, None)).compute()
    assert corner.shape == (6, 3, 3)


def test_simulate_stack__auto_chunks_stay_small():
    stack = testing.simulate_stack(shape=(5000, 3000), chunks="auto")
    largest = [max(sizes) for sizes in stack["intensity"].chunks]
    assert np.prod(largest) * 4 <= 100e6
    assert largest[1] % 128 == largest[2] % 128 == 0


# Drift and dead pixels


def test_simulate_stack__drift_starts_at_zero_and_ends_where_asked():
    stack = testing.simulate_stack(shape=(8, 8), drift="75 nm")
    distance = np.hypot(stack["true_shift_y"], stack["true_shift_x"])
    assert float(distance[0]) == 0
    assert float(distance.max()) == pytest.approx(0.075)
    still = testing.simulate_stack(shape=(8, 8))
    assert not still["true_shift_y"].any()


def test_simulate_stack__true_shift_moves_an_image_onto_the_first():
    from scipy.ndimage import shift

    options = {"shape": (48, 60), "energies": [518.3, 518.35, 518.4, 518.45], "noise": False, "psf": "90 nm", "seed": 1}
    moved, still = (testing.simulate_stack(drift=drift, **options) for drift in ("80 nm", 0))
    inside = (slice(8, -8), slice(8, -8))
    for k in range(1, 4):
        pixels = [float(moved[f"true_shift_{dim}"][k]) / 0.03 for dim in "yx"]
        image, target = moved["intensity"].values[k].astype(float), still["intensity"].values[k].astype(float)
        before = np.abs(image - target)[inside].max()
        after = np.abs(shift(image, pixels, order=3) - target)[inside].max()
        assert after < 15 < before / 10


def test_simulate_stack__dead_pixels_show_one_count():
    stack = testing.simulate_stack(shape=(30, 40), energies=ENERGIES, dead_pixels=21)
    dead = stack["dead"].values
    assert dead.sum() == 21
    counts = stack["intensity"].values[:, dead]
    assert (counts == counts[0]).all()
    assert (counts[0] == 0).sum() == 10
    assert (stack["intensity"].values[:, ~dead] > 0).all()


def test_simulate_stack__dead_pixels_as_a_share():
    stack = testing.simulate_stack(shape=(30, 40), energies=ENERGIES, dead_pixels=0.05)
    assert int(stack["dead"].sum()) == 60


# References given


def test_simulate_stack__takes_references_of_another_edge():
    energy = np.linspace(700, 730, 31)
    spectra = {name: (energy, 5 * np.exp(-(((energy - at) / 2) ** 2))) for name, at in (("Fe2+", 707), ("Fe3+", 709))}
    stack = testing.simulate_stack(shape=(24, 30), energies=energy, references=reference_set(spectra, units="1/um"))
    assert stack["reference"].values.tolist() == ["Fe2+", "Fe3+"]
    assert "true_composition" not in stack
    assert set(np.unique(stack["true_label"])) == {-1, 0, 1}
    assert "LixV2O5" not in stack.attrs["title"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        pytest.param({"shape": (0, 5)}, OptionError, "two whole numbers", id="no rows"),
        pytest.param({"shape": (5,)}, OptionError, "two whole numbers", id="one number"),
        pytest.param({"shape": (5.5, 4)}, OptionError, "two whole numbers", id="half a row"),
        pytest.param({"counts": 0}, OptionError, "counts=0: give a number above 0", id="no light"),
        pytest.param({"counts": np.inf}, OptionError, "counts=inf", id="endless light"),
        pytest.param({"pixel_size": 0}, OptionError, "pixel_size=0: it is at least", id="no pixel"),
        pytest.param({"pixel_size": "30 eV"}, UnitsError, "pixel_size is in 'eV'", id="pixel in eV"),
        pytest.param({"pixel_size": "30"}, UnitsError, "write 30 \\(in um\\) or '30 um'", id="pixel without unit"),
        pytest.param({"particle_size": "1 nm"}, OptionError, "particle_size='1 nm'", id="particle below a pixel"),
        pytest.param({"psf": "-1 nm"}, OptionError, "psf='-1 nm': it is not negative", id="negative blur"),
        pytest.param({"drift": "-1 nm"}, OptionError, "drift='-1 nm': it is not negative", id="negative drift"),
        pytest.param({"dwell": "0 ms"}, OptionError, "dwell=0.0: give a number above 0", id="no exposure"),
        pytest.param({"dwell": "3 nm"}, UnitsError, "dwell is in 'nm'", id="dwell in nm"),
        pytest.param({"dead_pixels": -1}, OptionError, "a number up to 80", id="negative dead pixels"),
        pytest.param({"dead_pixels": 1.5}, OptionError, "a number up to 80", id="half a dead pixel"),
        pytest.param({"dead_pixels": 81}, OptionError, "a number up to 80", id="more dead pixels than pixels"),
        pytest.param({"seed": -1}, OptionError, "a whole number", id="negative seed"),
        pytest.param({"seed": 1.5}, OptionError, "a whole number", id="half a seed"),
        pytest.param({"chunks": "automatic"}, ChoiceError, "unknown chunks 'automatic': use 'auto'", id="chunk word"),
        pytest.param({"chunks": {"energy": 2}}, OptionError, "leave energy out", id="chunks along energy"),
        pytest.param({"chunks": {"z": 2}}, OptionError, "sizes along y and x", id="chunks along z"),
        pytest.param({"chunks": {"y": 0}}, OptionError, "sizes along y and x", id="empty chunks"),
        pytest.param({"energies": [518, 518]}, OptionError, "give each energy once", id="an energy twice"),
        pytest.param(
            {"references": testing.simulate_references(units="1")}, UnitsError, "the references are in '1'", id="OD"
        ),
        pytest.param(
            {"references": testing.simulate_references(energies=[510, 520])},
            EnergyRangeError,
            "references cover",
            id="references too short",
        ),
    ],
)
def test_simulate_stack__refuses(options, error, message):
    with pytest.raises(error, match=message):
        testing.simulate_stack(**{"shape": (8, 10), **options})


# assert_conforms


def test_assert_conforms__lists_every_departure():
    refs = testing.simulate_references()
    wrong = refs.assign(absorption=refs["absorption"].transpose().astype(int))
    with pytest.raises(AssertionError, match=r"not a reference_set: .*has dims.*; .*has dtype int64, wanted float"):
        testing.assert_conforms(wrong, "reference_set")


def test_assert_conforms__names_what_is_missing():
    with pytest.raises(
        AssertionError, match=r"not a fit: 'component_map' is missing; .*'reference_spectra' is missing"
    ):
        testing.assert_conforms(xr.Dataset(), "fit")


def test_assert_conforms__wants_a_dataset_and_a_known_schema(small):
    with pytest.raises(AssertionError, match="it is a DataArray, wanted a Dataset"):
        testing.assert_conforms(small["intensity"], "stack")
    with pytest.raises(ChoiceError, match=r"unknown schema 'stak'.*did you mean 'stack'"):
        testing.assert_conforms(small, "stak")
