"""Write tests/models/files/*.onnx: one thing as PyTorch's two exporters spell it, of tiny sizes and random weights.

    python tests/programs/export_spellings.py [NAME …]      # needs torch and onnxscript, which no test does

Written by torch 2.13 and onnxscript 0.7. tests/models/test_fusion.py says what each of them is to become.
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
        given = given.to(torch.bool) if self.kind == "boolean" else (1.0 - given.to(torch.float32)) * LOWEST
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
    "conv_norm": (ConvNorm, IMAGE, 17, False),
    "conv_norm_dynamo": (ConvNorm, IMAGE, 18, True),
}


def export(name: str) -> None:
    torch.manual_seed(0)
    make, inputs, opset, dynamo = EXPORTS[name]
    module, path = make().eval(), FOLDER / f"{name}.onnx"
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
    model = onnx.load(path)
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]  # the exporter's lines of code
    onnx.save(model, path)
    print(f"{path.stat().st_size:7} {name}")


if __name__ == "__main__":
    for chosen in sys.argv[1:] or EXPORTS:
        export(chosen)
