"""What a user may read of an error: what was asked, found and to do, and nothing of where the server keeps its files."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from stxm_explorer.wording import in_words_of_pages, label_of
from xstxm.errors import OptionError, StxmError

LONGEST = 500

_FOLDERS = re.compile(r"(?:file:/{1,2})?(?<![\w*.)])/(?:[^\s/:'\"]+/)+")
_MARKUP = re.compile(r"([\\`*_~<>&\[\]])")
_OPTION = re.compile(r"^(\w+)=")
_WINDOWS = re.compile(r"(?<!\w)(?:[A-Za-z]:|\\)[\\/](?:[^\s\\/:'\"]+[\\/])*")


def message(error: Exception, root: Path | None = None) -> str:
    """Return what a user may read about an error: folders of the server stay out of it."""
    if not isinstance(error, StxmError):
        return f"something went wrong ({type(error).__name__}): the server's log has the details"
    if isinstance(error, OptionError):
        return said(_OPTION.sub(lambda found: f"{label_of(found[1])} ", str(error)), root)
    return said(str(error), root)


def said(sentence: str, root: Path | None = None) -> str:
    """Return what a page says of a sentence of the library, of an error or a warning."""
    return without_folders(in_words_of_pages(sentence), root)


def counted(number: float, thing: str) -> str:
    """Return how many there are of a thing.

    Examples
    --------
    >>> counted(1, "field"), counted(2, "field")
    ('1 field', '2 fields')
    """
    return f"{number:.0f} {thing}{'' if number == 1 else 's'}"


def verbatim(text: str) -> str:
    r"""Return Markdown that reads as a text does: names of files, fields and substances bring no markup into the page.

    Examples
    --------
    >>> print(verbatim("my_<b>stack"))
    my\_\<b\>stack
    """
    return _MARKUP.sub(r"\\\1", text)


def without_folders(text: str, root: Path | None = None) -> str:
    """Return a text on one line, of which paths keep their last part only."""
    if root is not None and root != Path(root.anchor):
        text = text.replace(f"{root}/", "").replace(str(root), "the served folder")
    for folder in _own_folders():
        text = text.replace(f"{folder}/", "/./")
    text = " ".join(_FOLDERS.sub("", _WINDOWS.sub("", text)).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ..."


def _own_folders() -> list[str]:
    """Return the folders that the server's paths begin with, which may have blanks in them, the longest first."""
    known = {Path.cwd(), Path.home(), Path(tempfile.gettempdir()), Path(sys.prefix)}
    return sorted((str(folder) for folder in known if folder != Path(folder.anchor)), key=len, reverse=True)
