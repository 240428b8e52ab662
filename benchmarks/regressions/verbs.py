"""The verbs in memory, size S, and lazily."""

from __future__ import annotations

from bench_fit import counted, make_case
from bench_structure import N_CLUSTERS, N_SCORES, N_SIGNALS, generated, make_stack, references
from drifting_stacks import drifting_stack
from measuring import SIDES

import xstxm


class Density:
    def setup(self) -> None:
        self.counts, self.i0 = counted(make_case("S")[0])
        self.time_optical_density()

    def time_optical_density(self) -> None:
        xstxm.optical_density(self.counts, self.i0)

    def peakmem_optical_density(self) -> None:
        xstxm.optical_density(self.counts, self.i0)


class Fit:
    params = (["lstsq", "nnls", "fcls"], ["float32", "float64"])
    param_names = ("method", "dtype")

    def setup(self, method: str, dtype: str) -> None:
        self.od, self.references = make_case("S", dtype=dtype)
        self.time_fit(method, dtype)

    def time_fit(self, method: str, dtype: str) -> None:
        xstxm.fit(self.od, self.references, method=method)

    def time_fit_lazily(self, method: str, dtype: str) -> None:
        xstxm.fit(self.od.chunk(y=64), self.references, method=method).compute()

    def peakmem_fit(self, method: str, dtype: str) -> None:
        xstxm.fit(self.od, self.references, method=method)


class References:
    """How the time grows with the number of references."""

    params = ([2, 4, 6, 8, 10, 12, 16],)
    param_names = ("references",)

    def setup(self, n: int) -> None:
        self.od, self.references = make_case("S", n_references=n)
        self.time_nnls(n)

    def time_nnls(self, n: int) -> None:
        xstxm.fit(self.od, self.references)


class Structure:
    def setup(self) -> None:
        self.od = make_stack((SIDES["S"],) * 2)

    def time_pca(self) -> None:
        xstxm.pca(self.od, N_SCORES)

    def peakmem_pca(self) -> None:
        xstxm.pca(self.od, N_SCORES)

    def time_cluster(self) -> None:
        xstxm.cluster(self.od, N_CLUSTERS, n_components=N_SIGNALS)


class Alignment:
    def setup(self) -> None:
        self.intensity = drifting_stack(SIDES["S"], counts=4000.0, seed=0, n_energies=40).intensity
        self.shifts = xstxm.estimate_shifts(self.intensity)

    def time_estimate_shifts(self) -> None:
        xstxm.estimate_shifts(self.intensity)

    def time_apply_shifts(self) -> None:
        xstxm.apply_shifts(self.intensity, self.shifts)


class Lazily:
    """A stack of 1 GB, made chunk by chunk, that is not in memory at once."""

    def setup(self) -> None:
        self.od, self.references = generated(1.0), references()

    def peakmem_fit(self) -> None:
        xstxm.compute(xstxm.fit(self.od, self.references))

    def track_tasks_of_fit(self) -> int:
        return len(dict(xstxm.fit(self.od, self.references).__dask_graph__()))

    def track_tasks_of_pca(self) -> int:
        return len(dict(xstxm.pca(self.od, N_SCORES).__dask_graph__()))
