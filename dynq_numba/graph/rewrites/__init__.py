"""Rewrites of graphs; a new one is a file of this folder and a row here."""

from .activations import Activations
from .affine import Affine
from .attention import Attention
from .base import Editor, NoMatch, Note, Rewrite
from .conv import Conv
from .flat import Flat
from .flattened import Flattened
from .gemm import Gemm
from .grids import Grids
from .identities import Identities
from .linear import Linear
from .mean_pool import MeanPool
from .norms import Norms
from .one_hot import OneHot
from .post_ops import Activation, Residual
from .relu import Relu
from .residual_norms import ResidualNorms
from .rotary import Rotary
from .select import Select
from .stacks import Stacks


def rewrites(attention_bits: int = 32) -> tuple[Rewrite, ...]:
    """In the order in which they are done: each finds what those before it have made."""
    return (
        Identities(), Select(), Relu(), Flattened(), Grids(), Gemm(), Affine(), Norms(), Activations(), Rotary(),
        Stacks(), Attention(attention_bits), MeanPool(), Linear(), Flat(), OneHot(), Conv(), Activation(), Residual(),
        ResidualNorms(),
    )  # fmt: skip


__all__ = ["Editor", "NoMatch", "Note", "Rewrite", "rewrites"]
