"""Export: files of what was found, the recipe and the script that make them again, and the choices themselves."""

from __future__ import annotations

import io
from collections.abc import Callable, Hashable, Sequence
from html import escape
from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui

from stxm_explorer import exports, plan
from stxm_explorer.calls import Call, Missing, script
from stxm_explorer.exports import Item
from stxm_explorer.making import COMMENT, Made, Package, packed, recipe_file, written
from stxm_explorer.messages import counted, message
from stxm_explorer.pages._sharing import Sharing
from stxm_explorer.parts import CHOICE, heading
from stxm_explorer.session import Session, notify
from stxm_explorer.state import MAP_FORMATS, PICTURE_FORMATS, PICTURES, RESULTS, TABLES
from stxm_explorer.viewport import workspace_width
from stxm_explorer.views import Page, View
from xstxm.errors import StxmError

_STYLE = (
    "<style>table{border-collapse:collapse;width:100%}th{text-align:left;font-weight:600}"
    "th,td{padding:5px 10px;border-bottom:1px solid rgba(128,128,128,.35);vertical-align:top}"
    "pre{margin:8px 0;overflow:auto}pre.steps{white-space:pre-wrap}pre.long{max-height:420px;border:1px solid rgba(128,128,128,.35);padding:8px}td.size{white-space:nowrap;text-align:right}td.file{overflow-wrap:anywhere}small{opacity:.75}</style>"
)


class Export(Page):
    """Files, recipe, script and state."""

    title: ClassVar[str] = "Export"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._made = Making(session, self._items)
        self._files = View(
            session,
            self._want,
            self._made.place,
            self._found,
            look=self._look,
            label="Mapping phases",
            width=None,
            then=self.refresh,
        )
        self._phases: tuple[str, Any] = "", None
        self._recipe = RecipeText(session)
        self._script = pn.pane.Markdown(sizing_mode="stretch_width", margin=(0, 10))
        self._sharing = Sharing(session)
        self._tabs = pmui.Tabs(
            ("Files", self._files),
            ("Recipe", self._recipe),
            ("Script", pmui.Column(self._script_download(), self._script, sizing_mode="stretch_width")),
            ("State", self._sharing),
            sizing_mode="stretch_width",
            dynamic=False,  # what a button does in the browser is lost on tabs that are made when they are opened
        )
        self._tabs.param.watch(lambda _: self.refresh(), "active")

    def controls(self) -> pn.viewable.Viewable:
        chosen = self.state.export.param
        return pmui.Column(
            heading("Fields"),
            pmui.Checkbox.from_param(chosen.every_field, label="Every open field", **CHOICE),
            heading("Results"),
            _several(chosen.results, "What is written", RESULTS),
            _several(chosen.maps, "Formats", MAP_FORMATS),
            heading("Pictures"),
            _several(chosen.pictures, "What is drawn", PICTURES),
            _several(chosen.formats, "Formats", PICTURE_FORMATS),
            pmui.IntInput.from_param(chosen.dpi, label="Dots per inch of PNG", step=50, **CHOICE),
            heading("Tables and recipe"),
            _several(chosen.tables, "Tables", TABLES),
        )

    def workspace(self) -> pn.viewable.Viewable:
        return self._tabs

    def views(self) -> Sequence[View]:
        return (self._files, self._recipe.view) if self._tabs.active == 1 else (self._files,)

    def refresh(self) -> None:
        """Follow the choices, on the tab that is looked at."""
        self._tabs.width = workspace_width(self.session.width)
        super().refresh()
        if self._tabs.active == 2:
            self._script.object = f"```python\n{self.script()}\n```"
        if self._tabs.active == 3:
            self._sharing.refresh()

    def calls(self) -> list[Call]:
        """Return the calls that write the files."""
        try:
            return [item.call for item in self._items()]
        except (Missing, StxmError):
            return super().calls()

    def script(self) -> str:
        """Return the script that writes the files."""
        try:
            return script([item.call for item in self._items()], COMMENT)
        except (Missing, StxmError) as problem:
            return f"# {_hint(problem, self.session)}\n"

    def _want(self) -> Call:
        """Return what has to be known before the files can be told."""
        if exports.needs_energy(self.state) and self._shown_energy() is None:
            return self._want_survey()
        if exports.needs_phases(self.state):
            return plan.phases(self.state, plan.field_of(self.state))
        exports.items(self.state, None, self._shown_energy())
        return plan.raw(plan.field_of(self.state))

    def _found(self, result: Any) -> None:
        """List the files, of the phase map where they hold it."""
        assert self._files.call is not None
        self._phases = self.session.store.key(self._files.call), result
        self._made.tell()

    def _want_survey(self) -> Call:
        return Call("surveys.survey", (plan.signal_of(plan.field_of(self.state), self.state.view.signal),))

    def _shown_energy(self) -> float | None:
        """Return the energy of the image that page Explore shows where none is chosen, once it is known."""
        found = self.session.store.ready(self._want_survey())
        return None if found is None else found.energies[found.nearest(None)]

    def _items(self) -> list[Item]:
        energy = self._shown_energy() if exports.needs_energy(self.state) else None
        if not exports.needs_phases(self.state):
            return exports.items(self.state, None, energy)
        known, phases = self._phases  # it is held here: the cache of all pages may have forgotten it
        if known != self.session.store.key(self._want()):
            raise Missing("The phases are not mapped yet: the list of files appears when they are.")
        return exports.items(self.state, phases, energy)

    def _look(self) -> Hashable:
        try:
            return script([item.call for item in self._items()])
        except (Missing, StxmError) as problem:
            return str(problem)

    def _script_download(self) -> pn.viewable.Viewable:
        return pmui.FileDownload(
            callback=lambda: io.StringIO(self.script()), filename="export.py", label="Download script", size="small"
        )


