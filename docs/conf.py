"""Builds the site: `make docs`."""

from __future__ import annotations

from hitless import __version__

project = "Hitless"
author = "The Hitless developers"
copyright = "The Hitless developers; Apache-2.0"
version = release = __version__
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "Hitless"
nitpicky = True
