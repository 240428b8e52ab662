"""Drawings: labels, orientation, aspect, colours, and that no more is computed than drawn."""

from __future__ import annotations

import re

import dask.array
import numpy as np
import pytest
import xarray as xr

import xstxm
from xstxm import plot
from xstxm.conventions import NO_SAMPLE, PALETTE, UNDECIDED
from xstxm.errors import (
    ChoiceError,
    EnergyRangeError,
    MissingDependencyError,
    MissingDimensionError,
    MissingVariableError,
    OptionError,
    SchemaError,
)

hv = pytest.importorskip("holoviews")


@pytest.fixture
def phases(density, references) -> xr.Dataset:
    noisy = density + np.random.default_rng(0).normal(0, 0.01, density.shape)
    return xstxm.phase_map(noisy.assign_attrs(density.attrs).to_dataset(name="optical_density"), references).compute()


@pytest.fixture
def labelled() -> xr.Dataset:
    """Every kind of pixel in 3 x 4 pixels: two phases, undecided, no sample."""
    labels = np.array([[0, 1, UNDECIDED, NO_SAMPLE], [0, 0, 1, 1], [1, NO_SAMPLE, 0, 1]], dtype="int16")
    return xr.Dataset(
        {
            "phase_label": (("y", "x"), labels, {"long_name": "Chemical phase"}),
            "confidence": (("y", "x"), np.where(labels < 0, np.nan, 0.9)),
        },
        coords={
            "phase": ["A", "B"],
            "y": ("y", np.arange(3) * 0.1, {"units": "um", "long_name": "y position"}),
            "x": ("x", np.arange(4) * 0.1, {"units": "um", "long_name": "x position"}),
        },
    )


def bokeh_figure(element):
    return hv.render(element, backend="bokeh")


def style(element, kind="style", backend="bokeh"):
    return hv.Store.lookup_options(backend, element, kind).kwargs


@pytest.mark.parametrize(
    ("attrs", "expected"),
    [
        pytest.param({"long_name": "x position", "units": "um"}, "x position [µm]", id="micrometre"),
        pytest.param({"long_name": "Optical density", "units": "1"}, "Optical density", id="plain number"),
        pytest.param({"units": "cm**2/g"}, "values [cm²/g]", id="no long_name, power"),
    ],
)
def test_label__is_long_name_and_units(attrs, expected):
    assert plot.label(xr.DataArray(0.0, name="values", attrs=attrs)) == expected


def test_image__first_row_is_at_the_bottom(stack):
    frame = stack["intensity"].isel(energy=3)
    element = plot.image(stack, float(frame["energy"]))
    drawn = element.dimension_values(2, flat=False)  # bottom row first
    np.testing.assert_array_equal(drawn, frame)
    assert element.bounds.lbrt() == pytest.approx((-0.025, -0.025, 0.425, 0.275))


@pytest.mark.parametrize("dim", ["y", "x"])
def test_image__descending_coordinates_keep_their_place(stack, dim):
    frame = stack["intensity"].isel(energy=0)
    flipped = frame.isel({dim: slice(None, None, -1)})
    np.testing.assert_array_equal(
        plot.image(flipped).dimension_values(2, flat=False), plot.image(frame).dimension_values(2, flat=False)
    )


def test_image__a_micrometre_is_as_long_upwards_as_sideways(stack):
    figure = bokeh_figure(plot.image(stack, 515.0))
    across = figure.frame_width / (figure.x_range.end - figure.x_range.start)
    upwards = figure.frame_height / (figure.y_range.end - figure.y_range.start)
    assert across == pytest.approx(upwards, rel=0.005)


def test_image__of_a_line_of_pixels_keeps_its_aspect():
    coords = {"y": ("y", np.arange(5) * 0.01, {"units": "um"}), "x": ("x", np.arange(400) * 0.01, {"units": "um"})}
    figure = bokeh_figure(plot.image(xr.DataArray(np.ones((5, 400)), dims=("y", "x"), coords=coords)))
    across = figure.frame_width / (figure.x_range.end - figure.x_range.start)
    upwards = figure.frame_height / (figure.y_range.end - figure.y_range.start)
    assert across == pytest.approx(upwards, rel=0.1)


