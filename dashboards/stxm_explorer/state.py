"""What the user chose: parameters only, no widget, no data.

The choices are checked by their parameters (kind, bounds, members of a list), also those that come from outside: a state
round-trips through JSON, which a file or the address of the page can hold.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

import param

from xstxm.errors import OptionError

Vertices: TypeAlias = tuple[tuple[float, float], ...]
S = TypeVar("S", bound="Settings")

METHODS = {"Non-negative (nnls)": "nnls", "Fractions sum to 1 (fcls)": "fcls", "Unconstrained (lstsq)": "lstsq"}
BACKGROUNDS = {"None": "none", "Constant": "constant", "Linear": "linear"}
SELECTIONS = {"All references": "", "As many as the BIC asks for": "bic", "As many as an F-test asks for": "f-test"}
I0_SOURCES = {"Brightest pixels": "brightest", "Region": "region", "File": "file", "In the stack": "stack"}
I0_UNITS = {"As the file says": "", "counts": "count", "counts per ms": "count/ms", "counts per s": "count/s"}
KINDS = {
    "As the file says": "",
    "Measured, on a scale of its own": "raw",
    "Edge step of one": "normalized_absorption",
    "Optical density": "optical_density",
    "Absorption per nm": "linear_absorption",
    "Absorption in cm2/g": "mass_absorption",
}
ALIGN_TO = {
    "Model of the whole stack": "model",
    "Neighbouring frames": "neighbours",
    "Frame before": "previous",
    "First frame": "first",
    "Mean of the frames": "mean",
}
TRANSFORMS = {"Shift": "translation", "Shift, magnification, rotation": "similarity"}
NOISES = {"As the stack states, else from the fit": "", "Photon counting": "poisson"}
STEPS = ("Frames", "Alignment", "I0", "Optical density")
SIGNALS = {"Optical density": "optical_density", "Intensity": "intensity"}
IMAGES = {"One energy": "frame", "Difference": "difference", "Ratio": "ratio"}
COLORS = {"Of the stack": "stack", "Of each image": "image"}
TAPS = {"A pixel": "pixel", "Ends of a line": "line"}
LENGTH_TABS = ("Fields", "Variance", "Coarse-graining", "Correlation", "Particles")
QUANTITIES = {"Composition": "composition", "Fraction of a phase": "fraction", "Total amount": "amount"}
FRAMES = {"True to scale": "common", "Equally large": "fill"}
WEIGHTS = {"Areas": "area", "Particles": "particle"}
MAP_FORMATS = {"netCDF": "netcdf", "Zarr": "zarr", "NXstxm, with the stack": "nxstxm", "TIFF": "tiff", "CSV": "csv"}
PICTURES = {
    "Phases": "phases",
    "Composition": "composition",
    "Confidence": "confidence",
    "Amount": "total_amount",
    "Spectra of phases": "spectra",
    "Spectra of regions": "regions",
    "Image at the energy": "image",
}
PICTURE_FORMATS = {"PNG": "png", "SVG": "svg", "PDF": "pdf", "HTML": "html"}
TABLES = {
    "Phases (CSV)": "phases",
    "Particles (CSV)": "particles",
    "Spectra of regions (CSV)": "regions",
    "References (CSV)": "references",
    "References with names, compositions, colours (TOML)": "library",
    "Recipe (TOML)": "recipe",
}
BELOW = ("Pixel", "Shares", "Histogram")
PHASES_FROM = {"Reference spectra": "references", "Clusters of page Unmix": "clusters"}
UNMIX_TABS = ("Components", "Clusters", "Scatter")
DECOMPOSITIONS = {"Eigenspectra (SVD)": "pca", "Non-negative (NMF)": "nmf", "Resolved (MCR)": "mcr"}
GROUPINGS = {"k-means": "kmeans", "Gaussian mixture": "gaussian_mixture", "Dense regions (HDBSCAN)": "hdbscan"}
NORMALIZATIONS = {
    "Thickness": "thickness",
    "Thickness, not weighted": "angle",
    "Nothing": "none",
}
NUMBERED_BY = {"Silhouette": "silhouette", "Gap statistic": "gap", "Stability": "stability"}
MOST_COMPONENTS = 12
MOST_CLUSTERS = 7
PAGES = ("Data", "Prepare", "Explore", "Unmix", "Phases", "Length scales", "Export")

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")

MAX_STATE = 200_000
"""Characters of a state that is taken from outside; one with a hundred regions has a tenth of it."""


@dataclass(frozen=True)
class Region:
    """Pixels with a name: a point, a box by two corners, or a polygon; (x, y) in um, so that it holds at any scale."""

    kind: Literal["point", "box", "polygon"]
    vertices: Vertices
    name: str = ""

    def rounded(self, length: float) -> Region:
        """Return the region with coordinates that read well, moved by less than a length."""
        digits = max(math.ceil(-math.log10(length)), 0)
        vertices = tuple((round(float(x), digits), round(float(y), digits)) for x, y in self.vertices)
        return Region(self.kind, vertices, self.name)

    def for_xstxm(self) -> Any:
        """Return the region as `xstxm.spectrum` takes it."""
        if self.kind == "polygon":
            return [tuple(vertex) for vertex in self.vertices]
        if self.kind == "point":
            ((x, y),) = self.vertices
            return {"x": x, "y": y}
        (left, bottom), (right, top) = self.vertices
        return {"x": (left, right), "y": (bottom, top)}

    def outline(self) -> list[tuple[float, float]]:
        """Return the closed line around the region; of a point the point."""
        if self.kind != "box":
            return [*self.vertices, *self.vertices[:1]] if self.kind == "polygon" else list(self.vertices)
        (left, bottom), (right, top) = self.vertices
        return [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]

    @classmethod
    def from_table(cls, table: Any) -> Region:
        """Return the region of a table.

        Raises
        ------
        OptionError
            It is none.
        """
        try:
            vertices = tuple((float(x), float(y)) for x, y in table["vertices"])
            region = cls(table["kind"], vertices, str(table.get("name", ""))[:80])
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise OptionError("region", str(table)[:80], "write kind, name and vertices [[x, y], ...] in um") from error
        needed = {"point": (1, 1), "box": (2, 2), "polygon": (3, 10_000)}.get(str(region.kind), (1, 0))
        if not needed[0] <= len(vertices) <= needed[1] or not all(math.isfinite(x + y) for x, y in vertices):
            raise OptionError("region", str(table)[:80], "a point has 1 vertex, a box 2 corners, a polygon 3 or more")
        return region


class Settings(param.Parameterized):
    """A group of choices."""

    _ITEMS: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}
    """How the items of a list are made of what JSON holds."""

    def table(self) -> dict[str, Any]:
        """Return the choices that differ from the defaults, as JSON knows them."""
        found = {}
        for name in self._choices():
            value = getattr(self, name)
            if isinstance(value, Settings):
                if inner := value.table():
                    found[name] = inner
            elif value != self.param[name].default:
                found[name] = _plain(value)
        return found

    def restore(self, table: Any) -> None:
        """Take the choices of a table, and the defaults of all others.

        Raises
        ------
        OptionError
            It has a choice that there is not, or a value that cannot be; the state is as before.
        """
        values = self._checked(table)
        groups = {name: inner for name, inner in values.items() if isinstance(getattr(self, name), Settings)}
        with param.parameterized.batch_call_watchers(self):
            for name, inner in groups.items():
                getattr(self, name).restore(inner)
            self.param.update({name: value for name, value in values.items() if name not in groups})

    @classmethod
    def from_table(cls: type[S], table: Any) -> S:
        """Return the choices of a table; see `restore`."""
        made = cls()
        made.restore(table)
        return made

    def _choices(self) -> list[str]:
        return [name for name in self.param if name != "name"]

    def _checked(self, table: Any) -> dict[str, Any]:
        """Return a value for every choice, after all were tried on another object."""
        if not isinstance(table, Mapping):
            raise OptionError("state", str(table)[:80], "expected a table of choices, as the explorer writes it")
        if unknown := sorted({*map(str, table)} - {*self._choices()}):
            raise OptionError(
                "state", unknown[0][:80], "there is no such choice: the file is of another version, or none"
            )
        values: dict[str, Any] = {}
        for name in self._choices():
            group = getattr(self, name)
            if isinstance(group, Settings):
                values[name] = table.get(name, {})
                type(group).from_table(values[name])
            else:
                values[name] = self._value(name, table)
        return values

    def _value(self, name: str, table: Mapping[str, Any]) -> Any:
        default = self.param[name].default
        if name not in table:
            return [*default] if isinstance(default, list) else {**default} if isinstance(default, dict) else default
        value = table[name]
        if (make := self._ITEMS.get(name)) is not None and isinstance(value, list):
            value = [make(item) for item in value]
        elif isinstance(self.param[name], param.Tuple | param.Range) and isinstance(value, list):
            value = tuple(value)
        try:
            type(self)(**{name: value})
        except (ValueError, TypeError) as error:
            raise OptionError(f"state: {name}", str(value)[:80], "that cannot be chosen") from error
        return value


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return value.table()
    if isinstance(value, Region):
        return {key: part for key, part in asdict(value).items() if part}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _by_name(what: str, values: Mapping[Any, Any], good: Callable[[Any], bool]) -> dict[str, Any]:
    """Return values by name, or raise `OptionError` where one is not good."""
    for name, value in values.items():
        if not isinstance(name, str) or not good(value):
            raise OptionError(f"state: {what}", f"{name}: {value}"[:80], "that cannot be chosen")
    return dict(values)


class Field(Settings):
    """One stack of the material, and how it is prepared."""

    label = param.String("", doc="Name of the field, e.g. electrode or particle.")
    file = param.String("", doc="Stack, relative to the root folder.")
    in_memory = param.Boolean(False, doc="The stack is an array of the notebook that opened the page, not a file.")
    region = param.Integer(None, allow_None=True, bounds=(0, 999), doc="Which region of a scan of several, from 0.")
    entry = param.String("", doc="Which entry of a file with several scans.")
    start = param.Number(None, allow_None=True, doc="Lowest energy that is used, in the unit of the stack.")
    stop = param.Number(None, allow_None=True, doc="Highest energy that is used.")
    dropped = param.List([], item_type=float, doc="Energies of frames that are left out.")
    despike = param.Boolean(False, doc="Replace counts that stand out from their neighbours in space and energy.")
    align = param.Boolean(False, doc="Move every frame onto the others; the margin that some lack becomes empty.")
    align_to: Any = param.Selector(
        default="model", objects=list(ALIGN_TO.values()), doc="What each frame is compared with to find its shift."
    )
    align_region = param.ClassSelector(
        class_=Region, default=None, allow_None=True, doc="Pixels that shifts are found on; all without one."
    )
    max_shift = param.Number(None, allow_None=True, bounds=(0, None), doc="Farthest shift, in the unit of y.")
    transform: Any = param.Selector(
        default="translation", objects=list(TRANSFORMS.values()), doc="A zone plate that follows the energy magnifies."
    )
    crop = param.Boolean(False, doc="Keep only the rectangle that every frame covers.")
    i0_source: Any = param.Selector(
        default="brightest",
        objects=list(I0_SOURCES.values()),
        doc="Where the incident intensity comes from: pixels without sample, a region without sample, or a spectrum.",
    )
    i0_fraction = param.Number(0.1, bounds=(0.01, 0.5), step=0.01, doc="Share of the pixels taken as empty.")
    i0_region = param.ClassSelector(class_=Region, default=None, allow_None=True, doc="Region without sample.")
    i0_file = param.String("", doc="I0 spectrum, relative to the root folder.")
    i0_units: Any = param.Selector(default="", objects=list(I0_UNITS.values()), doc="Rates and counts differ.")
    noise: Any = param.Selector(
        default="", objects=list(NOISES.values()), doc="Where the errors of optical densities come from."
    )
    gain = param.Number(1.0, bounds=(0, None), doc="Photons for one count, with photon counting.")
    thick = param.Number(2.2, bounds=(0, None), doc="Optical density above which a pixel is flagged as too thick.")
    saturation = param.Number(
        None, allow_None=True, bounds=(0, None), doc="Counts from which a pixel is flagged as saturated."
    )

    def _value(self, name: str, table: Mapping[str, Any]) -> Any:
        if name in ("i0_region", "align_region") and table.get(name) is not None:
            return Region.from_table(table[name])
        return super()._value(name, table)


class References(Settings):
    """Which substances may be there."""

    files = param.List([], item_type=str, doc="Tables of spectra, relative to the root folder.")
    in_memory = param.Boolean(False, doc="The references are those of the notebook that opened the page.")
    uploads = param.List([], item_type=str, doc="Tables of spectra that were sent to the page.")
    kind: Any = param.Selector(default="", objects=list(KINDS.values()), doc="What the values are.")
    names = param.List([], item_type=str, doc="Names of the spectra in the files, once they were read.")
    unused = param.List([], item_type=str, doc="Names of those that no fit uses.")
    composition = param.Dict({}, doc="Composition by name, e.g. of V2O5 0 and of LiV2O5 1.")
    brought = param.Dict({}, doc="Composition by name that references in memory came with.")
    colors = param.Dict({}, doc="Colours by name; those of the palette for all others.")
    counts = param.Number(
        1000.0, bounds=(1, 1e9), doc="Incident counts of a pixel at each energy, for what can be told apart."
    )

    def choose(self, files: list[str], uploads: list[str] | None = None) -> None:
        """Take other files: what is in them is not known until they are read."""
        uploads = self.uploads if uploads is None else uploads
        self.param.update(files=files, uploads=uploads, names=[], in_memory=False, brought={})

    @property
    def used(self) -> list[str]:
        """Names of the spectra that fits use."""
        return [name for name in self.names if name not in self.unused]

    @property
    def compositions(self) -> dict[str, float]:
        """Composition of each spectrum that fits use; nothing where one of them has none."""
        known = {name: float(self.composition[name]) for name in self.used if name in self.composition}
        return known if len(known) == len(self.used) else {}

    def _value(self, name: str, table: Mapping[str, Any]) -> Any:
        value = super()._value(name, table)
        if name in ("composition", "brought"):
            return _by_name(name, value, lambda part: isinstance(part, int | float) and math.isfinite(part))
        if name == "colors":
            return _by_name(name, value, lambda part: bool(_COLOR.fullmatch(str(part))))
        return value


class Fit(Settings):
    """How spectra are explained by the references."""

    source: Any = param.Selector(
        default="references",
        objects=list(PHASES_FROM.values()),
        doc="What the phases are. Clusters stand in where there are no references.",
    )
    method: Any = param.Selector(
        default="nnls",
        objects=list(METHODS.values()),
        doc="Amounts of zero or more; amounts that add up to one, for references as thick as the sample; or any amounts.",
    )
    background: Any = param.Selector(
        default="constant",
        objects=list(BACKGROUNDS.values()),
        doc="What is fitted beside the references: other matter whose absorption hardly changes over the energies.",
    )
    selection: Any = param.Selector(
        default="",
        objects=list(SELECTIONS.values()),
        doc="Keep in each pixel only the references that the data ask for; fractions of the others become zero.",
    )
    max_optical_density = param.Number(
        None,
        bounds=(0, None),
        allow_None=True,
        doc="Energies at which a pixel is darker than this are left out of its fit.",
    )
    min_amount = param.Number(
        0.0, bounds=(0, None), doc="Amount below which a pixel holds no sample; 0 finds it from the map."
    )
    min_confidence = param.Number(
        0.95, bounds=(0.5, 0.999), step=0.01, doc="Probability below which a pixel is undecided."
    )


class Unmix(Settings):
    """Components and clusters."""

    tab: Any = param.Selector(default="Components", objects=list(UNMIX_TABS), doc="What page Unmix shows.")
    method: Any = param.Selector(
        default="pca",
        objects=list(DECOMPOSITIONS.values()),
        doc="Eigenspectra are orthogonal and have signs; the others are spectra and amounts that may be substances.",
    )
    n_components = param.Integer(0, bounds=(0, MOST_COMPONENTS), doc="Zero: as many as rise above the noise.")
    center = param.Boolean(
        False, doc="Subtract the mean spectrum first: then the first component is not the thickness."
    )
    component = param.Integer(1, bounds=(1, MOST_COMPONENTS), doc="Component whose map is shown.")
    n_clusters = param.Integer(0, bounds=(0, MOST_CLUSTERS), doc="Zero: the number that the data prefer.")
    choose: Any = param.Selector(
        default="silhouette",
        objects=list(NUMBERED_BY.values()),
        doc="What decides on the number: how far clusters lie apart, how much tighter they are than chance makes them, or "
        "how alike those of samples are.",
    )
    compare = param.Boolean(True, doc="Group the pixels into each number of clusters from 2 to 6, and compare.")
    grouping: Any = param.Selector(
        default="kmeans",
        objects=list(GROUPINGS.values()),
        doc="HDBSCAN finds the number by itself, and leaves pixels to no cluster.",
    )
    normalize: Any = param.Selector(
        default="thickness",
        objects=list(NORMALIZATIONS.values()),
        doc="What is divided out, so that clusters differ in the shape of their spectra. A thick pixel then counts more than a "
        "thin one, as its noise allows, or all count alike.",
    )
    background: Any = param.Selector(
        default="constant",
        objects=list(BACKGROUNDS.values()),
        doc="What is taken out of each spectrum before: the absorption of all but the edge would decide otherwise.",
    )
    cluster_components = param.Integer(
        0,
        bounds=(0, MOST_COMPONENTS),
        doc="Eigenspectra that hold the shapes. Zero: those above the noise, between 2 and 8.",
    )
    seed = param.Integer(0, bounds=(0, 10_000), doc="Of starts and samples: the same seed gives the same result.")
    across = param.Integer(1, bounds=(1, MOST_COMPONENTS), doc="Component along x of the scatter.")
    up = param.Integer(2, bounds=(1, MOST_COMPONENTS), doc="Component along y of the scatter.")
    lasso = param.List([], item_type=tuple, bounds=(0, 10_000), doc="Line around points of the scatter, in its axes.")

    _ITEMS: ClassVar = {"lasso": lambda vertex: _point(vertex)}


class Scales(Settings):
    """Length scales and particles."""

    tab: Any = param.Selector(default="Fields", objects=list(LENGTH_TABS), doc="What is looked at.")
    quantity: Any = param.Selector(
        default="composition",
        objects=list(QUANTITIES.values()),
        doc="What is compared over lengths. Where no composition is given, the fraction of a phase stands in for it.",
    )
    phase = param.String("", doc="Phase whose fraction is compared; the first one by default.")
    left_out = param.List(
        [],
        item_type=str,
        doc="Fields that do not count here. Leave out those that show the same place once more, overview or details.",
    )
    labels = param.Boolean(False, doc="Draw which phase is the largest in place of the quantity.")
    scale: Any = param.Selector(
        default="common",
        objects=list(FRAMES.values()),
        doc="A micrometre is as long in all maps, or all maps are as large, each with a scale bar.",
    )
    weights: Any = param.Selector(
        default="area",
        objects=list(WEIGHTS.values()),
        doc="Whether every area counts the same, or every particle whatever its size.",
    )
    length = param.Number(None, bounds=(0, None), allow_None=True, doc="Side of the blocks of the map, in um.")
    in_particles = param.Boolean(
        True, doc="Compare pixels of the same particle only; otherwise pixels anywhere in the field."
    )
    together = param.Boolean(
        False,
        doc="One length of the material from all fields, whose pixels then have one size; otherwise one for each.",
    )
    min_amount = param.Number(0.0, bounds=(0, None), doc="Least amount of a sample pixel; 0 finds it from the map.")
    min_area = param.Number(
        0.0, bounds=(0, None), doc="Area of the smallest particle in um²; 0 takes that of 9 pixels."
    )
    max_neck = param.Number(
        0.8,
        bounds=(0, 1),
        step=0.05,
        doc="Relative width of a neck at which two parts become one particle; 0 parts nothing.",
    )
    whole = param.Boolean(True, doc="Leave out particles that the edge of the image cuts: their shape is not known.")
    relative = param.Boolean(False, doc="Subtract the mean of each particle: what is left has to do with depth.")
    particles = param.List([], item_type=int, doc="Numbers of the particles that are looked at.")


def _point(vertex: Any) -> tuple[float, float]:
    """Return a place (x, y) of what JSON holds."""
    (point,) = Region.from_table({"kind": "point", "vertices": [vertex]}).vertices
    return point


class Export(Settings):
    """Which files are made."""

    every_field = param.Boolean(False, doc="Files of every open field, not only of the one that is shown.")
    maps: Any = param.ListSelector(
        default=["netcdf"],
        objects=list(MAP_FORMATS.values()),
        doc="Formats of the phase map; netCDF and Zarr keep all of it.",
    )
    pictures: Any = param.ListSelector(
        default=["phases"], objects=list(PICTURES.values()), doc="What is drawn, each in a file of its own."
    )
    formats: Any = param.ListSelector(
        default=["png"], objects=list(PICTURE_FORMATS.values()), doc="Formats of pictures; HTML is a page to zoom in."
    )
    dpi = param.Integer(300, bounds=(50, 1200), doc="Dots per inch of PNG.")
    tables: Any = param.ListSelector(
        default=["phases", "recipe"], objects=list(TABLES.values()), doc="Numbers of phases, particles and regions."
    )
    overwrite = param.Boolean(False, doc="Replace files that are there.")


class View(Settings):
    """What is looked at: nothing here changes a number."""

    page: Any = param.Selector(default="Data", objects=list(PAGES))
    data: Any = param.Selector(default="Files", objects=["Files", "References"], doc="What page Data shows.")
    listed: Any = param.Selector(default="Stacks", objects=["Stacks", "Spectra"], doc="Which files are listed.")
    search = param.String("", doc="Words that the names of the listed files have.")
    field = param.String("", doc="Label of the field that is shown.")
    signal: Any = param.Selector(default="optical_density", objects=list(SIGNALS.values()))
    energy = param.Number(None, allow_None=True, doc="Energy of the image, in the unit of the stack.")
    prepare: Any = param.Selector(default="Frames", objects=list(STEPS), doc="Step of the preparation.")
    cursor = param.XYCoordinates(None, allow_None=True, doc="Picked pixel (x, y) in um.")
    region = param.String("", doc="Name of the region that is looked at.")
    image: Any = param.Selector(
        default="frame",
        objects=list(IMAGES.values()),
        doc="The image at an energy, or its difference from or ratio to that at another.",
    )
    second = param.Number(
        None,
        allow_None=True,
        doc="The other energy: of a difference or ratio, or of the frame that an alignment is judged by.",
    )
    colors: Any = param.Selector(
        default="stack",
        objects=list(COLORS.values()),
        doc="Whether all images of a stack share one colour scale, or each has its own.",
    )
    density_limits = param.Range(None, allow_None=True, doc="Optical density at the ends of the colour scale.")
    intensity_limits = param.Range(None, allow_None=True, doc="Intensity at the ends of the colour scale.")
    tap: Any = param.Selector(
        default="pixel",
        objects=list(TAPS.values()),
        doc="Whether a tap on the image picks a pixel or the ends of a line.",
    )
    line = param.List(
        [], item_type=tuple, bounds=(0, 2), doc="Ends (x, y) of a line in um, of which a profile is drawn."
    )
    line_width = param.Number(
        0.0, bounds=(0, None), doc="Width in um over which the profile is averaged; 0 is a single line of pixels."
    )
    spread = param.Boolean(True, doc="Draw a band of one standard deviation over the pixels of a region.")
    residual = param.Boolean(False, doc="Draw what the fit leaves.")
    map = param.String(
        "composition", doc="Map beside that of the phases: a variable, or that of a phase after a colon."
    )
    faded = param.Boolean(False, doc="Draw what is less sure fainter.")
    below: Any = param.Selector(default="Pixel", objects=list(BELOW), doc="What stands below the maps of phases.")

    _ITEMS: ClassVar = {"line": _point}

    def _value(self, name: str, table: Mapping[str, Any]) -> Any:
        value = super()._value(name, table)
        return tuple(value) if name == "cursor" and isinstance(value, list) else value


class ExplorerState(Settings):
    """The choices of one session."""

    fields = param.List([], item_type=Field, doc="Stacks that are open.")
    regions = param.List([], item_type=Region, doc="Named regions, shared by all fields that they lie in.")
    references = param.ClassSelector(class_=References, constant=True, instantiate=True, default=References())
    fit = param.ClassSelector(class_=Fit, constant=True, instantiate=True, default=Fit())
    unmix = param.ClassSelector(class_=Unmix, constant=True, instantiate=True, default=Unmix())
    scales = param.ClassSelector(class_=Scales, constant=True, instantiate=True, default=Scales())
    export = param.ClassSelector(class_=Export, constant=True, instantiate=True, default=Export())
    view = param.ClassSelector(class_=View, constant=True, instantiate=True, default=View())

    _ITEMS: ClassVar = {"fields": Field.from_table, "regions": Region.from_table}

    def __init__(self, **choices: Any) -> None:
        super().__init__(**choices)
        self._listeners: list[Callable[[], None]] = []
        self._heard: list[Settings] = []
        for group in (self, self.references, self.fit, self.unmix, self.scales, self.export, self.view):
            group.param.watch(self._tell, group._choices())
        self._hear_fields()

    @property
    def field(self) -> Field | None:
        """The field that is shown: the chosen one, else the first."""
        named = (field for field in self.fields if field.label == self.view.field)
        return next(named, self.fields[0] if self.fields else None)

    @property
    def place(self) -> tuple[str, str]:
        """The page that is looked at, and the tab on it."""
        view = self.view
        tabs = {"Data": view.data, "Prepare": view.prepare, "Unmix": self.unmix.tab, "Length scales": self.scales.tab}
        return view.page, tabs.get(view.page, "")

    def open(self, file: str, *, region: int | None = None, entry: str = "") -> Field:
        """Add a field for a stack, or return the one that is there, and look at it."""
        which = (file, region, entry)
        field = next((field for field in self.fields if (field.file, field.region, field.entry) == which), None)
        if field is None:
            label = " ".join(
                [PurePosixPath(file).stem, *([] if region is None else [f"region {region}"]), entry]
            ).strip()
            label = unused(label, [field.label for field in self.fields])
            field = Field(file=file, region=region, entry=entry, label=label)
            self.fields = [*self.fields, field]
        self.view.field = field.label
        return field

    def close(self, field: Field) -> None:
        """Forget a field."""
        self.fields = [kept for kept in self.fields if kept is not field]

    def add_region(self, region: Region) -> None:
        """Add a region under a name that no other has, and look at it."""
        name = unused(region.name or "region", [known.name for known in self.regions])
        self.regions = [*self.regions, replace(region, name=name)]
        self.view.region = name

    def rename_region(self, region: Region, name: str) -> None:
        """Give a region another name, with a number where that is taken."""
        name = unused(name.strip()[:80], [known.name for known in self.regions if known is not region])
        with param.parameterized.batch_call_watchers(self.view):
            self.regions = [replace(known, name=name) if known is region else known for known in self.regions]
            self.view.region = name

    def remove_region(self, region: Region) -> None:
        """Forget a region."""
        self.regions = [known for known in self.regions if known is not region]
        if self.view.region == region.name:
            self.view.region = ""

    def rename(self, field: Field, label: str) -> None:
        """Call a field by another name.

        Raises
        ------
        OptionError
            It is empty, too long, or the name of another one.
        """
        label, shown = label.strip(), self.field is field
        if not label or len(label) > 60:
            raise OptionError("name", label[:60], "give the field a name of 1 to 60 characters")
        if any(other.label == label for other in self.fields if other is not field):
            raise OptionError("name", label, "another field is called so: names tell fields apart")
        with param.parameterized.batch_call_watchers(self.view):
            if shown:
                self.view.field = label
            field.label = label

    def listen(self, changed: Callable[[], None]) -> None:
        """Call a function after every change."""
        self._listeners.append(changed)

    def to_json(self) -> str:
        """Return the choices as text."""
        return json.dumps(self.table(), indent=1)

    def from_json(self, text: str) -> None:
        """Take the choices of a text.

        Raises
        ------
        OptionError
            It is too long, or no state; the state is as before.
        """
        if len(text) > MAX_STATE:
            raise OptionError("state", f"{len(text)} characters", f"take a file of at most {MAX_STATE}")
        try:
            table = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise OptionError("state", text[:40], "expected the JSON that the explorer writes") from error
        self.restore(table)

    def to_query(self) -> str:
        """Return the choices as a short word for the address of a page."""
        packed = zlib.compress(json.dumps(self.table(), separators=(",", ":")).encode(), 9)
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")

    def from_query(self, word: str) -> None:
        """Take the choices of such a word; errors as of `from_json`."""
        try:
            packed = base64.urlsafe_b64decode(word + "=" * (-len(word) % 4))
            unpacking = zlib.decompressobj()
            text = unpacking.decompress(packed, MAX_STATE + 1).decode()
        except (ValueError, binascii.Error, zlib.error) as error:
            raise OptionError("state", word[:40], "the link is cut off or changed: copy the whole link") from error
        self.from_json(text)

    def _tell(self, *events: Any) -> None:
        if any(event.obj is self and event.name == "fields" for event in events):
            self._hear_fields()
        for listener in [*self._listeners]:
            listener()

    def _hear_fields(self) -> None:
        for field in self.fields:
            if not any(field is heard for heard in self._heard):
                field.param.watch(self._tell, field._choices())
        self._heard = [*self.fields]


def unused(name: str, taken: list[str]) -> str:
    """Return a name that is not taken.

    Examples
    --------
    >>> unused("particle", ["particle", "particle 2"])
    'particle 3'
    """
    if name not in taken:
        return name
    return next(new for k in range(2, len(taken) + 3) if (new := f"{name} {k}") not in taken)
