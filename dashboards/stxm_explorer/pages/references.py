"""References: which spectra, their compositions and colours, and how well they are told apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import panel as pn
import panel_material_ui as pmui
import xarray as xr
from bokeh.models import ColumnDataSource

from stxm_explorer import plan
from stxm_explorer.advice import ranges, told_apart, uncovered
from stxm_explorer.calls import Call, File, Missing, Upload
from stxm_explorer.figures import Curve
from stxm_explorer.linked import LinkedCurves
from stxm_explorer.messages import verbatim
from stxm_explorer.parts import CHOICE, Drawing, heading, hint
from stxm_explorer.session import Session
from stxm_explorer.state import KINDS
from stxm_explorer.uploads import LARGEST, TABLES
from stxm_explorer.viewport import workspace_width
from stxm_explorer.views import View
from xstxm import plot
from xstxm.errors import OptionError
from xstxm.plot import NEUTRAL

OFFERED = 300
"""Files in the list to choose from; those beyond are chosen in the table of files."""

_NONE_YET = (
    "Choose spectra of the substances that may be there: on the left, or under Files, Spectra. "
    "Without any, the page Unmix finds spectra in the stack itself."
)


class Choice(pn.viewable.Viewer):
    """Which files have the spectra, and what their values are."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session, self.state = session, session.state
        self._offered: tuple[str, ...] = ()
        self.files = pmui.MultiChoice(
            label="Files with spectra", options={}, searchable=True, sizing_mode="stretch_width", margin=(4, 10)
        )
        self.files.param.watch(self._choose, "value")
        self._more = hint("")
        self._more.visible = False
        self.upload = pmui.FileInput(
            label="Send a file",
            accept=",".join(TABLES),
            multiple=True,
            max_file_size=LARGEST,
            size="small",
            variant="outlined",
            sizing_mode="stretch_width",
            margin=(4, 10),
        )
        self.upload.param.watch(self._take, "value")

    def __panel__(self) -> pn.viewable.Viewable:
        chosen = self.state.references.param
        return pn.Column(
            heading("References"),
            self.files,
            self._more,
            self.upload,
            pmui.Select.from_param(chosen.kind, label="Values are", options=KINDS, **CHOICE),
            pmui.FloatInput.from_param(chosen.counts, label="Counts per pixel and energy", **CHOICE),
            sizing_mode="stretch_width",
        )

    def refresh(self, offered: tuple[str, ...]) -> None:
        """Offer the files that there are, and show the chosen ones."""
        chosen = [*map(File, self.state.references.files), *map(Upload, self.state.references.uploads)]
        if offered != self._offered or chosen != self.files.value:
            self._offered = offered
            names = dict.fromkeys([*self.state.references.files, *offered[:OFFERED]])
            options: dict[str, File] = {name: File(name) for name in names}
            options |= {f"{name} (sent)": Upload(name) for name in self.state.references.uploads}
            self.files.param.update(options=options, value=chosen)
            self._more.param.update(
                object=f"The first {OFFERED} of {len(offered)} files: the others are under Files, Spectra.",
                visible=len(offered) > OFFERED,
            )

    def _choose(self, event: Any) -> None:
        chosen = self.state.references
        files = [file.name for file in event.new if not isinstance(file, Upload)]
        uploads = [file.name for file in event.new if isinstance(file, Upload)]
        if (files, uploads) != (chosen.files, chosen.uploads):
            chosen.choose(files, uploads)

    def _take(self, event: Any) -> None:
        """Take files that were sent: each is read once, to tell at once what is wrong with it."""
        if not event.new:
            return
        names, contents = self.upload.filename, event.new
        sent = [*zip(names, contents, strict=True)] if isinstance(names, list) else [(names, contents)]
        store = self.session.store

        def read(job: Any) -> list[str]:
            for name, data in sent:
                job.step()
                store.uploads.read(name, data)
            return [name for name, _ in sent]

        def done(new: list[str]) -> None:
            kept = [name for name in self.state.references.uploads if name not in new]
            self.state.references.choose(self.state.references.files, [*kept, *new])

        self.session.jobs.start("upload", "Reading spectra", read, done, self.session.report)
        self.upload.clear()