def test_image__computes_one_frame_of_a_lazy_stack(stack):
    seen = []

    def frame(block_info=None):
        seen.append(block_info[None]["chunk-location"][0])
        return np.ones((1, 6, 9), dtype="float32")

    chunks = ((1,) * stack.sizes["energy"], (6,), (9,))
    lazy = dask.array.map_blocks(frame, chunks=chunks, dtype="float32", meta=np.empty((0, 0, 0), "float32"))
    plot.image(stack["intensity"].copy(data=lazy), float(stack["energy"][7]))
    assert seen == [7]


def test_image__without_energy_has_a_slider(stack):
    found = plot.image(stack)
    assert isinstance(found, hv.DynamicMap)
    assert found.kdims[0].values == sorted(stack["energy"].values.tolist())
    assert isinstance(found[float(stack["energy"][2])], hv.Image)


def test_image__takes_energies_with_units(stack):
    title = style(plot.image(stack, "0.52 keV"), "plot")["title"]
    assert title == "520.00 eV"


def test_image__energy_outside_the_stack_is_an_error(stack):
    with pytest.raises(EnergyRangeError, match=r"no image at 700 eV: the stack covers 505-530 eV"):
        plot.image(stack, 700.0)


def test_image__needs_y_and_x(spectra):
    with pytest.raises(MissingDimensionError, match="an image needs y and x"):
        plot.image(spectra.isel(reference=0), 510.0)


def test_image__further_dims_have_to_be_selected(stack):
    both = stack["intensity"].expand_dims(theta=[0.0, 30.0])
    with pytest.raises(SchemaError, match="select along 'theta' first"):
        plot.image(both, 510.0)


def test_image__prefers_optical_density(stack, i0):
    od = xstxm.optical_density(stack, i0)
    assert plot.image(od, 515.0).vdims[0].label == "Optical density"
    assert plot.image(od, 515.0, signal="intensity").vdims[0].label == "Transmitted intensity [counts]"


@pytest.fixture
def signed() -> xr.Dataset:
    """What `difference_map` gives, with both signs, one outlier and one pixel without a value."""
    values = np.linspace(-1.0, 3.0, 500).reshape(20, 25)
    values[0, 0], values[3, 4] = 100.0, np.nan
    at = {
        dim: (dim, np.arange(n) * 0.1, {"units": "um", "long_name": f"{dim} position"})
        for dim, n in zip("yx", values.shape, strict=True)
    }
    attrs = {"units": "count", "long_name": "Difference"}
    return xr.DataArray(values, dims=("y", "x"), coords=at, attrs=attrs).to_dataset(name="difference")


def test_image__of_what_has_a_sign_lies_about_zero_whatever_the_outliers(signed):
    image = plot.image(signed)
    low, high = style(image, "plot")["clim"]
    assert low == -high
    assert 2.9 < high < 3.1
    assert style(image)["cmap"] == "RdBu_r"
    assert image.vdims[0].label == "Difference [counts]"
    np.testing.assert_array_equal(image.dimension_values(2, flat=False), signed["difference"])


@pytest.mark.parametrize("backend", ["bokeh", "matplotlib"])
def test_image__pixel_without_a_value_has_a_colour_of_its_own(signed, backend):
    assert style(plot.image(signed), "plot", backend)["clipping_colors"] == {"NaN": "#9e9e9e"}
    assert style(plot.image(signed, cmap="gray"), "plot", backend)["clipping_colors"] == {"NaN": "#e3c78f"}


def test_image__pixel_without_a_value_is_seen_in_a_picture(signed):
    (axes,) = hv.render(plot.image(signed), backend="matplotlib").axes[:1]
    artist = axes.images[0]
    drawn = artist.to_rgba(artist.get_array())
    missing = np.isnan(np.ma.filled(artist.get_array(), np.nan))
    assert missing.sum() == 1
    np.testing.assert_allclose(drawn[missing][0, :3], 0x9E / 255, atol=0.01)
    assert np.abs(drawn[~missing][:, :3] - 0x9E / 255).max(axis=1).min() > 0.05


