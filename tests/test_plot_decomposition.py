"""Drawings of decompositions, unmixed stacks and clusters: what is drawn is what the result holds."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xstxm
from xstxm import plot
from xstxm.conventions import PALETTE
from xstxm.errors import MissingVariableError, SchemaError

hv = pytest.importorskip("holoviews")


@pytest.fixture(scope="module")
def od() -> xr.DataArray:
    stack = xstxm.testing.simulate_stack(shape=(20, 28), seed=0)
    return xstxm.optical_density(stack, stack["true_i0"])["optical_density"]


@pytest.fixture(scope="module")
def decomposed(od) -> xr.Dataset:
    return xstxm.pca(od, 3)


@pytest.fixture(scope="module")
def clustered(od) -> xr.Dataset:
    return xstxm.cluster(od, 2)


@pytest.fixture(scope="module")
def unmixed(od) -> xr.Dataset:
    references = xstxm.testing.simulate_references().isel(reference=[0, 1])
    return xstxm.mcr(od, 3, references=references, n_starts=1, tolerance=0.05)


def style(element, kind="style", backend="bokeh"):
    return hv.Store.lookup_options(backend, element, kind).kwargs


def drawn(overlay, kind):
    return overlay.traverse(lambda element: element, [kind])


def many_spectra(number: int) -> xr.DataArray:
    return xr.DataArray(
        np.random.default_rng(0).random((number, 5)),
        dims=("component", "energy"),
        coords={"component": np.arange(1, number + 1), "energy": ("energy", np.arange(510.0, 515), {"units": "eV"})},
    )


def rendered(drawing):
    """Return the Matplotlib figure, drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = hv.renderer("matplotlib").get_plot(drawing).state
    FigureCanvasAgg(figure).draw()
    return figure


def test_scree__colours_what_lies_above_the_noise_floor(decomposed):
    signal, noise = drawn(plot.scree(decomposed, n_components=12), hv.Scatter)
    above = decomposed["scree"][:12] > decomposed["noise_floor"]
    np.testing.assert_allclose(signal.dimension_values(1), decomposed["scree"][:12][above])
    assert len(signal) + len(noise) == 12
    (floor,) = drawn(plot.scree(decomposed), hv.HLine)
    assert floor.data == pytest.approx(float(decomposed["noise_floor"]))


def test_scree__of_nothing_but_zeros_is_drawn(decomposed):
    drawing = plot.scree(decomposed.assign(scree=0 * decomposed["scree"]))
    assert style(drawing, "plot")["xlim"] == (0.5, 20.5)


def test_scree__is_as_high_as_asked_in_a_picture(decomposed):
    (axes,) = rendered(plot.scree(decomposed, width=400, height=300)).axes
    box = axes.get_window_extent()
    assert 0.6 < box.height / box.width < 0.9


def test_spectra__components_are_numbered_in_the_legend(decomposed):
    curves = drawn(plot.spectra(decomposed), hv.Curve)
    assert [curve.label for curve in curves] == ["component 1", "component 2", "component 3"]
    np.testing.assert_allclose(curves[1].dimension_values(1), decomposed["eigenspectra"][1])


def test_spectra__components_say_which_reference_they_come_from(unmixed):
    curves = drawn(plot.spectra(unmixed), hv.Curve)
    expected = ["component 1 (alpha-V2O5)", "component 2 (epsilon-Li0.4V2O5)", "component 3 (resolved)"]
    assert [curve.label for curve in curves] == expected
    np.testing.assert_allclose(curves[2].dimension_values(1), unmixed["component_spectra"][2])
    assert curves[0].vdims[0].label == "Component spectra [nm⁻¹]"


@pytest.mark.parametrize(
    ("coord", "expected"),
    [
        pytest.param([3, 7], ["component 3", "component 7"], id="numbers"),
        pytest.param(("component", [0.5, 30.0], {"units": "deg"}), ["component 0.5 °", "component 30 °"], id="units"),
        pytest.param(["a", "b"], ["a", "b"], id="names"),
    ],
)
def test_spectra__of_an_array_are_named_by_their_coordinate(coord, expected):
    array = many_spectra(2).assign_coords(component=coord)
    assert [curve.label for curve in drawn(plot.spectra(array), hv.Curve)] == expected


def test_spectra__no_two_of_many_look_alike():
    curves = drawn(plot.spectra(many_spectra(60)), hv.Curve)
    looks = [(style(curve)["color"], style(curve)["line_dash"]) for curve in curves]
    assert looks[:8] == [(color, "solid") for color in PALETTE]
    assert len({color for color, _ in looks[:24]}) == 24
    assert len(set(looks)) == 60


def test_spectra__given_colours_are_solid_lines():
    array = many_spectra(12).assign_coords(color=("component", ["#123456"] * 12))
    assert {style(curve)["line_dash"] for curve in drawn(plot.spectra(array), hv.Curve)} == {"solid"}


