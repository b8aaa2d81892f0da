"""What exporters write, as calls of functions of ours: a session knows them by name, and runs its kernels.

    canonical model ─▶ expand/ ─▶ constants folded, lengths settled ─▶ rewrites/, one after the other

| function of domain dynq | inputs | outputs | kernel |
|---|---|---|---|
| `LayerNorm` | x [..., K], weight [K], bias [K], eps [] | y | dq.layer_norm |
| `LayerNorm_residual` | x, residual, weight, bias, eps | y, sum | the same with residual and sum_out |
| `LayerNorm_plain`, `LayerNorm_plain_residual` | the same without weight and bias | | dq.layer_norm |
| `RmsNorm` | x [..., K], weight [K], eps [] | y | dq.rms_norm |
| `RmsNorm_residual` | x, residual, weight, eps | y, sum | the same with residual and sum_out |
| `Gelu`, `GeluTanh`, `Silu` | x | y | dq.gelu, dq.silu |
| `Attention` | q [B, H, S, D], k [B, Hkv, T, D], v [B, Hkv, T, Dv], scale [] | y [B, H, S, Dv] | dq.attention |
| `Attention_bias` | the same, and bias, broadcast to [B, H, S, T] | y | dq.attention with mask |
| `Rotary` | x [..., D], cos, sin | y | |
| `Append` | past [B, H, T, D], new [B, H, S, D], starts [B], total [1] | y [B, H, max (T, total), D] | |
| `MeanPool` | x [B, T, K], mask [B, T], least [] | y [B, K] | |
| `FloatLinear` | x [..., K], weight [K, N], bias [N] | y | |
| `FloatConv_⟨attributes⟩` | x [N, C, …], weight [O, C/g, …], bias [O] | y | |

x, q, k, v, residual, mask, cos, sin and bias of attention vary; the others are constant. More flags of attention, such
as `Attention_causal`, are in rewrites/attention/function.py, those of rotary embeddings in rotary.py beside it. Linears
and convolutions, also those of layers/, take suffixes (`functions.parse`): `⟨base⟩[_⟨activation⟩][_residual]`; residual
is their last input.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from .expand import expand
from .model import infer_shapes
from .padding import explicit_pads
from .rewrites import Editor, Note, rewrites
from .rewrites.base import apply
from .rewrites.matching.shapes import settle
from .rewrites.spellings.fold import fold, lift

#: How often lengths are looked for.
ROUNDS = 3


def optimise(model: ir.Model, *, attention_bits: int = 32) -> list[Note]:
    """Rewrite the model in place; gives what became of each node that a rewrite looked at.

    Parameters
    ----------
    model : ir.Model
        As `canonical` gives it, quantized or not.
    attention_bits : int
        32, or 8 for products of attention in 8-bit integers.
    """
    if attention_bits not in (8, 32):
        raise ValueError(f"attention_bits must be 8 or 32; got {attention_bits}")
    lift(model)
    notes = expand(model, "")
    infer_shapes(model)
    explicit_pads(model)
    edit = Editor(model)
    fold(edit)
    for _ in range(ROUNDS):  # a length that is known by now makes others known
        if not settle(edit):
            break
        infer_shapes(model)
        fold(edit)
    notes += apply(rewrites(attention_bits), edit)
    common.RemoveUnusedNodesPass()(model)
    common.RemoveUnusedFunctionsPass()(model)
    return notes
