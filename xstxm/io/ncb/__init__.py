"""aXis2000 stacks: numbers (.ncb) beside a text that says what they are (.dat)."""

from xstxm.io._format import Format
from xstxm.io.ncb.header import is_ncb, partners
from xstxm.io.ncb.reader import open_ncb
from xstxm.io.ncb.writer import write_ncb

NCB = Format(
    name="ncb",
    title="an aXis2000 stack",
    files=".dat with .ncb",
    written_by="aXis2000, xstxm",
    recognises=lambda source, head: is_ncb(source, head),
    open=open_ncb,
    options=("kind",),
    main=lambda path: partners(path)[0],
    parts=partners,
    experimental="all of it",
    writer="write_ncb",
)

__all__ = ["NCB", "is_ncb", "open_ncb", "write_ncb"]
