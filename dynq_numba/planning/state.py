"""Where planning stands between two segments, and what Python does there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from .sizes import Known
from .tensor import Tensor
from .undo import Tensors, Values
from .uses import reads

#: What computes a node on arrays and objects, of which those that are left out are None.
Evaluate = Callable[[Sequence[Any]], list[Any]]


@dataclass(frozen=True)
class Walk:
    """Nodes that are left of a graph, and of which values in it the results of a node outside are."""

    nodes: tuple[ir.Node, ...]
    at: int = 0
    results: tuple[tuple[ir.Value, ir.Value], ...] = ()
    #: Of each value the last node that reads it, once that has been asked for.
    _last: dict[ir.Value, int] = field(default_factory=dict, repr=False)

    def reads(self, value: ir.Value) -> bool:
        """Whether a node that is left reads a value."""
        if not self._last:
            self._last.update((each, i) for i, node in enumerate(self.nodes) for each in reads(node))
        return self._last.get(value, -1) >= self.at


@dataclass
class State:
    """How far a plan has come."""

    values: Values
    work: tuple[Walk, ...]
    known: Known
    #: Positions of the results that are there already.
    made: frozenset[int] = frozenset()
    #: Where expressions and numbers that were needed in memory are.
    memory: Tensors[Tensor] = field(default_factory=Tensors)
    #: Of sequences, texts and the like, which Python holds: the value that first was it.
    objects: dict[ir.Value, ir.Value] = field(default_factory=dict)


@dataclass
class Read:
    """What Python does at the end of a segment: look at numbers."""

    tensor: Tensor
    dense: Tensor


@dataclass
class Run:
    """What Python does at the end of a segment: compute a node."""

    node: ir.Node
    #: Its own, then those of outside that its branches read; an object by its value, texts of the model as an array.
    inputs: tuple[Tensor | ir.Value | np.ndarray | None, ...]
    reason: str
    #: What computes it, once it has been asked for.
    evaluate: Evaluate | None = None
