"""Values along a line through an image."""

from __future__ import annotations

from xstxm._specs._spec import PIXEL, specs

SPECS = specs(
    ("profile", (PIXEL,), None, "float", "Profile", "Values along a line, `distance` in the place of y and x."),
    ("profile_std", (PIXEL,), None, "float", "Spread of the profile", "Standard deviation over the width of the line."),
    ("distance", ("distance",), "um", "float", "Distance", "From the start of the line."),
)

SCHEMAS: dict[str, tuple[str, ...]] = {"line_profile": ("profile", "profile_std", "distance")}
