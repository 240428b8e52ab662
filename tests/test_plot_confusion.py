"""The drawing of two maps against each other: a square for each pair, its number of pixels, shares of the rows."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xstxm
from xstxm.errors import MissingVariableError

hv = pytest.importorskip("holoviews")


@pytest.fixture(scope="module")
def result():
    rng = np.random.default_rng(0)
    names = ["alpha", "beta", "gamma"]
    one = rng.integers(0, 3, (8, 9))
    other = np.where(rng.random(one.shape) < 0.7, one, 2)
    maps = [xr.Dataset({"phase_label": (("y", "x"), v.astype("int16"))}, {"phase": names}) for v in (one, other)]
    return xstxm.compare(*maps)


def options(element, kind="plot", backend="bokeh"):
    return hv.Store.lookup_options(backend, element, kind).kwargs


def test_pairs__have_a_square_with_their_pixels(result):
    overlay = result.stxm.plot.confusion()
    (squares,) = [element for element in overlay if type(element) is hv.Rectangles]
    assert len(squares) == 9
    table = result["confusion"].values
    for left, bottom, _, _, share, pixels in squares.array():
        k, j = round(left + 0.5), 2 - round(bottom + 0.5)
        assert pixels == table[j, k]
        assert share == pytest.approx(table[j, k] / table[j].sum())
    texts = [text for element in overlay if type(element) is hv.Labels for text in element.dimension_values("text")]
    assert sorted(texts) == sorted(str(number) for number in table.ravel())


def test_axes__name_the_phases_the_first_at_the_top(result):
    overlay = xstxm.plot.confusion(result)
    assert [name for _, name in options(overlay)["xticks"]] == ["alpha", "beta", "gamma"]
    assert [name for _, name in options(overlay)["yticks"]] == ["gamma", "beta", "alpha"]
    assert options(overlay)["title"].startswith(f"agreement {float(result['agreement']):.4g}, kappa")
    assert options(xstxm.plot.confusion(result, title="mine", show_grid=True))["show_grid"] is True


@pytest.mark.parametrize("backend", ["bokeh", "matplotlib"])
def test_drawing__works_with_both_backends(result, backend):
    pytest.importorskip(backend)
    assert hv.render(xstxm.plot.confusion(result), backend=backend) is not None


def test_what_was_not_compared__is_refused():
    with pytest.raises(MissingVariableError, match=r"call xstxm.compare"):
        xstxm.plot.confusion(xr.Dataset())
