"""What one run has for itself: the table, and of each segment its records and its arena."""

from __future__ import annotations

import numpy as np

from ..runtime.memory import aligned_zeros
from .segment import Segment
from .sizes import AnySize, Size


class Part:
    """A segment's records and arena."""

    __slots__ = ("address", "arena", "records")

    def __init__(self, records: np.ndarray) -> None:
        self.records, self.arena, self.address = records, np.empty(0, np.uint8), 0

    def reserve(self, nbytes: int) -> int:
        """The address of an arena of at least so many bytes."""
        if len(self.arena) < nbytes:
            self.arena = aligned_zeros(nbytes)
            self.address = self.arena.ctypes.data
        return self.address


class Frame:
    """A table of int64, read and written as a memoryview, which is faster for single words."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.table = np.zeros(0, np.int64)
        self.words = self.table.data
        self._addresses = 0  # how many of the weights' are in the table
        self._parts: dict[Segment, Part] = {}

    def grow(self, words: int) -> None:
        if len(self.table) < words:
            table = np.zeros(max(words, 2 * len(self.table)), np.int64)
            table[: len(self.table)] = self.table
            self.table, self.words = table, table.data

    def part(self, segment: Segment) -> Part:
        """A segment's part; the first time, its constants are written into the table."""
        part = self._parts.get(segment)
        if part is None:
            self.grow(segment.table_words)
            for index, value in segment.constants:
                self.words[index] = value
            part = self._parts[segment] = Part(segment.records.copy())
        return part

    def know(self, addresses: list[tuple[int, int]]) -> None:
        """Write where constants are, those that came since the last time. Another thread may add to them meanwhile."""
        count = len(addresses)
        if self._addresses < count:
            new = addresses[self._addresses : count]
            self.grow(1 + max(index for index, _ in new))
            for index, address in new:
                self.words[index] = address
            self._addresses = count

    def number(self, size: AnySize) -> int:
        return self.words[size.index] if isinstance(size, Size) else size
