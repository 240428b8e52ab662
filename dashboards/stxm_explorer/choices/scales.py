"""Length scales and particles."""

from __future__ import annotations

from typing import Any

import param

from stxm_explorer.settings import Settings

LENGTH_TABS = ("Fields", "Variance", "Coarse-graining", "Correlation", "Particles")
QUANTITIES = {"Composition": "composition", "Fraction of a phase": "fraction", "Total amount": "amount"}
FRAMES = {"True to scale": "common", "Equally large": "fill"}
WEIGHTS = {"Areas": "area", "Particles": "particle"}


class Scales(Settings):
    """Length scales and particles."""

    tab: Any = param.Selector(default="Fields", objects=list(LENGTH_TABS), doc="What is looked at.")
    quantity: Any = param.Selector(
        default="composition",
        objects=list(QUANTITIES.values()),
        doc="What is compared over lengths. Where no composition is given, the fraction of a phase stands in for it.",
    )
    phase = param.String("", doc="Phase whose fraction is compared; the first one by default.")
    left_out = param.List(
        [],
        item_type=str,
        doc="Fields that do not count here. Leave out those that show the same place once more, overview or details.",
    )
    labels = param.Boolean(False, doc="Draw which phase is the largest in place of the quantity.")
    scale: Any = param.Selector(
        default="common",
        objects=list(FRAMES.values()),
        doc="A micrometre is as long in all maps, or all maps are as large, each with a scale bar.",
    )
    weights: Any = param.Selector(
        default="area",
        objects=list(WEIGHTS.values()),
        doc="Whether every area counts the same, or every particle whatever its size.",
    )
    length = param.Number(None, bounds=(0, None), allow_None=True, doc="Side of the blocks of the map, in um.")
    in_particles = param.Boolean(
        True, doc="Compare pixels of the same particle only; otherwise pixels anywhere in the field."
    )
    together = param.Boolean(
        False,
        doc="One length of the material from all fields, whose pixels then have one size; otherwise one for each.",
    )
    min_amount = param.Number(0.0, bounds=(0, None), doc="Least amount of a sample pixel; 0 finds it from the map.")
    min_area = param.Number(
        0.0, bounds=(0, None), doc="Area of the smallest particle in um²; 0 takes that of 9 pixels."
    )
    max_neck = param.Number(
        0.8,
        bounds=(0, 1),
        step=0.05,
        doc="Relative width of a neck at which two parts become one particle; 0 parts nothing.",
    )
    whole = param.Boolean(True, doc="Leave out particles that the edge of the image cuts: their shape is not known.")
    relative = param.Boolean(False, doc="Subtract the mean of each particle: what is left has to do with depth.")
    particles = param.List([], item_type=int, doc="Numbers of the particles that are looked at.")
