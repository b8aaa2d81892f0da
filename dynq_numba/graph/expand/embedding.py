"""EmbedLayerNormalization of ONNX Runtime's optimizer: three tables, their sum, and its norm."""

from __future__ import annotations

from .base import Expansion, Operator, constant
from .norms import layer_norm


def _embed(operator: Operator) -> str:
    lines = "    words = Gather (word_embedding, input_ids)\n"
    if operator.has("position_ids"):
        lines += "    positions = Gather (position_embedding, position_ids)\n"
    else:  # the first rows of the table
        lines += constant("zero", [0]) + """
    length = Shape <start = 1, end = 2> (input_ids)
    positions = Slice (position_embedding, zero, length, zero)
"""
    total = "embedding_sum" if operator.wants("embedding_sum") else "total"
    if operator.has("segment_embedding") and operator.has("segment_ids"):
        lines += f"""
    placed = Add (words, positions)
    segments = Gather (segment_embedding, segment_ids)
    {total} = Add (placed, segments)
"""
    else:
        lines += f"    {total} = Add (words, positions)\n"
    if operator.wants("mask_index"):  # how many tokens there are
        lines += _counts(operator)
    return lines + layer_norm(total, "gamma", "beta", operator.number("epsilon", 1e-12))


def _counts(operator: Operator) -> str:
    if operator.has("mask"):
        return constant("second", [1]) + "    mask_index = ReduceSum <keepdims = 0> (mask, second)\n"
    return """
    batch = Shape <start = 0, end = 1> (input_ids)
    mask_index = ConstantOfShape <value: tensor = int32[1] {0}> (batch)
"""


EXPANSIONS = {
    "com.microsoft.EmbedLayerNormalization": Expansion(
        "input_ids, segment_ids, word_embedding, position_embedding, segment_embedding, gamma, beta, mask, "
        "position_ids",
        "output, mask_index, embedding_sum", _embed,
    ),
}  # fmt: skip
