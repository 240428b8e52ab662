"""X-ray spectromicroscopy stacks to quantitative phase and composition maps."""

from xstxm import accessor, conventions, errors, plot, provenance, roi, testing, units
from xstxm.absorption import estimate_i0, optical_density
from xstxm.clustering import cluster
from xstxm.decomposition import pca, reconstruct
from xstxm.energy import calibrate_energy, interp_energy, sel_energy
from xstxm.fitting import fit, predict, residual
from xstxm.io import open_stack, read_i0, read_references, write_nxstxm
from xstxm.options import set_options
from xstxm.phases import phase_map, phase_summary
from xstxm.provenance import history
from xstxm.references import reference_set, with_references
from xstxm.roi import spectrum

__version__ = "0.1.0"

__all__ = [
    "accessor",
    "calibrate_energy",
    "cluster",
    "conventions",
    "errors",
    "estimate_i0",
    "fit",
    "history",
    "interp_energy",
    "open_stack",
    "optical_density",
    "pca",
    "phase_map",
    "phase_summary",
    "plot",
    "predict",
    "provenance",
    "read_i0",
    "read_references",
    "reconstruct",
    "reference_set",
    "residual",
    "roi",
    "sel_energy",
    "set_options",
    "spectrum",
    "testing",
    "units",
    "with_references",
    "write_nxstxm",
]
