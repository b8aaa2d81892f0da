"""Tables in plain text, as wide as where they go: on a terminal long names are shortened, in a file nothing is."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence

#: Columns of a terminal that does not say how wide it is, and of running text.
WIDTH = 80
#: Between two columns.
_GAP = 2
#: What a shortened name keeps at least.
_LEAST = 8


def width() -> int | None:
    """Columns of what standard output goes to: COLUMNS, or the terminal's; None for a file or a pipe."""
    if os.environ.get("COLUMNS", "").isdecimal() or _is_terminal():
        return max(40, shutil.get_terminal_size((WIDTH, 24)).columns)
    return None


def bold(text: str) -> str:
    """Bold on a terminal; NO_COLOR and TERM=dumb are heeded."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not _is_terminal()
    return text if plain or not text else f"\033[1m{text}\033[0m"


def _is_terminal() -> bool:
    return bool(getattr(sys.stdout, "isatty", bool)())


def shortened(text: str, most: int) -> str:
    """At most so many characters: the middle goes, because names of nodes differ at their ends."""
    if len(text) <= most:
        return text
    tail = (most - 1) * 2 // 3
    return f"{text[: most - 1 - tail]}…{text[len(text) - tail :]}"


def folded(text: str, most: int | None = None) -> list[str]:
    """Running text as lines of so many characters (by default what `width` says); later ones are indented."""
    most = width() if most is None else most
    if most is None:
        return [text]
    return textwrap.wrap(text, most, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], align: str, *,
    spare: Sequence[str] = (), most: int | None = None,
) -> str:
    """Rows under a head, all texts.

    Parameters
    ----------
    head : sequence of str
    rows : sequence of sequence of str
    align : str
        A letter for each column: l, r; L is aligned as l and may be shortened.
    spare : sequence of str
        Heads of columns that are left out, in this order, before anything is shortened.
    most : int, optional
        Characters of a line; by default what `width` says.
    """
    if len(align) != len(head) or any(len(row) != len(head) for row in rows):
        got = sorted({len(row) for row in rows})
        raise ValueError(f"align and rows must have {len(head)} columns; got {align!r} and {got}")
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    most = width() if most is None else most
    over = 0 if most is None else sum(widths) + _GAP * (len(widths) - 1) - most
    if over > 0 and (gone := next((i for i, name in enumerate(head) if name in spare[:1]), None)) is not None:
        kept = [[cell for i, cell in enumerate(row) if i != gone] for row in (head, *rows, align)]
        return table(kept[0], kept[1:-1], "".join(kept[-1]), spare=spare[1:], most=most)
    elastic = [i for i, letter in enumerate(align) if letter == "L"]
    while over > 0 and (longest := max((widths[i] for i in elastic), default=0)) > _LEAST:
        widths[next(i for i in elastic if widths[i] == longest)] -= 1
        over -= 1

    def line(row: Sequence[str]) -> str:
        cells = [shortened(cell, n) if c == "L" else cell for cell, n, c in zip(row, widths, align, strict=True)]
        cells = [cell.rjust(n) if c == "r" else cell.ljust(n) for cell, n, c in zip(cells, widths, align, strict=True)]
        return (" " * _GAP).join(cells).rstrip()

    return "\n".join([bold(line(head)), *map(line, rows)])


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> str:
    """The same for Markdown, of any width. What would end a cell or begin a tag is shown as it is."""
    lines = [map(escaped, head), (":--" if letter in "lL" else "--:" for letter in align)]
    lines += [map(escaped, row) for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, in a cell of a table, too."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
