"""Drawings of decompositions and clusters: what is drawn is what the result holds."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xstxm
from xstxm import plot
from xstxm.conventions import PALETTE
from xstxm.errors import MissingVariableError

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


def style(element, kind="style", backend="bokeh"):
    return hv.Store.lookup_options(backend, element, kind).kwargs


def drawn(overlay, kind):
    return overlay.traverse(lambda element: element, [kind])


def test_scree__colours_what_lies_above_the_noise_floor(decomposed):
    signal, noise = drawn(plot.scree(decomposed, n_components=12), hv.Scatter)
    above = decomposed["scree"][:12] > decomposed["noise_floor"]
    np.testing.assert_allclose(signal.dimension_values(1), decomposed["scree"][:12][above])
    assert len(signal) + len(noise) == 12
    (floor,) = drawn(plot.scree(decomposed), hv.HLine)
    assert floor.data == pytest.approx(float(decomposed["noise_floor"]))


def test_eigenspectra__are_named_by_component(decomposed):
    curves = drawn(plot.eigenspectra(decomposed), hv.Curve)
    assert [curve.label for curve in curves] == ["component 1", "component 2", "component 3"]
    np.testing.assert_allclose(curves[1].dimension_values(1), decomposed["eigenspectra"][1])


def test_eigenimages__have_zero_in_the_middle_of_their_colours(decomposed):
    layout = plot.eigenimages(decomposed)
    assert len(layout) == 3
    for k, image in enumerate(layout):
        low, high = style(image, "plot")["clim"]
        assert low == -high < 0
        np.testing.assert_array_equal(image.dimension_values(2, flat=False), decomposed["eigenimages"][k])
        assert style(image, "plot")["title"].startswith(f"component {k + 1}: ")


def test_clusters__map_and_spectra_share_their_colours(clustered):
    picture, curves = plot.clusters(clustered)
    image = picture.get(0)
    labels = image.dimension_values(2, flat=False)
    expected = clustered["labels"].where(clustered["labels"] > 0) - 1
    np.testing.assert_array_equal(labels, expected)
    assert style(image)["cmap"][:2] == list(PALETTE[:2])
    assert [style(curve)["color"] for curve in drawn(curves, hv.Curve)] == list(PALETTE[:2])
    np.testing.assert_allclose(drawn(curves, hv.Curve)[1].dimension_values(1), clustered["cluster_spectra"][1])


def test_clusters__pixel_without_a_cluster_is_grey(clustered):
    odd = clustered.copy(deep=True)
    odd["labels"][0, 0] = 0
    image = plot.clusters(odd)[0, 0].get(0)
    assert image.dimension_values(2, flat=False)[0, 0] == 2
    assert style(image)["cmap"][2] == "#9e9e9e"


@pytest.mark.parametrize("backend", ["bokeh", "matplotlib"])
def test_all__draw_with_both_backends_and_from_lazy_results(backend, od):
    decomposed, clustered = xstxm.pca(od.chunk(y=10), 3), xstxm.cluster(od.chunk(y=10), 2)
    drawings = [
        decomposed.stxm.plot.scree(),
        decomposed.stxm.plot.eigenspectra(),
        decomposed.stxm.plot.eigenimages(),
        clustered.stxm.plot.clusters(),
    ]
    for drawing in drawings:
        hv.render(drawing, backend=backend)


@pytest.mark.parametrize("name", ["scree", "eigenspectra", "eigenimages"])
def test_decompositions__are_needed(od, name):
    with pytest.raises(MissingVariableError, match=r"call \.stxm\.pca\(\) first"):
        getattr(plot, name)(od.to_dataset())


def test_clusters__are_needed(od):
    with pytest.raises(MissingVariableError, match=r"call \.stxm\.cluster\(\) first"):
        plot.clusters(od.to_dataset())
