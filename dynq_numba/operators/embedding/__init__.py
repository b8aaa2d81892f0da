"""Lookups in quantized tables."""

from __future__ import annotations

from ...kernels.embedding.worker import lookup_worker
from ...runtime.kernel_table import EIGHT_BIT, FOUR_BIT, Family
from ..base import Operator, SavedForm, named
from . import njit
from .api import embedding, embedding_bag
from .packed import PackedEmbedding, pack_embedding
from .saved import describe_embedding, restore_embedding
from .warm import warm


def _lookup(operation: str, verb: str, kind: str) -> Family:
    return Family(
        operation, f"qr{{bits}}w_f32_{verb}", lambda isa, scheme: lookup_worker(isa, scheme.bits, kind),
        (EIGHT_BIT, FOUR_BIT), "int{bits}, a scale and a minimum per row",
    )


OPERATOR = Operator(
    "embedding",
    title="Tables of vectors",
    about="8 or 4 bits a row; lookups, and sums, means, maxima of bags",
    public=named(pack_embedding, PackedEmbedding, embedding, embedding_bag),
    kernels=(
        _lookup("embedding", "vgather", "rows"),
        _lookup("embedding_bag", "vbagsum", "sum"),
        _lookup("embedding_bag_max", "vbagmax", "max"),
    ),
    overloads=(njit.embedding_overload, njit.embedding_bag_overload),
    types=(njit.PackedEmbeddingType,),
    saved={"embedding": SavedForm(PackedEmbedding, describe_embedding, restore_embedding)},
    warm=warm,
)
