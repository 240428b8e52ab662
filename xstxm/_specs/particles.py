"""Particles of an image: their shapes, contacts, composition and phases."""

from __future__ import annotations

from xstxm._specs._spec import PIXEL, Kind, specs

_OF_NOISE = "Of this field: from the noise of its pixels."


def _column(
    name: str, units: str | None, long_name: str, doc: str, kind: Kind = "float"
) -> tuple[str, tuple[str, ...], str | None, Kind, str, str]:
    return name, ("particle",), units, kind, long_name, doc


SPECS = specs(
    ("particle_label", (PIXEL,), None, "int", "Particle", "Number of the particle of a pixel; 0 in none."),
    _column("particle_area", "um**2", "Area of the particle", "Of its pixels."),
    _column("equivalent_diameter", "um", "Equivalent diameter", "Of the disc of the same area."),
    _column("centroid_y", "um", "Centroid along y", "Mean position of its pixels."),
    _column("centroid_x", "um", "Centroid along x", "Mean position of its pixels."),
    _column("aspect_ratio", "1", "Aspect ratio", "Longer over shorter axis of the ellipse of the same second moments."),
    _column(
        "orientation",
        "deg",
        "Orientation",
        "From the x axis to the longer axis, towards larger y; above -90, up to 90.",
    ),
    _column(
        "perimeter",
        "um",
        "Perimeter",
        "Length of the outline by Crofton's formula, contacts included, without the edge of the image.",
    ),
    _column(
        "touches_edge", None, "Touches the edge of the image", "True where the image may cut the particle.", "bool"
    ),
    _column("n_neighbours", None, "Particles in contact", "That share a side or a corner of a pixel.", "int"),
    _column("contact_length", "um", "Length of all contacts", "Part of the perimeter."),
    ("contact_particle", ("contact",), None, "int", "Particle of the contact", "The one with the smaller number."),
    ("contact_other", ("contact",), None, "int", "Other particle of the contact", "The one with the larger number."),
    ("contact_pair_length", ("contact",), "um", "float", "Contact length", "Of the boundary between the two."),
    (
        "particle_phase_fraction",
        ("phase", "particle"),
        "1",
        "float",
        "Mean phase fraction of the particle",
        "Over its pixels.",
    ),
    (
        "particle_phase_fraction_stderr",
        ("phase", "particle"),
        "1",
        "float",
        "Standard error of the phase fraction of the particle",
        _OF_NOISE,
    ),
    (
        "particle_area_fraction",
        ("phase", "particle"),
        "1",
        "float",
        "Area fraction in the particle",
        "Share of its pixels in which the phase is the largest.",
    ),
    _column(
        "particle_interface_length",
        "um",
        "Interface length in the particle",
        "Of the interfaces between phases, see interface_map.",
    ),
    _column("particle_composition", None, "Mean composition of the particle", "Over its pixels."),
    _column("particle_composition_stderr", None, "Standard error of the mean composition of the particle", _OF_NOISE),
    _column(
        "composition_spread",
        None,
        "Spread of the composition in the particle",
        "Root of the variance over its pixels less that of the noise, with the sign of what is left.",
    ),
    _column("composition_spread_stderr", None, "Standard error of the spread of the composition", _OF_NOISE),
    _column(
        "composition_gradient",
        None,
        "Gradient of the composition in the particle",
        "Root mean square of the slope per um, less that of the noise, with the sign of what is left.",
    ),
    _column("composition_gradient_stderr", None, "Standard error of the gradient of the composition", _OF_NOISE),
    (
        "composition_profile",
        ("particle", "distance"),
        None,
        "float",
        "Profile of the composition",
        "Mean at a distance below the surface of the particle.",
    ),
    (
        "composition_profile_stderr",
        ("particle", "distance"),
        None,
        "float",
        "Standard error of the profile of the composition",
        _OF_NOISE,
    ),
    (
        "n_profile_pixels",
        ("particle", "distance"),
        None,
        "int",
        "Pixels of the profile",
        "Measured pixels at a distance below the surface of the particle.",
    ),
    _column(
        "core_shell_difference",
        None,
        "Core minus shell of the composition",
        "Mean of the pixels deeper than half of the deepest, less that of the others.",
    ),
    _column("core_shell_difference_stderr", None, "Standard error of core minus shell of the composition", _OF_NOISE),
    _column(
        "core_shell_score",
        "1",
        "Share of the variance by depth",
        "Of the variance inside the particle without noise, what the profile explains.",
    ),
)

SCHEMAS: dict[str, tuple[str, ...]] = {
    "particles": (
        "particle_label",
        "particle_area",
        "equivalent_diameter",
        "centroid_y",
        "centroid_x",
        "aspect_ratio",
        "orientation",
        "perimeter",
        "touches_edge",
        "n_neighbours",
        "contact_length",
        "contact_particle",
        "contact_other",
        "contact_pair_length",
    ),
}
