"""Code: the script behind the page."""

from __future__ import annotations

import io

import panel as pn
import panel_material_ui as pmui

from stxm_explorer.codegen import script
from stxm_explorer.state import ExplorerState
from xstxm.errors import OptionError


class Code(pn.viewable.Viewer):
    """The script that reproduces what is on the screen, to read and to take away."""

    def __init__(self, state: ExplorerState) -> None:
        super().__init__()
        self._state = state
        self._text = pn.pane.Markdown(sizing_mode="stretch_width", margin=(0, 10))
        self._download = pmui.FileDownload(
            callback=lambda: io.StringIO(self.script()),
            filename="explore.py",
            label="Download",
            variant="outlined",
            size="small",
        )
        state.param.watch(
            lambda _: self._write(), [name for name in state.param if name not in ("name", "width", "height")]
        )
        self._write()

    def script(self) -> str:
        """Return the script; the reason where the state is not complete."""
        try:
            return script(self._state)
        except OptionError as error:
            return f"# {error}"

    def _write(self) -> None:
        self._text.object = f"```python\n{self.script()}\n```"

    def __panel__(self) -> pn.viewable.Viewable:
        return pmui.Column(self._download, self._text, sizing_mode="stretch_width")
