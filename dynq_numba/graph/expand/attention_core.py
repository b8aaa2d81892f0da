"""What all operators of attention are expanded to: lines of ONNX's text form.

    q4 [B, H, S, D], k4 [B, Hkv, T, D], v4 [B, Hkv, T, Dv] ─▶ y4 [B, H, S, Dv]

Keys that a row does not see have the score -inf in ONNX, and a large negative number in ONNX Runtime. A row that sees
none is zeros in ONNX: so the NaN that Softmax makes of it become 0.
"""

from __future__ import annotations

from .base import constant


def core(mask: str, scale: float | None, softcap: float = 0.0, *, blind: bool = False) -> str:
    """y4; `mask` makes `masked` of `scores`, and `blind` rows may see no key."""
    lines = "    turned = Transpose <perm = [0, 1, 3, 2]> (k4)\n    products = MatMul (q4, turned)\n"
    if scale is None:
        lines += """
    width = Shape <start = 3, end = 4> (q4)
    width_float = Cast <to = 1> (width)
    root = Sqrt (width_float)
    raw = Div (products, root)
"""
    else:
        lines += constant("scale", scale) + "    raw = Mul (products, scale)\n"
    if softcap:
        lines += constant("cap", softcap) + """
    shrunk = Div (raw, cap)
    bent = Tanh (shrunk)
    scores = Mul (bent, cap)
"""
    else:
        lines += "    scores = Identity (raw)\n"
    lines += (mask or "    masked = Identity (scores)\n") + "    shares = Softmax <axis = -1> (masked)\n"
    if not blind:
        return lines + "    y4 = MatMul (shares, v4)\n"
    return lines + constant("nothing", 0.0) + """
    unknown = IsNaN (shares)
    weights = Where (unknown, nothing, shares)
    y4 = MatMul (weights, v4)
"""


#: `row` [S, 1] and `key` [T]: positions of queries and of keys; `rows` [1] and `keys` [1]: how many there are.
PLACES = constant("from", 0) + constant("by", 1) + constant("none", [0]) + constant("beside", [1]) + """
    rows = Shape <start = 2, end = 3> (q4)
    row_limit = Squeeze (rows, none)
    row_range = Range (from, row_limit, by)
    row = Unsqueeze (row_range, beside)
    keys = Shape <start = 2, end = 3> (k4)
    key_limit = Squeeze (keys, none)
    key = Range (from, key_limit, by)
"""


def heads(name: str, heads: int) -> str:
    """⟨name⟩4 [B, H, S, D] of ⟨name⟩3 [B, S, H·D]."""
    return constant(f"{name}_apart", [0, 0, heads, -1]) + f"""
    {name}_rows = Reshape ({name}3, {name}_apart)
    {name}4 = Transpose <perm = [0, 2, 1, 3]> ({name}_rows)
"""


def joined(result: str, like: str = "", width: int = 0) -> str:
    """`result` [B, S, H·Dv] of y4; `width` is H·Dv, 0 if not known: if it is, onnx sees that B and S are `like`'s."""
    together = constant("together", [0, 0, -1])
    if width:
        together = constant("y_width", [width]) + f"""
    y_front = Shape <start = 0, end = 2> ({like})
    together = Concat <axis = 0> (y_front, y_width)
"""
    return f"""{together}
    y_rows = Transpose <perm = [0, 2, 1, 3]> (y4)
    {result} = Reshape (y_rows, together)
"""


def repeated(name: str, groups: int) -> str:
    """⟨name⟩4 with each head `groups` times, of ⟨name⟩_few."""
    return constant(f"{name}_third", [2]) + constant(f"{name}_groups", [1, 1, groups, 1, 1]) + f"""
    {name}_alone = Unsqueeze ({name}_few, {name}_third)
    {name}_many = Expand ({name}_alone, {name}_groups)
    {name}_batch = Shape <start = 0, end = 1> ({name}_few)
    {name}_heads = Shape <start = 1, end = 2> (q4)
    {name}_ends = Shape <start = 2, end = 4> ({name}_few)
    {name}_shape = Concat <axis = 0> ({name}_batch, {name}_heads, {name}_ends)
    {name}4 = Reshape ({name}_many, {name}_shape)
"""
