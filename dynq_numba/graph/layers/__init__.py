"""The kinds of layers that are quantized; a new one is a file of this folder and a row here."""

from .base import Found, LayerKind, Probe, Replacement, Unfit
from .conv import Conv
from .embedding import Embedding
from .linear import Linear
from .recurrent import Recurrent

#: In the order in which they are quantized: a table follows the linear whose weight it shares.
KINDS: tuple[LayerKind, ...] = (Linear(), Recurrent(), Conv(), Embedding())

__all__ = ["KINDS", "Found", "LayerKind", "Probe", "Replacement", "Unfit"]
