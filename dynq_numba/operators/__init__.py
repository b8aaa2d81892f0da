"""The operators, one folder each. The same file name has the same role. The ``__init__`` is the operator's row."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from ..njit.types import register_packed
from ..runtime import kernel_table
from .base import Operator

_FOLDERS = sorted(each.name for each in iter_modules(__path__) if each.ispkg)
_ROWS: list[Operator] = [import_module(f".{folder}", __name__).OPERATOR for folder in _FOLDERS]

#: All operators: those that others are made of come first, then by name.
ALL = tuple(sorted(_ROWS, key=lambda row: (-sum(row.name in other.uses for other in _ROWS), row.name)))

for _row in ALL:
    kernel_table.register(*_row.kernels)
    for _type in _row.types:
        register_packed(_type)
    for _overload in _row.overloads:
        _overload.register()
