"""The fit of complete pixels on a GPU in one pass: counts or optical densities are read once, maps are written once.

CUDA C++, compiled for each plan by what CuPy calls `RawKernel`. Projections and sums are in float64, so that the sum of squares
of the residual, a small difference of large ones, keeps the accuracy of the data. Index letters as in `array_fit`.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np

from xstxm._kernels.block_fit import ALL_AT_ONCE, ONE_BY_ONE, UNDONE
from xstxm._kernels.density_lines import LOST, NOT_BRIGHTER, THICK, UNMEASURED, over_incident
from xstxm._kernels.devices import beside, library_of, on_host
from xstxm._kernels.fit_plan import FCLS, LSTSQ, Maps, Plan
from xstxm._kernels.linear_fit import Incident

THREADS = 256

SOURCE = r"""
extern "C" __global__ void fit(
    const float* __restrict__ data, const float* __restrict__ dark, const float* __restrict__ inverse, float thick,
    const double* __restrict__ basis, const double* __restrict__ tables, const double* __restrict__ free_amounts,
    const double* __restrict__ constant, const double* __restrict__ scale, const double* __restrict__ outcome,
    const double* __restrict__ spread, float* __restrict__ out, short* __restrict__ active_out,
    unsigned char* __restrict__ bits, long long n_pixels, long long row)
{
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long p = (long long)blockIdx.x * blockDim.x + threadIdx.x; p < n_pixels; p += step) {
        double projected[T + N], square = 0;
        for (int u = 0; u < T + N; u++) projected[u] = 0;
        bool complete = true;
#if COUNTS
        float highest = -3.402823466e38f;
        int seen = 0;
#endif
        for (int e = 0; e < E; e++) {
            float od = data[e * row + p];
#if COUNTS
            const float value = od - dark[e], share = value * inverse[e];
            const bool usable = share > 0 && share <= 3.402823466e38f;
            od = usable ? -logf(share) : 0.0f;
            if (!usable) seen |= (value == value ? LOST : UNMEASURED) | NOT_BRIGHTER;
            else if (od > highest) highest = od;
#else
            const bool usable = od >= -3.402823466e38f && od <= 3.402823466e38f;
#endif
            complete = complete && usable;
            square += (double)od * od;
            for (int u = 0; u < T + N; u++) projected[u] += basis[u * E + e] * od;
        }
#if COUNTS
        if (highest > thick) seen |= THICK;
        if (!(highest < 0) || highest == -3.402823466e38f) seen |= NOT_BRIGHTER;
        bits[p] = (unsigned char)seen;
#endif
        const double* target = projected + T;
        double amount[N];
        for (int r = 0; r < N; r++) {
            double x = constant[r];
            for (int j = 0; j < N; j++) x += free_amounts[r * N + j] * target[j];
            amount[r] = x;
        }
        int active = N, in_use = 0;  // the number of references above zero, and which, as bits
#if BOUNDED
        double size = 0;
        int support = 0;
        for (int r = 0; r < N; r++) {
            if (amount[r] > 0) support |= 1 << r;
            size = fmax(size, fabs(target[r]));
        }
        bool solved = false;
        for (int turn = 0; turn < ALL_AT_ONCE + ONE_BY_ONE && complete && !solved; turn++) {
            const double* table = tables + (long long)support * (N + 3) * LANES;
            int wrong = 0;
            in_use = 0;
            active = 0;
            for (int i = 0; i < N; i++) {
                double y = table[N * LANES + i];
                for (int r = 0; r < N; r++) y += table[r * LANES + i] * target[r];
                const bool positive = (support >> i & 1) && y > 0;
                amount[i] = positive ? y / scale[i] : 0;
                if (positive) { in_use |= 1 << i; active++; }
                if (y < -(table[(N + 1) * LANES + i] * size + table[(N + 2) * LANES + i])) wrong |= 1 << i;
            }
            solved = wrong == 0;
            support ^= turn < ALL_AT_ONCE ? wrong : wrong & -wrong;
        }
        complete = complete && solved;
#endif
        double rss = square;
        for (int u = 0; u < T + N; u++) {
            double of_unknown = 0;
            for (int t = 0; t < T; t++) of_unknown += outcome[u * (T + N) + t] * projected[t];
            for (int r = 0; r < N; r++) of_unknown += outcome[u * (T + N) + T + r] * amount[r];
            if (u < T) out[(2 * N + u) * n_pixels + p] = (float)of_unknown;
            const double fitted = u < T ? projected[u] : of_unknown;
            rss -= fitted * (2 * projected[u] - fitted);
        }
        rss = rss > 0 ? rss : 0;
        const double reduced = rss / (E - T + FIXED - active), sigma = sqrt(reduced);
        for (int r = 0; r < N; r++) {
            out[r * n_pixels + p] = (float)amount[r];
            out[(N + r) * n_pixels + p] = (float)(spread[r * SUPPORTS + in_use] * sigma);
        }
        out[(2 * N + T) * n_pixels + p] = (float)sqrt(rss / E);
        out[(2 * N + T + 1) * n_pixels + p] = (float)(rss / square);
        out[(2 * N + T + 2) * n_pixels + p] = (float)reduced;
        active_out[p] = complete ? active : UNDONE;
    }
}
"""


def source_of(plan: Plan, counts: bool) -> str:
    """Return the source for a plan."""
    bounded = plan.method != LSTSQ
    facts = {
        "E": plan.n_energies,
        "N": plan.scale.size,
        "T": plan.n_terms,
        "LANES": plan.tables.shape[2],
        "SUPPORTS": len(plan.tables) if bounded else 1,
        "BOUNDED": int(bounded),
        "FIXED": int(plan.method == FCLS),
        "COUNTS": int(counts),
        "ALL_AT_ONCE": ALL_AT_ONCE,
        "ONE_BY_ONE": ONE_BY_ONE,
        "UNDONE": UNDONE,
        "LOST": LOST,
        "UNMEASURED": UNMEASURED,
        "THICK": THICK,
        "NOT_BRIGHTER": NOT_BRIGHTER,
    }
    return "\n".join(f"#define {name} {value}" for name, value in facts.items()) + SOURCE


@functools.lru_cache(16)
def _kernel(library: str, source: str) -> Any:
    return importlib.import_module(library).RawKernel(source, "fit")


def applies(data: Any, incident: Incident | None, plan: Plan) -> bool:
    """Tell whether the kernel is for these data (e, p): float32, one I0 for all pixels, no weights, and what CuPy can do."""
    one_beam = incident is None or all(item.shape[1] == 1 for item in incident[:3])
    tabled = plan.method == LSTSQ or len(plan.tables) > 0
    compiles = hasattr(importlib.import_module(library_of(data)), "RawKernel")
    return compiles and one_beam and tabled and data.dtype == np.float32 and not plan.weights.size


def fit_complete(data: Any, incident: Incident | None, plan: Plan, with_covariance: bool) -> Maps:
    """Fit the spectra (e, p) of a block; `n_active` is UNDONE where a pixel is left to others."""
    n, n_terms, n_energies = plan.scale.size, plan.n_terms, plan.n_energies
    n_unknowns, n_pixels = n + n_terms, data.shape[1]
    if data.strides[1] != data.itemsize:
        data = data.copy(order="C")
    dark, inverse, thick = np.zeros((1, 1)), np.zeros((1, 1)), 0.0
    if incident is not None:
        i0, scale, dark = map(on_host, incident[:3])
        inverse, thick = over_incident(i0, scale, dark.astype(np.float32)), incident.thick
    spread = plan.spread if plan.method != LSTSQ else np.sqrt(np.diag(plan.covariance))[:, None]
    numbers = (
        # an orthonormal basis in the precision of the data would cost the sum of squares its own
        np.linalg.qr(plan.design.T)[0].T, plan.tables, plan.free[:n, :n], plan.constant, plan.scale,
        plan.outcome[:n_unknowns, :n_unknowns], spread,
    )  # fmt: skip
    on_device = [beside(data, np.ascontiguousarray(item, np.float64)) for item in numbers]
    beam = [
        beside(data, np.ascontiguousarray(np.broadcast_to(item, (n_energies, 1)), np.float32))
        for item in (dark, inverse)
    ]
    out = np.empty_like(data, shape=(2 * n + n_terms + 3, n_pixels))
    active = np.empty_like(data, dtype=np.int16, shape=n_pixels)
    bits = np.zeros_like(data, dtype=np.uint8, shape=0 if incident is None else n_pixels)
    shape = np.int64(n_pixels), np.int64(data.strides[0] // data.itemsize)
    arguments = (data, *beam, np.float32(thick), *on_device, out, active, bits, *shape)
    blocks = max(min(-(-n_pixels // THREADS), 1 << 16), 1)
    _kernel(library_of(data), source_of(plan, incident is not None))((blocks,), (THREADS,), arguments)
    amount, stderr, background, (rms, r_factor, reduced) = (
        out[:n], out[n : 2 * n], out[2 * n : 2 * n + n_terms], out[2 * n + n_terms :]
    )  # fmt: skip
    covariance = reduced[None, None][:0, :0]
    if with_covariance:
        covariance = beside(data, plan.covariance.astype(np.float32))[:, :, None] * reduced
    return Maps(
        amount=amount,
        stderr=stderr,
        background=background,
        rms=rms,
        r_factor=r_factor,
        reduced_chi2=reduced,
        n_energy=np.full_like(reduced, n_energies, dtype=np.int32),
        n_active=active,
        covariance=covariance,
        best=reduced[:0, None][:, :0],
        bits=bits,
    )
