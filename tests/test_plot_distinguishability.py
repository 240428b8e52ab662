"""The drawing of pairs of references: a square for each, its number, and colours that start at zero."""

from __future__ import annotations

import pytest

import xstxm
from xstxm.errors import MissingVariableError, SchemaError

hv = pytest.importorskip("holoviews")

REFERENCES = xstxm.testing.simulate_references()


@pytest.fixture(scope="module")
def result():
    return xstxm.distinguishability(REFERENCES, counts=5000)


def options(element, kind="plot", backend="bokeh"):
    return hv.Store.lookup_options(backend, element, kind).kwargs


def test_pairs__have_a_square_with_their_error(result):
    overlay = result.stxm.plot.distinguishability()
    (squares,) = [element for element in overlay if type(element) is hv.Rectangles]
    assert len(squares) == 6
    for left, bottom, _, _, value in squares.array():
        first, second = round(left + 0.5), round(bottom + 0.5)
        assert first < second
        assert value == pytest.approx(float(result.pair_stderr[first, second]))
    texts = [text for element in overlay if type(element) is hv.Labels for text in element.dimension_values("text")]
    assert sorted(texts) == sorted(f"{value:.2g}" for value in squares.dimension_values(4))


def test_axes__name_the_references(result):
    overlay = xstxm.plot.distinguishability(result)
    assert [name for _, name in options(overlay)["xticks"]] == REFERENCES.reference.values.tolist()[:-1]
    assert [name for _, name in options(overlay)["yticks"]] == REFERENCES.reference.values.tolist()[1:]
    assert options(overlay)["title"] == "condition number 74.1"
    assert options(xstxm.plot.distinguishability(result, title="mine"))["title"] == "mine"


def test_colours__start_at_zero(result):
    squares = next(iter(xstxm.plot.distinguishability(result, cmap="Reds")))
    assert options(squares, "style")["cmap"] == "Reds"
    assert options(squares)["clim"] == (0.0, float(result.pair_stderr.max()))


@pytest.mark.parametrize("backend", ["bokeh", "matplotlib"])
def test_drawing__works_with_both_backends(result, backend):
    pytest.importorskip(backend)
    assert hv.render(xstxm.plot.distinguishability(result), backend=backend) is not None


def test_options__reach_the_overlay(result):
    assert options(xstxm.plot.distinguishability(result, show_grid=True))["show_grid"] is True


def test_what_has_no_pair__is_refused(result):
    with pytest.raises(MissingVariableError, match=r"call .stxm.distinguishability"):
        xstxm.plot.distinguishability(REFERENCES)
    one = xstxm.distinguishability(REFERENCES.isel(reference=[0]), counts=10)
    with pytest.raises(SchemaError, match="there is no pair to draw"):
        xstxm.plot.distinguishability(one)
