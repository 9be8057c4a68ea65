"""How Sphinx builds the documentation; `make docs` runs it with warnings as errors."""

from clipsieve import __version__

project = "clipsieve"
author = "The clipsieve developers"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_click"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
# Pages link to files outside of `docs`, which work where the source is read; the tests follow every link.
suppress_warnings = ["myst.xref_missing"]
myst_enable_extensions = ["deflist"]

html_theme = "furo"
html_title = "clipsieve"
html_copy_source = False

autodoc_typehints = "none"  # the docstrings give shapes, dtypes and ranges, which say more
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
