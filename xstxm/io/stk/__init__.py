"""Stony Brook stacks (.stk): one binary file of sizes, axes, energies, dwell times and frames."""

from xstxm.io._format import Format
from xstxm.io.stk.reader import is_stk, open_stk

STK = Format(
    name="stk",
    title="a Stony Brook stack",
    files=".stk",
    written_by="the stack programs of Stony Brook and NSLS X1A",
    recognises=lambda source, head: is_stk(source, head),
    open=open_stk,
    options=("kind",),
    experimental="all of it",
)

__all__ = ["STK", "is_stk", "open_stk"]
