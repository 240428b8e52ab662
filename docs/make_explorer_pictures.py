"""Make the pictures of the manual small, from those that the tests of the explorer keep.

XSTXM_SCREENSHOTS=shots pytest tests/dashboard/test_ui_pictures.py
python docs/make_explorer_pictures.py shots
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

PICTURES = (
    "data-light",
    "prepare-light",
    "explore-light",
    "explore-dark",
    "unmix-light",
    "phases-light",
    "phases-dark",
    "length-scales-light",
    "export-light",
)
HEIGHT = 690
"""Rows of a screenshot, from the top, that are kept."""
WIDTH = 900
COLORS = 44


def make_small(shot: Path, picture: Path) -> None:
    """Write a screenshot with fewer pixels and colours."""
    image = Image.open(shot).convert("RGB")
    image = image.crop((0, 0, image.width, HEIGHT))
    size = (WIDTH, round(image.height * WIDTH / image.width))
    image.resize(size, Image.Resampling.LANCZOS).quantize(COLORS, kmeans=3, dither=Image.Dither.NONE).save(
        picture, optimize=True
    )


if __name__ == "__main__":
    folder = Path(__file__).parent / "_static" / "explorer"
    folder.mkdir(exist_ok=True)
    for name in PICTURES:
        make_small(Path(sys.argv[1]) / f"{name}-1280.png", folder / f"{name}.png")
