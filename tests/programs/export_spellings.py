"""Write tests/models/files/*.onnx: one thing as PyTorch's two exporters spell it, of tiny sizes and random weights.

    python tests/programs/export_spellings.py [NAME …]      # needs torch and onnxscript, which no test does

Written by torch 2.13 and onnxscript 0.7; `runtime_…` by the optimizers of onnxruntime 1.32, of such files.
tests/models/graph/test_fusion.py and test_expansions.py say what each of them is to become.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

FOLDER = Path(__file__).parents[1] / "models" / "files"
WIDTH, HEADS, INNER = 16, 2, 32
LOWEST = torch.finfo(torch.float32).min


def heads_of(x: Tensor) -> Tensor:
    return x.view(x.size(0), x.size(1), HEADS, WIDTH // HEADS).transpose(1, 2)


def joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).reshape(x.size(0), x.size(2), WIDTH)


class Projections(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))


class Bert(Projections):
    """A layer as transformers' BertLayer in eager mode; a mask [B, T] of 0 and 1."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.seen, self.last = nn.LayerNorm(WIDTH, eps=1e-12), nn.LayerNorm(WIDTH, eps=1e-12)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        bias = (1.0 - mask[:, None, None, :].to(torch.float32)) * LOWEST
        q, k, v = (heads_of(each(x)) for each in (self.query, self.key, self.value))
        scores = torch.matmul(q, k.transpose(-1, -2)) / (WIDTH // HEADS) ** 0.5 + bias
        context = joined(torch.matmul(self.dropout(torch.softmax(scores, dim=-1)), v))
        x = self.seen(self.dropout(self.out(context)) + x)
        return self.last(self.dropout(self.down(F.gelu(self.up(x)))) + x)


class Sdpa(Projections):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (heads_of(each(x)) for each in (self.query, self.key, self.value))
        given = mask[:, None, None, :]
        given = (1.0 - given.to(torch.float32)) * LOWEST if self.kind == "float" else given.to(torch.bool)
        given = given.expand(-1, -1, x.size(1), -1) if self.kind == "square" else given
        return self.out(joined(F.scaled_dot_product_attention(q, k, v, attn_mask=given))) + x


class SdpaPlain(Projections):
    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (heads_of(each(x)) for each in (self.query, self.key, self.value))
        return self.out(joined(F.scaled_dot_product_attention(q, k, v)))


class Causal(Projections):
    """As GPT-2: a constant triangle, sliced, and Where."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.tril(torch.ones(32, 32, dtype=torch.bool)).view(1, 1, 32, 32))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (heads_of(each(x)) for each in (self.query, self.key, self.value))
        scores = torch.matmul(q, k.transpose(-1, -2)) / torch.full([], (WIDTH // HEADS) ** 0.5)
        scores = torch.where(self.seen[:, :, : x.size(1), : x.size(1)], scores, torch.full([], LOWEST))
        return self.out(joined(torch.matmul(torch.softmax(scores, dim=-1), v)))


class Distil(Projections):
    """As DistilBERT: the scale on q, masked_fill of what is not seen."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (heads_of(each(x)) for each in (self.query, self.key, self.value))
        scores = torch.matmul(q / (WIDTH // HEADS) ** 0.5, k.transpose(2, 3))
        hidden = (mask == 0).view(x.size(0), 1, 1, x.size(1)).expand_as(scores)
        return self.out(joined(torch.matmul(torch.softmax(scores.masked_fill(hidden, LOWEST), dim=-1), v)))


class Mha(nn.Module):
    def __init__(self, weights: bool) -> None:
        super().__init__()
        self.attention, self.weights = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True), weights

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.attention(x, x, x, key_padding_mask=mask == 0, need_weights=self.weights)[0]


class Encoder(nn.Module):
    """A whole encoder of one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.kinds, self.places = (nn.Embedding(n, WIDTH) for n in (40, 2, 8))
        self.norm, self.layer = nn.LayerNorm(WIDTH, eps=1e-12), Bert()

    def forward(self, input_ids: Tensor, mask: Tensor, token_type_ids: Tensor) -> Tensor:
        places = torch.arange(8)[None, : input_ids.size(1)]
        x = self.words(input_ids) + self.kinds(token_type_ids) + self.places(places)
        return self.layer(self.norm(x), mask)


class Triangle(Projections):
    """Masks of the keys behind a row, as models compute them."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (heads_of(each(x)) for each in (self.query, self.key, self.value))
        n = x.size(1)
        if self.kind == "sdpa":
            return self.out(joined(F.scaled_dot_product_attention(q, k, v, is_causal=True)))
        if self.kind == "tril":
            given = torch.tril(torch.ones(n, n, dtype=torch.bool))
        elif self.kind == "triu":
            given = torch.full((n, n), float("-inf")).triu(1)
        elif self.kind == "range":
            places = torch.arange(n)
            given = (places[None, :] <= places[:, None])[None, None]
        else:  # both, as transformers joins them
            assert mask is not None
            places = torch.arange(n)
            given = (places[None, :] <= places[:, None])[None, None] & mask[:, None, None, :].to(torch.bool)
        return self.out(joined(F.scaled_dot_product_attention(q, k, v, attn_mask=given)))


class Llama(nn.Module):
    """As LlamaAttention: four heads, two of keys, rotated halves, a triangle."""

    def __init__(self, kind: str = "halves") -> None:
        super().__init__()
        self.kind, self.dim = kind, 8
        self.query, self.out = nn.Linear(WIDTH, 32, bias=False), nn.Linear(32, WIDTH, bias=False)
        self.key, self.value = (nn.Linear(WIDTH, 16, bias=False) for _ in range(2))
        self.register_buffer("steps", 1.0 / 100 ** (torch.arange(0, self.dim, 2) / self.dim))

    def rotated(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        if self.kind == "halves":
            turned = torch.cat((-x[..., self.dim // 2 :], x[..., : self.dim // 2]), dim=-1)
        else:
            turned = torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)
        return x * cos + turned * sin

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = (each(x).view(b, n, -1, self.dim).transpose(1, 2) for each in (self.query, self.key, self.value))
        angles = torch.arange(n)[:, None].to(torch.float32) * self.steps
        angles = torch.cat((angles, angles), -1) if self.kind == "halves" else angles.repeat_interleave(2, -1)
        cos, sin = angles.cos()[None, None], angles.sin()[None, None]
        q, k = self.rotated(q, cos, sin), self.rotated(k, cos, sin)
        k, v = (each[:, :, None].expand(b, 2, 2, n, self.dim).reshape(b, 4, n, self.dim) for each in (k, v))
        seen = torch.full((n, n), LOWEST).triu(1)
        scores = torch.matmul(q, k.transpose(2, 3)) * self.dim**-0.5 + seen[None, None]
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32)
        return self.out(torch.matmul(weights, v).transpose(1, 2).reshape(b, n, 32))


class Grouped(Llama):
    """Keys and values as torch repeats them."""

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = (each(x).view(b, n, -1, self.dim).transpose(1, 2) for each in (self.query, self.key, self.value))
        if self.kind == "sdpa":
            y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        else:
            k, v = (each.repeat_interleave(2, dim=1) for each in (k, v))
            y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(b, n, 32))


class Sentence(nn.Module):
    """The end of a sentence encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.norm(x)
        wide = mask.unsqueeze(-1).expand(x.size()).float()
        mean = torch.sum(x * wide, 1) / torch.clamp(wide.sum(1), min=1e-9)
        return F.normalize(mean, p=2.0, dim=1)


class Rms(nn.Module):
    """As LlamaRMSNorm, in front of a gate and an up projection."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH))
        self.gate, self.up, self.down = (nn.Linear(a, b, bias=False) for a, b in (
            (WIDTH, INNER), (WIDTH, INNER), (INNER, WIDTH)
        ))  # fmt: skip

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        total = x + residual
        wide = total.to(torch.float32)
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        y = self.weight * wide.to(x.dtype)
        return total + self.down(F.silu(self.gate(y)) * self.up(y))


class ConvNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, stride=2)
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)
            self.norm.weight.normal_()
            self.norm.bias.normal_()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        return F.silu(self.second(F.pad(x, (1, 2, 0, 1))))


class Apply(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def gelus(x: Tensor) -> Tensor:
    """Both forms, and as models write them out, each of another value."""
    a, b, c = torch.abs(x), torch.neg(x), torch.sin(x)
    erf = 0.5 * a * (1.0 + torch.erf(a / 2.0**0.5))
    tanh = 0.5 * b * (1 + torch.tanh(0.7978845608028654 * (b + 0.044715 * torch.pow(b, 3.0))))
    megatron = c * 0.5 * (1.0 + torch.tanh(0.79788456 * c * (1 + 0.044715 * c * c)))
    return torch.stack([F.gelu(x), F.gelu(x, approximate="tanh"), erf, tanh, megatron, F.silu(x)])


def norms(rms_too: bool = False) -> nn.Module:
    """TorchScript has no RMSNorm."""
    plain = nn.LayerNorm(WIDTH, elementwise_affine=False)
    whole = nn.LayerNorm(WIDTH)
    nn.init.normal_(whole.weight)
    nn.init.normal_(whole.bias)
    rms = nn.RMSNorm(WIDTH, eps=1e-6)
    nn.init.normal_(rms.weight)

    class Norms(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.plain, self.whole, self.rms = plain, whole, rms

        def forward(self, x: Tensor) -> Tensor:
            x = self.whole(self.plain(x))
            return self.rms(x) if rms_too else x

    return Norms()


ROWS = (torch.randn(2, 5, WIDTH),)
MASKED = (*ROWS, torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]))
IMAGE = (torch.randn(2, 3, 8, 10),)
#: Module, inputs, opset, and whether by torch.export.
EXPORTS: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...], int, bool]] = {
    "bert_13": (Bert, MASKED, 13, False),
    "bert_17": (Bert, MASKED, 17, False),
    "bert_dynamo": (Bert, MASKED, 20, True),
    "sdpa_boolean": (lambda: Sdpa("boolean"), MASKED, 17, False),
    "sdpa_boolean_dynamo": (lambda: Sdpa("boolean"), MASKED, 18, True),
    "sdpa_float": (lambda: Sdpa("float"), MASKED, 17, False),
    "sdpa_float_dynamo": (lambda: Sdpa("float"), MASKED, 18, True),
    "sdpa_plain": (SdpaPlain, ROWS, 14, False),
    "sdpa_plain_dynamo": (SdpaPlain, ROWS, 18, True),
    "causal": (Causal, ROWS, 14, False),
    "distil": (Distil, MASKED, 14, False),
    "mha": (lambda: Mha(False), MASKED, 17, False),
    "mha_weights": (lambda: Mha(True), MASKED, 17, False),
    "mha_dynamo": (lambda: Mha(False), MASKED, 18, True),
    "norms_13": (norms, ROWS, 13, False),
    "norms_17": (norms, ROWS, 17, False),
    "norms_dynamo": (lambda: norms(True), ROWS, 18, True),
    "gelus_13": (lambda: Apply(gelus), ROWS, 13, False),
    "gelus_20": (lambda: Apply(gelus), ROWS, 20, False),
    "gelus_dynamo": (lambda: Apply(gelus), ROWS, 20, True),
    "rms": (Rms, (ROWS[0], torch.randn(2, 5, WIDTH)), 17, False),
    "rms_dynamo": (Rms, (ROWS[0], torch.randn(2, 5, WIDTH)), 18, True),
    "triangle_sdpa": (lambda: Triangle("sdpa"), ROWS, 17, False),
    "triangle_sdpa_dynamo": (lambda: Triangle("sdpa"), ROWS, 18, True),
    "triangle_tril": (lambda: Triangle("tril"), ROWS, 17, False),
    "triangle_tril_dynamo": (lambda: Triangle("tril"), ROWS, 18, True),
    "triangle_triu": (lambda: Triangle("triu"), ROWS, 17, False),
    "triangle_triu_dynamo": (lambda: Triangle("triu"), ROWS, 18, True),
    "triangle_range": (lambda: Triangle("range"), ROWS, 17, False),
    "triangle_range_dynamo": (lambda: Triangle("range"), ROWS, 18, True),
    "triangle_both": (lambda: Triangle("both"), MASKED, 17, False),
    "triangle_both_dynamo": (lambda: Triangle("both"), MASKED, 18, True),
    "attention_23": (lambda: Triangle("sdpa"), ROWS, 23, True),
    "attention_23_boolean": (lambda: Sdpa("square"), MASKED, 23, True),
    "llama": (Llama, ROWS, 17, False),
    "llama_dynamo": (Llama, ROWS, 18, True),
    "llama_23": (Llama, ROWS, 23, True),
    "interleaved_dynamo": (lambda: Llama("pairs"), ROWS, 18, True),
    "grouped": (lambda: Grouped("repeat"), ROWS, 17, False),
    "grouped_dynamo": (lambda: Grouped("repeat"), ROWS, 18, True),
    "grouped_23": (lambda: Grouped("sdpa"), ROWS, 23, True),
    "sentence": (Sentence, MASKED, 14, False),
    "sentence_dynamo": (Sentence, MASKED, 18, True),
    "norms_23": (lambda: norms(True), ROWS, 23, True),
    "conv_norm": (ConvNorm, IMAGE, 17, False),
    "conv_norm_dynamo": (ConvNorm, IMAGE, 18, True),
}


