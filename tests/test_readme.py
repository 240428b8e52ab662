"""The examples of the README run as they are written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("holoviews")
pytest.importorskip("skimage")
ROOT = Path(__file__).resolve().parents[1]
SECTIONS = re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", (ROOT / "README.md").read_text(encoding="utf-8"), re.S | re.M)
EXAMPLES = {title: "\n".join(re.findall(r"```python\n(.*?)```", text, re.S)) for title, text in SECTIONS}
PRINTED = {"Ten lines": "mean_composition_stderr", "Across length scales": "between fields"}
"""What each example says, among the rest."""
END = "end of example"
RUN_EACH = f"""
import sys
for code in sys.argv[1:]:
    exec(code, {{"__name__": "__main__"}})
    print("{END}")
"""
"""Away from these tests, one after another: each is given no names."""


def test_readme__every_example_is_run():
    assert {title for title, code in EXAMPLES.items() if code} == {*PRINTED}


def test_readme__examples_run_and_print_their_results(tmp_path):
    call = [sys.executable, "-c", RUN_EACH, *(EXAMPLES[title] for title in PRINTED)]
    run = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    *said, _ = run.stdout.split(END)
    for (title, result), text in zip(PRINTED.items(), said, strict=True):
        assert result in text, title
