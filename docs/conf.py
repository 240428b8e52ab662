"""Sphinx configuration: builds offline, and the pages load nothing from another host."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")

import sphinx_autosummary_accessors  # noqa: E402

import xstxm  # noqa: E402

project = "xstxm"
author = "The xstxm developers"
copyright = "2026, The xstxm developers"
release = version = xstxm.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_autosummary_accessors",
    "myst_nb",
    "schema_tables",
    "api_complete",
]
templates_path = ["_templates", sphinx_autosummary_accessors.templates_path]
exclude_patterns = ["_build", "_static", "**.ipynb_checkpoints"]
nitpicky = False
default_role = "code"

autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "auto"
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_in_temp = True
nb_execution_timeout = 180
nb_merge_streams = True
nb_render_markdown_format = "myst"
nb_mime_priority_overrides = [("html", "image/png", 0)]
nb_ipywidgets_js: dict[str, dict[str, str]] = {}

mathjax_path = "mathjax/tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}}

html_theme = "pydata_sphinx_theme"
html_title = f"xstxm {release}"
html_static_path = ["_static"]
html_css_files = ["xstxm.css"]
html_context = {"default_mode": "auto"}
html_sidebars = {"**": ["all-pages.html"]}
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "xstxm"},
    "navbar_align": "left",
    "navbar_center": [],
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
