"""A place on a page for the result of one call: always something to read or to see."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar, TypeAlias

import panel as pn
import panel_material_ui as pmui

from stxm_explorer.calls import Call, Missing
from stxm_explorer.delivery import in_one_message
from stxm_explorer.jobs import Stopped
from stxm_explorer.messages import message, verbatim
from stxm_explorer.session import Session
from xstxm.errors import StxmError

Shown: TypeAlias = pn.viewable.Viewable | pn.viewable.Viewer


class View(pn.viewable.Viewer):
    """Shows what a call returns; before, what to choose first, that the work is under way, or why there is none.

    Parameters
    ----------
    want
        Returns the call for the present choices; raises `Missing` with a hint, or an error of xstxm.
    body
        What is shown once there is a result.
    show
        Draws a result into the body.
    look
        What else the drawing depends on; it is drawn anew when this changes.
    label
        Of the work, for the progress bar.
    at_once
        Make results that take no time without a job.
    then
        Called when a result is in its place, e.g. to have other views follow that need it.
    """

    def __init__(
        self,
        session: Session,
        want: Callable[[], Call],
        body: Shown,
        show: Callable[[Any], None],
        *,
        look: Callable[[], Hashable] = lambda: None,
        label: str = "Working",
        at_once: bool = False,
        then: Callable[[], None] = lambda: None,
        width: int | None = None,
    ) -> None:
        super().__init__()
        self.session, self.call = session, None
        self._want, self._show, self._look, self._label = want, show, look, label
        self._at_once, self._then = at_once, then
        self._kind = f"view {id(self)}"
        self._waiting: str | None = None
        self._drawn: tuple[str, Hashable] | None = None
        self._stopped: str | None = None
        self._notes: tuple[str, ...] = ()
        self._said = ("", "", False)
        self._seen_at = session.state.place
        self._words = pn.Column(sizing_mode=None, margin=0)
        # the body stays on the page: a figure that comes and goes is built anew, and loses what changes meanwhile
        self._frame = pn.Column(body, sizing_mode=None, margin=0, visible=False)
        self._place = pn.Column(self._words, self._frame, sizing_mode=None, width=width)
        self.result: Any = None

    call: Call | None

    @property
    def settled(self) -> bool:
        """Whether the result of the present choices is shown."""
        return self._drawn is not None and self._waiting is None

    @property
    def said(self) -> tuple[str, str]:
        """The words that stand in place of a result, and how grave they are; empty where there is one."""
        return ("", "") if self._frame.visible else self._said[:2]

    def hush(self, hushed: bool) -> None:
        """Leave the words away, as they stand elsewhere on the page already."""
        if self._words.visible == hushed:
            self._words.visible = not hushed

    def resize(self, width: int) -> None:
        """Give it so many pixels across, words included."""
        if self._place.width != width:
            self._place.width = width
            for said in self._words.select(pmui.Alert):
                said.width = self._fitting(said.width)

    def _fitting(self, width: int) -> int:
        return min(width, (self._place.width or 1000) - 20)

    @property
    def visible(self) -> bool:
        """Whether there is anything of it on the page."""
        return bool(self._place.visible)

    @visible.setter
    def visible(self, shown: bool) -> None:
        self._place.visible = shown

    def __panel__(self) -> pn.viewable.Viewable:
        return self._place

    def refresh(self) -> None:
        """Follow the choices: nothing happens where they ask for what is shown already."""
        try:
            self.call = self._want()
            key = self.session.store.key(self.call)
        except (Missing, StxmError) as problem:
            self.call = None
            self._drop(problem, again=not isinstance(problem, Missing))
            return
        self._seen_at = self.session.state.place
        if (key, self._look()) == self._drawn:
            self._forget()
        elif key not in (self._waiting, self._stopped):
            self._begin(key)

    def _forget(self) -> None:
        """Stop the work for choices that were taken back meanwhile: it would be shown in place of what is there."""
        if self._waiting is not None:
            self.session.jobs.stop(self._kind)
            self._waiting, self._place.loading = None, False

    def _begin(self, key: str) -> None:
        assert self.call is not None
        self._waiting, self._stopped = key, None
        self.session.get(
            self._kind,
            self.call,
            lambda result: self._done(key, result),
            self._failed,
            label=self._label,
            at_once=self._at_once,
        )
        if self._waiting == key and self._drawn is None:
            self._say(f"{self._label} ...", "info")
        if self._waiting == key and self._drawn is not None:
            self.session.jobs.soon(self._cover)

    def _cover(self) -> None:
        """Cover what is shown while it waits for something newer."""
        self._place.loading = self._waiting is not None and self._drawn is not None

    def _done(self, key: str, result: Any) -> None:
        self._show(result)
        self._waiting, self.result, self._drawn = None, result, (key, self._look())
        self._place.loading = False
        notes = self.session.store.notes(self.call) if self.call else ()
        if self._notes != notes or not self._frame.visible:
            self._notes = notes
            told = [message(StxmError(note), self.session.store.root) for note in notes]
            self._words[:] = [_said(text, "warning", self._fitting(640)) for text in told]
            self._frame.visible = True
            self.session.param.trigger("spoken")
        if self.session.state.place == self._seen_at:  # nothing more is computed for a page that was left
            self._then()

    def _failed(self, error: Exception) -> None:
        self._stopped = self._waiting
        if isinstance(error, Stopped):
            self._drop(Missing("Stopped."), again=True)
        else:
            self._drop(error, again=True)
            self.session.report(error)

    @in_one_message()
    def _again(self) -> None:
        self._stopped = None
        self.refresh()

    def _drop(self, problem: Exception, *, again: bool) -> None:
        self.session.jobs.stop(self._kind)
        self._waiting = self._drawn = self.result = None
        self._place.loading = False
        if isinstance(problem, Missing):
            self._say(str(problem), "info", again=again)
        else:
            self._say(message(problem, self.session.store.root), "warning", again=again)

    def _say(self, text: str, severity: str, *, again: bool = False) -> None:
        """Say something in place of the body, with a button that tries again where that may help."""
        said = text, severity, again
        if self._frame.visible or self._said != said or not self._words:
            button = pmui.Button(label="Try again", icon="refresh", size="small", on_click=lambda _: self._again())
            self._words[:] = [_said(text, severity, self._fitting(380)), *([button] if again else [])]
        self._frame.visible, self._said = False, said
        self.session.param.trigger("spoken")


def _said(text: str, severity: str, width: int) -> pmui.Alert:
    return pmui.Alert(verbatim(text), severity=severity, width=width, margin=10)


class Page(pn.viewable.Viewer):
    """One step of the work: controls on the left, views in the middle; it follows the choices while it is looked at."""

    title: ClassVar[str]

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session, self.state = session, session.state

    def views(self) -> Sequence[View]:
        """Return the views."""
        return ()

    def controls(self) -> Shown:
        """Return the choices of this step."""
        raise NotImplementedError

    def workspace(self) -> Shown:
        """Return the middle of the page."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Follow the choices."""
        for view in self.views():
            view.refresh()

    def hush(self) -> None:
        """Say once what several views say."""
        seen = {("", "")}
        for view in (view for view in self.views() if view.visible):
            view.hush(view.said != ("", "") and view.said in seen)
            seen.add(view.said)

    def calls(self) -> list[Call]:
        """Return the calls behind what is on the screen."""
        return [view.call for view in self.views() if view.call is not None]
