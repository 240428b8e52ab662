"""Frames moved by known displacements. A shift is what is added to positions, in pixels (y, x); NaN lies outside."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.fft

from xstxm._kernels.resample import WHOLE, cubic_weights, gather, separable


def move_frames(
    frames: np.ndarray, shifts: np.ndarray, *, method: str, squared: bool, matrices: np.ndarray | None, threads: int = 1
) -> np.ndarray:
    """Return frames (..., y, x) moved by shifts (..., 2).

    Parameters
    ----------
    frames
        float32 or float64; masks and flags, bool or integers, go to the nearest pixel and are zero outside.
    method
        ``"cubic"`` or ``"fourier"``.
    squared
        Weigh by the squares of the interpolation weights, as a variance is.
    matrices
        (..., 2, 2), turns a position about the middle of the moved frame into one about that of the frame; None for
        shifts alone.
    """
    size = frames.shape[-2:]
    out = np.empty(frames.shape, frames.dtype)
    flat, target, by = frames.reshape(-1, *size), out.reshape(-1, *size), shifts.reshape(-1, 2)
    turned = None if matrices is None else matrices.reshape(-1, 2, 2)

    def one(k: int) -> None:
        if frames.dtype.kind != "f":
            target[k] = _nearest(flat[k], by[k], None if turned is None else turned[k])
        elif turned is not None:
            gather(flat[k], *_placement(size, by[k], turned[k]), squared, target[k])
        elif method == "fourier":
            target[k] = _variance_by_phase(flat[k], by[k]) if squared else _by_phase(flat[k], by[k])
        else:
            _cubic(flat[k], by[k], squared, target[k])

    if threads == 1:
        for k in range(len(flat)):
            one(k)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, range(len(flat))))
    return out


def covered_by_all(
    size: tuple[int, int],
    shifts: np.ndarray,
    *,
    method: str,
    matrices: np.ndarray | None,
    known: np.ndarray | None = None,
) -> np.ndarray:
    """Return the pixels (y, x) that are not outside any of the frames moved by shifts (..., 2), as `move_frames` has it.

    Frames have the pixels `known` (y, x) before they are moved, all by default.
    """
    by = np.asarray(shifts, float).reshape(-1, 2)
    if known is not None and not known.all():
        frame = np.where(known, np.float32(1), np.float32(np.nan))[None]
        parts = None if matrices is None else matrices.reshape(-1, 2, 2)
        every = np.ones(size, bool)
        for k, shift in enumerate(by):
            turn = None if parts is None else parts[k : k + 1]
            every &= np.isfinite(move_frames(frame, shift[None], method="cubic", squared=False, matrices=turn)[0])
        return every
    if matrices is None:
        reached = _between_pixels if method == "fourier" else _by_four_pixels
        rows, columns = (reached(n, along) for n, along in zip(size, by.T, strict=True))
        return rows[:, None] & columns
    every, full, out = np.ones(size, bool), np.ones(size, np.float32), np.empty(size, np.float32)
    for shift, matrix in zip(by, matrices.reshape(-1, 2, 2), strict=True):
        gather(full, *_placement(size, shift, matrix), False, out)
        every &= np.isfinite(out)
    return every


def _by_four_pixels(n: int, shifts: np.ndarray) -> np.ndarray:
    ends = [stencil(float(shift), n, False, np.dtype("float32"))[2:] for shift in shifts]
    first, last = max(end[0] for end in ends), min(end[1] for end in ends)
    return (np.arange(n) >= first) & (np.arange(n) < last)


def _between_pixels(n: int, shifts: np.ndarray) -> np.ndarray:
    """Return where, along an axis of n pixels, frames moved by any of the shifts lie between their pixels."""
    at = np.arange(n)
    return (at - shifts.max() > -WHOLE) & (at - shifts.min() < n - 1 + WHOLE)


def stencil(shift: float, n: int, squared: bool, dtype: np.dtype) -> tuple[int, tuple[np.floating, ...], int, int]:
    """Return where the source of pixel 0 begins, its weights, and the first and last + 1 pixel that has all it needs."""
    whole = int(np.floor(-shift))
    fraction = -shift - whole
    if min(fraction, 1 - fraction) < WHOLE:
        return int(np.rint(-shift)), (dtype.type(1),), max(0, int(np.rint(shift))), min(n, n + int(np.rint(shift)))
    weights = cubic_weights(fraction, dtype)
    used = tuple(w * w for w in weights) if squared else weights
    return whole - 1, used, max(0, 1 - whole), min(n, n - 2 - whole)


def _cubic(frame: np.ndarray, shift: np.ndarray, squared: bool, out: np.ndarray) -> None:
    (row, weights_y, top, bottom), (column, weights_x, left, right) = (
        stencil(float(by), n, squared, out.dtype) for by, n in zip(shift, frame.shape, strict=True)
    )
    if top >= bottom or left >= right:
        out[...] = np.nan
        return
    for rim in (out[:top], out[bottom:], out[top:bottom, :left], out[top:bottom, right:]):
        rim[...] = np.nan
    inner = out[top:bottom, left:right]
    separable(np.ascontiguousarray(frame), top + row, left + column, weights_y, weights_x, inner)


def _by_phase(frame: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Move the mirrored frame by the phase of its transform: without a jump at the border, it does not ring."""
    rows, columns = frame.shape
    mirrored = np.block([[frame, frame[:, ::-1]], [frame[::-1], frame[::-1, ::-1]]])
    ky, kx = scipy.fft.fftfreq(2 * rows)[:, None], scipy.fft.rfftfreq(2 * columns)
    phase = np.exp(-2j * np.pi * (ky * shift[0] + kx * shift[1])).astype(np.result_type(frame.dtype, np.complex64))
    moved = scipy.fft.irfft2(scipy.fft.rfft2(mirrored) * phase, s=mirrored.shape)[:rows, :columns]
    return np.where(_inside(frame.shape, shift), moved, np.nan)


