"""One block of scratch for values with different lifetimes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Life(NamedTuple):
    """A value is made in one stage. It is read or written for the last time in that stage or a later one."""

    first: int
    last: int
    size: int


def arena(lives: Sequence[Life]) -> tuple[list[int], int]:
    """Where each value begins, and the size of the block. Memory of a dead value is used again in later stages.

    Parameters
    ----------
    lives : sequence of Life
        In ascending order of `first`; sizes in any unit.

    Returns
    -------
    begins : list of int
        For each of the lives.
    total : int

    Notes
    -----
    Best fit: the smallest free place that is large enough, else a new one at the end. Places are neither split nor
    joined: layers have only a few sizes, so it is not needed.
    """
    begins: list[int] = []
    free: list[tuple[int, int]] = []
    held: list[tuple[int, tuple[int, int]]] = []
    total = 0
    for life in lives:
        free += [room for last, room in held if last < life.first]
        held = [each for each in held if each[0] >= life.first]
        room = next((room for room in sorted(free) if room[0] >= life.size), None)
        if room is None:
            room, total = (life.size, total), total + life.size
        else:
            free.remove(room)
        held.append((life.last, room))
        begins.append(room[1])
    return begins, total