def _encoder(path: str) -> None:
    ids = torch.randint(0, 40, (2, 5))
    names = ["input_ids", "attention_mask", "token_type_ids"]
    free = {name: {0: "batch", 1: "sequence"} for name in names}
    torch.onnx.export(
        Encoder().eval(), (ids, torch.ones_like(ids), torch.zeros_like(ids)), path, input_names=names,
        output_names=["y"], opset_version=17, dynamo=False, dynamic_axes=free,
    )  # fmt: skip


def _by_transformers(path: str, heads: bool = False, approximate: bool = False, lengths: bool = False) -> None:
    """As `python -m onnxruntime.transformers.optimizer --model_type bert`."""
    from onnxruntime.transformers.fusion_options import AttentionMaskFormat, FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    _encoder(path)
    options = FusionOptions("bert")
    options.use_multi_head_attention, options.enable_gelu_approximation = heads, approximate
    if lengths:
        options.attention_mask_format = AttentionMaskFormat.MaskIndexEnd
    made = optimize_model(path, "bert", num_heads=HEADS, hidden_size=WIDTH, optimization_options=options, opt_level=0)
    made.save_model_to_file(path)


def _by_session(path: str, name: str) -> None:
    """As a session writes with `optimized_model_filepath`."""
    import onnxruntime

    if name == "encoder":
        _encoder(path)
    else:
        Path(path).write_bytes((FOLDER / f"{name}.onnx").read_bytes())
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = path
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


