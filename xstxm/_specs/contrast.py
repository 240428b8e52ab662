"""Edges, peaks, contrast between energies and dichroism."""

from __future__ import annotations

from xstxm._specs._spec import PIXEL, STACK, specs

SPECS = specs(
    (
        "normalized_absorption",
        STACK,
        "1",
        "float",
        "Normalised absorption",
        "(signal - pre-edge line) / edge step: 0 before the edge, 1 behind it.",
    ),
    (
        "normalized_absorption_variance",
        STACK,
        "1",
        "float",
        "Variance of the normalised absorption",
        "From the variance of the signal; the part of the edge step, shared by all energies, included.",
    ),
    ("edge_step", (PIXEL,), None, "float", "Edge step", "Post-edge line minus pre-edge line, at the edge."),
    ("edge_step_stderr", (PIXEL,), None, "float", "Standard error of the edge step", "From the variance or residual."),
    ("edge_energy", (PIXEL,), "eV", "float", "Edge energy", "Energy of half the step, or of the steepest rise."),
    (
        "edge_energy_stderr",
        (PIXEL,),
        "eV",
        "float",
        "Standard error of the edge energy",
        "From the variance or residual.",
    ),
    ("peak_energy", (PIXEL,), "eV", "float", "Peak energy", "Energy at which the fitted curve is highest."),
    (
        "peak_energy_stderr",
        (PIXEL,),
        "eV",
        "float",
        "Standard error of the peak energy",
        "From the variance or residual.",
    ),
    ("peak_height", (PIXEL,), None, "float", "Peak height", "Value of the fitted curve at its highest point."),
    (
        "peak_height_stderr",
        (PIXEL,),
        None,
        "float",
        "Standard error of the peak height",
        "From the variance or residual.",
    ),
    ("peak_amplitude", (PIXEL,), None, "float", "Peak amplitude", "Height of the Gaussian above its constant base."),
    (
        "peak_amplitude_stderr",
        (PIXEL,),
        None,
        "float",
        "Standard error of the amplitude",
        "From the variance or residual.",
    ),
    ("peak_width", (PIXEL,), "eV", "float", "Peak width", "Full width of the Gaussian at half of its amplitude."),
    (
        "peak_width_stderr",
        (PIXEL,),
        "eV",
        "float",
        "Standard error of the peak width",
        "From the variance or residual.",
    ),
    ("difference", (PIXEL,), None, "float", "Difference", "Mean of the signal at `on` minus that at `off`."),
    (
        "difference_stderr",
        (PIXEL,),
        None,
        "float",
        "Standard error of the difference",
        "From the variance or residual.",
    ),
    ("ratio", (PIXEL,), "1", "float", "Ratio", "Mean of the signal at `on` divided by that at `off`."),
    ("ratio_stderr", (PIXEL,), "1", "float", "Standard error of the ratio", "From the variance or residual."),
    ("dichroism_sum", STACK, None, "float", "Sum of the polarizations", "plus + minus."),
    ("dichroism_sum_stderr", STACK, None, "float", "Standard error of the sum", "From the variances."),
    ("dichroism_difference", STACK, None, "float", "Dichroism", "plus - minus."),
    ("dichroism_difference_stderr", STACK, None, "float", "Standard error of the dichroism", "From the variances."),
    ("dichroism_asymmetry", STACK, "1", "float", "Asymmetry", "(plus - minus) / (plus + minus)."),
    ("dichroism_asymmetry_stderr", STACK, "1", "float", "Standard error of the asymmetry", "From the variances."),
)

SCHEMAS: dict[str, tuple[str, ...]] = {
    "edge_map": ("edge_energy", "edge_energy_stderr", "quality"),
    "peak_map": ("peak_energy", "peak_energy_stderr", "peak_height", "peak_height_stderr", "quality"),
    "difference_map": ("difference", "quality"),
    "ratio_map": ("ratio", "quality"),
    "dichroism": ("dichroism_sum", "dichroism_difference", "dichroism_asymmetry", "quality"),
}