class References(pn.viewable.Viewer):
    """The spectra with what is known of them, beside the energies of the field that is shown."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session, self.state = session, session.state
        self.table = _table()
        self.table.on_edit(self._edit)
        self.curves = LinkedCurves(session, width=self._width, height=_HEIGHT)
        self.shade = ColumnDataSource({"low": [], "high": []})
        self.curves.figure.vstrip(
            "low", "high", source=self.shade, fill_color=NEUTRAL, fill_alpha=0.12, line_color=None, level="underlay"
        )
        self.advice = pn.Column(sizing_mode=None)
        self.squares = Drawing()
        self.sentence = pn.pane.Markdown(width=_ADVICE, margin=(0, 10))
        self._spectra: xr.Dataset | None = None
        self._energy: xr.DataArray | None = None
        self.problems: list[str] = []
        self.read = View(session, self._all, self.table, self._list, look=self._details, label="Reading references")
        self.drawn = View(session, self._used, self.curves.pane, self._draw, label="Drawing references")
        self.cover = View(
            session, self._energies, self.advice, self._compare,
            look=lambda: plan.field_of(self.state).label, label="Reading energies",
        )  # fmt: skip
        self._told = pn.Column(self.sentence, sizing_mode=None)
        self.apart = View(session, self._distinguished, self._told, self._tell, label="Telling references apart")

    def __panel__(self) -> pn.viewable.Viewable:
        return pn.Column(
            pn.Row(self.read, self.drawn),
            self.cover,
            heading("How well they are told apart"),
            self.apart,
            sizing_mode="stretch_width",
        )

    def views(self) -> list[View]:
        """Return the views; without references there is one, which says what to do."""
        some = plan.reference_spectra(self.state) is not None
        return [self.read, self.drawn, self.cover, self.apart] if some else [self.read]

    def refresh(self) -> None:
        """Follow the choices."""
        self.curves.resize(self._width, _HEIGHT)
        for view in (self.read, self.drawn, self.cover, self.apart):
            view.refresh()
        self.curves.follow()

    @property
    def _width(self) -> int:
        return max(min(workspace_width(self.session.width) - _TABLE_WIDTH - 40, 640), 340)

    def _all(self) -> Call:
        known = plan.reference_spectra(self.state)
        if known is None:
            raise Missing(_NONE_YET)
        return known

    def _used(self) -> Call:
        known = plan.references(self.state)
        if known is None or (self.state.references.names and not self.state.references.used):
            raise Missing("The spectra that are used are drawn here, over the energies of the stack.")
        return known

    def _energies(self) -> Call:
        self._used()
        if self.state.field is None:
            raise Missing("Open a stack under Files: then this says whether the spectra have data at its energies.")
        return plan.selected(self.state.field)["energy"]

    def _distinguished(self) -> Call:
        if self.state.field is None:
            raise Missing("Open a stack under Files: references are told apart at its energies.")
        wanted = plan.distinguished(self.state, self.state.field)
        if self.problems:
            raise Missing("They are told apart where all of them have data: see above.")
        return wanted

    def _details(self) -> Any:
        chosen = self.state.references
        return [*chosen.unused], {**chosen.composition}, {**chosen.colors}

    def _list(self, references: xr.Dataset) -> None:
        names = [str(name) for name in references["reference"].values]
        rows = _rows(references, self.state.references)
        if not _same(rows, self.table.value):  # a table that is drawn anew forgets the cell that is being edited
            self.table.param.update(value=rows, height=_height(len(names)))
        if names != self.state.references.names:
            self.state.references.names = names

    def _edit(self, event: Any) -> None:
        """Take what was changed in the table, with all that it shows, which the files may have said."""
        chosen, frame = self.state.references, self.table.value
        name = frame["name"].iloc[event.row]
        if event.column == "used":
            kept = [other for other in chosen.unused if other != name]
            chosen.unused = kept if event.value else [*kept, name]
        elif event.column == "composition":
            numbers = dict(zip(frame["name"], map(_number, frame["composition"]), strict=True))
            if _normal(event.value) and not math.isfinite(_number(event.value)):
                self.session.report(OptionError("composition", str(event.value)[:40], "write a number, or nothing"))
                self.table.value = _rows(self._spectra, chosen) if self._spectra is not None else frame
            else:
                chosen.composition = {one: number for one, number in numbers.items() if math.isfinite(number)}
        elif event.column == "color":
            chosen.colors = {**dict(zip(frame["name"], frame["color"], strict=True)), name: event.value}

    def _draw(self, references: xr.Dataset) -> None:
        energy, colors = np.asarray(references["energy"], dtype=float), plot.phase_colors(references)
        curves = [
            Curve(name, energy[known := np.isfinite(spectrum)], spectrum[known], color=color)
            for (name, color), spectrum in zip(colors.items(), references["absorption"].values, strict=True)
        ]
        axes = {"xlabel": plot.label(references["energy"]), "ylabel": plot.label(references["absorption"])}
        self.curves.show(curves, **axes)
        self._spectra = references
        self._advise()

    def _compare(self, energy: xr.DataArray) -> None:
        self._energy = energy
        self._advise()

    def _advise(self) -> None:
        """Say whether the references cover the energies of the field, and shade these."""
        if self._spectra is None or self._energy is None:
            return
        label, values = plan.field_of(self.state).label, np.asarray(self._energy, dtype=float)
        self.problems = uncovered(self._spectra, self._energy, label)
        self.shade.data = {"low": [float(values.min())], "high": [float(values.max())]}
        covered = f"Shaded: the energies of {label}, at which all of the spectra have data."
        warnings: list[Any] = [
            pmui.Alert(verbatim(text), severity="warning", width=_ADVICE, margin=(4, 10)) for text in self.problems
        ]
        self.advice[:] = warnings or [pmui.Typography(verbatim(covered), variant="body2", margin=(0, 10))]
        self.apart.refresh()

    def _tell(self, result: xr.Dataset) -> None:
        self.sentence.object = told_apart(result, self.state.references.counts)
        if result.sizes["reference"] < 3:  # of one pair the sentence says it all
            self._told[:] = [self.sentence]
            return
        size = max(44 * result.sizes["reference"], 280)
        self.squares.draw(plot.distinguishability(result, size=size, toolbar=None, active_tools=[]))
        self._told[:] = [self.sentence, self.squares]


_TABLE_WIDTH = 440
_ADVICE = 760
_HEIGHT = 340
_ROW = 32
_STYLE = """
.tabulator .tabulator-row:hover { background-color: rgba(0, 114, 178, 0.1) !important; color: inherit !important }
.tabulator .tabulator-col-title { font-size: 12px }
.tabulator .tabulator-row .tabulator-cell { font-size: 13px }
"""


def _rows(references: xr.Dataset, chosen: Any) -> pd.DataFrame:
    names = [str(name) for name in references["reference"].values]
    said = references["composition"].values if "composition" in references.coords else [math.nan] * len(names)
    colors = plot.phase_colors(references)
    spans = ranges(references)
    return pd.DataFrame(
        {
            "used": [name not in chosen.unused for name in names],
            "color": [chosen.colors.get(name, colors[name]) for name in names],
            "name": names,
            # text, as the browser makes 0 of an empty cell of numbers
            "composition": [_normal(chosen.composition.get(name, own)) for name, own in zip(names, said, strict=True)],
            "range": [f"{low:.4g} – {high:.4g}" if low <= high else "no data" for low, high in spans.values()],
        }
    )


def _same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    texts = (frame.assign(composition=frame["composition"].map(_normal)) for frame in (one, other))
    first, second = (frame.astype(object) for frame in texts)
    return bool(first.equals(second))


def _normal(value: Any) -> str:
    """Return a number as it is written, nothing for none; other text as it is."""
    number = _number(value)
    if math.isfinite(number):
        return f"{number:.6g}"
    return "" if value is None or isinstance(value, float) else str(value).strip()


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _height(rows: int) -> int:
    return min(rows, 12) * (_ROW + 4) + 40


def _table() -> pn.widgets.Tabulator:
    return pn.widgets.Tabulator(
        pd.DataFrame(columns=["used", "color", "name", "composition", "range"]),
        titles={"used": "Use", "color": "Colour", "name": "Name", "composition": "Composition", "range": "Data (eV)"},
        widths={"used": 46, "color": 64, "composition": 100, "range": 92},
        editors={
            "used": {"type": "tickCross"},
            "color": {"type": "input", "elementAttributes": {"type": "color"}},
            "name": None,
            "composition": {"type": "input"},
            "range": None,
        },
        formatters={
            "used": {"type": "tickCross"},
            "color": {"type": "color"},
            "name": {"type": "plaintext"},
            "composition": {"type": "plaintext"},
            "range": {"type": "plaintext"},
        },
        show_index=False,
        sortable=False,
        selectable=False,
        row_height=_ROW,
        configuration={"rowHeight": _ROW, "columnDefaults": {"tooltip": True}},
        stylesheets=[_STYLE],
        layout="fit_columns",
        width=_TABLE_WIDTH,
        margin=(0, 10),
    )
