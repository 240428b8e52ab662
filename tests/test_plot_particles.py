"""Drawings of particles: points with errors, what pointing at one says, and profiles with their mean."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xstxm
from xstxm import plot
from xstxm.conventions import PALETTE
from xstxm.errors import MissingDimensionError, MissingVariableError, OptionError, SchemaError

hv = pytest.importorskip("holoviews")


@pytest.fixture
def table() -> xr.Dataset:
    """Four particles of two images; the last one is cut, one has no composition."""

    def along(values, name, units="1"):
        return ("particle", np.array(values), {"units": units, "long_name": name})

    profile = [[0.1, 0.2, np.nan], [0.3, 0.4, 0.6], [0.5, 0.5, np.nan], [np.nan] * 3]
    return xr.Dataset(
        {
            "equivalent_diameter": along([0.5, 1.0, 0.7, 2.0], "Equivalent diameter", "um"),
            "particle_composition": along([0.15, 0.4, 0.5, np.nan], "Mean composition of the particle"),
            "particle_composition_stderr": along([0.01, 0.02, 0.03, np.nan], "Standard error"),
            "aspect_ratio": along([1.0, 1.5, 2.0, 3.0], "Aspect ratio"),
            "n_neighbours": along([0, 1, 1, 0], "Particles in contact"),
            "touches_edge": ("particle", [False, True, False, False], {"long_name": "Touches the edge"}),
            "particle_phase_fraction": (("phase", "particle"), np.ones((2, 4))),
            "composition_profile": (
                ("particle", "distance"),
                np.array(profile),
                {"units": "1", "long_name": "Profile"},
            ),
        },
        {
            "particle": [1, 2, 3, 4],
            "node": ("particle", ["one", "one", "two", "two"]),
            "particle_number": ("particle", [5, 7, 5, 6]),
            "distance": ("distance", [20.0, 60.0, 100.0], {"units": "nm", "long_name": "Distance below the surface"}),
        },
        {"signal": "composition"},
    )


def style(element, kind="style", backend="bokeh"):
    return hv.Store.lookup_options(backend, element, kind).kwargs


def drawn(overlay, kind):
    return [element for element in overlay if type(element) is kind]


def test_particles__lie_at_their_values_coloured_by_image(table):
    overlay = plot.particles(table)
    whole, cut, other = drawn(overlay, hv.Scatter)[:3]
    assert [points.label for points in (whole, cut, other)] == ["one", "one", "two"]
    np.testing.assert_allclose(whole.dimension_values(0), [0.5])
    np.testing.assert_allclose(other.dimension_values(1), [0.5, np.nan])
    assert [style(points)["color"] for points in (whole, cut, other)] == [PALETTE[0], PALETTE[0], PALETTE[1]]
    assert [style(points)["marker"] for points in (whole, cut, other)] == ["circle", "triangle", "circle"]
    assert (whole.kdims[0].label, whole.vdims[0].label) == (
        "Equivalent diameter [µm]",
        "Mean composition of the particle",
    )


def test_particles__pointing_at_one_says_its_number_and_its_image(table):
    other = drawn(plot.particles(table), hv.Scatter)[2]
    assert [dim.label for dim in other.vdims[1:]] == ["Particle", "Field"]
    assert other["number"].tolist() == [5, 6]
    assert other["node"].tolist() == ["two", "two"]
    alone = drawn(plot.particles(table.drop_vars(["node", "particle_number"])), hv.Scatter)[0]
    assert alone["number"].tolist() == [1, 3, 4]


def test_particles__errors_are_lines_of_one_standard_error_upwards_and_across(table):
    first, second = drawn(plot.particles(table), hv.Segments)
    np.testing.assert_allclose(first.array(), [[0.5, 0.14, 0.5, 0.16], [1.0, 0.38, 1.0, 0.42]])
    np.testing.assert_allclose(second.array(), [[0.7, 0.47, 0.7, 0.53]])
    turned = drawn(plot.particles(table, "particle_composition", "equivalent_diameter"), hv.Segments)[0]
    np.testing.assert_allclose(turned.array()[0], [0.14, 0.5, 0.16, 0.5])


def test_particles__a_number_is_a_colour_bar_and_marks_are_names(table):
    shaded = [points for points in drawn(plot.particles(table, color="aspect_ratio"), hv.Scatter) if not points.label]
    assert [style(points)["color"] for points in shaded] == ["shade", "shade"]
    assert {style(points, "plot")["clim"] for points in shaded} == {(1.0, 3.0)}
    assert [style(points, "plot")["colorbar"] for points in shaded] == [True, False]
    assert style(shaded[0], "plot")["clabel"] == "Aspect ratio"
    names = [points.label for points in drawn(plot.particles(table, color="n_neighbours"), hv.Scatter)]
    assert names == ["Particles in contact: 0", "Particles in contact: 1", "Particles in contact: 1", "cut by the edge"]


def test_particles__bad_input_says_what_to_type(table, stack):
    with pytest.raises(MissingDimensionError, match=r"call xstxm\.particles\(phases\) first"):
        plot.particles(stack)
    with pytest.raises(MissingVariableError, match="'diameter' is missing"):
        plot.particles(table, "diameter")
    with pytest.raises(SchemaError, match=r"select along 'phase' first, e\.g\. \.isel\(phase=0\)"):
        plot.particles(table, y="particle_phase_fraction")
    with pytest.raises(OptionError, match="did you mean 'viridis'"):
        plot.particles(table, color="aspect_ratio", cmap="viridsi")


def test_profiles__the_mean_reaches_as_deep_as_several_particles(table):
    overlay = plot.profiles(table.drop_vars("node"))
    (lines,) = drawn(overlay, hv.Path)
    assert len(lines.split()) == 4
    mean = next(curve for curve in drawn(overlay, hv.Curve) if curve.label == "mean")
    np.testing.assert_allclose(mean.dimension_values(1), [0.3, 1.1 / 3, np.nan])
    (area,) = drawn(overlay, hv.Area)
    half = (area.dimension_values(2) - area.dimension_values(1)) / 2
    np.testing.assert_allclose(
        half, [np.std([0.1, 0.3, 0.5], ddof=1) / 3**0.5, np.std([0.2, 0.4, 0.5], ddof=1) / 3**0.5]
    )
    assert mean.kdims[0].label == "Distance below the surface [nm]"


def test_profiles__relative_are_less_the_mean_of_their_particle(table):
    overlay = plot.profiles(table.drop_vars("node"), relative=True)
    first = drawn(overlay, hv.Path)[0].split()[0].array()
    np.testing.assert_allclose(first, [[20, -0.05], [60, 0.05], [100, np.nan]])
    assert drawn(overlay, hv.Curve)[0].vdims[0].label == "Profile, less its mean"


def test_profiles__of_two_images_have_a_mean_each(table):
    labels = [curve.label for curve in drawn(plot.profiles(table), hv.Curve)]
    assert labels == ["mean of one", "mean of two", "single particles"]


def test_profiles__of_a_single_particle_have_a_band_of_its_noise(table):
    one = table.isel(particle=[1]).drop_vars("node")
    one["composition_profile_stderr"] = one.composition_profile * 0 + 0.02
    overlay = plot.profiles(one)
    assert [curve.label for curve in drawn(overlay, hv.Curve)] == ["particle"]
    assert not drawn(overlay, hv.Path)
    (area,) = drawn(overlay, hv.Area)
    np.testing.assert_allclose(area.dimension_values(2) - area.dimension_values(1), 0.04)


def test_profiles__are_those_of_the_signal(table):
    other = table.rename(composition_profile="strain_profile").assign_attrs(signal="strain")
    assert drawn(plot.profiles(other), hv.Path)
    with pytest.raises(MissingVariableError, match="'composition_profile' is missing"):
        plot.profiles(other.assign_attrs(signal="composition"))


@pytest.mark.parametrize("backend", ["bokeh", "matplotlib"])
def test_all__draw_with_both_backends_and_as_methods(backend, table):
    drawings = [
        table.stxm.plot.particles(title="both"),
        table.stxm.plot.particles("aspect_ratio", color="aspect_ratio"),
        table.stxm.plot.particles(color="touches_edge", legend=False),
        table.stxm.plot.profiles(),
        table.isel(particle=[0]).stxm.plot.profiles(relative=True),
    ]
    for drawing in drawings:
        hv.render(drawing, backend=backend)


def test_all__real_tables_and_empty_ones_are_drawn():
    stack = xstxm.testing.simulate_stack(shape=(48, 64), seed=0)
    found = xstxm.particles(xstxm.phase_map(stack, xstxm.testing.simulate_references()))
    both = xstxm.join_particles({"left": found, "right": found})
    for table in (both, found, found.isel(particle=slice(0))):
        for backend in ("bokeh", "matplotlib"):
            hv.render(plot.particles(table), backend=backend)
            hv.render(plot.profiles(table), backend=backend)
