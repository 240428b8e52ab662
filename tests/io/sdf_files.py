"""Writes tiny SDF scans, as the programs of several beamlines write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

ENERGIES = (700.0, 705.5, 708.25, 710.0)
X = (10.0, 10.5, 11.0, 11.5)
Y = (-3.0, -2.5, -2.0)
COUNTS = (("counter0", "counts"),)


def axis(name: str, unit: str, points: Sequence[float]) -> str:
    """One axis; Max is one step beyond the last point, as in real files."""
    numbers = ", ".join(f"{value:.3f}" for value in points)
    return (
        f'{{ Name = "{name}"; Unit = "{unit}"; Min = {points[0]}; Max = {points[-1] + 1}; Dir = 1;\n'
        f"\t\tPoints = ({len(points)}, {numbers});\n}}"
    )


def header(
    *,
    kind: str = "NEXAFS Image Scan",
    flags: str = "Image Stack",
    p: str = "",
    q: str = "",
    regions: Sequence[tuple[str, str]] = (),
    stack: str = "",
    channels: Sequence[tuple[str, str]] = COUNTS,
    dwell: str = "Dwell = 0.5;",
    time: str = "2007 December 14 18:52:00",
    extra: str = "",
) -> str:
    """The text of a header, with a blank first line."""
    pairs = regions or [(p, q)]
    blocks = ",\n".join(f"{{ PAxis = {p};" + (f" QAxis = {q};" if q else "") + "}" for p, q in pairs)
    listed = ", ".join(f'{{ Name = "{name}"; Unit = "{unit}";}}' for name, unit in channels)
    return (
        f'\nScanDefinition = {{ Label = "other_name.hdr"; Type = "{kind}"; Flags = "{flags}"; {dwell}\n'
        f"\tRegions = ({len(pairs)},\n{blocks});\n"
        + (f"\tStackAxis = {stack};\n" if stack else "")
        + f"\tChannels = ({len(channels)}, {listed});\n}};\n"
        + (f' Time = "{time}"; BeamFeedback = true;\n' if time else "")
        + f"{extra}\n"
    )


def write_frame(path: Path, frame: np.ndarray, *, newline: str = "\n", trailing: str = "") -> None:
    """One frame, a row of y per line."""
    rows = ["\t".join(f"{value:g}" for value in row) + trailing for row in frame]
    path.write_bytes((newline.join(rows) + newline).encode("latin-1"))


def counts(energies: int = 4, shape: tuple[int, int] = (3, 4)) -> np.ndarray:
    """Numbers that tell every pixel and every energy apart, (energy, y, x)."""
    size = energies * shape[0] * shape[1]
    return (100 + np.arange(size, dtype="float32")).reshape(energies, *shape)


def write_stack(
    folder: Path,
    data: np.ndarray | None = None,
    *,
    base: str = "scan",
    numbers: Sequence[int] | None = None,
    energies: Sequence[float] = ENERGIES,
    letters: str = "a",
    newline: str = "\n",
    trailing: str = "",
    **fields: object,
) -> Path:
    """An image stack; returns the path of its header."""
    data = counts(len(energies)) if data is None else data
    numbers = range(len(data)) if numbers is None else numbers
    defaults = {
        "p": axis("Sample X", "um", X),
        "q": axis("Sample Y", "um", Y),
        "stack": axis("Energy", "eV", energies),
    }
    text = header(**{**defaults, **fields})  # type: ignore[arg-type]
    path = folder / f"{base}.hdr"
    path.write_bytes(text.replace("\n", newline).encode("latin-1"))
    for place, letter in enumerate(letters):
        for number, frame in zip(numbers, data, strict=True):
            frame_path = folder / f"{base}_{letter}{number:03d}.xim"
            write_frame(frame_path, frame + 1000 * place, newline=newline, trailing=trailing)
    return path