def test_image__colour_bar_in_a_picture_is_labelled_and_points_at_what_it_leaves_out(signed):
    figure = hv.render(plot.image(signed), backend="matplotlib")
    (bar,) = figure.axes[0].child_axes
    assert bar.get_ylabel() == "Difference [counts]"
    assert bar._colorbar.extend == "max"
    figure = hv.render(plot.image(signed, clim=(-100, 100)), backend="matplotlib")
    assert figure.axes[0].child_axes[0]._colorbar.extend == "neither"
    assert not hv.render(plot.image(signed, colorbar=False), backend="matplotlib").axes[0].child_axes


def test_image__a_slider_moves_colour_bar_and_scale_bar_along(stack):
    shown = hv.renderer("matplotlib").get_plot(plot.image(stack))
    shown.update((515.0,))
    (axes,) = shown.state.axes[:1]
    assert len(axes.child_axes) == 1
    assert sum(type(artist).__name__ == "AnchoredSizeBar" for artist in axes.artists) == 1
    assert axes.child_axes[0].get_ylim() == shown.handles["artist"].get_clim()


def test_image__draws_the_quantity_that_names_a_result(density):
    od = xr.concat([density, 1.1 * density], "polarization").assign_coords(polarization=["a", "b"])
    results = {
        "Difference": xstxm.difference_map(density, 517.0, 505.0),
        "Ratio": xstxm.ratio_map(density, 517.0, 519.0, min_denominator=0.01),
        "Peak energy [eV]": xstxm.peak_map(density, (514.6, 519.4)),
        "Edge energy [eV]": xstxm.edge_map(density, (512, 517), method="derivative"),
        "Dichroism": xstxm.dichroism(od.assign_attrs(density.attrs), plus="a", minus="b").isel(energy=3),
    }
    for expected, result in results.items():
        for kind in (result, result.chunk(x=4)):
            assert kind.stxm.plot.image().vdims[0].label == expected
    height = results["Peak energy [eV]"].stxm.plot.image(signal="peak_height")
    assert height.vdims[0].name == "peak_height"


def test_image__dichroism_at_an_energy(density):
    od = xr.concat([density, 1.1 * density], "polarization").assign_coords(polarization=["a", "b"])
    result = xstxm.dichroism(od.assign_attrs(density.attrs), plus="a", minus="b")
    image = plot.image(result, "517 eV", signal="dichroism_asymmetry")
    assert style(image)["cmap"] == "RdBu_r"
    assert style(image, "plot")["title"] == "517.00 eV"


@pytest.mark.parametrize("whole", [True, False])
def test_image__of_phases_has_their_names_and_colours(density, references, whole, tmp_path):
    phases = xstxm.phase_map(density, references.assign_coords(color=("reference", ["#112233", "", ""])))
    drawn = plot.image(phases, signal="phase_label") if whole else plot.image(phases.phase_label.chunk())
    named = [element.label for element in drawn if element.label]
    assert named[:3] == ["A", "B", "C"]
    first = "#112233" if whole else PALETTE[0]
    assert hv.Store.lookup_options("bokeh", drawn.get(0), "style").kwargs["cmap"][:2] == [first, PALETTE[1]]
    by_number = plot.image(phases.phase_label, cmap="viridis")
    assert isinstance(by_number, hv.Image)
    assert plot.save(phases.phase_label, tmp_path / "a.png").is_file()


def test_image__of_flags_keeps_the_rare_ones():
    flags = np.zeros((40, 50), "int16")
    flags[0, 0] = 64
    at = {dim: (dim, np.arange(float(n)), {"units": "um"}) for dim, n in zip("yx", flags.shape, strict=True)}
    image = plot.image(xr.DataArray(flags, dims=("y", "x"), coords=at, name="quality"))
    assert "clim" not in style(image, "plot")


def test_image__of_a_map_without_values_is_drawn(signed):
    empty = signed * np.nan
    hv.render(plot.image(empty), backend="matplotlib")
    hv.render(plot.image(empty["difference"].rename("other")), backend="bokeh")


def test_image__of_a_dataset_with_nothing_known_says_what_there_is(density, references):
    fit = xstxm.fit(density, references)[["residual_rms", "r_factor"]]
    with pytest.raises(MissingVariableError, match=r"found: residual_rms, r_factor.*pass signal='residual_rms'"):
        plot.image(fit)
    assert plot.image(fit, signal="r_factor").vdims[0].label == "R-factor"


