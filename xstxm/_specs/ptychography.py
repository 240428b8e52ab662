"""What ptychography adds to a stack: the complex transmission, and the phase that the sample shifts it by."""

from __future__ import annotations

from xstxm._specs._spec import STACK, specs

SPECS = specs(
    (
        "transmission",
        STACK,
        "1",
        "complex",
        "Transmission",
        "Complex transmission function as it was reconstructed, exp(-OD / 2 + i phase) but for factor and ramp.",
    ),
    ("phase_shift", STACK, "rad", "float", "Phase shift", "Of the wave behind the sample, against that beside it."),
    (
        "phase_shift_variance",
        STACK,
        "rad**2",
        "float",
        "Variance of the phase shift",
        "From the scatter of the empty region; the part of the plane, shared by all pixels, included.",
    ),
)

SCHEMAS: dict[str, tuple[str, ...]] = {
    "from_transmission": ("optical_density", "phase_shift", "quality"),
}
