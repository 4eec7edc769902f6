"""Sphinx's settings. The sources are the tree that stage.py makes, not this folder."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

project = "s2ice"
release = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
project_copyright = "the authors of s2ice"
html_title = f"s2ice {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
html_theme = "furo"
html_static_path = [str(Path(__file__).with_name("static"))]
html_css_files = ["s2ice.css"]
html_copy_source = False
html_show_sourcelink = False
html_permalinks_icon = "#"
html_domain_indices = False
html_use_index = False

# Anchors as GitHub makes them, so that one link serves there and here.
myst_heading_anchors = 4
# Dashes alone: options stand in code, which keeps its hyphens.
smartquotes_action = "D"

# Docstrings say types in words; the signatures of settings would fill a screen.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
# Backticks in docstrings are names where there is such a name, and code elsewhere.
default_role = "py:obj"
napoleon_google_docstring = False
napoleon_use_rtype = False
# What is copied as it is: rustdoc brings licences in Markdown.
exclude_patterns = ["extra"]