def test_phase_map__draws_each_kind_of_pixel(labelled):
    image = plot.phase_map(labelled).get(0)
    drawn = image.dimension_values(2, flat=False)
    np.testing.assert_array_equal(drawn, [[0, 1, 2, np.nan], [0, 0, 1, 1], [1, np.nan, 0, 1]])
    assert style(image)["cmap"] == [*PALETTE[:2], "#9e9e9e"]
    assert style(image, "plot")["clim"] == (-0.5, 2.5)


def test_phase_map__takes_the_colours_of_the_phases(labelled):
    colored = labelled.assign_coords(color=("phase", ["#112233", ""]))
    assert plot.phase_colors(colored) == {"A": "#112233", "B": PALETTE[1]}
    assert style(plot.phase_map(colored).get(0))["cmap"][0] == "#112233"


def test_phase_map__legend_names_what_is_there(labelled):
    figure = bokeh_figure(plot.phase_map(labelled))
    assert [item.label.value for item in figure.legend[0].items] == ["A", "B", "undecided"]
    decided = labelled.assign(phase_label=labelled["phase_label"].clip(-1))
    figure = bokeh_figure(plot.phase_map(decided))
    assert [item.label.value for item in figure.legend[0].items] == ["A", "B"]


@pytest.mark.parametrize("opacity", ["none", "confidence"])
def test_phase_map__keeps_the_units_of_its_axes(labelled, opacity):
    image = plot.phase_map(labelled, opacity=opacity).get(0)
    assert [dim.label for dim in image.kdims] == ["x position [µm]", "y position [µm]"]
    assert style(image, "plot")["scalebar"]


def test_phase_map__more_phases_than_colours_is_an_error(labelled):
    many = labelled.drop_vars("phase").assign_coords(phase=[f"P{k}" for k in range(25)])
    with pytest.raises(SchemaError, match=r"a map of 25 classes, and 24 colours"):
        plot.phase_map(many)


def test_phase_map__confidence_fades(labelled):
    picture = plot.phase_map(labelled, opacity="confidence").get(0)
    alpha = picture.dimension_values(5, flat=False)
    assert alpha[0, 3] == 0
    assert alpha[1, 0] == int(0.9 * 255)
    assert alpha[0, 2] == int(0.15 * 255)


def test_phase_map__unknown_opacity_is_an_error(labelled):
    with pytest.raises(ChoiceError, match="did you mean 'confidence'"):
        plot.phase_map(labelled, opacity="confidnce")


def test_phase_map__needs_labels(stack):
    with pytest.raises(MissingVariableError, match=r"call .stxm.phase_map\(\) first"):
        plot.phase_map(stack)


def test_composition__colour_bar_says_what_it_is(phases):
    figure = bokeh_figure(plot.composition(phases))
    (bar,) = [item for item in figure.right if type(item).__name__ == "ColorBar"]
    assert bar.title == "x in LixV2O5"


def test_composition__missing_says_how_to_get_it(labelled):
    with pytest.raises(MissingVariableError, match="give the references one first"):
        plot.composition(labelled)


def test_component_maps__share_their_colours(density, references):
    fit = xstxm.fit(density, references)
    layout = plot.component_maps(fit)
    limits = {style(image, "plot")["clim"] for image in layout}
    assert len(layout) == 3
    assert len(limits) == 1


@pytest.mark.parametrize("backend", ["bokeh", "matplotlib"])
def test_all__draw_with_both_backends(backend, stack, phases, references, density):
    fit = xstxm.fit(density, references)
    drawings = [
        plot.image(stack, 515.0),
        plot.phase_map(phases),
        plot.phase_map(phases, opacity="confidence", legend=False),
        plot.composition(phases),
        plot.component_maps(fit),
        plot.spectra(references, energy=515.0),
        plot.spectra(phases),
    ]
    for drawing in drawings:
        hv.render(drawing, backend=backend)


