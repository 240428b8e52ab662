"""Directives that print the tables of `xstxm.conventions`, so that the pages cannot go stale."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from xstxm import conventions
from xstxm.conventions import VariableSpec

HEADINGS = ("variable", "units", "meaning")


def _lines(*lines: nodes.Node) -> nodes.entry:
    return nodes.entry("", *(nodes.paragraph("", "", line) for line in lines))


def _table(headings: Sequence[str], rows: Iterable[Sequence[nodes.entry]]) -> nodes.table:
    group = nodes.tgroup("", cols=len(headings))
    group += [nodes.colspec(colwidth=1) for _ in headings]
    group += nodes.thead("", nodes.row("", *(_lines(nodes.Text(heading)) for heading in headings)))
    group += nodes.tbody("", *(nodes.row("", *row) for row in rows))
    return nodes.table("", group, classes=["colwidths-auto"])


def _spec_row(spec: VariableSpec) -> list[nodes.entry]:
    units = spec.units or "-"
    return [
        _lines(nodes.literal(spec.name, spec.name), nodes.Text("(" + ", ".join(spec.dims) + ")")),
        _lines(nodes.literal(units, units), nodes.Text(spec.kind)),
        _lines(nodes.strong("", spec.long_name), nodes.Text(spec.doc)),
    ]


class SchemaTable(SphinxDirective):
    """``{schema-table} fit`` prints the variables of a schema; several names are joined, ``all`` is everything."""

    optional_arguments = 100

    def run(self) -> list[nodes.Node]:
        names: dict[str, None] = {}
        for word in self.arguments:
            known = conventions.SPECS if word == "all" else conventions.SCHEMAS.get(word, (word,))
            names.update(dict.fromkeys(known))
        return [_table(HEADINGS, (_spec_row(conventions.SPECS[name]) for name in names))]


class FlagTable(SphinxDirective):
    """``{flag-table}`` prints the bits of `quality`."""

    def run(self) -> list[nodes.Node]:
        rows = (
            [_lines(nodes.Text(str(bit))), _lines(nodes.literal(name, name))]
            for name, bit in conventions.QUALITY_FLAGS.items()
        )
        return [_table(("bit", "flag"), rows)]


class PaletteTable(SphinxDirective):
    """``{palette-table}`` prints the colours that phases get when the references bring none."""

    def run(self) -> list[nodes.Node]:
        boxes = (
            f'<span title="{color}" style="display:inline-block;width:2.5em;height:1.4em;background:{color}"></span>'
            for color in conventions.PALETTE
        )
        return [nodes.raw("", "<p>" + " ".join(boxes) + "</p>", format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("schema-table", SchemaTable)
    app.add_directive("flag-table", FlagTable)
    app.add_directive("palette-table", PaletteTable)
    return {"parallel_read_safe": True}
