"""What is known of the frames of a stack, and how they are moved."""

from __future__ import annotations

from xstxm._specs._spec import ENERGY, PIXEL, STACK, specs

SPECS = specs(
    (
        "frame_quality",
        (ENERGY, PIXEL),
        None,
        "int",
        "Frame quality flags",
        "Bits that say what is doubtful about a frame; 0 where nothing is.",
    ),
    ("frame_mean", (ENERGY, PIXEL), "count", "float", "Mean of the frame", "Mean over its finite pixels."),
    (
        "frame_similarity",
        (ENERGY, PIXEL),
        "1",
        "float",
        "Similarity of the frame",
        "Share of its variance over the pixels that its neighbours in energy explain.",
    ),
    ("dark_fraction", (ENERGY, PIXEL), "1", "float", "Dark share", "Of the brighter half of the pixels."),
    ("missing_fraction", (ENERGY, PIXEL), "1", "float", "Missing share", "NaN, of the pixels measured in most frames."),
    (
        "duplicate_of",
        (ENERGY, PIXEL),
        None,
        "int",
        "Repeats frame",
        "Position along energy of an earlier frame that is equal bit for bit; -1 without one.",
    ),
    ("spike", STACK, None, "bool", "Spike", "True where despike put a value in."),
    ("bad_pixel", (PIXEL,), None, "bool", "Bad pixel", "True where a pixel was repaired at every energy."),
    (
        "line_correction",
        (ENERGY, PIXEL),
        None,
        "float",
        "Line correction",
        "What a line was divided by (gain), or what was taken from it (offset).",
    ),
    (
        "shift_y",
        (ENERGY, PIXEL),
        "um",
        "float",
        "Shift along y",
        "Added to the positions of a frame it moves it onto the others.",
    ),
    (
        "shift_y_stderr",
        (ENERGY, PIXEL),
        "um",
        "float",
        "Standard error of the shift along y",
        "Against the mean of the frames; NaN where the reference gives none.",
    ),
    (
        "shift_x",
        (ENERGY, PIXEL),
        "um",
        "float",
        "Shift along x",
        "Added to the positions of a frame it moves it onto the others.",
    ),
    (
        "shift_x_stderr",
        (ENERGY, PIXEL),
        "um",
        "float",
        "Standard error of the shift along x",
        "Against the mean of the frames; NaN where the reference gives none.",
    ),
    (
        "magnification",
        (ENERGY, PIXEL),
        "1",
        "float",
        "Magnification",
        "Size of the sample in a frame over that in the first sound one.",
    ),
    (
        "rotation",
        (ENERGY, PIXEL),
        "deg",
        "float",
        "Rotation",
        "Of the sample in a frame against the first sound one, x towards y.",
    ),
    ("correlation", (ENERGY, PIXEL), "1", "float", "Correlation", "Of a frame with what it was aligned to."),
    (
        "residual_ratio",
        (ENERGY, PIXEL),
        "1",
        "float",
        "Residual ratio",
        "RMS of what the model leaves of a frame, over that of the median frame.",
    ),
)

SCHEMAS: dict[str, tuple[str, ...]] = {
    "flag_frames": (
        "frame_quality",
        "frame_mean",
        "frame_similarity",
        "dark_fraction",
        "missing_fraction",
        "duplicate_of",
    ),
    "read_shifts": ("shift_y", "shift_x"),
    "estimate_shifts": (
        "shift_y",
        "shift_x",
        "shift_y_stderr",
        "shift_x_stderr",
        "correlation",
        "residual_ratio",
        "frame_quality",
    ),
}