def test_spectra__region_over_references_and_fit(density, references):
    spectrum = xstxm.spectrum(density, {"x": (0.15, 0.4), "y": (0.0, 0.2)})
    fit = xstxm.fit(spectrum["spectrum"], references)
    overlay = plot.spectra(spectrum, fit=fit)
    curves = {curve.label: curve for curve in overlay.traverse(lambda curve: curve, [hv.Curve]) if curve.label}
    assert list(curves) == ["A", "B", "C", "fit"]
    scaled = fit["component_map"].sel(reference="B").item() * fit["reference_spectra"].sel(reference="B")
    np.testing.assert_allclose(curves["B"].dimension_values(1), scaled)
    points = overlay.traverse(lambda scatter: scatter, [hv.Scatter])[0]
    np.testing.assert_allclose(curves["fit"].dimension_values(1), points.dimension_values(1), atol=1e-6)


def test_spectra__fit_of_an_image_says_to_select_a_pixel(density, references):
    fit = xstxm.fit(density, references)
    with pytest.raises(SchemaError, match="select a pixel first"):
        plot.spectra(xstxm.spectrum(density, {"x": 0.2, "y": 0.1}), fit=fit)
    pixel = fit.sel(x=0.2, y=0.1, method="nearest")
    assert plot.spectra(xstxm.spectrum(density, {"x": 0.2, "y": 0.1}), fit=pixel)


@pytest.mark.parametrize("backend", ["bokeh", "matplotlib"])
def test_spectra__band_of_a_picture_has_its_colour_whichever_backend_is_in_use(density, backend):
    current = hv.Store.current_backend
    hv.Store.set_current_backend(backend)
    try:
        drawn = plot.spectra(xstxm.spectrum(density, {"x": (0.15, 0.4), "y": (0.0, 0.2)}))
    finally:
        hv.Store.set_current_backend(current)
    band = hv.render(drawn, backend="matplotlib").axes[0].collections[0]
    np.testing.assert_allclose(band.get_facecolor()[0], [0x80 / 255] * 3 + [0.25], atol=1e-6)


def test_spectra__references_with_gaps_are_drawn_where_they_have_data(references):
    gappy = references.copy(deep=True)
    gappy["absorption"][0, :5] = np.nan
    curve = plot.spectra(gappy).get(0)
    assert len(curve) == references.sizes["energy"] - 5


def test_spectra__stack_is_refused(stack):
    with pytest.raises(SchemaError, match=r"call \.stxm\.spectrum"):
        plot.spectra(stack["intensity"])


def test_save__writes_pictures_in_one_step(tmp_path, stack):
    path = tmp_path / "image.png"
    assert plot.save(plot.image(stack), path) == path
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileExistsError, match=r"image\.png exists: pass overwrite=True"):
        plot.save(plot.image(stack), path)


def test_save__draws_a_map_with_its_unit_and_scale(tmp_path, stack):
    thickness = stack["intensity"].isel(energy=0, drop=True).rename("thickness")
    thickness.attrs = {"units": "nm", "long_name": "Thickness"}
    page = plot.save(thickness, tmp_path / "given.svg").read_text(encoding="utf-8")
    texts = re.findall("<!-- (.*) -->", page)
    assert "Thickness [nm]" in texts
    assert [text for text in texts if re.fullmatch(r"[\d.]+ .m", text)], "a scale bar says its length"
    drawn = plot.save(plot.image(thickness), tmp_path / "drawn.svg").read_text(encoding="utf-8")
    assert re.findall("<!-- (.*) -->", drawn) == texts


def test_save__leaves_the_old_picture_where_drawing_fails(tmp_path, stack):
    path = tmp_path / "image.png"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="positive"):
        plot.save(plot.image(stack, 515.0), path, dpi=-1, overwrite=True)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_save__of_what_is_no_drawing_says_what_to_give(tmp_path, stack):
    for given in (stack, "not a plot"):
        with pytest.raises(OptionError, match=r"give what xstxm\.plot drew, or a map \(y, x\)"):
            plot.save(given, tmp_path / "image.png")
    assert not list(tmp_path.iterdir())


def test_save__page_needs_no_network_and_warns_of_nothing(tmp_path, stack, references, i0, caplog):
    fit = xstxm.fit(xstxm.optical_density(stack, i0), references)
    path = plot.save(plot.component_maps(fit), tmp_path / "maps.html")
    page = path.read_text(encoding="utf-8")
    assert not re.findall(r"""<(?:script|link)[^>]+(?:src|href)=["']https?:""", page)
    assert "Amount" in page
    assert list(tmp_path.iterdir()) == [path]
    assert not [record for record in caplog.records if record.name.startswith("bokeh")]