class Making(pn.viewable.Viewer):
    """The list of files, the button that makes them, and what became of them."""

    def __init__(self, session: Session, items: Callable[[], list[Item]]) -> None:
        super().__init__()
        self._session, self._items = session, items
        self._list = pn.pane.HTML("", sizing_mode="stretch_width", margin=(5, 10))
        self._button = pmui.Button(icon="archive", on_click=lambda _: self.make(), margin=10)
        self._links = pmui.Row(margin=0)
        writes = session.outputs.allowed
        self._button.label = "Write files" if writes else "Make files"
        again = pmui.Checkbox.from_param(session.state.export.param.overwrite, label="Replace files that are there")
        self.place = pmui.Column(
            pmui.Row(self._button, again if writes else self._links), self._list, sizing_mode="stretch_width"
        )
        self.package: Package | None = None

    def tell(self) -> None:
        """List the files of new choices; what was made for others is forgotten."""
        self.package = None
        self._links.clear()
        try:
            self._list.object = _table([Made(item) for item in self._items()], done=False)
        except (Missing, StxmError) as problem:
            self._list.object = escape(_hint(problem, self._session))
        self._session.jobs.stop("export")
        self._button.loading = False
        self._button.disabled = not self._list.object.startswith(_STYLE)

    def make(self) -> None:
        """Make the files in the background."""
        try:
            items = self._items()
        except (Missing, StxmError) as problem:
            notify("warning", _hint(problem, self._session))
            return
        store, outputs, state = self._session.store, self._session.outputs, self._session.state
        overwrite, stem = state.export.overwrite, exports.plain(plan.field_of(state).label)
        self._button.loading = True
        self._session.jobs.start(
            "export",
            "Making files",
            lambda job: (
                written(store, outputs, items, overwrite, job)
                if outputs.allowed
                else packed(store, outputs, items, stem, job)
            ),
            self._done,
            self._failed,
        )

    def _done(self, package: Package) -> None:
        self.package, self._button.loading = package, False
        self._list.object = _table(package.made, done=True)
        if package.data is not None:
            size = _bytes(package.data.getbuffer().nbytes)
            self._links[:] = [
                pmui.FileDownload(
                    file=package.data, filename=package.name, label=f"Download {package.name} ({size})", margin=10
                )
            ]
        failed = [made for made in package.made if made.failed]
        if failed:
            notify(
                "warning", f"{len(failed)} of {counted(len(package.made), 'file')} could not be made: the list says why"
            )
        elif package.data is None:
            notify("success", f"written into the folder of the server: {counted(len(package.made), 'file')}")

    def _failed(self, error: Exception) -> None:
        self._button.loading = False
        self._session.report(error)


class RecipeText(pn.viewable.Viewer):
    """The recipe of the shown field: its steps and inputs in words, its file, and what it does not tell."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._download = pmui.Row(margin=0)
        self._text = pn.pane.HTML("", sizing_mode="stretch_width", margin=(0, 10))
        body = pmui.Column(self._download, self._text, sizing_mode="stretch_width")
        self.view = View(session, self._want, body, self._show, label="Reading the record")

    def _want(self) -> Call:
        return exports.recipe(self._session.state, plan.field_of(self._session.state))

    def _show(self, recipe: Any) -> None:
        file = recipe_file(self._session.store, self._session.outputs, exports.saved_recipe(self._session.state))
        self._download[:] = [
            pmui.FileDownload(
                file=file.data, filename=file.name, label=f"Download {file.name}", size="small", margin=10
            ),
            pmui.Typography(
                f'Apply it to other stacks: xstxm run "{file.name}" STACK --output results', margin=(14, 4)
            ),
        ]
        self._text.object = (
            f"{_STYLE}<pre class='steps'>{escape(repr(recipe))}</pre><pre class='long'>{escape(file.text)}</pre>"
        )

    def __panel__(self) -> pn.viewable.Viewable:
        return self.view.__panel__()


def _several(parameter: Any, label: str, options: dict[str, str]) -> pn.viewable.Viewable:
    look = {name: value for name, value in CHOICE.items() if name != "size"}
    return pmui.MultiChoice.from_param(parameter, label=label, options=options, **look)


def _hint(problem: Exception, session: Session) -> str:
    text = str(problem) if isinstance(problem, Missing) else message(problem, session.store.root)
    return " ".join(text.split())  # a comment in a script is one line


def _table(made: Sequence[Made], *, done: bool) -> str:
    rows = "".join(
        f"<tr><td class='file'>{escape(each.item.file)}</td><td>{_said(each)}</td><td class='size'>{_result(each, done)}</td></tr>"
        for each in made
    )
    return f"{_STYLE}<table><tr><th>File</th><th>What it holds</th><th></th></tr>{rows}</table>"


def _said(made: Made) -> str:
    more = [made.failed] if made.failed else [*made.said]
    return "<br>".join([escape(made.item.what), *(f"<small>{escape(text)}</small>" for text in more)])


def _result(made: Made, done: bool) -> str:
    if not done:
        return ""
    return "not made" if made.failed else _bytes(made.size)


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
