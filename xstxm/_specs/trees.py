"""Tables of the stacks of a tree."""

from __future__ import annotations

from xstxm._specs._spec import specs

SPECS = specs(
    (
        "pixel_size",
        ("node",),
        "um",
        "float",
        "Pixel size",
        "Side of a square as large as a pixel; NaN without an image.",
    ),
    (
        "pixel_count",
        ("node",),
        None,
        "int",
        "Pixels of the field",
        "All of them, with sample or without; 0 of a node that was left out before.",
    ),
    ("field_area", ("node",), "um**2", "float", "Area of the field", "All of it, with sample or without."),
    ("energy_count", ("node",), None, "int", "Energies", "Energies of the stack."),
    ("energy_min", ("node",), "eV", "float", "Lowest energy", "Of the stack."),
    ("energy_max", ("node",), "eV", "float", "Highest energy", "Of the stack."),
    ("left_out", ("node",), None, "text", "Left out", "Why the node is not in the table; empty where it is."),
)

SCHEMAS: dict[str, tuple[str, ...]] = {"tree_summary": ("pixel_size", "pixel_count", "field_area", "left_out")}
