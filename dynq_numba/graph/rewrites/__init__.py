"""Rewrites of graphs: what exporters write, as calls of functions of ours. A new one is a file and a row here.

    matching/    regions of nodes, computed on numbers; what shapes consist of
    spellings/   one form of what can be written in several ways
    products/    linears and convolutions, and what goes into them
    rowwise/     norms, activations, means of tokens
    attention/   attention, its masks and heads, rotary embeddings
"""

from .attention.attention import Attention
from .attention.rotary import Rotary
from .base import Editor, NoMatch, Note, Rewrite
from .products.affine import Affine
from .products.conv import Conv
from .products.flat import Flat
from .products.gemm import Gemm
from .products.linear import Linear
from .products.one_hot import OneHot
from .products.post_ops import Activation, Residual
from .products.stacks import Stacks
from .rowwise.activations import Activations
from .rowwise.mean_pool import MeanPool
from .rowwise.norms import Norms
from .rowwise.residual_norms import ResidualNorms
from .spellings.flattened import Flattened
from .spellings.grids import Grids
from .spellings.identities import Identities
from .spellings.relu import Relu
from .spellings.select import Select


def rewrites(attention_bits: int = 32) -> tuple[Rewrite, ...]:
    """In the order in which they are done: each finds what those before it have made."""
    return (
        Identities(), Select(), Relu(), Flattened(), Grids(), Gemm(), Affine(), Norms(), Activations(), Rotary(),
        Stacks(), Attention(attention_bits), MeanPool(), Linear(), Flat(), OneHot(), Conv(), Activation(), Residual(),
        ResidualNorms(),
    )  # fmt: skip


__all__ = ["Editor", "NoMatch", "Note", "Rewrite", "rewrites"]
