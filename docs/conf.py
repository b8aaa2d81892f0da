"""The documentation site: make docs. Its source is the checkout itself, so links between pages work there and here."""

from __future__ import annotations

import re
from typing import Any

import dynq_numba

project = "dynq-numba"
copyright = "the authors of dynq-numba; Apache-2.0"
release = dynq_numba.__version__
root_doc = "docs/index"
include_patterns = [
    "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "bench/*.md", "docs/**/*.md", "docs/*.md",
]  # fmt: skip
exclude_patterns = [".venv", "build"]
extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_parser", "sphinx_copybutton"]

myst_heading_anchors = 3
autodoc_typehints = "none"  # docstrings say shapes and dtypes; help() shows the annotations
autosummary_generate = False  # tables only: the entries stand on the same page
numpydoc_show_class_members = False  # the pages name the members
numpydoc_class_members_toctree = False
default_role = "autolink"  # a link where there is something of that name
pygments_style, pygments_dark_style = "friendly", "monokai"

html_theme = "furo"
html_title = f"dynq-numba {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_static/index.html"]  # from the site's root to its first page
html_copy_source = html_show_sourcelink = False
copybutton_exclude = ".linenos, .gp, .go"  # prompts and results stay behind


def escape(_app: object, _what: str, _name: str, _obj: object, _options: object, lines: list[str]) -> None:
    """Docstrings are plain text: their bars and stars are absolute values and products, not markup."""
    for place, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = re.split(r"(``.*?``|^ *\* )", line)  # code, and the star of a list
            kept = ("``", "* ")
            lines[place] = "".join(
                part if part.lstrip().startswith(kept) else re.sub(r"([|*])", r"\\\1", part) for part in parts
            )


def without_last_lines(_app: object, _page: str, text: list[str]) -> None:
    """A doctest in a fence ends with an empty line, for pytest; readers need none."""
    text[0] = text[0].replace("\n\n```\n", "\n```\n")


def setup(app: Any) -> None:
    app.connect("source-read", without_last_lines)
    app.connect("autodoc-process-docstring", escape, priority=100)  # before numpydoc
