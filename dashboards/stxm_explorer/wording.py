"""Sentences of the library in the words of the pages: what to choose or to press where they say what to type."""

from __future__ import annotations

import re
from collections.abc import Mapping

import xstxm
from stxm_explorer.state import (
    ALIGN_TO,
    BACKGROUNDS,
    DECOMPOSITIONS,
    GROUPINGS,
    METHODS,
    NOISES,
    SELECTIONS,
    TRANSFORMS,
)
from xstxm.conventions import FRAME_FLAGS, QUALITY_FLAGS, SPECS

_CHOICES: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    ("background", "Background", BACKGROUNDS),
    ("crop", "Cut to what all frames cover", {}),
    ("gain", "Photons for one count", {}),
    ("max_optical_density", "Darkest optical density", {}),
    ("max_shift", "Farthest shift", {}),
    ("method", "Amounts", METHODS),
    ("method", "Method", GROUPINGS),
    ("method", "Way to components", DECOMPOSITIONS),
    ("min_amount", "Least amount of sample", {}),
    ("min_area", "Least area", {}),
    ("min_confidence", "Least confidence of a label", {}),
    ("n_starts", "Starts of NMF and MCR", {}),
    ("noise", "Errors", NOISES),
    ("overwrite", "Replace files that are there", {}),
    ("reference", "Compare each frame with", ALIGN_TO),
    ("saturation", "Saturated from counts of", {}),
    ("selection", "References of a pixel", SELECTIONS),
    ("transform", "Frames differ by", TRANSFORMS),
)
"""What a page calls a parameter, and the words that it can be set to; of several the one that has the word."""

_NAMES = [name for name, _, _ in _CHOICES]
_LABELS = {name: label for name, label, _ in _CHOICES if _NAMES.count(name) == 1}
"""What a page calls a parameter that has one name; of others the word tells which it is."""

_ADVICE: tuple[tuple[str, str], ...] = (
    (
        r"use sel_energy\(['\"]*(.+?)['\"]*, ['\"]*(.+?)['\"]*\)(?: on the stack)? first",
        r"use \1 to \2 on page Prepare",
    ),
    (r"^off[= ][^:]*: on and off share (.+): part them", r"the two energies are both \1: move one of the sliders"),
    (r"give several in a DataTree or a dict", "open several on page Data"),
    (r"Leave those frames out first, stack\.drop_isel\(.*\)", "Leave those frames out on page Prepare"),
    (r"see flag_frames\(\w+\)", "page Prepare marks them"),
    (r"pass (?:region|entry)= for another", "page Data has the others under Scan in the file"),
    (r"pass units='count' or units='count/ms'", "choose the Unit of the file on page Prepare"),
    (r"(?:pass|use) fields='each'", "untick All fields together"),
    (r"noise='residual' takes the errors from what the fit leaves", "page Prepare has other Errors"),
    (
        r"pass (?:pixel_size|energies|kind|axes)=.*",
        "convert the file once, where that can be said: xstxm convert in a shell",
    ),
    (r"raise max_iterations or the tolerance, or take", "take"),
    (r"use 'kmeans' or 'gaussian_mixture'", "choose another Method"),
    (r"\. A node that is left out .*", ""),
    (r"\bnodes\b", "fields"),
)
"""What the pages do about what the library says, which is tried in this order."""

_SET = re.compile(r"\b([a-z]\w*)=(?:(['\"])(\w*)\2|(True|False)\b|(?=[^\s'\"]))")
_QUOTED = re.compile(r"(?<![=\w(])'([^']*)'(?!\w)")
_JOINT = re.compile(r"(; |: |(?<!e\.g)\. |, (?=or |and |e\.g\. |such as |see )| (?=\())")
_KNOWN = sorted(
    {name for name in (*SPECS, *QUALITY_FLAGS, *FRAME_FLAGS, *(name for name, _, _ in _CHOICES)) if "_" in name},
    key=len,
    reverse=True,
)
_NAME = re.compile(rf"\b({'|'.join(_KNOWN)})\b(?![.\w(=])")
_PUBLIC = "|".join(name for name in xstxm.__all__ if "_" in name and name not in SPECS)
_CODE = re.compile(
    r"\.[a-z]\w*\(|\b[a-z_]{4,}\(|\b[a-z]\w*=(?=\S|$)|\bxstxm\.\w|\bxr\.\w|\bxarray\b|\.stxm\b|\b(?:drop_vars|assign_coords)\b|"
    rf"\bDataset|\bDataArray|\bDataTree|\b(?:{_PUBLIC})\b(?![.\w])"
)
"""What is typed in a script, and nowhere on a page."""


def in_words_of_pages(sentence: str) -> str:
    """Return a sentence of the library as a page says it.

    Parameters are called as their fields are. Advice that no page can take is left out; names in quotes stay as they are.

    Examples
    --------
    >>> in_words_of_pages("max_shift=-1: give a length above 0")
    'Farthest shift -1: give a length above 0'
    >>> in_words_of_pages("the stack covers 505-532 eV: use sel_energy('512 eV', '532 eV') first")
    'the stack covers 505-532 eV: use 512 eV to 532 eV on page Prepare'
    >>> in_words_of_pages("energies do not ascend: sort them, e.g. .sortby('energy') first")
    'energies do not ascend: sort them'
    """
    for pattern, words in _ADVICE:
        sentence = re.sub(pattern, words, sentence)
    names: list[str] = []

    def put_away(found: re.Match[str]) -> str:
        if found[1] in SPECS:
            return found[0]
        names.append(found[0])
        return f"\0{len(names) - 1}\0"

    sentence = _QUOTED.sub(put_away, sentence)  # what users call things is theirs
    said, *rest = _JOINT.split(_SET.sub(_called, sentence))
    left_out = ""
    for joint, clause in zip(rest[::2], rest[1::2], strict=True):
        if _CODE.search(clause):
            left_out = left_out or joint
            continue
        if left_out and joint == ", ":  # what comes after an advice that is left out stands in its place
            joint, clause = left_out, re.sub(r"^(?:or|and) ", "", clause)
        said += joint + re.sub(r"\bpass\b", "choose", clause)
        left_out = ""
    said = _NAME.sub(lambda found: label_of(found[1]), said)
    return re.sub("\0(\\d+)\0", lambda found: names[int(found[1])], said)


def label_of(option: str) -> str:
    """Return what a page calls a parameter."""
    return _LABELS.get(option, option.replace("_", " "))


def _called(found: re.Match[str]) -> str:
    """Return how a page calls a parameter that is set to something, and what it calls that."""
    name, word, switch = found[1], found[3], found[4]
    if switch and name in _LABELS:
        return f"{_LABELS[name]}: {'on' if switch == 'True' else 'off'}"
    if word is None:
        return f"{_LABELS[name]} " if name in _LABELS else found[0]
    told = (
        (label, said) for one, label, words in _CHOICES if one == name for said, value in words.items() if value == word
    )
    return ": ".join(next(told, (found[0],)))
