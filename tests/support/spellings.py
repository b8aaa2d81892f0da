"""What exporters write, and what fusion makes of it: a catalogue, which tests hold and a page of the docs shows.

    files and texts here ─▶ tests/models/graph/test_fusion.py    each becomes what is said, and agrees with the nodes
                         ─▶ tests/programs/spellings_page.py     docs/reference/spellings.md

A file is of tests/models/files (tests/programs/export_spellings.py and export_others.py wrote them); a text is in
ONNX's form, as exporters that cannot be run here spell it. What a row becomes are the functions that are called then
(graph/optimise.py).
"""

from __future__ import annotations

# -- files ----
MASKED = "Attention_bias FloatLinear FloatLinear FloatLinear FloatLinear"
SUMMED = f"{MASKED}_residual"
LAYER = f"{SUMMED} LayerNorm FloatLinear_gelu FloatLinear_residual LayerNorm"
PLAIN = "Attention FloatLinear FloatLinear FloatLinear FloatLinear"
CAUSAL = PLAIN.replace("Attention", "Attention_causal")
GROUPED = PLAIN.replace("Attention", "Attention_grouped")
LLAMA = f"{PLAIN} Rotary Rotary".replace("Attention", "Attention_grouped_causal")
PAIRS = LLAMA.replace("Rotary", "Rotary_interleaved")
GELUS = "Gelu Gelu GeluTanh GeluTanh GeluTanh Silu"
RMS = "RmsNorm_residual FloatLinear_silu FloatLinear FloatLinear_residual"
HEADS = "FloatLinear FloatLinear FloatLinear FloatLinear"
#: What each file is to become.
EXPORTED = {
    "bert_13": LAYER, "bert_17": LAYER, "bert_dynamo": LAYER, "sdpa_boolean": SUMMED, "sdpa_boolean_dynamo": SUMMED,
    "sdpa_float": SUMMED, "sdpa_float_dynamo": SUMMED, "sdpa_plain": PLAIN, "sdpa_plain_dynamo": PLAIN,
    "causal": CAUSAL, "distil": MASKED, "mha": "Attention_bias FloatLinear FloatLinear",
    "mha_weights": "Attention_3d_bias FloatLinear FloatLinear", "mha_dynamo": "Attention_bias FloatLinear FloatLinear",
    "norms_13": "LayerNorm LayerNorm", "norms_17": "LayerNorm LayerNorm", "norms_dynamo": "LayerNorm LayerNorm RmsNorm",
    "gelus_13": GELUS, "gelus_20": GELUS, "gelus_dynamo": GELUS, "rms": RMS, "rms_dynamo": RMS,
    **dict.fromkeys(
        (f"triangle_{kind}{by}" for kind in ("sdpa", "tril", "triu", "range") for by in ("", "_dynamo")), CAUSAL
    ),
    "triangle_both": f"{CAUSAL}".replace("causal", "causal_bias"),
    "triangle_both_dynamo": f"{CAUSAL}".replace("causal", "causal_bias"),
    "attention_23": CAUSAL, "attention_23_boolean": SUMMED, "norms_23": "LayerNorm LayerNorm RmsNorm",
    "llama": LLAMA, "llama_dynamo": LLAMA, "llama_23": LLAMA, "interleaved_dynamo": PAIRS,
    "grouped": GROUPED, "grouped_dynamo": GROUPED, "grouped_23": GROUPED,
    "sentence": "LayerNorm MeanPool", "sentence_dynamo": "LayerNorm MeanPool",
    "conv_norm": "FloatConv_relu FloatConv_silu", "conv_norm_dynamo": "FloatConv_relu FloatConv_silu",
    "keras_norms": "LayerNorm RmsNorm", "keras_activations": "GeluTanh Silu",
    "keras_dense": "FloatLinear_silu FloatLinear",
    "keras_conv": "FloatConv FloatConv FloatConv FloatLinear", "keras_attention": PLAIN,
    "keras_causal": f"{HEADS} Attention_bias",
    "keras_grouped": PLAIN, "keras_lstm": "", "keras_gru": "",
    "jax_norms": "LayerNorm RmsNorm", "jax_activations": "Gelu GeluTanh Silu", "jax_dense": "FloatLinear_silu_residual",
    "jax_heads": "FloatLinear", "jax_attention": PLAIN, "jax_einsum": PLAIN, "jax_causal": CAUSAL,
    "jax_conv": "FloatConv_relu FloatConv",
}  # fmt: skip

