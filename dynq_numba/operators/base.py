"""The row that an operator is: all that is registered of it stands in its folder's ``__init__``, and nowhere else.

The kernel table, the overloads for njit, the kinds of files, warm-up and the support matrix are made from the rows; the
package's names are held to them by a test (they stay written out in `dynq_numba/__init__.py`, for type checkers).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

from ..files.fields import Described
from ..runtime.kernel_table import Family


class SavedForm(NamedTuple):
    """How `save` writes a packed weight of a kind, and how `load` makes it again."""

    packed: type
    #: packed -> attributes and arrays
    describe: Callable[[Any], Described]
    #: (attributes, take) -> packed
    restore: Callable[..., Any]


#: (name, call): calls that compile what the kernel table does not hold: entries, epilogues, packing.
Warm = Iterator[tuple[str, Callable[[], object]]]


@dataclass(frozen=True)
class Operator:
    """One operator, or a family that shares its kernels."""

    name: str
    #: Its public names, and what they stand for.
    public: Mapping[str, Any]
    kernels: tuple[Family, ...] = ()
    #: Modules that register overloads with numba when they are imported.
    overloads: tuple[ModuleType, ...] = ()
    #: By kind.
    saved: Mapping[str, SavedForm] = field(default_factory=dict)
    warm: Callable[[], Warm] | None = None


def named(*objects: Any) -> dict[str, Any]:
    """Objects by their own names."""
    return {each.__name__: each for each in objects}
