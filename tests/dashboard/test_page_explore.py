"""Page Explore without a browser: from choices and gestures to images, spectra, profiles and hints."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest
import xarray as xr
from stxm_explorer import plan
from stxm_explorer import store as rooms
from stxm_explorer.calls import Call, script
from stxm_explorer.session import Session
from stxm_explorer.shell import App
from stxm_explorer.state import ExplorerState, Region
from stxm_explorer.store import Store
from stxm_explorer.surveys import survey

import xstxm
from xstxm import plot
from xstxm.errors import MetadataWarning, OptionError, PerformanceWarning, SchemaError

BOX = Region("box", ((0.5, 0.4), (0.9, 0.8)), "rim")
LASSO = Region("polygon", ((0.5, 0.5), (1.5, 0.5), (1.2, 1.2)), "core")


@pytest.fixture
def said(monkeypatch):
    """What the toasts say."""
    texts: list[tuple[str, str]] = []
    for module in ("session", "linked", "pages.regions"):
        monkeypatch.setattr(f"stxm_explorer.{module}.notify", lambda kind, text: texts.append((kind, text)))
    return texts


def opened(root, file="lixv2o5.hdf5", **view):
    state = ExplorerState()
    state.open(file)
    state.references.files = ["references.csv"]
    state.view.param.update(page="Explore", **view)
    app = App(state, Store(root))
    return app.page()


@pytest.fixture
def page(filled, said):
    rooms._RESULTS.clear()
    return opened(filled)


@pytest.fixture(scope="module")
def density(filled):
    stack = xstxm.open_stack(filled / "lixv2o5.hdf5")
    return xstxm.optical_density(stack, xstxm.estimate_i0(stack, fraction=0.1)).compute()


def words(view) -> str:
    said = view.__panel__()[0].select(lambda item: isinstance(getattr(item, "object", None), str))
    return " ".join(item.object for item in said)


# ---- image


def test_image__starts_at_the_brightest_energy_and_follows_the_steps(page, density):
    brightest = float(density["energy"][int(density["optical_density"].mean(("y", "x")).argmax("energy"))])
    assert page.state.view.energy == pytest.approx(brightest, abs=1)
    page._energies.step(1)
    expected = density["optical_density"].sel(energy=page.state.view.energy)
    xr.testing.assert_allclose(page._image.result.drop_attrs(), expected.drop_attrs())
    page._energies.step(10_000)
    assert page.state.view.energy == float(density["energy"].max())


def test_image__of_a_stack_in_memory_needs_no_job_and_is_kept_once(page):
    kept, ran = len(rooms._RESULTS._kept), []
    page.session.jobs.start = lambda *args: ran.append(args)
    page._energies.step(1)
    assert page._image.settled
    assert not ran
    assert len(rooms._RESULTS._kept) == kept


def test_image__all_frames_share_a_scale_unless_each_has_its_own(page):
    limits = page._map._mapper.low, page._map._mapper.high
    page._energies.step(-3)
    assert (page._map._mapper.low, page._map._mapper.high) == limits
    page._colors.value = (0.0, 0.5)
    assert page.state.view.density_limits == (0.0, 0.5)
    assert (page._map._mapper.low, page._map._mapper.high) == (0.0, 0.5)
    page.state.view.colors = "image"
    assert (page._map._mapper.low, page._map._mapper.high) != (0.0, 0.5)
    assert not page._colors.visible


def test_image__difference_and_ratio_to_another_energy(page, density):
    page.state.view.param.update(image="difference", energy=518.2, second=510.0)
    expected = xstxm.difference_map(density, 518.2, 510.0)["difference"]
    xr.testing.assert_allclose(page._image.result.drop_attrs(), expected.drop_attrs())
    assert ">518.2 eV" in page._map._title[0].object
    page.state.view.image = "ratio"
    assert page._image.result.name == "ratio"


def test_image__contrast_of_an_energy_to_itself_says_so(page):
    page.state.view.param.update(image="difference", energy=518.2, second=518.2)
    assert "the two energies are both 518.2 eV: move one of the sliders" in words(page._image)


def test_image__ratio_leaves_out_what_is_no_more_than_noise(page, density):
    page.state.view.param.update(image="ratio", energy=518.2, second=510.0)
    all_pixels = xstxm.ratio_map(density, 518.2, 510.0)["ratio"]
    below = density["optical_density"].sel(energy=510.0, method="nearest", drop=True) <= page._known.floor
    assert 0 < page._known.floor < 0.2
    assert f"where the latter is above {page._known.floor:g}" in page._map._title[0].object
    share = 100 * float((below | all_pixels.isnull()).mean())
    assert share > 0
    assert f": {share:.2g} % of the pixels have no ratio" in page._map._title[0].object
    expected = all_pixels.where(~below.reset_coords(drop=True))
    xr.testing.assert_allclose(page._image.result.drop_attrs(), expected.drop_attrs(), rtol=1e-5)
    drawn = page._map._mapper.high - page._map._mapper.low
    everything = plot.image_colors(all_pixels)
    assert drawn < 0.5 * (everything.high - everything.low)


def test_image__intensity_has_no_fit(page):
    page.state.view.param.update(signal="intensity", cursor=(0.7, 0.6))
    assert page._image.result.attrs["units"] == "count"
    assert page._spectra.mean.settled
    assert "optical density" in words(page._spectra.fit)


def test_play__steps_to_the_last_energy_and_waits_for_the_image(page):
    energies = page._energies
    energies.step(-10_000)
    energies._play.value = True
    energies._busy = lambda: True
    energies.tick()
    assert page.state.view.energy == energies._energies[0]
    energies._busy = lambda: False
    for _ in range(len(energies._energies)):
        energies.tick()
    assert page.state.view.energy == energies._energies[-1]
    assert not energies._play.value


def test_play__stops_on_another_page(page):
    page._energies._play.value = True
    page.state.view.page = "Data"
    page._energies.tick()
    assert not page._energies._play.value


def test_keys__only_steps_are_heard(page):
    before = page.state.view.energy
    for message in ({"evil": 1}, "x", 7, None):
        page._energies._keys._handle_msg(message)
    assert page.state.view.energy == before
    page._energies._keys._handle_msg(-1)
    assert page.state.view.energy < before


# ---- spectra


def test_spectra__of_the_pixel_and_the_regions_with_their_fit(page, density):
    page.state.regions = [BOX, LASSO]
    page._tapped((0.7, 0.6))
    spectra = page._spectra.mean.result
    assert [*spectra["region"].values] == ["pixel", "rim", "core"]
    for region in (BOX, LASSO):
        expected = xstxm.spectrum(density, region.for_xstxm())
        found = spectra.sel(region=region.name, drop=True)
        np.testing.assert_allclose(found["spectrum"], expected["spectrum"], rtol=1e-6)
        np.testing.assert_allclose(found["spectrum_std"], expected["spectrum_std"], rtol=1e-5)
    assert page._spectra.fit.result["component_map"].sizes["region"] == 3
    fractions = page._spectra.shares.result["phase_fraction"]
    np.testing.assert_allclose(fractions.sum("phase"), 1, atol=1e-5)
    table = page._spectra._fractions[0].object
    assert "rim" in table
    assert "±" in table


def test_spectra__residual_is_drawn_on_request(page):
    page._tapped((0.7, 0.6))
    assert not page._spectra._left.pane.visible
    page.state.view.residual = True
    assert page._spectra._left.pane.visible
    drawn = page._spectra._left._slots[0]._data.data["y"]
    left = xstxm.residual(page._spectra.mean.result["spectrum"], page._spectra.fit.result)
    np.testing.assert_allclose(drawn, left.isel(region=0))


def test_spectra__spread_is_a_band_that_can_be_left_out(page):
    page.state.regions = [BOX]
    assert len(page._spectra._curves._slots[0]._edges.data["xs"]) == 1
    page.state.view.spread = False
    assert not page._spectra._curves._slots[0]._edges.data["xs"]


def test_spectra__of_regions_elsewhere_say_so(page):
    page.state.regions = [Region("box", ((900.0, 900.0), (901.0, 901.0)), "far")]
    assert "No region lies in this field" in words(page._spectra.mean)
    page.state.regions = [*page.state.regions, BOX]
    assert page._spectra.mean.result["region"].values.tolist() == [BOX.name]


def test_spectra__say_what_to_do(page):
    assert "Tap a pixel" in words(page._spectra.mean)
    page._tapped((0.7, 0.6))
    page.state.references.files = []
    assert "reference spectra" in words(page._spectra.fit)


def test_spectra__leave_out_regions_of_another_field(page):
    page.state.regions = [BOX, Region("box", ((500.0, 500.0), (510.0, 510.0)), "elsewhere")]
    assert [*page._spectra.mean.result["region"].values] == ["rim"]


def test_code__is_a_script_that_makes_what_is_shown(page, filled, monkeypatch, density):
    page.state.regions = [BOX]
    page._tapped((0.7, 0.6))
    page.state.view.param.update(line=[(0.2, 0.2), (1.2, 0.8)], residual=True)
    text = script(page.calls())
    assert "surveys" not in text
    monkeypatch.chdir(filled)
    made: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PerformanceWarning)  # the script is lazy, the page is not
        exec(text, made)
    xr.testing.assert_allclose(made["profile"], page._profile.result, atol=1e-6)
    np.testing.assert_allclose(made["spectra"]["spectrum"], page._spectra.mean.result["spectrum"])
    np.testing.assert_allclose(made["fractions"]["phase_fraction"], page._spectra.shares.result["phase_fraction"])


# ---- regions and lines


def test_draw__adds_a_named_region_and_looks_at_it(page):
    page._map._picked("box", BOX.vertices)
    page._map._picked("polygon", LASSO.vertices)
    assert [region.name for region in page.state.regions] == ["region", "region 2"]
    assert page.state.view.region == "region 2"


@pytest.mark.parametrize(
    ("kind", "vertices", "says"),
    [
        pytest.param("box", ((50.0, 50.0), (51.0, 51.0)), "outside the image", id="outside"),
        pytest.param("point", ((50.0, 50.0),), "outside the image", id="tap outside"),
        pytest.param(
            "polygon", ((0.701, 0.601), (0.702, 0.601), (0.702, 0.602)), "holds no pixel", id="between pixels"
        ),
    ],
)
def test_draw__what_holds_no_pixel_is_a_toast(page, said, kind, vertices, says):
    page._map._picked(kind, vertices)
    assert says in said[-1][1]
    assert not page.state.regions
    assert page.state.view.cursor is None


def test_regions__are_renamed_kept_and_forgotten(page, said):
    page._map._picked("box", BOX.vertices)
    page._map._picked("box", BOX.vertices)
    name = page._regions._rows[1][1]
    name.value = "region"
    assert [region.name for region in page.state.regions] == ["region", "region 2"]
    page._regions._rows[0][1].value = "electrode"
    assert [region.name for region in page.state.regions] == ["electrode", "region 2"]
    assert page.state.view.region == "electrode"
    page._regions._rows[0][1].value = "  "
    assert said[-1][0] == "warning"
    assert page.state.regions[0].name == "electrode"
    page._tapped((0.7, 0.6))
    page._regions._keep()
    assert page.state.view.cursor is None
    assert page.state.regions[-1] == Region("point", ((0.7, 0.6),), "pixel")
    page.state.remove_region(page.state.regions[0])
    assert [region.name for region in page.state.regions] == ["region 2", "pixel"]


def test_line__two_taps_make_a_profile_that_follows_the_image(page, density):
    page.state.view.tap = "line"
    assert "two ends" in words(page._profile)
    page._map._picked("point", ((0.2, 0.2),))
    page._map._picked("point", ((1.2, 0.8),))
    page.state.view.line_width = 0.1
    page._energies.step(2)
    image = density["optical_density"].sel(energy=page.state.view.energy)
    expected = xstxm.line_profile(image, (0.2, 0.2), (1.2, 0.8), width=0.1)
    xr.testing.assert_allclose(page._profile.result.drop_attrs(), expected.drop_attrs())
    page._map._picked("point", ((0.3, 0.3),))
    assert page.state.view.line == [(0.3, 0.3)]
    page._forget_line()
    assert page.state.view.line == []


def test_state__of_the_page_survives_json(page):
    page.state.view.param.update(line=[(0.2, 0.2), (1.2, 0.8)], density_limits=(0.0, 1.5), second=510.0, image="ratio")
    again = ExplorerState()
    again.from_json(page.state.to_json())
    assert again.view.line == [(0.2, 0.2), (1.2, 0.8)]
    assert again.view.density_limits == (0.0, 1.5)
    assert again.to_json() == page.state.to_json()
    for line in ([[1, 2, 3]], [["a", 1]], [[1, 2], [3, 4], [5, 6]], [[float("nan"), 1]]):
        with pytest.raises(OptionError):
            again.restore({"view": {"line": line}})


# ---- other stacks


def test_page__without_a_stack_says_what_to_do(filled, said):
    state = ExplorerState()
    state.view.page = "Explore"
    app = App(state, Store(filled))
    assert "Open a stack" in words(app.page()._survey)
    assert not said


def test_page__of_one_energy_shows_the_image_and_points(tmp_path, said):
    stack = xstxm.testing.simulate_stack(shape=(20, 24), seed=2).isel(energy=[30])[["intensity"]]
    _write(stack, tmp_path / "one.hdf5")
    xstxm.testing.simulate_references()["absorption"].to_pandas().T.to_csv(
        tmp_path / "references.csv", index_label="energy"
    )
    page = opened(tmp_path, "one.hdf5", cursor=(0.3, 0.3))
    assert "nothing to fit" in words(page._spectra.fit)
    assert not said
    assert page._image.settled
    assert not page._energies._first.visible
    assert page._spectra._curves._slots[0]._dots.visible
    page._energies.step(1)
    page._energies.tick()
    assert page._image.settled


def test_page__of_another_field_goes_to_its_nearest_energy(tmp_path, said):
    stack = xstxm.testing.simulate_stack(shape=(20, 24), seed=2)[["intensity"]]
    _write(stack, tmp_path / "a.hdf5")
    _write(stack.isel(energy=slice(0, 30, 3), x=slice(0, 12)), tmp_path / "b.hdf5")
    page = opened(tmp_path, "a.hdf5")
    page.state.view.energy = float(stack["energy"][28])
    page.state.open("b.hdf5")
    assert page._image.result.shape == (20, 12)
    assert page.state.view.energy == pytest.approx(float(stack["energy"][27]))
    assert page.session.ranges.extent.width == pytest.approx(12 * 0.03)


def test_page__of_a_lazy_stack_reads_what_it_shows(filled, said, monkeypatch, density):
    monkeypatch.setattr(rooms, "IN_MEMORY", 500_000)
    rooms._RESULTS.clear()
    page = opened(filled, cursor=(0.7, 0.6))
    assert page.session.store.run(plan.density(page.state.field))["optical_density"].chunks
    page._energies.step(1)
    expected = density["optical_density"].sel(energy=page.state.view.energy)
    np.testing.assert_allclose(page._image.result, expected, rtol=1e-5)
    expected = xstxm.spectrum(density, {"x": 0.7, "y": 0.6})["spectrum"]
    np.testing.assert_allclose(page._spectra.mean.result["spectrum"].isel(region=0), expected, rtol=1e-5)
    rooms._RESULTS.clear()


def _write(stack, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetadataWarning)
        xstxm.write_nxstxm(stack, path)


def test_survey__of_a_sample_that_hot_pixels_do_not_move(density):
    array = density["optical_density"].copy(deep=True)
    plain = survey(array)
    array[:, 0, 0] = 1e6
    assert survey(array).limits[1] < 10 * plain.limits[1]
    assert plain.nearest(None) == int(np.asarray(array["energy"]).tolist().index(plain.brightest))


def test_survey__refuses_what_is_no_stack_of_images(density):
    with pytest.raises(SchemaError, match="images over energy"):
        survey(density["optical_density"].expand_dims(theta=2))
    with pytest.raises(SchemaError, match="no usable value"):
        survey(density["optical_density"] * np.nan)


def test_store__does_at_once_only_what_takes_no_time(session_of, density):
    store, field = session_of
    whole, pixel = plan.density(field), Region("point", ((0.7, 0.6),), "pixel")
    frame = Call(".isel", (plan.signal_of(field, "optical_density"),), {"energy": 3})
    assert store.at_once(frame) is None
    store.run(plan.spectrum(field, pixel))
    assert store.ready(whole) is not None
    xr.testing.assert_allclose(store.at_once(frame), density["optical_density"].isel(energy=3))
    assert store.at_once(plan.spectrum(field, Region("point", ((0.8, 0.6),), "pixel"))) is not None
    monkey = rooms._LITTLE
    try:
        rooms._LITTLE = 1000
        assert store.at_once(plan.spectrum(field, BOX)) is None
    finally:
        rooms._LITTLE = monkey


@pytest.fixture
def session_of(filled, said):
    rooms._RESULTS.clear()
    state = ExplorerState()
    session = Session(state, Store(filled))
    return session.store, state.open("lixv2o5.hdf5")


def test_page__of_a_broken_file_says_so(tmp_path, said, caplog):
    (tmp_path / "broken.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"0" * 64)
    with caplog.at_level(logging.CRITICAL, "stxm_explorer"):
        page = opened(tmp_path, "broken.hdf5")
    assert said
    assert str(tmp_path) not in words(page._survey)
