"""X-ray spectromicroscopy stacks to quantitative phase and composition maps."""

from xstxm import (
    accessor,
    conventions,
    errors,
    matching,
    mechanics,
    plot,
    provenance,
    regions,
    roi,
    tables,
    testing,
    tree_accessor,
    trees,
    units,
)
from xstxm.absorption import optical_density
from xstxm.alignment import estimate_shifts
from xstxm.cleaning import despike, repair_pixels
from xstxm.clustering import cluster
from xstxm.comparing import compare
from xstxm.computing import compute
from xstxm.contrast import difference_map, ratio_map
from xstxm.corrections import level_lines, normalize_current, subtract_dark
from xstxm.correlations import correlation_length
from xstxm.decomposition import pca, reconstruct
from xstxm.denoising import denoise
from xstxm.design import design_energies
from xstxm.differences import bland_altman
from xstxm.diffs import diff
from xstxm.dose import distinguishability
from xstxm.edges import normalize_edge
from xstxm.energy import calibrate_energy, interp_energy, sel_energy
from xstxm.energy_shift import estimate_energy_shift
from xstxm.evaluation import evaluate_energies
from xstxm.exploring import explore
from xstxm.features import edge_map, peak_map
from xstxm.fitting import fit, predict, residual
from xstxm.frames import drop_frames, flag_frames
from xstxm.incident import estimate_i0
from xstxm.interfaces import gradient, interface_map
from xstxm.io import (
    convert,
    formats,
    join_references,
    open_result,
    open_stack,
    open_tree,
    read_electrochemistry,
    read_i0,
    read_references,
    read_shifts,
    to_hyperspy,
    write_csv,
    write_ncb,
    write_netcdf,
    write_nxstxm,
    write_references,
    write_sdf,
    write_shifts,
    write_tiff,
    write_zarr,
)
from xstxm.io.scan_list import write_scan_list
from xstxm.kramers_kronig import phase_references
from xstxm.lattice import phase_table
from xstxm.lengthscales import coarse_grain, heterogeneity
from xstxm.matching import locate, match_resolution
from xstxm.mechanics import stress
from xstxm.merging import merge_stacks
from xstxm.noise import with_variance
from xstxm.operando import state_of_charge, time_series
from xstxm.options import set_options
from xstxm.particles import join_particles, particle_table, particles
from xstxm.patterns import interface_density, two_point_correlation
from xstxm.phases import phase_map
from xstxm.polarization import dichroism
from xstxm.profiles import line_profile
from xstxm.provenance import history
from xstxm.ptychography import from_transmission, join_phase_shift
from xstxm.recipes import Recipe
from xstxm.references import internal_references, reference_set, with_references
from xstxm.regions import phase_summary
from xstxm.roi import spectrum
from xstxm.shaping import bin_pixels, crop
from xstxm.shifting import align, apply_shifts
from xstxm.steps import report_progress
from xstxm.strains import concentration, strain
from xstxm.tables import tabulated_absorption, thickness
from xstxm.tracking import track_particles, trajectories
from xstxm.unmixing import mcr, nmf

__version__ = "0.1.0"

__all__ = [
    "Recipe",
    "accessor",
    "align",
    "apply_shifts",
    "bin_pixels",
    "bland_altman",
    "calibrate_energy",
    "cluster",
    "coarse_grain",
    "compare",
    "compute",
    "concentration",
    "conventions",
    "convert",
    "correlation_length",
    "crop",
    "denoise",
    "design_energies",
    "despike",
    "dichroism",
    "diff",
    "difference_map",
    "distinguishability",
    "drop_frames",
    "edge_map",
    "errors",
    "estimate_energy_shift",
    "estimate_i0",
    "estimate_shifts",
    "evaluate_energies",
    "explore",
    "fit",
    "flag_frames",
    "formats",
    "from_transmission",
    "gradient",
    "heterogeneity",
    "history",
    "interface_density",
    "interface_map",
    "internal_references",
    "interp_energy",
    "join_particles",
    "join_phase_shift",
    "join_references",
    "level_lines",
    "line_profile",
    "locate",
    "match_resolution",
    "matching",
    "mcr",
    "mechanics",
    "merge_stacks",
    "nmf",
    "normalize_current",
    "normalize_edge",
    "open_result",
    "open_stack",
    "open_tree",
    "optical_density",
    "particle_table",
    "particles",
    "pca",
    "peak_map",
    "phase_map",
    "phase_references",
    "phase_summary",
    "phase_table",
    "plot",
    "predict",
    "provenance",
    "ratio_map",
    "read_electrochemistry",
    "read_i0",
    "read_references",
    "read_shifts",
    "reconstruct",
    "reference_set",
    "regions",
    "repair_pixels",
    "report_progress",
    "residual",
    "roi",
    "sel_energy",
    "set_options",
    "spectrum",
    "state_of_charge",
    "strain",
    "stress",
    "subtract_dark",
    "tables",
    "tabulated_absorption",
    "testing",
    "thickness",
    "time_series",
    "to_hyperspy",
    "track_particles",
    "trajectories",
    "tree_accessor",
    "trees",
    "two_point_correlation",
    "units",
    "with_references",
    "with_variance",
    "write_csv",
    "write_ncb",
    "write_netcdf",
    "write_nxstxm",
    "write_references",
    "write_scan_list",
    "write_sdf",
    "write_shifts",
    "write_tiff",
    "write_zarr",
]
