"""Make docs/_static/readme.png: optical density, phases and composition of a synthetic stack."""

import tempfile
from pathlib import Path

import matplotlib.image
import numpy as np

import xstxm
from xstxm import plot

FILE = Path(__file__).parent / "_static" / "readme.png"


def panels(folder: Path) -> list[Path]:
    """Simulate a stack, map it, and write three pictures."""
    stack = xstxm.testing.simulate_stack(shape=(150, 200), seed=3)
    density = xstxm.optical_density(stack)
    phases = xstxm.phase_map(density, xstxm.testing.simulate_references())
    plots = {
        "density": plot.image(density, "518.5 eV", title="Synthetic stack at 518.5 eV"),
        "phases": plot.phase_map(phases, title="Phases"),
        "composition": plot.composition(phases, title="Composition"),
    }
    return [plot.save(drawn, folder / f"{name}.png", dpi=65) for name, drawn in plots.items()]


def side_by_side(pictures: list[Path]) -> np.ndarray:
    """Join pictures in a row, white where one is less high."""
    pixels = [matplotlib.image.imread(path)[..., :3] for path in pictures]
    height = max(len(picture) for picture in pixels)
    padded = [np.pad(p, ((0, height - len(p)), (0, 12), (0, 0)), constant_values=1) for p in pixels]
    return np.concatenate(padded, axis=1)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        matplotlib.image.imsave(FILE, side_by_side(panels(Path(folder))))
