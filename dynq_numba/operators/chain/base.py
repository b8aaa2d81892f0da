"""What a chain asks its steps: what they take and give, how they run in a program, and how alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np


class Cost(NamedTuple):
    """Of a step: microseconds of one thread for a row, bytes of weights, rows of its tallest tile, and values of a
    row-wise operation done in a microsecond (0: a linear)."""

    row_micros: float
    weight_bytes: int = 0
    tile_rows: int = 1
    rate: int = 0


class ChainStep(ABC):
    """A step. Values have names; `x` is the one it takes first, None for what the step before gives."""

    x: str | None

    @abstractmethod
    def checked(self, where: str) -> Self:
        """Its fields looked at, arrays as float32 of its own; TypeError or ValueError that says `where`."""

    @abstractmethod
    def columns(self, source: int | None) -> tuple[int, int]:
        """Columns of x and of the result; `source`: those of the value it takes, None where that is unknown yet."""

    @property
    @abstractmethod
    def beside(self) -> tuple[str, str] | None:
        """(parameter, name of a value) of what it takes beside x, as wide as the result."""

    @property
    def total(self) -> str | None:
        """The name of its second result, x + residual."""
        return None

    @property
    def stores_total(self) -> bool:
        """Whether it writes x + residual: where there is no name for that, into its result first."""
        return False

    @property
    def fusible(self) -> bool:
        """Whether a program can run it; else all steps run as calls of their own."""
        return True

    def joins(self, leader: ChainStep) -> bool:
        """Whether it may run together with an earlier step of the same x, which is quantized once for both."""
        return False

    @abstractmethod
    def fill(self, words: np.ndarray, width: int, keep: list[Any]) -> Cost:
        """Write its context for the instruction set in force and x of `width` columns; `keep` what it points to."""

    @abstractmethod
    def run(
        self, name: str, x: np.ndarray, values: Mapping[str, np.ndarray], threads: int | None
    ) -> dict[str, np.ndarray]:
        """Its results, by name, from a call of its own."""
