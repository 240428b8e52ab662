from __future__ import annotations

import inspect

import numpy as np
import pytest
import xarray as xr
from laziness import raise_if_dask_computes

import xstxm
from xstxm.accessor import StxmAccessor, StxmPlotAccessor

VERBS = [name for name, member in vars(StxmAccessor).items() if inspect.isfunction(member) and not name.startswith("_")]
DRAWINGS = [
    name for name, member in vars(StxmPlotAccessor).items() if inspect.isfunction(member) and not name.startswith("_")
]


def _parameters(function):
    return list(inspect.signature(function).parameters.values())[1:]


@pytest.mark.parametrize("name", VERBS)
def test_methods__have_the_signature_of_their_function(name):
    method, function = getattr(StxmAccessor, name), getattr(xstxm, name)
    found = [(p.name, p.kind, p.default) for p in _parameters(method)]
    assert found == [(p.name, p.kind, p.default) for p in _parameters(function)]
    assert f"xstxm.{name}" in method.__doc__


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawings__have_the_signature_of_their_function(name):
    from xstxm import plot

    method, function = getattr(StxmPlotAccessor, name), getattr(plot, name)
    found = [(p.name, p.kind, p.default) for p in _parameters(method)]
    assert found == [(p.name, p.kind, p.default) for p in _parameters(function)]


@pytest.mark.parametrize("name", VERBS)
def test_methods__are_one_return(name):
    import ast
    import textwrap

    body = ast.parse(textwrap.dedent(inspect.getsource(getattr(StxmAccessor, name)))).body[0].body
    assert len(body) == 2
    assert isinstance(body[1], ast.Return)


def test_accessor__never_raises_on_creation():
    assert hasattr(xr.Dataset(), "stxm")
    assert hasattr(xr.DataArray([1]), "stxm")
    assert "xstxm stack" in repr(xr.Dataset().stxm)


def test_methods__give_what_the_functions_give(stack, references, i0):
    chain = stack.stxm.sel_energy(508, 528).stxm.optical_density(i0).stxm.fit(references)
    od = xstxm.optical_density(xstxm.sel_energy(stack, 508, 528), i0)
    expected = xstxm.fit(od, references)
    xr.testing.assert_identical(chain.drop_attrs(), expected.drop_attrs())


def test_properties(stack):
    assert stack.stxm.energy_unit == "eV"
    assert stack.stxm.pixel_size == {"y": "0.05 um", "x": "0.05 um"}
    assert stack.stxm.pixel_dims == ("y", "x")
    assert stack.stxm.scan_type == "sample image stack"
    assert not stack.stxm.is_lazy
    assert stack.chunk(y=2).stxm.is_lazy
    assert list(stack.stxm.sel_energy(510, 520).stxm.history["operation"]) == ["sel_energy"]


@pytest.mark.parametrize("as_html", [False, True], ids=["text", "html"])
def test_repr__says_what_the_stack_is_and_what_comes_next(stack, references, i0, as_html):
    held = stack.stxm.with_references(references).stxm.optical_density(i0, thick=0.9)
    text = held.stxm._repr_html_() if as_html else repr(held.stxm)
    for part in (
        "sample image stack",
        "42, 505-530 eV, steps 0.5 to 1 eV, ascending",
        "6 y x 9 x, pixel 0.05 um x 0.05 um",
        "intensity [count]",
        "A, B, C",
        "too_thick",
        "with_references",
        ".phase_map()",
    ):
        assert part in text.replace("&gt;", ">")


def test_repr__computes_nothing(stack, i0):
    lazy = stack.chunk(y=3).stxm.optical_density(i0)
    with raise_if_dask_computes():
        assert "lazy" in repr(lazy.stxm)
        lazy.stxm._repr_html_()


def test_repr__escapes_what_a_file_says(stack):
    assert "<script>" not in stack.assign_attrs(title="<script>alert(1)</script>").stxm._repr_html_()


@pytest.mark.parametrize("kind", ["spectrum", "line", "theta"])
def test_verbs__work_for_any_pixel_dims(stack, references, i0, kind):
    shaped = {
        "spectrum": lambda: stack.isel(y=2, x=4),
        "line": lambda: stack.isel(y=2),
        "theta": lambda: stack.expand_dims(theta=[0.0, 30.0]).transpose("theta", "energy", "y", "x"),
    }[kind]()
    fit = shaped.stxm.optical_density(i0).stxm.fit(references, background="none")
    expected = tuple(dim for dim in shaped["intensity"].dims if dim != "energy")
    assert fit["component_map"].dims == ("reference", *expected)
    assert np.isfinite(fit["component_map"]).all()
    measured = shaped.stxm.optical_density(i0)["optical_density"]
    np.testing.assert_allclose(fit.stxm.predict(), measured.transpose("energy", *expected), atol=2e-5)


def test_repr__offers_a_fit_only_where_there_are_energies_enough():
    stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)[["intensity"]]
    density = xstxm.optical_density(stack)
    references = xstxm.testing.simulate_references()
    for one in (stack, density, xstxm.with_references(density, references)):
        assert "phase_map(" in repr(one.stxm)
        assert "phase_map(" not in repr(one.isel(energy=slice(0, 3)).stxm)
    assert ".optical_density()" in repr(stack.isel(energy=[0]).stxm)
