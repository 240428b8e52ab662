"""At which length a map varies."""

from __future__ import annotations

from xstxm._specs._spec import PIXEL, specs

SPECS = specs(
    (
        "variance",
        ("scale|length", PIXEL),
        None,
        "float",
        "Variance",
        "Of the map at a scale, or of blocks, noise taken off.",
    ),
    (
        "variance_stderr",
        ("scale|length", PIXEL),
        None,
        "float",
        "Standard error of the variance",
        "Of this field: from the noise of its pixels.",
    ),
    ("variance_lower", ("scale|length", PIXEL), None, "float", "Lower end of the variance", "Of the material."),
    ("variance_upper", ("scale|length", PIXEL), None, "float", "Upper end of the variance", "Of the material."),
    ("variance_share", ("scale",), "1", "float", "Share of the variance", "Of the total variance."),
    ("total_variance", (), None, "float", "Total variance", "Sum over the scales that are known."),
    ("standard_deviation", ("scale",), None, "float", "Standard deviation", "Root of the variance, NaN below zero."),
    ("noise_variance", ("scale|length", PIXEL), None, "float", "Variance of noise", "That was taken off."),
    (
        "sampling_variance",
        ("scale",),
        None,
        "float",
        "Variance of few members",
        "That members of the scale below, of which there are few, add; taken off.",
    ),
    (
        "mixed_variance",
        ("length", PIXEL),
        None,
        "float",
        "Variance of the mixed map",
        "Of blocks of the same pixels, without noise, mixed at random.",
    ),
    ("n_blocks", ("length", PIXEL), None, "float", "Blocks", "That cover the sample side by side."),
    ("n_members", ("scale",), None, "int", "Members", "Pixels, particles, fields."),
)

SCHEMAS: dict[str, tuple[str, ...]] = {
    "heterogeneity": (
        "variance",
        "variance_stderr",
        "variance_lower",
        "variance_upper",
        "variance_share",
        "standard_deviation",
        "noise_variance",
        "sampling_variance",
        "n_members",
        "total_variance",
    ),
    "coarse_grain": (
        "variance",
        "variance_stderr",
        "variance_lower",
        "variance_upper",
        "noise_variance",
        "mixed_variance",
        "n_blocks",
    ),
}