def test_save__page_of_a_slider_is_its_first_frame(tmp_path, stack):
    assert "505.00 eV" in plot.save(plot.image(stack), tmp_path / "image.html").read_text(encoding="utf-8")


def test_save__other_endings_are_refused(tmp_path, stack):
    with pytest.raises(OptionError, match=r"pictures end in .png, .svg, .pdf, .html"):
        plot.save(plot.image(stack, 515.0), tmp_path / "image.docx")


def test_save_maps__writes_what_there_is(tmp_path, phases, labelled):
    names = [path.name for path in plot.save_maps(phases, tmp_path / "new" / "folder")]
    assert names == ["phase_map.png", "confidence.png", "phase_spectra.png", "composition.png"]
    assert [path.name for path in plot.save_maps(labelled, tmp_path)] == ["phase_map.png", "confidence.png"]
    with pytest.raises(FileExistsError, match=r"phase_map\.png exists: pass overwrite=True"):
        plot.save_maps(labelled, tmp_path)


def test_plot__without_holoviews_says_what_to_install(monkeypatch, stack):
    from xstxm.plot import _holoviews

    monkeypatch.setattr(_holoviews, "find_spec", lambda name: None)
    _holoviews.holoviews.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"pip install 'xstxm\[plot\]'"):
        plot.image(stack, 515.0)


def test_plot__keeps_the_backend_in_use(stack):
    from xstxm.plot import _holoviews

    current = hv.Store.current_backend
    hv.Store.set_current_backend("matplotlib")
    try:
        _holoviews.holoviews.cache_clear()
        plot.image(stack, 515.0)
        assert hv.Store.current_backend == "matplotlib"
    finally:
        hv.Store.set_current_backend(current)


@pytest.mark.parametrize("backend", ["bokeh", "matplotlib"])
def test_spectra__draws_one_spectrum_of_a_set(backend: str) -> None:
    absorption = xstxm.testing.simulate_references().absorption.isel(reference=0)
    drawn = plot.spectra(absorption)
    assert [curve.label for curve in drawn] == [str(absorption.reference.item())]
    hv.render(drawn, backend=backend)


def test_image__says_which_colour_map_was_meant() -> None:
    stack = xstxm.testing.simulate_stack(shape=(12, 16), seed=0)
    with pytest.raises(OptionError, match="cmap='viridsi': no colour map has that name, did you mean 'viridis'"):
        plot.image(stack, "518 eV", cmap="viridsi")


def test_image__of_a_variable_given_as_the_energy_says_how(phases: xr.Dataset) -> None:
    with pytest.raises(OptionError, match="energy='confidence': that is a variable, draw it with signal='confidence'"):
        plot.image(phases, "confidence")


@pytest.mark.parametrize("name", ["intensity", "difference", "peak_energy"])
def test_image_colors__are_those_of_the_image(name):
    array = xr.DataArray(np.random.default_rng(0).normal(size=(20, 30)), dims=("y", "x"), name=name)
    array = array.assign_coords(y=np.arange(20.0), x=np.arange(30.0))
    drawn, colors = plot.image(array), plot.image_colors(array)
    style = drawn.opts.get("style").kwargs
    assert (colors.low, colors.high) == drawn.opts.get("plot").kwargs["clim"]
    assert colors.palette == plot.image_colors(array, cmap=style["cmap"]).palette
    assert colors.missing == drawn.opts.get("plot").kwargs["clipping_colors"]["NaN"]
    assert len(colors.palette) == 256


@pytest.mark.parametrize("values", [[[np.nan]], [[2.0]], [[1e300]], [[7]], [[np.inf, -np.inf]]])
def test_image_colors__have_two_ends_whatever_the_image_holds(values):
    colors = plot.image_colors(xr.DataArray(values, dims=("y", "x")))
    assert np.isfinite([colors.low, colors.high]).all()
    assert colors.low < colors.high


def test_image_colors__of_no_such_map_name_the_nearest():
    with pytest.raises(OptionError, match=r"viridid.*did you mean 'viridis'"):
        plot.image_colors(xr.DataArray([[1.0]], dims=("y", "x")), cmap="viridid")
