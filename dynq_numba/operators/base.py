"""The row of an operator: everything that is registered for it is in its folder's ``__init__``, and nowhere else.

The kernel table, the overloads for njit, the kinds of files, warm-up, the support matrix, the package's names, the
README's table of functions and the pages of the reference are made from the rows. The last three are written out by
`make rows`, for type checkers, editors and readers; a test compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..files.fields import Described
from ..njit.overloads import Overload
from ..njit.types import PackedType
from ..runtime.kernel_table import Family


class SavedForm(NamedTuple):
    """How `save` writes a packed weight of a kind, and how `load` creates it from the file."""

    packed: type
    #: packed -> attributes and arrays
    describe: Callable[[Any], Described]
    #: (attributes, take) -> packed
    restore: Callable[..., Any]


#: (name, call): calls that compile what the kernel table does not hold: entries, epilogues, packing. Between them
#: nothing may be compiled: each of several processes goes through all, and makes the calls that no other has made.
Warm = Iterator[tuple[str, Callable[[], object]]]


@dataclass(frozen=True)
class Operator:
    """One operator, or a family that shares its kernels."""

    name: str
    #: What the documentation calls it, and says of it in a line.
    title: str
    about: str
    #: Its public names, in the order of the documentation, and what they stand for. None: only programs use it.
    public: Mapping[str, Any]
    kernels: tuple[Family, ...] = ()
    #: What its functions are inside ``numba.njit``, and its packed objects.
    overloads: tuple[Overload, ...] = ()
    types: tuple[type[PackedType], ...] = ()
    #: By kind.
    saved: Mapping[str, SavedForm] = field(default_factory=dict)
    warm: Callable[[], Warm] | None = None
    #: Other operators that it is made of: the only ones it may import.
    uses: tuple[str, ...] = ()


def named(*objects: Any) -> dict[str, Any]:
    """Objects by their own names."""
    return {each.__name__: each for each in objects}
