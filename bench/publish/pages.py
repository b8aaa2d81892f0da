"""The pages that scripts fill in: README.md, bench/RESULTS.md, docs/howto/formats.md.

A block of a page stands between two comments, ``<!-- begin NAME: COMMAND -->`` and ``<!-- end NAME -->``. COMMAND is
what writes it; tests compare the blocks with what it would write.
"""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
RESULTS = Path(__file__).parents[1] / "RESULTS.md"
FORMATS = Path(__file__).parents[2] / "docs" / "howto" / "formats.md"


def filled(text: str, name: str, new: str) -> str:
    """The text of a page with `new` as its block `name`."""
    found = re.split(rf"(?<=<!-- begin {name}: )([^>]*-->\n).*?(?=<!-- end {name} -->)", text, flags=re.DOTALL)
    if len(found) != 3:
        raise ValueError(f"a page must have one block {name}, between its comments; it has {len(found) // 2}")
    head, command, tail = found
    return f"{head}{command}\n{new}\n\n{tail}"


def fill(page: Path, name: str, new: str) -> None:
    """Write a block of a page."""
    page.write_text(filled(page.read_text(), name, new))