#: How each is spelled, by the first part of its name.
ABOUT = {
    "bert": "an encoder's layer: softmax written out, a mask times the least float, GELU by erf, residuals",
    "sdpa_boolean": "scaled_dot_product_attention, a mask of booleans",
    "sdpa_float": "scaled_dot_product_attention, a mask to add",
    "sdpa_plain": "scaled_dot_product_attention",
    "causal": "GPT-2's triangle: a constant, sliced, and Where",
    "distil": "the scale on q, masked_fill",
    "mha": "nn.MultiheadAttention",
    "mha_weights": "nn.MultiheadAttention that gives its weights, too",
    "norms": "LayerNorm without and with parameters (and RMSNorm)",
    "gelus": "GELU by erf and by tanh, by the operator and in three spellings; SiLU",
    "rms": "RMSNorm as LLaMA has it, SwiGLU",
    "triangle_sdpa": "is_causal=True",
    "triangle_tril": "tril of ones",
    "triangle_triu": "triu of -inf",
    "triangle_range": "arange ≤ arange",
    "triangle_both": "a triangle and a mask, by And",
    "attention_23": "the operator of opset 23, is_causal=True",
    "attention_23_boolean": "the operator of opset 23, a mask of booleans",
    "llama": "LLaMA: rotated halves, heads repeated, a triangle",
    "interleaved": "LLaMA with rotated pairs",
    "grouped": "heads repeated by repeat_interleave (opset 23: enable_gqa)",
    "sentence": "the mean of tokens, as sentence encoders end",
    "conv_norm": "Conv, BatchNorm, ReLU; Pad, Conv, SiLU",
    "keras_norms": "LayerNormalization, RMSNormalization: means by pooling",
    "keras_activations": "GELU by tanh, SiLU",
    "keras_dense": "Dense, EinsumDense: a Gemm of a matrix, or MatMul",
    "keras_conv": "channels last, auto_pad, BatchNorm, ReLU6, PReLU with a reshaped slope, norm of groups",
    "keras_attention": "MultiHeadAttention: Einsum as stacks of matrices",
    "keras_causal": "MultiHeadAttention with use_causal_mask: a choice by products",
    "keras_grouped": "GroupQueryAttention",
    "keras_lstm": "Bidirectional LSTM: the operator, run by its kernel",
    "keras_gru": "GRU as a Loop",
    "jax_norms": "LayerNorm, RMSNorm",
    "jax_activations": "GELU by the operator in both forms, SiLU",
    "jax_dense": "Linear as Reshape, Gemm, Reshape; SiLU, a residual",
    "jax_heads": "LinearGeneral to heads",
    "jax_attention": "nnx.MultiHeadAttention",
    "jax_einsum": "attention by jnp.einsum",
    "jax_causal": "attention by jnp.einsum, a triangle by Where",
    "jax_conv": "channels last, BatchNorm, ReLU as a maximum, norm of groups",
}


def exporter(name: str, producer: str, version: str) -> str:
    """Who wrote a file of this name, whose model has this producer."""
    if producer == "pytorch":
        by = "torch.export" if name.endswith(("_dynamo", "_23", "_23_boolean")) else "TorchScript"
        return f"{by}, torch {version.partition('+')[0]}"
    return f"{producer} {version.partition(' ')[0]}"


def about(name: str) -> str:
    """How the file of this name is spelled."""
    return ABOUT[max((each for each in ABOUT if name.startswith(each)), key=len)]


