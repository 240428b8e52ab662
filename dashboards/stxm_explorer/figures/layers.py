"""What a map can show, and what of it is sent to the browser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from stxm_explorer.figures.rasters import (
    Array,
    Crop,
    block_mean,
    block_mode,
    picture_of_bands,
    picture_of_classes,
)


@dataclass(frozen=True)
class Values:
    """A value for each pixel (y, x), and what the tooltip tells where that is another."""

    pixels: Array
    told: Array | None = None

    def columns(self, crop: Crop) -> dict[str, Array]:
        """Return the values of a crop."""
        shown = {"image": self.pixels} if self.told is None else {"image": self.pixels, "told": self.told}
        return {name: block_mean(crop.of(values), crop.factor) for name, values in shown.items()}


@dataclass(frozen=True)
class Classes:
    """A class for each pixel (y, x), and how sure it is."""

    pixels: Array
    colors: tuple[str, ...]
    opacity: Array | None

    def columns(self, crop: Crop) -> dict[str, Array]:
        """Return colours, labels and opacity of a crop."""
        labels = block_mode(crop.of(self.pixels), crop.factor, len(self.colors))
        sure = None if self.opacity is None else block_mean(crop.of(self.opacity), crop.factor)
        columns = {"image": picture_of_classes(labels, self.colors, sure), "label": labels}
        return columns if sure is None else {**columns, "sure": sure}


@dataclass(frozen=True)
class Bands:
    """Red, green and blue in 0 to 1 for each pixel (y, x, band)."""

    pixels: Array

    def columns(self, crop: Crop) -> dict[str, Array]:
        """Return the colours of a crop."""
        return {"image": picture_of_bands(block_mean(crop.of(self.pixels), crop.factor))}


Layer: TypeAlias = Values | Classes | Bands
