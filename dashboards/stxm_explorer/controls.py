"""The rail on the left: the choices, in the order of the work."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui

from stxm_explorer.pages._parts import map_button
from stxm_explorer.session import Session
from stxm_explorer.state import BACKGROUNDS, I0_SOURCES, I0_UNITS, METHODS, ExplorerState


class Controls(pn.viewable.Viewer):
    """Widgets bound to the state; they read the catalogue and compute nothing."""

    def __init__(self, state: ExplorerState, session: Session) -> None:
        super().__init__()
        self._state, self._session = state, session
        found = session.store.catalogue()
        self._file = _select(state, "file", "Stack", found.stacks)
        self._references = pmui.MultiChoice.from_param(
            state.param.references, label="Reference spectra", options=list(found.spectra), searchable=True, **_WIDE
        )
        self._i0_file = _select(
            state, "i0_file", "I0 spectrum", found.spectra, visible=state.param.i0_source.rx() == "file"
        )
        self._rescan = pmui.Button(
            label="Look for files", icon="refresh", variant="text", size="small", on_click=self._look
        )
        self._found = pmui.Typography(_found_text(found), variant="caption", margin=(0, 10))
        self._map = map_button(session, sizing_mode="stretch_width")

    def _look(self, _: Any) -> None:
        found = self._session.store.catalogue()
        state = self._state
        self._file.options = _options(found.stacks, state.file)
        self._i0_file.options = _options(found.spectra, state.i0_file)
        self._references.options = sorted({*found.spectra, *state.references})
        self._found.object = _found_text(found)

    def __panel__(self) -> pn.viewable.Viewable:
        state = self._state
        from_file = state.param.i0_source.rx() == "file"
        units = pmui.Select.from_param(
            state.param.i0_units, label="Unit of the I0 file", options=I0_UNITS, visible=from_file, **_LOOK
        )
        fraction = pmui.FloatSlider.from_param(
            state.param.i0_fraction,
            label="Share of brightest pixels",
            visible=state.param.i0_source.rx() == "brightest",
            **_LOOK,
        )
        confidence = pmui.FloatSlider.from_param(state.param.min_confidence, label="Least confidence", **_LOOK)
        return pmui.Column(
            _heading("1  Stack"),
            self._file,
            pmui.Row(self._found, self._rescan),
            _heading("2  Incident intensity I0"),
            _choice(state, "i0_source", I0_SOURCES),
            fraction,
            self._i0_file,
            units,
            _heading("3  References"),
            self._references,
            pmui.TextInput.from_param(
                state.param.composition, label="Composition", placeholder="V2O5=0, LiV2O5=1", **_LOOK
            ),
            _heading("4  Fit"),
            pmui.Select.from_param(state.param.method, label="Method", options=METHODS, **_LOOK),
            pmui.Select.from_param(state.param.background, label="Background", options=BACKGROUNDS, **_LOOK),
            confidence,
            self._map,
            sizing_mode="stretch_width",
        )


_WIDE: dict[str, Any] = {"sizing_mode": "stretch_width", "margin": (4, 10)}
_LOOK: dict[str, Any] = {"size": "small", **_WIDE}


def _heading(text: str) -> pmui.Typography:
    return pmui.Typography(text, variant="subtitle2", margin=(10, 10, 2, 10))


def _options(names: tuple[str, ...], chosen: str) -> dict[str, str]:
    return {"none": "", **{name: name for name in sorted({*names, *([chosen] if chosen else [])})}}


def _select(state: ExplorerState, name: str, label: str, names: tuple[str, ...], **look: Any) -> pmui.Select:
    options = _options(names, getattr(state, name))
    return pmui.Select.from_param(
        state.param[name], label=label, options=options, searchable=len(names) > 12, **_LOOK, **look
    )


def _choice(state: ExplorerState, name: str, options: dict[str, str]) -> pmui.RadioButtonGroup:
    return pmui.RadioButtonGroup.from_param(state.param[name], label="", options=options, **_LOOK)


def _found_text(found: Any) -> str:
    stacks = len(found.stacks)
    text = f"{stacks} stack{'' if stacks == 1 else 's'}, {len(found.spectra)} files of spectra"
    return text if found.complete else f"{text}; the folder is too large to look through"
