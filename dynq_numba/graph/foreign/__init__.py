"""Files that others quantized: their integers are kept, and our kernels compute with them.

    DynamicQuantizeLinear ─▶ MatMulInteger ─▶ Cast ─▶ Mul ─▶ Add     ─▶  Linear of the same integers
    DequantizeLinear(weight) ─▶ MatMul, Gemm, Conv, LSTM, GRU, RNN   ─▶  Linear, Conv, LSTM … of the same integers
    QuantizeLinear ─▶ DequantizeLinear of a value                    ─▶  Clip: what saturates stays so

Our kernels quantize every row of x by itself, where the file has one scale for all of x, or none. So this is for
``semantics="rowwise"``. With "file" only that is rewritten which no runtime of ours knows, into what it means.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from ..rewrites.base import Editor, Note, Rewrite, apply
from .blocks import Blocks
from .dynamic_lstm import DynamicLSTM, inlined
from .floats import Floats
from .pairs import Pairs
from .products import Products
from .qlinear import QLinear
from .recurrent import Recurrent
from .tables import Tables
from .weights import Weights

#: How layers of such files are computed.
SEMANTICS = ("rowwise", "file")


def keep_integers(model: ir.Model, semantics: str) -> list[Note]:
    """Rewrite the model in place, as `canonical` gives it; gives what became of each node that was looked at."""
    edit = Editor(model)
    rowwise = semantics == "rowwise"
    first: tuple[Rewrite, ...] = (QLinear(), Products(), Recurrent(), Weights(), Pairs()) if rowwise else ()
    notes = apply((*first, Blocks(rowwise), Tables(), DynamicLSTM(), Floats()), edit)
    inlined(model)
    common.RemoveUnusedNodesPass()(model)
    return notes