def _variance_by_phase(variance: np.ndarray, shift: np.ndarray) -> np.ndarray:
    along_y, along_x = (_phase_matrix(n, float(by)) ** 2 for n, by in zip(variance.shape, shift, strict=True))
    return np.where(_inside(variance.shape, shift), along_y @ variance @ along_x.T, np.nan)


def _phase_matrix(n: int, shift: float) -> np.ndarray:
    """Return the weights (n, n) with which `_by_phase` moves along one axis."""
    mirrored = np.concatenate([np.eye(n), np.eye(n)[::-1]])
    phase = np.exp(-2j * np.pi * scipy.fft.rfftfreq(2 * n) * shift)[:, None]
    return scipy.fft.irfft(scipy.fft.rfft(mirrored, axis=0) * phase, 2 * n, axis=0)[:n]


def _inside(size: tuple[int, ...], shift: np.ndarray) -> np.ndarray:
    """Return where a moved frame lies between pixels of the frame."""
    rows, columns = (_between_pixels(n, by) for n, by in zip(size, shift, strict=True))
    return rows[:, None] & columns


def _placement(size: tuple[int, int], shift: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centre = (np.array(size) - 1) / 2
    return matrix, centre - matrix @ centre - shift


def _nearest(frame: np.ndarray, shift: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    from scipy.ndimage import affine_transform

    matrix, offset = (np.eye(2), settled(-shift)) if matrix is None else _placement(frame.shape, shift, matrix)
    plain = frame.astype(np.uint8) if frame.dtype == bool else frame
    return affine_transform(plain, matrix, offset, order=0, mode="constant", cval=0).astype(frame.dtype)


def settled(offset: np.ndarray) -> np.ndarray:
    """Return an offset without the rounding of its last digits, which next to half a pixel would decide otherwise elsewhere."""
    return np.round(offset, 9)
