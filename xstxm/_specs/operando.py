"""What happens in time: the log of a cell, and the composition that its charge implies."""

from __future__ import annotations

from xstxm._specs._spec import specs

_DIFFERENCE = "Composition of the maps minus that of the charge"

SPECS = specs(
    ("voltage", ("time",), "V", "float", "Voltage", "Of the cell or of the working electrode, as logged."),
    ("current", ("time",), "mA", "float", "Current", "Negative where the working electrode is reduced, or as logged."),
    ("charge", ("time",), "mAh", "float", "Charge", "That has passed, with the sign of the current."),
    ("map_composition", ("time",), "1", "float", "Composition of the maps", "Mean over the sample."),
    (
        "map_composition_stderr",
        ("time",),
        "1",
        "float",
        "Standard error of the composition of the maps",
        "Of these fields: noise only.",
    ),
    (
        "map_composition_sampling_stderr",
        ("time",),
        "1",
        "float",
        "Standard error of the composition of the maps, of the material",
        "Of these fields as some of many of the same material.",
    ),
    (
        "charge_composition",
        ("time",),
        "1",
        "float",
        "Composition of the charge",
        "x0 - Q M / (F m z), reduction negative.",
    ),
    (
        "charge_composition_stderr",
        ("time",),
        "1",
        "float",
        "Standard error of the composition of the charge",
        "From the error of the mass.",
    ),
    (
        "map_difference",
        ("time",),
        "1",
        "float",
        _DIFFERENCE,
        "Zero where the fields are as the whole electrode.",
    ),
    (
        "map_difference_stderr",
        ("time",),
        "1",
        "float",
        "Standard error of the difference",
        "Of these fields: noise and mass.",
    ),
    (
        "map_difference_sampling_stderr",
        ("time",),
        "1",
        "float",
        "Standard error of the difference, of the material",
        "Of the fields as some of many, and of the mass.",
    ),
    ("mean_difference", (), "1", "float", "Mean difference", "Over the times."),
    (
        "mean_difference_stderr",
        (),
        "1",
        "float",
        "Standard error of the mean difference",
        "From the scatter of the differences, and the error of the mass, which all times share.",
    ),
    ("agreement_lower", (), "1", "float", "Lower limit of agreement", "Differences of single times lie above it."),
    ("agreement_upper", (), "1", "float", "Upper limit of agreement", "Differences of single times lie below it."),
    (
        "track_label",
        ("time", "y", "x"),
        None,
        "int",
        "Track",
        "Number of the track of the particle in a pixel; 0 in none.",
    ),
    (
        "track_of_particle",
        ("time", "particle"),
        None,
        "int",
        "Track of a particle",
        "Number that stays with a particle in time; 0 where there is no such particle.",
    ),
    (
        "track_overlap",
        ("time", "particle"),
        "1",
        "float",
        "Overlap with the predecessor",
        "Shared pixels over those of the smaller of the two; NaN for a particle that has none.",
    ),
    (
        "split_from",
        ("time", "particle"),
        None,
        "int",
        "Track it split from",
        "Where a particle became several: the track that the largest part of it went on with; else 0.",
    ),
    (
        "merged_into",
        ("time", "particle"),
        None,
        "int",
        "Track it merged into",
        "At the next time, where several became one: the track that goes on; else 0.",
    ),
)

SCHEMAS: dict[str, tuple[str, ...]] = {
    "state_of_charge": (
        "map_composition",
        "map_composition_stderr",
        "charge_composition",
        "charge_composition_stderr",
        "map_difference",
        "map_difference_stderr",
        "mean_difference",
        "mean_difference_stderr",
        "agreement_lower",
        "agreement_upper",
    ),
    "track_particles": ("track_label", "track_of_particle", "track_overlap", "split_from", "merged_into"),
}
