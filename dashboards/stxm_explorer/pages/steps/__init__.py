"""The steps of the preparation, in their order."""

from stxm_explorer.pages.steps.alignment import Alignment
from stxm_explorer.pages.steps.density import Density
from stxm_explorer.pages.steps.frames import Frames
from stxm_explorer.pages.steps.incident import Incident
from stxm_explorer.pages.steps.step import Measured, Step

__all__ = ["STEPS", "Measured", "Step"]

STEPS: dict[str, type[Step]] = {step.title: step for step in (Frames, Alignment, Incident, Density)}
"""By title."""
