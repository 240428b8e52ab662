"""The compiled code of the usual analyses, made once and kept on disk, so that no later start waits for it."""

from __future__ import annotations

import os
from pathlib import Path

from xstxm.errors import OptionError, PerformanceWarning, heard, warn


def warm(*, everything: bool = False) -> int:
    """Run the usual chain, counts to optical density to maps, on a small synthetic stack in both precisions. Eager.

    numba keeps what that compiles, for other processes too.

    Parameters
    ----------
    everything
        Run the fits that weigh by the noise too, those that choose references, those of counts with an I0 of each pixel,
        clusters and alignment: they compile for longer.

    Returns
    -------
    int
        The number of functions that were compiled; none where all were kept.

    Raises
    ------
    OptionError
        There is no folder that numba can keep them in.
    """
    from numba.core import event

    with event.install_recorder("numba:compile") as compiled, heard():
        try:
            for dtype in ("float32", "float64"):
                _map(dtype, everything)
        except RuntimeError as error:
            if "no locator" not in str(error):
                raise
            do = "numba finds no folder to keep compiled code in: set it to one that can be written to"
            raise OptionError("NUMBA_CACHE_DIR", os.environ.get("NUMBA_CACHE_DIR"), do) from error
    return len(compiled.buffer) // 2  # a start and an end


def kept_in() -> Path:
    """Return the folder of the compiled code.

    Warns
    -----
    PerformanceWarning
        It is not the one that NUMBA_CACHE_DIR names.
    """
    from xstxm._kernels.lanes import plain_test

    folder, asked = Path(str(plain_test.stats.cache_path)), os.environ.get("NUMBA_CACHE_DIR")
    if asked and not folder.is_relative_to(Path(asked).absolute()):
        do = "let it be written to, or name another folder"
        warn(f"NUMBA_CACHE_DIR={asked} cannot be written to, so numba uses {folder}: {do}", PerformanceWarning)
    return folder


def _map(dtype: str, everything: bool) -> None:
    import xstxm

    references = xstxm.testing.simulate_references()
    made = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    stack, i0 = made[["intensity"]].astype(dtype), made["true_i0"]
    stack["intensity"][3, 4, 5] = 0  # counts of zero have a way of their own
    density, noisy = xstxm.optical_density(stack), xstxm.optical_density(stack, noise="poisson")
    xstxm.phase_map(density, references)
    xstxm.phase_map(density, references, method="fcls")
    xstxm.fit(density, references, method="lstsq")
    xstxm.fit(stack.assign(i0=i0), references)
    if everything:
        of_each = i0.broadcast_like(stack["intensity"]).assign_attrs(i0.attrs)
        xstxm.fit(xstxm.optical_density(stack, of_each)[["optical_density"]], references)
        xstxm.fit(stack.assign(i0=of_each), references)
        xstxm.phase_map(noisy, references)
        for given in (density, noisy):
            xstxm.phase_map(given, references, selection="bic")
        xstxm.phase_map(density)
        xstxm.align(stack)
