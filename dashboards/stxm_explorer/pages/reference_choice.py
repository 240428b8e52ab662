"""References: which files have them, and which pixels of the stacks."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui

from stxm_explorer.calls import File, Upload
from stxm_explorer.pages.internal import Internals
from stxm_explorer.parts import CHOICE, heading, hint, optional
from stxm_explorer.session import Session
from stxm_explorer.state import KINDS
from stxm_explorer.uploads import LARGEST, TABLES

OFFERED = 300
"""Files in the list to choose from; those beyond are chosen in the table of files."""


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
        self.internal = Internals(session)

    def __panel__(self) -> pn.viewable.Viewable:
        chosen = self.state.references.param
        return pn.Column(
            heading("References"),
            self.files,
            self._more,
            self.upload,
            self.internal,
            pmui.Select.from_param(chosen.kind, label="Values are", options=KINDS, **CHOICE),
            optional(self.state.references, "counts", "Counts of a pixel", "as in the stack"),
            sizing_mode="stretch_width",
        )

    def refresh(self, offered: tuple[str, ...]) -> None:
        """Offer the files that there are, and show the chosen ones."""
        self.internal.follow()
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
