"""Maps of two instruments on the same pixels: where they lie, and how far they agree."""

from __future__ import annotations

from xstxm._specs._spec import PIXEL, specs

SPECS = specs(
    (
        "outline_y",
        ("corner",),
        "um",
        "float",
        "Outline along y",
        "Corners of the fine field, in the positions of the coarse map.",
    ),
    (
        "outline_x",
        ("corner",),
        "um",
        "float",
        "Outline along x",
        "Corners of the fine field, in the positions of the coarse map.",
    ),
    ("overlap_share", (), "1", "float", "Overlap", "Share of the area of the fine field that the coarse map covers."),
    (
        "rival_correlation",
        (),
        "1",
        "float",
        "Correlation elsewhere",
        "Of the best other place: where it is as high as the correlation found, the place is not certain.",
    ),
    ("bias", (PIXEL,), None, "float", "Bias", "Mean difference, the other map minus the one."),
    (
        "bias_stderr",
        (PIXEL,),
        None,
        "float",
        "Standard error of the bias in these pixels",
        "From the noise of the pixels.",
    ),
    (
        "bias_sampling_stderr",
        (PIXEL,),
        None,
        "float",
        "Standard error of the bias elsewhere",
        "From the autocovariance of the differences: how far it is from that of many such fields.",
    ),
    ("difference_spread", (PIXEL,), None, "float", "Standard deviation of the differences", "Over the pixels."),
    (
        "difference_lower",
        (PIXEL,),
        None,
        "float",
        "Lower limit of agreement",
        "Bias minus so many standard deviations.",
    ),
    ("difference_upper", (PIXEL,), None, "float", "Upper limit of agreement", "Bias plus so many standard deviations."),
    (
        "difference_limit_sampling_stderr",
        (PIXEL,),
        None,
        "float",
        "Standard error of the limits of agreement",
        "Of either: how far it is from that of many such fields.",
    ),
    ("difference_rms", (PIXEL,), None, "float", "RMS difference", "Over the pixels."),
    ("map_correlation", (PIXEL,), "1", "float", "Correlation of the maps", "Over the pixels."),
    (
        "share_beyond",
        (PIXEL,),
        "1",
        "float",
        "Pixels that differ",
        "Share of those that differ by more than their joint error.",
    ),
    ("n_differences", (PIXEL,), None, "int", "Pixels compared", "Those with a value in both maps."),
)

SCHEMAS: dict[str, tuple[str, ...]] = {
    "locate": ("outline_y", "outline_x", "overlap_share", "rival_correlation"),
    "bland_altman": (
        "bias",
        "bias_stderr",
        "bias_sampling_stderr",
        "difference_spread",
        "difference_lower",
        "difference_upper",
        "difference_limit_sampling_stderr",
        "difference_rms",
        "map_correlation",
        "share_beyond",
        "n_differences",
    ),
}
