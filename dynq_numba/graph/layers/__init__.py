"""The kinds of layers that are quantized; a new one is a file of this folder and a row here."""

from .base import Found, Inputs, LayerKind, Probe, Replacement, Unfit
from .conv import Conv
from .embedding import Embedding
from .linear import Linear
from .recurrent import Recurrent

#: In the order in which they are quantized: a table follows the linear whose weight it shares.
KINDS: tuple[LayerKind, ...] = (Linear(), Recurrent(), Conv(), Embedding())
#: The operators of ONNX that they take.
OPERATORS = tuple(name for kind in KINDS for name in kind.op_types)

__all__ = ["KINDS", "OPERATORS", "Found", "Inputs", "LayerKind", "Probe", "Replacement", "Unfit"]
