from . import (
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
from ._particles import join_particles, particle_table, particles
from .absorption import optical_density
from .alignment import estimate_shifts
from .batches import batch
from .cleaning import despike, repair_pixels
from .clustering import cluster
from .comparing import compare
from .computing import compute
from .connecting import connect
from .contrast import difference_map, ratio_map
from .corrections import level_lines, normalize_current, subtract_dark
from .correlations import correlation_length
from .decomposition import pca, reconstruct
from .denoising import denoise
from .design import design_energies
from .differences import bland_altman
from .diffs import diff
from .dose import distinguishability
from .edges import normalize_edge
from .energy import calibrate_energy, interp_energy, sel_energy
from .energy_shift import estimate_energy_shift
from .evaluation import evaluate_energies
from .exploring import explore
from .features import edge_map, peak_map
from .fitting import fit, predict, residual
from .frames import drop_frames, flag_frames
from .incident import estimate_i0
from .interfaces import gradient, interface_map
from .io import (
    chunk_report,
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
from .io.scan_list import write_scan_list
from .kramers_kronig import phase_references
from .lattice import phase_table
from .lengthscales import coarse_grain, heterogeneity
from .matching import locate, match_resolution
from .mechanics import stress
from .merging import merge_stacks
from .noise import with_variance
from .operando import state_of_charge, time_series
from .options import set_options
from .patterns import interface_density, two_point_correlation
from .phases import phase_map
from .polarization import dichroism
from .profiles import line_profile
from .provenance import history
from .ptychography import from_transmission, join_phase_shift
from .recipes import Recipe
from .references import internal_references, reference_set, with_references
from .regions import phase_summary
from .roi import spectrum
from .shaping import bin_pixels, crop
from .shifting import align, apply_shifts
from .steps import report_progress
from .strains import concentration, strain
from .tables import tabulated_absorption, thickness
from .tracking import track_particles, trajectories
from .unmixing import mcr, nmf

__version__: str

__all__ = [
    "Recipe",
    "accessor",
    "align",
    "apply_shifts",
    "batch",
    "bin_pixels",
    "bland_altman",
    "calibrate_energy",
    "chunk_report",
    "cluster",
    "coarse_grain",
    "compare",
    "compute",
    "concentration",
    "connect",
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