#: What writes each file of ONNX Runtime's optimizers.
RUNTIME: dict[str, Callable[[str], None]] = {
    "runtime_bert": _by_transformers,
    "runtime_bert_heads": lambda path: _by_transformers(path, heads=True),
    "runtime_bert_fast": lambda path: _by_transformers(path, approximate=True, lengths=True),
    "runtime_session": lambda path: _by_session(path, "encoder"),
    "runtime_conv": lambda path: _by_session(path, "conv_norm"),
    "runtime_distil": lambda path: _by_session(path, "distil"),
}


def export(name: str) -> None:
    torch.manual_seed(0)
    path = FOLDER / f"{name}.onnx"
    if name in RUNTIME:
        RUNTIME[name](str(path))
    else:
        by_torch(name, path)
    model = onnx.load(path)
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]  # the exporter's lines of code
    onnx.save(model, path)
    print(f"{path.stat().st_size:7} {name}")


def by_torch(name: str, path: Path) -> None:
    make, inputs, opset, dynamo = EXPORTS[name]
    module = make().eval()
    names = ["x", "mask"][: len(inputs)]
    free = {0: "batch"} if name.startswith("conv") else {0: "batch", 1: "sequence"}
    options = {"dynamic_shapes": (dict.fromkeys(free, torch.export.Dim.DYNAMIC),) * len(inputs)} if dynamo else {
        "dynamic_axes": dict.fromkeys(names, free), "training": torch.onnx.TrainingMode.PRESERVE,
        "do_constant_folding": False,
    }  # fmt: skip
    torch.onnx.export(
        module, inputs, str(path), input_names=names, output_names=["y"], opset_version=opset, dynamo=dynamo,
        external_data=False, **options,
    )  # fmt: skip


if __name__ == "__main__":
    for chosen in sys.argv[1:] or (*EXPORTS, *RUNTIME):
        export(chosen)