@pytest.mark.parametrize("number", [3, 10, 30])
def test_spectra__legend_names_all_and_lies_beside_the_curves(number):
    overlay = plot.spectra(many_spectra(number))
    figure = rendered(overlay)
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert len(legend.get_texts()) == number
    frame, beside = axes.get_window_extent(), legend.get_window_extent()
    assert beside.x0 > frame.x1
    assert beside.height < 1.1 * frame.height
    page = hv.render(overlay, backend="bokeh")
    assert page.legend[0] in page.right
    assert len(page.legend[0].items) == number
    assert page.legend[0].ncols == -(-number // 13)


def test_component_maps__eigenimages_have_zero_in_the_middle_of_their_own_colours(decomposed):
    layout = plot.component_maps(decomposed)
    assert len(layout) == 3
    for k, image in enumerate(layout):
        low, high = style(image, "plot")["clim"]
        assert low == -high < 0
        assert high == pytest.approx(float(np.quantile(np.abs(decomposed["eigenimages"][k]), 0.995)))
        np.testing.assert_array_equal(image.dimension_values(2, flat=False), decomposed["eigenimages"][k])
        share = 100 * float(decomposed["explained_variance_ratio"][k])
        assert style(image, "plot")["title"] == f"component {k + 1}: {share:.3g}\u00a0%"
        assert style(image)["cmap"] == "RdBu_r"


def test_component_maps__unmixed_amounts_share_a_scale_from_zero(unmixed):
    layout = plot.component_maps(unmixed)
    tops = [np.quantile(amount, 0.995) for amount in unmixed["component_amount"]]
    for image in layout:
        assert style(image, "plot")["clim"] == (0, pytest.approx(max(tops)))
    titles = [style(image, "plot")["title"] for image in layout]
    assert (
        titles[0].replace("\n", " ").strip()
        == f"component 1 (alpha-V2O5): {100 * float(unmixed['contribution'][0]):.3g}\u00a0%"
    )
    assert layout[0, 0].vdims[0].label == "Amount of the component [nm]"


def test_component_maps__amounts_with_a_sign_lie_about_zero(od):
    fit = xstxm.fit(od, xstxm.testing.simulate_references(), method="lstsq")
    for image in plot.component_maps(fit):
        low, high = style(image, "plot")["clim"]
        assert low == -high < 0
        assert style(image)["cmap"] == "RdBu_r"


def test_component_maps__axes_and_the_common_bar_only_at_the_outside(od):
    fit = xstxm.fit(od, xstxm.testing.simulate_references())
    options = [style(image, "plot") for image in plot.component_maps(fit, columns=3)]
    assert [option["yaxis"] for option in options] == ["left", "bare", "bare", "left"]
    assert [option["xaxis"] for option in options] == ["bare", "bottom", "bottom", "bottom"]
    assert [option["colorbar"] for option in options] == [False, False, True, False]
    assert ["scalebar" in option for option in options] == [True, False, False, False]


def test_component_maps__nothing_overlaps_in_a_picture(decomposed):
    """Frames, titles, labels and ticks of a map stay clear of the frames of the others."""
    figure = rendered(plot.component_maps(xr.concat([decomposed] * 2, "component", data_vars="minimal")))
    frames = [axes.get_window_extent() for axes in figure.axes]
    around = [axes.get_tightbbox() for axes in figure.axes]
    assert len(frames) == 6
    for k, box in enumerate(around):
        assert not [n for n, frame in enumerate(frames) if n != k and box.overlaps(frame)]


def test_component_maps__more_maps_are_no_more_passes_over_the_picture(decomposed, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    draws = []
    monkeypatch.setattr(
        Figure, "draw", lambda self, renderer, draw=Figure.draw: draws.append(1) or draw(self, renderer)
    )
    counts = []
    for number in (1, 3):
        draws.clear()
        plot.save(plot.component_maps(decomposed.isel(component=slice(number))), tmp_path / f"{number}.png")
        counts.append(len(draws))
    assert counts[0] == counts[1]


def test_component_maps__titles_are_no_wider_than_their_map_and_equally_high(unmixed):
    figure = rendered(plot.component_maps(unmixed, size=200))
    for axes in figure.axes:
        assert axes.title.get_window_extent().width < 1.15 * axes.get_window_extent().width
    titles = [axes.get_title() for axes in figure.axes]
    assert {title.count("\n") for title in titles} == {2}
    share = f"{100 * float(unmixed['contribution'][1]):.3g}\u00a0%"
    assert titles[1].split("\n") == ["component 2", "(epsilon-Li0.4V2O5):", share]


def test_component_maps__an_origin_that_all_share_is_left_out(unmixed):
    alike = unmixed.assign_coords(origin=("component", ["resolved"] * 3))
    assert style(plot.component_maps(alike)[0, 0], "plot")["title"].strip().startswith("component 1: ")


def test_component_maps__nan_is_none_of_the_colours(decomposed):
    holes = decomposed.copy(deep=True)
    holes["eigenimages"][0, :3] = np.nan
    image = plot.component_maps(holes)[0, 0]
    assert style(image, "plot")["clipping_colors"] == {"NaN": "#9e9e9e"}
    assert np.isfinite(style(image, "plot")["clim"]).all()


def test_clusters__map_and_spectra_share_their_colours(clustered):
    picture, curves = plot.clusters(clustered)
    image = picture.get(0)
    labels = image.dimension_values(2, flat=False)
    expected = clustered["labels"].where(clustered["labels"] > 0) - 1
    np.testing.assert_array_equal(labels, expected)
    assert style(image)["cmap"] == list(PALETTE[:2])
    assert [style(curve)["color"] for curve in drawn(curves, hv.Curve)] == list(PALETTE[:2])
    np.testing.assert_allclose(drawn(curves, hv.Curve)[1].dimension_values(1), clustered["cluster_spectra"][1])
    assert [dim.label for dim in image.kdims] == ["x position [µm]", "y position [µm]"]


@pytest.fixture
def dozen() -> xr.Dataset:
    """Clusters 1 to 12 in a row, one pixel in none, one without sample; drawn by made-up spectra."""
    spectra = many_spectra(12).rename(component="cluster")
    at = {name: (name, 0.1 * np.arange(n), {"units": "um"}) for name, n in (("y", 1), ("x", 14))}
    labels = xr.DataArray(np.r_[1:13, 0, -1][None], dims=("y", "x"), coords=at)
    return xr.Dataset({"labels": labels, "cluster_spectra": spectra, "confidence": xr.ones_like(labels, dtype=float)})


def test_clusters__a_dozen_and_no_cluster_are_told_apart(dozen):
    picture, curves = plot.clusters(dozen)
    colors = style(picture.get(0))["cmap"]
    assert len(set(colors)) == 13
    assert colors[-1] == "#9e9e9e"
    assert [style(curve)["color"] for curve in drawn(curves, hv.Curve)] == colors[:12]
    values = picture.get(0).dimension_values(2, flat=False)[0]
    np.testing.assert_array_equal(values, [*range(13), np.nan])
    entries = [item.label.value for item in hv.render(curves, backend="bokeh").legend[0].items]
    assert entries == [*(f"cluster {k}" for k in range(1, 13)), "no cluster"]


def test_clusters__without_odd_pixels_do_not_list_them(clustered):
    curves = plot.clusters(clustered)[0, 1]
    assert [item.label.value for item in hv.render(curves, backend="bokeh").legend[0].items] == [
        "cluster 1",
        "cluster 2",
    ]


def test_clusters__more_than_there_are_colours_need_their_own():
    number = 30
    spectra = many_spectra(number).rename(component="cluster")
    at = {name: (name, 0.1 * np.arange(n), {"units": "um"}) for name, n in (("y", 1), ("x", number))}
    labels = xr.DataArray(np.arange(1, number + 1)[None], dims=("y", "x"), coords=at)
    many = xr.Dataset({"labels": labels, "cluster_spectra": spectra, "confidence": xr.ones_like(labels, dtype=float)})
    with pytest.raises(SchemaError, match=r"a map of 30 classes, and 24 colours .* \.assign_coords\(color=\('cluster'"):
        plot.clusters(many)
    own = many.assign_coords(color=("cluster", [f"#0000{k:02x}" for k in range(number)]))
    assert style(plot.clusters(own)[0, 0].get(0))["cmap"][29] == "#00001d"


@pytest.mark.parametrize("backend", ["bokeh", "matplotlib"])
def test_all__draw_with_both_backends_and_from_lazy_results(backend, od):
    lazy = od.chunk(y=10)
    decomposed, clustered = xstxm.pca(lazy, 3), xstxm.cluster(lazy, 2)
    unmixed = xstxm.nmf(lazy, 2, n_starts=1, tolerance=0.05)
    drawings = [
        decomposed.stxm.plot.scree(),
        decomposed.stxm.plot.spectra(),
        decomposed.stxm.plot.component_maps(),
        unmixed.stxm.plot.spectra(),
        unmixed.stxm.plot.component_maps(),
        clustered.stxm.plot.spectra(),
        clustered.stxm.plot.clusters(),
    ]
    for drawing in drawings:
        hv.render(drawing, backend=backend)


def test_scree__needs_a_decomposition(od):
    with pytest.raises(MissingVariableError, match=r"call \.stxm\.pca\(\) first"):
        plot.scree(od.to_dataset())


def test_component_maps__need_a_result(od):
    with pytest.raises(MissingVariableError, match=r"call \.stxm\.fit\(references\), \.nmf\(\), \.mcr\(\) or \.pca"):
        plot.component_maps(od.to_dataset())


def test_clusters__are_needed(od):
    with pytest.raises(MissingVariableError, match=r"call \.stxm\.cluster\(\) first"):
        plot.clusters(od.to_dataset())