# -- texts: a function of x ---
MEAN = "m = ReduceMean <keepdims = 1> (x, last) d = Sub (x, m) "
_TANH = "t = Tanh (u) t1 = Add (t, one) "
#: What each is to become, and how it is spelled.
SPELLINGS = {
    "a power, Div": ("LayerNorm", MEAN + "s = Pow (d, two) v = ReduceMean (s, second) e = Add (v, eps) q = Sqrt (e) "
        "n = Div (d, q) nw = Mul (n, w) y = Add (nw, b)"),
    "a product, Reciprocal, swapped": ("LayerNorm", MEAN + "s = Mul (d, d) v = ReduceMean (s, last) e = Add (eps, v) "
        "q = Sqrt (e) r = Reciprocal (q) n = Mul (r, d) nw = Mul (w, n) y = Add (b, nw)"),
    "Sub twice": ("LayerNorm", "m = ReduceMean (x, last) d = Sub (x, m) m2 = ReduceMean (x, last) f = Sub (x, m2) "
        "s = Pow (f, two) v = ReduceMean (s, last) e = Add (v, eps) q = Sqrt (e) n = Div (d, q) y = Mul (n, w)"),
    "TensorFlow": ("LayerNorm", MEAN + "s = Mul (d, d) v = ReduceMean (s, last) e = Add (v, eps) q = Sqrt (e) "
        "r = Reciprocal (q) g = Mul (r, w) h = Mul (m, g) i = Sub (b, h) j = Mul (x, g) y = Add (j, i)"),
    "sums": ("LayerNorm", "t = ReduceSum (x, last) m = Mul (t, k) d = Sub (x, m) s = Mul (d, d) "
        "u = ReduceSum (s, last) v = Mul (u, k) e = Add (v, eps) q = Sqrt (e) n = Div (d, q) y = Add (n, b)"),
    "JAX": ("LayerNorm", "m = ReduceMean (x, last) s = Mul (x, x) u = ReduceMean (s, second) r = Mul (m, m) "
        "f = Sub (u, r) v = Max (zero, f) e = Add (v, eps) q = Sqrt (e) i = Div (one, q) g = Mul (i, w) d = Sub (x, m) "
        "n = Mul (d, g) y = Add (n, b)"),
    "JAX, Relu": ("LayerNorm", "m = ReduceMean (x, last) s = Mul (x, x) u = ReduceMean (s, second) r = Pow (m, two) "
        "f = Sub (u, r) v = Relu (f) e = Add (v, eps) q = Sqrt (e) i = Reciprocal (q) d = Sub (x, m) "
        "g = Mul (i, w) n = Mul (g, d) y = Add (b, n)"),
    "TensorFlow, means by pooling": ("LayerNorm", "m = GlobalAveragePool (x) d = Sub (x, m) s = Mul (d, d) "
        "v = GlobalAveragePool (s) e = Add (v, eps) q = Sqrt (e) r = Reciprocal (q) g = Mul (r, w) h = Neg (m) "
        "i = Mul (h, g) j = Mul (x, g) k1 = Add (i, b) y = Add (j, k1)"),
    "no parameters": ("LayerNorm", MEAN + "s = Mul (d, d) v = ReduceMean (s, last) e = Add (v, eps) q = Sqrt (e) "
        "y = Div (d, q)"),
    "the operator, expanded": ("LayerNorm", "a = Identity (x) y = LayerNormalization <axis = 2> (a, w, b)"),
    "a sum before, used twice": ("LayerNorm_residual", "r = Neg (x) z = Mul (x, w) t = Add (r, z) "
        "n = LayerNormalization (t, w, b) y = Sub (n, t)"),
    "RMS, a power": ("RmsNorm", "s = Pow (x, two) v = ReduceMean (s, last) e = Add (v, tiny) q = Sqrt (e) "
        "n = Div (x, q) y = Mul (w, n)"),
    "RMS, 1 / x": ("RmsNorm", "s = Mul (x, x) v = ReduceMean (s, last) e = Add (v, tiny) q = Sqrt (e) "
        "r = Div (one, q) n = Mul (x, r) y = Mul (n, w)"),
    "RMS, the scale first": ("RmsNorm", "s = Mul (x, x) v = ReduceMean (s, last) e = Add (v, tiny) p = Sqrt (e) "
        "g = Div (w, p) y = Mul (x, g)"),
    "half at the end": ("Gelu", "u = Div (x, root2) e = Erf (u) o = Add (e, one) g = Mul (x, o) y = Mul (g, half)"),
    "half at the start": ("Gelu",
        "h = Mul (half, x) u = Mul (x, half_root) e = Erf (u) o = Add (one, e) y = Mul (h, o)"),
    "half in the middle": ("Gelu",
        "u = Mul (x, half_root) e = Erf (u) o = Add (e, one) h = Mul (o, half) y = Mul (x, h)"),
    "half multiplied out": ("Gelu",
        "u = Mul (x, half_root) e = Erf (u) h = Mul (e, half) o = Add (h, half) y = Mul (o, x)"),
    "tanh, a power": ("GeluTanh", "p = Pow (x, three) q = Mul (p, share) r = Add (x, q) u = Mul (r, c) " + _TANH
        + "h = Mul (x, half) y = Mul (h, t1)"),
    "tanh, products": ("GeluTanh", "p = Mul (x, x) p3 = Mul (p, x) q = Mul (share, p3) r = Add (q, x) u = Mul (c, r) "
        + _TANH + "h = Mul (t1, half) y = Mul (x, h)"),
    "tanh, Megatron": ("GeluTanh", "a = Mul (x, c) p = Mul (share, x) q = Mul (p, x) r = Add (one, q) u = Mul (a, r) "
        + _TANH + "h = Mul (half, x) y = Mul (h, t1)"),
    "SiLU": ("Silu", "s = Sigmoid (x) y = Mul (s, x)"),
    "SiLU, written out": ("Silu", "n = Neg (x) e = Exp (n) o = Add (e, one) y = Div (x, o)"),
    "a bias on the left": ("FloatLinear_gelu", "p = MatMul (x, w1) l = Add (b, p) y = Gelu (l)"),
    "a residual of two linears": ("FloatLinear_residual FloatLinear",
        "p = MatMul (x, w1) q = MatMul (x, w1) y = Add (p, q)"),
    "a convolution and a residual": ("FloatConv_silu_residual",
        "u = Unsqueeze (x, last) v = Transpose <perm = [0, 2, 1, 3]> (u) f = Conv (v, w4) s = Sigmoid (f) "
        "g = Mul (f, s) a = Add (g, v) t = Transpose <perm = [0, 2, 1, 3]> (a) y = Squeeze (t, last)"),
    "a convolution, scaled and shifted": ("FloatConv",
        "u = Unsqueeze (x, last) v = Transpose <perm = [0, 2, 1, 3]> (u) f = Conv (v, w4) g = Mul (channels, f) "
        "h = Div (g, root2) i = Sub (half, h) a = Add (i, channels) t = Transpose <perm = [0, 2, 1, 3]> (a) "
        "y = Squeeze (t, last)"),
    "relu and a residual": ("FloatLinear_relu_residual", "p = MatMul (x, w1) r = Relu (p) y = Add (x, r)"),
}  # fmt: skip
#: Scores and more of q, k, v and a bias.
TURN, BIAS = "kt = Transpose <perm = [0, 1, 3, 2]> (k) ", "Attention_bias"
_END = "p = Softmax (z) y = MatMul (p, v)"
ATTENTION = {
    "scale on scores": ("Attention", TURN + "m = MatMul (q, kt) z = Mul (m, s) " + _END),
    "Div": ("Attention", TURN + "m = MatMul (q, kt) z = Div (m, r) " + _END),
    "scale on both": ("Attention", TURN + "qs = Mul (s4, q) ks = Mul (kt, s4) z = MatMul (qs, ks) " + _END),
    "scale on k": ("Attention", "ks = Mul (k, s) kt = Transpose <perm = [0, 1, 3, 2]> (ks) z = MatMul (q, kt) " + _END),
    "no scale": ("Attention", TURN + "z = MatMul (q, kt) " + _END),
    "bias": (BIAS, TURN + "m = MatMul (q, kt) n = Mul (m, s) z = Add (n, bias) " + _END),
    "bias on the left": (BIAS, TURN + "m = MatMul (q, kt) n = Mul (m, s) z = Add (bias, n) " + _END),
    "two biases": (BIAS, TURN + "m = MatMul (q, kt) n = Add (m, bias) f = Neg (bias) z = Add (n, f) " + _END),
    "Where": (BIAS, TURN + "m = MatMul (q, kt) n = Mul (m, s) z = Where (bias, n, never) " + _END),
    "Where not": (BIAS, TURN + "m = MatMul (q, kt) o = Not (bias) z = Where (o, least, m) " + _END),
    "NaN to 0": (BIAS, TURN + "m = MatMul (q, kt) z = Where (bias, m, never) a = Softmax (z) i = IsNaN (a) "
        "p = Where (i, zero, a) y = MatMul (p, v)"),
    "the axis by its number": ("Attention", TURN + "z = MatMul (q, kt) p = Softmax <axis = 3> (z) y = MatMul (p, v)"),
}  # fmt: skip
#: What each is to become, and how a mask of booleans is computed.
TRIANGLES = {
    "the last row sees all": ("causal", "d = Sub (keys, rows) p = Add (row, d) seen = LessOrEqual (key, p)"),
    "the first row sees one": ("topleft", "seen = GreaterOrEqual (row, key)"),
    "all but what is behind": ("topleft", "behind = Greater (key, row) seen = Not (behind)"),
    "a wide window": ("bias", "d = Sub (row, key) near = Less (d, forty) w = LessOrEqual (key, row) "
        "n1 = Cast <to = 7> (near) w1 = Cast <to = 7> (w) both1 = Mul (n1, w1) seen = Cast <to = 9> (both1)"),
    "a window": ("topleft_bias",
        "d = Sub (row, key) near = Less (d, three) w = LessOrEqual (key, row) seen = And (near, w)"),
    "one more": ("bias", "d = Sub (row, key) minus = Neg (by) seen = GreaterOrEqual (d, minus)"),
    "constant": ("topleft", "seen = Slice (square, both, ends)"),
    "constant, with a hole": ("bias", "seen = Slice (holes, both, ends)"),
}  # fmt: skip
#: Body, the node asked about, and why it stays.
STAYS = {
    "another axis": ("m = ReduceMean (x, first) y = Sub (x, m)", "m", "not along the last axis"),
    "no norm": ("m = ReduceMean (x, last) y = Sub (x, m)", "m", "no layer or RMS norm"),
    "a value in between": (MEAN + "s = Mul (d, d) v = ReduceMean (s, last) e = Add (v, eps) q = Sqrt (e) "
        "n = Div (d, q) f = Neg (v) y = Add (n, f)", "m", "no layer or RMS norm"),
    "half forgotten": ("u = Div (x, root2) e = Erf (u) o = Add (e, one) y = Mul (x, o)", "e", "no GELU or SiLU"),
    "quick GELU": ("u = Mul (x, quick) e = Sigmoid (u) y = Mul (x, e)", "e", "no GELU or SiLU"),
    "two that vary": ("y = MatMul (x, x2)", "y", "both factors are computed at run time"),
    "a residual that broadcasts": ("p = MatMul (x, w1) r = ReduceMean (x, first) y = Add (p, r)", "y", "another shape"),
    "softmax alone": ("y = Softmax (x)", "y", "used in several places"),
    "softmax over rows": ("s = MatMul (x, x2) p = Softmax <axis = 1> (s) y = MatMul (p, x)", "p", "along axis 1 of 3"),
    "a mask that is none": ("s = MatMul (x, x2) f = Cast <to = 9> (s) q = Where (f, s, one) p = Softmax (q) "
        "y = MatMul (p, x)", "p", "a mask has at most -1000.0"),
    "training": ("y0 = Dropout (x, half, on) y = Neg (y0)", "y0", "it may be in training mode"),
}  # fmt: skip


def texts() -> list[tuple[str, str, str]]:
    """Of each text: the pattern, how it is spelled, the functions that it becomes."""
    rows = [(_pattern(functions), spelling, functions) for spelling, (functions, _) in SPELLINGS.items()]
    rows += [("attention", spelling, functions) for spelling, (functions, _) in ATTENTION.items()]
    return rows + [("mask of attention", spelling, f"Attention_{flags}") for spelling, (flags, _) in TRIANGLES.items()]


def _pattern(functions: str) -> str:
    first = functions.split("_")[0].split()[0]
    return {"LayerNorm": "layer norm", "RmsNorm": "RMS norm", "FloatLinear": "linear", "FloatConv": "convolution"}.get(
        first, "GELU, SiLU"
    )
