"""How Sphinx makes the pages of docs/: `nox -s docs`. They open from disk and ask for nothing outside."""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

project = "arbench"
author = "arbench authors"
copyright = author
extensions = ["myst_parser", "sphinx.ext.autodoc", "arbench_pages"]
exclude_patterns = ["*.py"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
html_theme = "furo"
html_title = "arbench"
html_copy_source = html_show_sphinx = False
html_show_search_summary = False  # it would fetch pages, which a browser refuses from disk
