"""Small Athena projects in both forms, as Demeter writes them."""

from __future__ import annotations

import gzip
import json

HEAD = "# Athena project file -- Demeter version 0.9.24\n# This file created at 2018-05-24T12:29:38\n\n"
TAIL = "@journal = ();\n\n\n1;\n\n\n# Local Variables:\n# truncate-lines: t\n# End:\n"
ENERGIES = ["5460", "5465.5", "5470"]
GROUPS = {
    "nuldi": ({"label": "V2O5", "is_xmu": "1", "is_nor": 0, "bkg_eshift": "0"}, ENERGIES, ["0.1", "1.0", "0.3"]),
    "tikzo": (
        {"label": r"it's C:\V", "is_xmu": "1", "is_nor": "1", "bkg_eshift": "-0.5"},
        ["5461", "5466", "5471", "5480"],
        ["0", "9e-1", "1.1", "1"],
    ),
}


def perl(groups=None, tail=TAIL) -> bytes:
    """Return a project of Perl statements, plain."""
    return (HEAD + "".join(_record(name, *group) for name, group in (groups or GROUPS).items()) + tail).encode()


def packed(data: bytes) -> bytes:
    """Return a project as Athena packs it, the same bytes every time."""
    return gzip.compress(data, mtime=0)


def as_json(groups=None, order=None) -> bytes:
    """Return a project of JSON, as Athena writes with Larch."""
    groups = groups or GROUPS
    project = {"_____header1": HEAD.splitlines()[0]}
    project |= {name: {"args": args, "x": x, "y": y, "signal": []} for name, (args, x, y) in groups.items()}
    return json.dumps(project | {"_____journal": ["x"], "_____order": order or list(groups)}).encode()


def _record(name, args, x, y) -> str:
    words = ",".join(f"{_quoted(key)},{_quoted(value)}" for key, value in args.items())
    lists = "".join(f"@{key} = ({','.join(map(_quoted, values))});\n" for key, values in (("x", x), ("y", y)))
    return f"$old_group = '{name}';\n@args = ('titles',['a;b','c'],{words});\n{lists}[record]   # create object\n\n"


def _quoted(value) -> str:
    if isinstance(value, int):
        return str(value)
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
