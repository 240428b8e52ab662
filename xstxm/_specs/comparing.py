"""How far two maps agree."""

from __future__ import annotations

from xstxm._specs._spec import specs

SPECS = specs(
    (
        "agreement",
        (),
        "1",
        "float",
        "Equal labels",
        "Share of the pixels that are the same phase in both.",
    ),
    ("confusion", ("phase", "other_phase"), None, "int", "Pixels by phase", "In the one map, and in the other."),
    ("n_compared", (), None, "int", "Pixels compared", "Those that are of some class in both maps."),
    ("share_of_one", ("phase",), "1", "float", "Share of the one", "Of its pixels of a phase: the same in the other."),
    (
        "share_of_other",
        ("phase",),
        "1",
        "float",
        "Share of the other",
        "Of its pixels of a phase: the same in the one.",
    ),
    ("overlap", ("phase",), "1", "float", "Overlap", "Pixels that both give a phase, over those that either gives it."),
    ("kappa", (), "1", "float", "Cohen's kappa", "Agreement beyond that of chance: 1 all, 0 none."),
    ("kappa_stderr", (), "1", "float", "Standard error of kappa", "For pixels that are independent."),
    (
        "adjusted_rand_index",
        (),
        "1",
        "float",
        "Adjusted Rand index",
        "Pairs of pixels that both maps keep together or apart, beyond chance: 1 all, 0 none.",
    ),
    (
        "fraction_difference_beyond",
        ("phase",),
        "1",
        "float",
        "Fractions that differ",
        "Share of the pixels whose fractions differ by more than their joint error.",
    ),
    (
        "composition_difference_beyond",
        (),
        "1",
        "float",
        "Compositions that differ",
        "Share of the pixels whose compositions differ by more than their joint error.",
    ),
)

SCHEMAS: dict[str, tuple[str, ...]] = {
    "compare": (
        "confusion",
        "n_compared",
        "agreement",
        "share_of_one",
        "share_of_other",
        "overlap",
        "kappa",
        "kappa_stderr",
        "adjusted_rand_index",
    ),
}
