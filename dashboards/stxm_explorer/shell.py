"""The page around the pages: app bar, rail of steps, controls, workspace, the drawer of the code."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from stxm_explorer.calls import script
from stxm_explorer.cluster import cluster
from stxm_explorer.delivery import in_one_message
from stxm_explorer.outputs import Outputs
from stxm_explorer.pages import PAGES
from stxm_explorer.parts import calm_page
from stxm_explorer.session import Session, notify
from stxm_explorer.state import TOO_LONG, ExplorerState
from stxm_explorer.store import Store
from stxm_explorer.viewport import CONTROLS, RAIL, Viewport
from stxm_explorer.views import Page, Shown
from xstxm.errors import StxmError

_FOCUS = {"outline": "3px solid #E69F00", "outlineOffset": "1px"}
"""Where the keyboard is: seen on the ground of the page, light or dark, and on the app bar."""
_LOOK: dict[str, Any] = {
    "chart_style": "standard",
    "typography": {"h3": {"fontSize": "1.15rem", "fontWeight": 500}},
    "components": {
        "MuiToolbar": {"styleOverrides": {"root": {"minHeight": "48px !important"}}},
        "MuiToggleButton": {"styleOverrides": {"root": {"textTransform": "none"}}},
        "MuiTab": {"styleOverrides": {"root": {"textTransform": "none"}}},
        "MuiButtonBase": {"styleOverrides": {"root": {"&.Mui-focusVisible": _FOCUS}}},
        "MuiSlider": {"styleOverrides": {"thumb": {"&.Mui-focusVisible": _FOCUS}}},
        "MuiTooltip": {"defaultProps": {"disableInteractive": True}},  # what it covers can be clicked all the same
    },
}
_SECOND = {"secondary": {"main": "#D55E00"}}
THEME: dict[str, Any] = {
    "light": {**_LOOK, "palette": {"primary": {"main": "#0072B2"}, **_SECOND}},
    "dark": {**_LOOK, "palette": {"primary": {"main": "#2E8BC6", "contrastText": "#ffffff"}, **_SECOND}},
}
"""Colours that can be told apart, lighter where words in them stand on dark; a slim app bar."""


class App(pn.viewable.Viewer):
    """The explorer of one session."""

    def __init__(self, state: ExplorerState, store: Store, outputs: Outputs | None = None) -> None:
        super().__init__()
        self.state, self.session = state, Session(state, store, outputs)
        self._pages: dict[str, tuple[Page, Shown, Shown]] = {}
        self._controls = pn.Column(width=CONTROLS, sizing_mode="stretch_height", scroll="y")
        self._workspace = pn.Column(sizing_mode="stretch_width")
        self._code = Code(self.session, self.page)
        self._viewport = Viewport(width=0, height=0, margin=0)
        self._viewport.param.watch(self._resize, ["inner_width", "inner_height"])
        self._viewport.param.watch(self._go, "page")
        self._title = self._file = ""
        self._template: pmui.Page | None = None
        self._field = pmui.Select(
            label="", size="small", width=220, margin=(0, 24), align="center", visible=False,
            sx={"& .MuiInputBase-root, & .MuiSvgIcon-root": {"color": "white"}},
        )  # fmt: skip
        self._field.param.watch(lambda event: self.state.view.param.update(field=event.new or ""), "value")
        self._document = pn.state.curdoc
        if self._document is not None:
            pn.state.on_session_destroyed(lambda _: self.close())
        self._toasts = pn.state.notifications
        self._start()

    @classmethod
    def from_environment(cls) -> App:
        """Return the explorer of the folder, stack and scheduler that the environment names."""
        store = Store(Path(os.environ.get("XSTXM_ROOT") or Path.cwd()), cluster=cluster())
        state = ExplorerState()
        if name := store.name_of(os.environ.get("XSTXM_FILE")):
            state.open(name)
            state.view.page = "Explore"
        output = os.environ.get("XSTXM_OUTPUT")
        return cls(state, store, Outputs(Path(output) if output else None))

    def page(self) -> Page:
        """Return the page that is looked at."""
        return self._parts()[0]

    @in_one_message()
    def refresh(self) -> None:
        """Show the page that is chosen, and have it follow the choices."""
        self.session.follow_references()
        page, controls, workspace = self._parts()
        if self._file != (file := self.state.field.file if self.state.field else ""):
            self._file = file
            self.session.ranges.forget()
        try:
            page.refresh()
        except Exception as error:  # no choice leaves a page half built
            self.session.report(error)
        page.hush()
        if self._title != page.title:  # only now: what leaves the page and comes back in one message is lost to Bokeh
            self._title = page.title
            self._controls[:], self._workspace[:] = [controls], [workspace]
        labels = [field.label for field in self.state.fields]
        shown = self.state.field.label if self.state.field else None
        self._field.param.update(options=labels, value=shown, visible=len(labels) > 1)
        self._code.refresh()
        self._address()

    def _hush(self) -> None:
        """Say once what several views say, now that one of them says something else."""
        if self.state.view.page in self._pages:
            self.page().hush()

    def _address(self) -> None:
        """Write the choices into the address; say so where they do not fit."""
        word = self.state.to_query()
        if word == TOO_LONG and not self._viewport.query.endswith(TOO_LONG):
            notify("warning", "The address of the page cannot hold so many choices: page Export saves them as a file")
        self._viewport.param.update(page=self.state.view.page, query=f"state={word}")

    def _parts(self) -> tuple[Page, Shown, Shown]:
        """Return the page that is looked at, its choices and its middle, which are made at the first visit."""
        title = self.state.view.page
        if title not in self._pages:
            page = PAGES[title](self.session)
            self._pages[title] = page, page.controls(), page.workspace()
        return self._pages[title]

    def _start(self) -> None:
        """Make what the address of the page asks for, so that it comes with the page."""
        if word := _word():
            try:
                self.state.from_query(word)
            except StxmError as error:
                self.session.report(error)
        self.session.ask_cluster()
        self.state.listen(self.refresh)
        self.session.param.watch(lambda *_: self.refresh(), ["width", "height"])
        self.session.param.watch(lambda _: self._hush(), "spoken")
        self.refresh()

    def _go(self, event: Any) -> None:
        """Show the page that the browser went back to."""
        if event.new in PAGES:
            self.state.view.page = event.new

    def _resize(self, *_: Any) -> None:
        width, height = self._viewport.inner_width, self._viewport.inner_height
        if width and height:
            self.session.param.update(width=sorted((200, width, 20_000))[1], height=sorted((200, height, 20_000))[1])

    def __panel__(self) -> pn.viewable.Viewable:
        rail = pmui.RadioButtonGroup.from_param(
            self.state.view.param.page, label="", orientation="vertical", size="small", width=RAIL, margin=(8, 4, 8, 8)
        )
        self._template = calm_page(
            title="xstxm explorer",
            header=[self._field, _status(self.session), pn.HSpacer(), self._code.button()],
            main=[
                pn.Row(rail, self._controls, self._workspace, sizing_mode="stretch_both"),
                self._code,
                self._viewport,
            ],
            theme_config=THEME,
        )
        return self._template

    def close(self) -> None:
        """Stop the work of a page that was closed, and let go of what was on it, whoever still holds the page itself."""
        self.session.close()
        self._pages.clear()
        views = pn.state._views
        for ref in [ref for ref, (view, *_) in views.items() if view is self._toasts]:
            del views[ref]  # Panel asks a document that it has destroyed for its toasts, finds none, and keeps both
        if self._template is not None:
            with param.parameterized.discard_events(self._template):  # the page in the browser is no more
                self._template.param.update(main=[], header=[])


class Code(pn.viewable.Viewer):
    """The calls behind what is on the screen, to read and to take away."""

    def __init__(self, session: Session, page: Any) -> None:
        super().__init__()
        self._session, self._page = session, page
        self._text = pn.pane.Markdown(sizing_mode="stretch_width", margin=(0, 10))
        download = pmui.FileDownload(
            callback=lambda: io.StringIO(self.script()), filename="explore.py", label="Download", size="small"
        )
        self._drawer = pmui.Drawer(
            pmui.Typography("What makes the numbers on this page", variant="subtitle1", margin=10),
            download,
            self._text,
            anchor="right",
            size=640,
        )
        self._drawer.param.watch(lambda _: self.refresh(), "open")

    def script(self) -> str:
        """Return the script of the page that is looked at."""
        calls = self._page().calls()
        if not calls:
            return "# Nothing is computed on this page yet.\n"
        comment = "Makes the numbers that the explorer shows; run it in the folder that it serves."
        return script(calls, comment)

    def refresh(self) -> None:
        """Write the script anew, where it is seen."""
        if self._drawer.open:
            self._text.object = f"```python\n{self.script()}\n```"

    def button(self) -> pn.viewable.Viewable:
        """Return the button that opens the drawer."""
        return self._drawer.create_toggle(icon="code", color="light")

    def __panel__(self) -> pn.viewable.Viewable:
        return self._drawer


def _status(session: Session) -> pn.viewable.Viewable:
    """Return what says which work is under way and how far it is, with a button that stops it."""
    busy = session.param.running.rx().rx.len() > 0
    what = session.param.running.rx().rx.pipe(lambda jobs: jobs[-1].label if jobs else "")
    share = session.param.progress.rx()
    bar = pmui.LinearProgress(
        value=share.rx.pipe(lambda part: int(100 * part) if part is not None else -1),
        variant=share.rx.pipe(lambda part: "indeterminate" if part is None else "determinate"),
        width=160,
        color="light",
        margin=(14, 8),
        align="center",
    )
    stop = pmui.Button(
        label="Stop", icon="cancel", color="light", variant="text", size="small", align="center",
        on_click=lambda _: session.jobs.cancel(),
    )  # fmt: skip
    text = pmui.Typography(what, variant="body2", sx={"color": "white"}, margin=(0, 8), align="center")
    return pn.Row(pn.HSpacer(), text, bar, stop, visible=busy, sizing_mode="stretch_width", align="center", margin=0)


def _word() -> str:
    """Return the choices that the address of the page holds."""
    given = (pn.state.session_args or {}).get("state")
    return given[0].decode("ascii", "replace") if given else ""
