"""What a stack holds, its I0 and its spectra."""

from __future__ import annotations

from xstxm._specs._spec import ENERGY, PIXEL, STACK, specs

SPECS = specs(
    ("energy", (ENERGY,), "eV", "float", "Photon energy", "Photon energy, any spacing and order."),
    ("y", ("y",), "um", "float", "y position", "Pixel centres; row 0 is the first y position, y points up."),
    ("x", ("x",), "um", "float", "x position", "Pixel centres; column 0 is the first x position."),
    ("dwell_time", (ENERGY,), "ms", "float", "Dwell time", "Exposure of a pixel."),
    ("ring_current", (ENERGY,), "mA", "float", "Ring current", "Stored beam; never applied silently."),
    ("source_file", (ENERGY,), None, "text", "Source file", "Name of the file of each energy."),
    ("intensity", STACK, "count", "float", "Transmitted intensity", "Counts behind the sample."),
    ("intensity_variance", STACK, "count**2", "float", "Variance of the intensity", "Of each value."),
    ("i0", (ENERGY,), "count", "float", "Incident intensity", "Counts without a sample."),
    (
        "i0_stderr",
        (ENERGY,),
        "count",
        "float",
        "Standard error of I0",
        "Spread over the I0 pixels / sqrt(n); NaN of one pixel, unless the variance of its counts is known.",
    ),
    ("optical_density", STACK, "1", "float", "Optical density", "-ln(I / I0), natural logarithm."),
    (
        "optical_density_variance",
        STACK,
        "1",
        "float",
        "Variance of the optical density",
        "var(I) / I^2 + var(I0) / I0^2; the part of I0, shared by all its pixels, included.",
    ),
    ("mask", (PIXEL,), None, "bool", "Pixel mask", "True where a pixel is used."),
    (
        "quality",
        (PIXEL,),
        None,
        "int",
        "Quality flags",
        "Bits that say what is doubtful about a pixel; 0 where nothing is.",
    ),
    ("spectrum", (ENERGY,), None, "float", "Mean spectrum", "Mean over the pixels of a region."),
    (
        "spectrum_std",
        (ENERGY,),
        None,
        "float",
        "Spread of the spectrum",
        "Standard deviation over the region.",
    ),
    (
        "spectrum_variance",
        (ENERGY,),
        None,
        "float",
        "Variance of the mean spectrum",
        "Of the mean of independent pixels; what they share, as the noise of I0, does not average out.",
    ),
    (
        "n_pixels",
        (f"{ENERGY}|cluster|phase", PIXEL),
        None,
        "int",
        "Pixels",
        "Finite pixels of the region at each energy, or pixels that are labelled as a cluster or phase.",
    ),
)

SCHEMAS: dict[str, tuple[str, ...]] = {
    "stack": ("energy",),
    "estimate_i0": ("i0", "i0_stderr", "mask"),
    "spectrum": ("spectrum", "spectrum_std", "n_pixels"),
}
