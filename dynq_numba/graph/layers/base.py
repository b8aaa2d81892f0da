"""What a kind of layer tells the quantizer: which nodes it is, its weights, and what they become."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from ..constants import Constants
from ..recipe import Scheme


class Unfit(Exception):
    """Why a layer stays float; the message goes into the receipt."""


@dataclass(frozen=True)
class Observed:
    """A value of the model, over data: its rows x [K] are those of its last axis.

    Attributes
    ----------
    amax : float32 array [K]
        max|x| of each column.
    gram : float64 array [K, K]
        Σ xᵀx over the rows.
    rows : float32 array [some, K]
        Of the data, on which the layer is tried.
    """

    amax: np.ndarray
    gram: np.ndarray
    rows: np.ndarray


@dataclass
class Found:
    """A node with constant weights."""

    node: ir.Node
    #: Its weights, of which each is a line of the receipt.
    weights: tuple[ir.Value, ...]
    #: Nodes that the new one stands for, too, such as the Add of a bias.
    absorbed: tuple[ir.Node, ...] = ()
    bias: np.ndarray | None = None
    #: What is known of x from data, where the rule needs it.
    observed: Observed | None = None
    #: What columns of x are divided by; the same for all layers of one x that are smoothed.
    factors: np.ndarray | None = None
    #: What was done to a linear's x and weight (treatment.py).
    treated: Any = None

    @property
    def x(self) -> ir.Value:
        """The first input."""
        x = self.node.inputs[0]
        assert x is not None
        return x

    @property
    def output(self) -> ir.Node:
        """The node whose results the new one gives."""
        return self.absorbed[-1] if self.absorbed else self.node


#: Constants of a call, in order, by their roles.
Roles = Sequence[tuple[str, np.ndarray | ir.TensorProtocol]]
#: Of a call, in order: a value of the graph, or a constant.
Inputs = Sequence[ir.Value | tuple[str, np.ndarray | ir.TensorProtocol]]


@dataclass
class Replacement:
    """A call of a function of ours in the place of a layer, or the nodes of its body (`opened`)."""

    function: ir.Function
    inputs: Inputs
    #: The packed weight, which our kernels take; and its scheme in one word.
    packed: Any
    scheme: str
    #: Nodes that make inputs of the call, and nodes behind it, each of which takes the result before as first input.
    before: Sequence[ir.Node] = ()
    after: Sequence[ir.Node] = ()
    #: Which inputs are values of the model's float type, and become float32 first where that is another.
    floats: tuple[int, ...] = (0,)
    #: Functions that its body calls.
    needs: Sequence[ir.Function] = ()
    #: The float weight [N, K], where a table of the same values can be read from inputs 1 and 2.
    table: np.ndarray | None = None
    opened: bool = False
    #: What the constants of `before` take.
    bytes_before_it: int = 0
    #: Whether other runtimes get the bits of our kernel.
    exact: bool = True


@dataclass
class Probe:
    """A layer tried on a few inputs drawn from a fixed seed."""

    #: Results of the float layer, None where onnx.reference cannot compute it; and of our kernel.
    floats: Sequence[np.ndarray] | None
    ours: Sequence[np.ndarray]


class LayerKind(ABC):
    """One file of this folder each, and a row in ``__init__``."""

    #: The ONNX operators it takes.
    op_types: tuple[str, ...]

    @abstractmethod
    def find(self, node: ir.Node, constants: Constants) -> Found | None:
        """The layer that a node is, or None where nothing about it is a constant weight."""

    @abstractmethod
    def replace(self, found: Found, arrays: Sequence[np.ndarray], scheme: Scheme, constants: Constants) -> Replacement:
        """What a layer with these float32 weights becomes; raises `Unfit`, or ValueError from packing."""

    @abstractmethod
    def probe(self, found: Found, arrays: Sequence[np.ndarray], packed: Any, constants: Constants) -> Probe:
        """The layer in float and by our kernels."""
