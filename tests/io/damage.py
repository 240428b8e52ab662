"""Files as bad copies and broken disks leave them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import xstxm
from xstxm.errors import StxmError


def damaged(data: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield a content with bytes changed, cut off, repeated or put in, `count` times."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        at = int(rng.integers(len(data)))
        if index % 4 == 0:
            yield data[:at]
        elif index % 4 == 1:
            yield data[:at] + data[at // 2 :]
        elif index % 4 == 2:
            yield data[:at] + rng.bytes(int(rng.integers(1, 9))) + data[at:]
        else:
            changed = np.frombuffer(data, "uint8").copy()
            changed[rng.integers(len(data), size=3)] = rng.integers(256, size=3)
            yield changed.tobytes()


def opens_or_refuses(path: Path, **options: object) -> str:
    """Open and read a scan; return what became of it: ``"opened"`` or the name of an error of this package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with xstxm.open_stack(path, **options) as stack:
                stack.load()
        except StxmError as error:
            return type(error).__name__ if str(error) else "an error without words"
    return "opened"


def spectra_or_refusal(data: bytes) -> str:
    """Read references; return what became of them: ``"read"`` or the name of an error of this package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            references = xstxm.read_references(io.BytesIO(data))
        except StxmError as error:
            return type(error).__name__ if str(error) else "an error without words"
    xstxm.conventions.validate(references, "reference_set")
    return "read"
