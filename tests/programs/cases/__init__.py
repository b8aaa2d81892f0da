"""The catalogue: a row for each operator, in a file of its name. From it are made

    test_inputs       small calls with every odd argument
    golden.py         the kept digests
    extremes.py       the reference beside the compiled code, at the ends of float32 and of lengths
    guarded.py        edges between unreadable pages
    starved.py        large calls without memory
    soak.py           millions of small and middle calls
    load.py           middle calls on many threads
    test_interrupts   middle calls that are interrupted
    test_processes    middle calls in processes made by fork, forkserver and spawn
    test_warmup       calls of every option
    test_layers       which kernels may import which
    test_operators    whether each has a benchmark

A new operator is a new file here: nothing else names it.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from .base import Call, Row, Size

#: By operator.
ROWS: dict[str, Row] = {
    each.name: import_module(f".{each.name}", __name__).ROW
    for each in iter_modules(__path__) if each.name not in ("base", "files")
}  # fmt: skip


def calls(size: Size) -> Iterator[Call]:
    """Those of all operators; their names are told apart."""
    for row in ROWS.values():
        yield from row.calls(size)
