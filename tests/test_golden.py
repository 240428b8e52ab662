"""Known numbers of a measured stack: Fe L-edge of marine particles (ALS 11.0.2, 2007)."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from laziness import raise_if_dask_computes

import xstxm
from xstxm.errors import MetadataWarning, MissingUnitsError, PerformanceWarning

BOXES = {"reduced grain": (slice(0, 10), slice(5, 20)), "mixed": (slice(18, 28), slice(60, 80))}
BOXES["oxidised"] = (slice(5, 40), slice(105, 125))
KNOWN = {"reduced grain": 1.01, "mixed": 0.09, "oxidised": -0.01}


@pytest.fixture(scope="module")
def folder(real_data):
    return real_data / "fe-l-edge-stack"


@pytest.fixture(scope="module")
def stack(folder):
    return xr.open_dataset(folder / "71214078.hdr", engine="stxm").load()


@pytest.fixture(scope="module")
def references(folder):
    return xstxm.read_references({"oxidized": folder / "oxidized.t", "reduced": folder / "reduced.t"})


@pytest.fixture(scope="module")
def i0(folder):
    return xstxm.read_i0(folder / "i0.xsp", units="count/ms")


def reduced_fraction(amounts):
    return amounts.sel(reference="reduced") / amounts.sum("reference")


def test_stack__is_what_the_header_says(stack):
    xstxm.testing.assert_conforms(stack, "stack")
    assert stack["intensity"].sizes == {"energy": 123, "y": 125, "x": 125}
    assert stack["intensity"].dtype == np.float32
    assert stack.stxm.pixel_size == {"y": "0.08 um", "x": "0.08 um"}
    np.testing.assert_allclose(stack["energy"][[0, -1]], [700.0, 730.353])
    assert float(stack["intensity"][0, 0, 0]) == 353


@pytest.mark.parametrize("box", BOXES)
def test_fit__gives_the_known_fractions(stack, references, box):
    od = stack.stxm.optical_density()
    fit = od.stxm.fit(references, method="lstsq", background="linear")
    y, x = BOXES[box]
    fraction = reduced_fraction(fit["component_map"]).isel(y=y, x=x)
    enough = fit["component_map"].sum("reference").isel(y=y, x=x) > 0.3
    assert float(fraction.where(enough).median()) == pytest.approx(KNOWN[box], abs=0.1)


def test_fit__residual_is_the_known_one(stack, references, i0):
    fit = stack.stxm.optical_density(i0).stxm.fit(references, method="lstsq", background="linear")
    iron = fit["component_map"].sum("reference") > 0.3
    assert int(iron.sum()) == pytest.approx(2441, rel=0.05)
    assert float(fit["residual_rms"].where(iron).median()) == pytest.approx(0.037, abs=0.005)


def test_energy_shift__to_references_of_the_same_beamline_is_none(stack, references, i0):
    od = xstxm.sel_energy(stack.stxm.optical_density(i0), 702, 728)
    found = od.stxm.estimate_energy_shift(references, broadening="fit", background="linear")
    shift, jackknife = float(found["energy_shift"]), float(found["energy_shift_jackknife"])
    assert abs(shift) < 3 * jackknife
    assert (shift, jackknife) == pytest.approx((0.0275, 0.025), abs=0.005)
    assert float(found["broadening"]) < 0.1
    assert float(found["rms_before"]) == pytest.approx(0.0231, abs=0.001)
    assert 0.99 < float(found["rms_after"] / found["rms_before"]) <= 1
    moved = xstxm.calibrate_energy(od, 0.35).stxm.estimate_energy_shift(references, background="linear")
    assert float(moved["energy_shift"]) == pytest.approx(shift + 0.35, abs=1e-5)


def test_optical_density__of_the_empty_area_is_zero(stack, i0):
    od = stack.stxm.optical_density(i0)["optical_density"]
    brightest = stack.stxm.estimate_i0()["mask"]
    empty = od.where(brightest).mean(("y", "x"))
    assert abs(float(empty.mean())) < 0.005
    assert float(np.abs(empty).max()) < 0.005


def test_optical_density__without_the_unit_is_refused_not_shifted(stack, folder):
    with pytest.warns(MetadataWarning, match="units"):
        unlabelled = xstxm.read_i0(folder / "i0.xsp")
    with pytest.raises(MissingUnitsError, match="I0 has no units"):
        stack.stxm.optical_density(unlabelled)


def test_estimated_i0__has_the_shape_of_the_measured_one(stack, i0):
    estimated = stack.stxm.estimate_i0()["i0"]
    assert np.corrcoef(estimated, i0)[0, 1] > 0.997


def test_optical_density__thick_pixels_are_flagged(stack, i0):
    flags = stack.stxm.optical_density(i0)["quality"]
    assert float(((flags & 4) > 0).mean()) == pytest.approx(0.0425, abs=0.01)


def test_phase_map__shows_the_two_phases(stack, references):
    phases = stack.stxm.phase_map(references, background="linear", min_amount=0.3)
    label = phases["phase_label"]
    names = list(phases["phase"].values)
    assert names == ["oxidized", "reduced"]
    y, x = BOXES["reduced grain"]
    assert float((label.isel(y=y, x=x) == names.index("reduced")).mean()) > 0.8
    y, x = BOXES["oxidised"]
    oxidised = label.isel(y=y, x=x)
    assert float((oxidised == names.index("oxidized")).sum() / (oxidised != -1).sum()) > 0.8


def test_chain__by_frame_is_the_same_and_lazy(folder, stack, references, i0):
    lazy = xstxm.open_stack(folder / "71214078.hdr", chunks={})
    assert lazy["intensity"].chunksizes["energy"] == (1,) * 123
    with raise_if_dask_computes(), pytest.warns(PerformanceWarning, match="merges 123 chunks"):
        phases = lazy.stxm.optical_density(i0).stxm.phase_map(references)
    expected = stack.stxm.optical_density(i0).stxm.phase_map(references)
    np.testing.assert_array_equal(phases["phase_label"], expected["phase_label"])
