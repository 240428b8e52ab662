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


def test_readme__every_example_is_run():
    assert {title for title, code in EXAMPLES.items() if code} == {*PRINTED}


@pytest.mark.parametrize("title", PRINTED)
def test_readme__example_runs_and_prints_its_result(title, tmp_path):
    run = subprocess.run([sys.executable, "-c", EXAMPLES[title]], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert PRINTED[title] in run.stdout
