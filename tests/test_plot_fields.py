"""Drawings of many fields: one scale, one palette, outlines, and what is said of fields that are not drawn."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import xarray as xr

from xstxm import plot
from xstxm.conventions import NO_SAMPLE, PALETTE, UNDECIDED
from xstxm.errors import ChoiceError, NoStacksError, OptionError, SchemaError

hv = pytest.importorskip("holoviews")
bokeh = pytest.importorskip("bokeh.models")


def field(width, n, *, at=(0.0, 0.0), value=0.5, unit="um", phases=("A", "B")):
    """A square of n x n pixels with a composition and two phases, its lower left corner at (y, x), in um."""
    scale = {"um": 1.0, "nm": 1e3}[unit]
    y, x = (scale * (low + (np.arange(n) + 0.5) * width / n) for low in at)
    values = value + np.linspace(-0.1, 0.1, n * n).reshape(n, n)
    labels = np.zeros((n, n), "int16")
    labels[0], labels[1, 0], labels[1, 1] = 1, UNDECIDED, NO_SAMPLE
    return xr.Dataset(
        {
            "composition": (("y", "x"), values, {"units": "1", "long_name": "x in LixV2O5"}),
            "phase_label": (("y", "x"), labels, {"long_name": "Chemical phase"}),
            "particle_label": (("y", "x"), np.arange(n * n, dtype="int32").reshape(n, n)),
            "quality": (("y", "x"), labels, {"flag_masks": [1, 2]}),
        },
        {
            "phase": [*phases],
            "y": ("y", y, {"units": unit, "long_name": "y position"}),
            "x": ("x", x, {"units": unit, "long_name": "x position"}),
        },
    )


@pytest.fixture
def tree() -> xr.DataTree:
    return xr.DataTree.from_dict(
        {
            "all": field(20.0, 10),
            "left": field(6.0, 12, at=(2.0, 1.0), value=0.7),
            "detail": field(1.5, 9, at=(3.0, 2.0), value=0.3, unit="nm"),
            "elsewhere": field(4.0, 8, at=(40.0, 40.0)),
        }
    )


def style(element, kind="plot", backend="bokeh"):
    return hv.Store.lookup_options(backend, element, kind).kwargs


def drawn(layout, kind):
    return [[element for element in overlay if type(element) is kind] for overlay in layout]


def legends(layout):
    """Return the entries of each legend that is shown."""
    found = hv.render(layout, backend="bokeh").select({"type": bokeh.Legend})
    shown = [[item.label.value for item in legend.items] for legend in found if legend.visible]
    return [entries for entries in shown if entries]


def per_micrometre(overlay):
    """Return pixels on the screen per um, sideways and upwards."""
    seen = style(overlay)
    (left, right), (low, high) = seen["xlim"], seen["ylim"]
    return seen["frame_width"] / (right - left), seen["frame_height"] / (high - low)


def test_fields__a_micrometre_is_as_long_in_all(tree):
    scales = [per_micrometre(overlay) for overlay in plot.fields(tree, size=300)]
    np.testing.assert_allclose(scales, 300 / 20.0, rtol=0.01)


def test_fields__a_small_one_lies_in_the_middle_of_its_frame_with_an_edge(tree):
    detail = plot.fields(tree, size=300)[2]
    limits = style(detail)
    assert limits["frame_width"] >= 100
    assert sum(limits["xlim"]) / 2 == pytest.approx(2.75)
    assert sum(limits["ylim"]) / 2 == pytest.approx(3.75)
    edges = [element for element in detail if type(element) is hv.Rectangles]
    np.testing.assert_allclose(edges[0].array()[0], [2.0, 3.0, 3.5, 4.5])


def test_fields__a_narrow_one_keeps_its_shape_in_a_frame_with_an_edge(tree):
    strip = tree["all"].to_dataset().isel(y=slice(1))
    (overlay,) = plot.fields({"strip": strip}, size=300)
    assert per_micrometre(overlay) == pytest.approx((15.0, 15.0))
    (edge,) = [element for element in overlay if type(element) is hv.Rectangles]
    np.testing.assert_allclose(edge.array()[0], [0.0, 0.0, 20.0, 2.0])
    (whole,) = plot.fields({"all": tree["all"].to_dataset()})
    assert not [element for element in whole if type(element) is hv.Rectangles]


def test_fields__marks_are_drawn_as_numbers(tree):
    marks = tree.map_over_datasets(lambda one: one.assign(on=one.composition > 0.5) if "composition" in one else one)
    (image,) = drawn(plot.fields(marks, "on"), hv.Image)[0]
    assert {*image.dimension_values(2)} == {0.0, 1.0}


def test_fields__fill_makes_all_as_large_with_a_scale_bar_each(tree):
    layout = plot.fields(tree, scale="fill", size=220)
    assert {(style(overlay)["frame_width"], style(overlay)["frame_height"]) for overlay in layout} == {(220, 220)}
    assert [style(image)["scalebar"] for (image,) in drawn(layout, hv.Image)] == [True] * 4
    common = [style(image).get("scalebar", False) for (image,) in drawn(plot.fields(tree), hv.Image)]
    assert common == [True, False, False, False]


@pytest.mark.parametrize("scale", ["common", "fill"])
def test_fields__have_their_size_in_a_picture(tree, scale):
    figure = hv.render(plot.fields(tree, scale=scale, size=320), backend="matplotlib")
    figure.canvas.draw()
    found = {}
    for axes in figure.axes[:4]:
        box = axes.get_window_extent()
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        found[axes.get_title().strip()] = (box.width / (right - left), box.height / (high - low), box.width)
    across, upwards, width = np.array([found[name] for name in tree.children]).T
    np.testing.assert_allclose(across, upwards, rtol=0.01)
    if scale == "common":
        np.testing.assert_allclose(across, across[0], rtol=0.01)
    else:
        np.testing.assert_allclose(width, width[0], rtol=0.01)


def test_fields__do_not_overlap_in_a_picture(tree):
    figure = hv.render(plot.fields(tree, columns=2), backend="matplotlib")
    figure.canvas.draw()
    boxes = [axes.get_tightbbox() for axes in figure.axes[:4]]
    for k, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[k + 1 :])


def test_fields__share_colours_and_one_bar_beside_the_tallest(tree):
    images = [image for (image,) in drawn(plot.fields(tree), hv.Image)]
    assert len({style(image)["clim"] for image in images}) == 1
    low, high = style(images[0])["clim"]
    assert (low, high) == pytest.approx((0.2, 0.8), abs=0.01)
    assert [style(image)["colorbar"] for image in images] == [True, False, False, False]
    assert [style(image)["colorbar"] for (image,) in drawn(plot.fields(tree, scale="fill"), hv.Image)] == [
        False, False, True, False,
    ]  # fmt: skip
    alike = xr.DataTree.from_dict({"all": field(20.0, 10), "cut": field(19.9, 10)})
    assert [style(image)["colorbar"] for (image,) in drawn(plot.fields(alike, outlines=False), hv.Image)] == [
        False,
        True,
    ]
    assert not any(style(image)["colorbar"] for (image,) in drawn(plot.fields(tree, legend=False), hv.Image))
    assert style(plot.fields(tree, clim=(0, 1))[3].get(0))["clim"] == (0, 1)


def test_fields__are_outlined_in_the_smallest_that_holds_them(tree):
    names = [[name for labels in found for name in labels["field"]] for found in drawn(plot.fields(tree), hv.Labels)]
    assert names == [["left"], ["detail"], [], []]
    edge = drawn(plot.fields(tree), hv.Rectangles)[0][-1]
    np.testing.assert_allclose(edge.array()[0], [1.0, 2.0, 7.0, 8.0])
    assert not any(drawn(plot.fields(tree, outlines=False), hv.Labels))


def test_fields__titles_are_names_in_the_order_of_the_tree(tree):
    assert [style(overlay)["title"].strip() for overlay in plot.fields(tree)] == ["all", "left", "detail", "elsewhere"]


def test_fields__pixels_lie_where_they_are_in_either_unit(tree):
    (image,) = drawn(plot.fields(tree), hv.Image)[2]
    assert image.bounds.lbrt() == pytest.approx((2.0, 3.0, 3.5, 4.5))
    np.testing.assert_allclose(image.dimension_values(2, flat=False), tree["detail"].composition)


def test_fields__in_other_units_convert(tree):
    percent = tree["left"].to_dataset()
    percent["composition"] = (100 * percent.composition).assign_attrs(units="percent")
    (image,) = drawn(plot.fields({"all": tree["all"].to_dataset(), "left": percent}), hv.Image)[1]
    np.testing.assert_allclose(image.dimension_values(2, flat=False), tree["left"].composition)


def test_fields__without_a_map_are_named_with_the_reason(tree):
    tree["empty"] = xr.DataTree(xr.Dataset(attrs={"left_out": "no energies <in> common {with} 'all'"}))
    tree["other"] = xr.DataTree(tree["left"].to_dataset().drop_vars("composition"))
    tree["bare"] = xr.DataTree(tree["left"].to_dataset().drop_vars("x"))
    layout = plot.fields(tree)
    assert len(layout) == 4
    title = hv.render(layout, backend="bokeh").children[0].text
    for said in (
        "empty: no energies &lt;in&gt; common {with}",
        "other: 'composition' is missing",
        "bare: 'x' has no coordinate values",
    ):
        assert said in title.replace("<br>", " ")
    (note,) = hv.render(layout, backend="matplotlib").axes[0].texts[-1:]
    assert "not drawn: empty: no energies <in> common {with} 'all'" in note.get_text().replace("\n", " ")


def test_fields__without_any_sample_are_named_with_the_reason(tree):
    maps = {name: node.to_dataset() for name, node in tree.children.items()}
    name = next(name for name, one in maps.items() if "composition" in one)
    none = {"none": maps[name].assign(composition=maps[name]["composition"] * np.nan)}
    layout = plot.fields({**maps, **none})
    assert "not drawn: none: 'composition' holds no sample" in str(
        layout.opts.get("plot", backend="bokeh").kwargs["title"]
    )


def test_fields__none_that_can_be_drawn_is_an_error(tree):
    with pytest.raises(NoStacksError, match=r"none of 4 stacks can be used: .* 'strain' is missing"):
        plot.fields(tree, "strain")


def test_fields__phases_keep_their_colours_whatever_their_place(tree):
    tree["other"] = xr.DataTree(field(6.0, 12, at=(9.0, 9.0), phases=("B", "C")))
    layout = plot.fields(tree, "phase_label")
    first, other = (layout[k].get(0) for k in (0, 4))
    assert style(first, "style")["cmap"] == [*PALETTE[:3], "#9e9e9e"]
    assert {value for value in np.unique(first.dimension_values(2)) if value == value} == {0, 1, 3}
    assert {value for value in np.unique(other.dimension_values(2)) if value == value} == {1, 2, 3}
    assert legends(layout) == [["A", "B", "C", "undecided"]]


def test_fields__a_phase_has_the_colour_that_any_field_gives_it(tree):
    tree["left"] = tree["left"].to_dataset().assign_coords(color=("phase", ["", "#123456"]))
    assert style(plot.fields(tree, "phase_label")[3].get(0), "style")["cmap"][:2] == [PALETTE[0], "#123456"]


def test_fields__many_particles_have_colours_without_names(tree):
    layout = plot.fields(tree, "particle_label")
    image = layout[1].get(0)
    values = image.dimension_values(2, flat=False)
    assert np.isnan(values[0, 0])
    assert len(np.unique(values[np.isfinite(values)])) == 143
    assert not legends(layout)


def test_fields__of_a_time_series_has_to_be_selected(tree):
    series = {"a": tree["left"].to_dataset().expand_dims(time=2)}
    with pytest.raises(NoStacksError, match=r"select along 'time' first, e\.g\. \.isel\(time=0\)"):
        plot.fields(series)


def test_fields__bad_options_say_what_to_type(tree, stack):
    with pytest.raises(ChoiceError, match="did you mean 'common'"):
        plot.fields(tree, scale="comon")
    with pytest.raises(OptionError, match="bit flags"):
        plot.fields(tree, "quality")
    with pytest.raises(OptionError, match="did you mean 'viridis'"):
        plot.fields(tree, cmap="viridsi")
    with pytest.raises(OptionError, match="columns"):
        plot.fields(tree, columns=0)
    with pytest.raises(OptionError, match="give a DataTree"):
        plot.fields(stack)
    many = field(2.0, 4).drop_vars("phase").assign_coords(phase=[f"P{k}" for k in range(25)])
    with pytest.raises(SchemaError, match="a map of 25 classes"):
        plot.fields({"many": many}, "phase_label")


@pytest.mark.parametrize("backend", ["bokeh", "matplotlib"])
@pytest.mark.parametrize("signal", ["composition", "phase_label", "particle_label"])
def test_fields__draw_with_both_backends_and_lazily(tree, backend, signal):
    hv.render(plot.fields(tree.chunk(x=4), signal, columns=2), backend=backend)


def test_tree_accessor__has_the_signature_of_the_function(tree):
    method, function = plot.StxmTreePlotAccessor.fields, plot.fields
    found, expected = (list(inspect.signature(one).parameters.values())[1:] for one in (method, function))
    assert [(p.name, p.kind, p.default) for p in found] == [(p.name, p.kind, p.default) for p in expected]
    assert len(tree.stxm.plot.fields(columns=1)) == 4
