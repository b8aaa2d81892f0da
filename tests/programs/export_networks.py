"""Write tests/models/networks/*.onnx.gz: whole networks, tiny and with random weights, by PyTorch's two exporters.

    python tests/programs/export_networks.py [NAME …]      # needs torch, onnxscript, transformers

Written by torch 2.13, onnxscript 0.7 and transformers 5.24; `…_dynamo` by torch.export, the others by TorchScript. Each
exporter fails for some (FAILS). Matrices have few different values, so that they are small when they are packed.
tests/programs/spellings_page.py says what becomes of each.
"""

from __future__ import annotations

import gzip
import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
import transformers as tf
from torch import Tensor, nn

FOLDER = Path(__file__).parents[1] / "models" / "networks"
IDS = torch.tensor([[1, 5, 9, 2, 7, 3], [4, 8, 6, 1, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])
IMAGE = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32).sin()
#: Of all language models.
SMALL = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
ROWS = {0: "batch", 1: "sequence"}
BATCH = {0: "batch"}


class Only(nn.Module):
    """One result of a model."""

    def __init__(self, model: nn.Module, result: str, names: list[str], **options: object) -> None:
        super().__init__()
        self.model, self.result, self.names, self.options = model, result, names, options

    def forward(self, *inputs: Tensor) -> Tensor:
        return getattr(self.model(**dict(zip(self.names, inputs, strict=True)), **self.options), self.result)


Network = tuple[nn.Module, dict[str, tuple[Tensor, dict[int, str]]]]
TEXT = {"input_ids": (IDS, ROWS), "attention_mask": (MASK, ROWS)}
PICTURE = {"pixel_values": (IMAGE, BATCH)}


def text(kind: str, attention: str = "sdpa", result: str = "last_hidden_state", **config: object) -> Network:
    model = getattr(tf, f"{kind}Model")(getattr(tf, f"{kind}Config")(**config, attn_implementation=attention))
    options = {} if kind in ("Bert", "DistilBert", "Roberta", "DebertaV2", "MPNet") else {"use_cache": False}
    return Only(model, result, list(TEXT), **options), dict(TEXT)


def picture(model: nn.Module, result: str = "last_hidden_state", **options: object) -> Network:
    return Only(model, result, ["pixel_values"], **options), dict(PICTURE)


def t5() -> Network:
    config = tf.T5Config(
        vocab_size=40, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu",
        use_cache=False,
    )  # fmt: skip
    inputs = {**TEXT, "decoder_input_ids": (IDS[:, :4], {0: "batch", 1: "target"})}
    return Only(tf.T5Model(config), "last_hidden_state", list(inputs), use_cache=False), inputs


def whisper(attention: str) -> Network:
    config = tf.WhisperConfig(
        vocab_size=40, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, num_mel_bins=8, max_source_positions=20,
        max_target_positions=16, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        use_cache=False, attn_implementation=attention,
    )  # fmt: skip
    sound = torch.linspace(0, 9, 2 * 8 * 40).reshape(2, 8, 40).sin()
    inputs = {"input_features": (sound, BATCH), "decoder_input_ids": (IDS[:, :4], {0: "batch", 1: "target"})}
    return Only(tf.WhisperModel(config), "last_hidden_state", list(inputs), use_cache=False), inputs


def conformer() -> Network:
    config = tf.Wav2Vec2ConformerConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        conv_dim=(8, 8), conv_stride=(5, 2), conv_kernel=(10, 3), num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2, position_embeddings_type="relative", feat_extract_norm="layer",
        conv_depthwise_kernel_size=7, max_source_positions=60,
    )  # fmt: skip
    sound = torch.linspace(0, 99, 2 * 400).reshape(2, 400).sin()
    model = tf.Wav2Vec2ConformerModel(config)
    return Only(model, "last_hidden_state", ["input_values"]), {"input_values": (sound, BATCH)}


class Recurrent(nn.Module):
    """An embedding, layers of both directions, and the last state."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(40, 16), nn.Linear(16, 5)
        self.layers = getattr(nn, kind)(16, 8, num_layers=2, bidirectional=True, batch_first=True)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.out(torch.tanh(self.layers(self.words(input_ids))[0]))


class Block(nn.Module):
    """Two convolutions of a U-net, normed by groups."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(4, outputs) for _ in range(2))
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.silu(self.norms[0](self.first(x)))
        return nn.functional.silu(self.norms[1](self.second(y))) + self.skip(x)


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.middle, self.up = Block(3, 8), Block(8, 16), Block(24, 8)
        self.pool, self.grow = nn.MaxPool2d(2), nn.Upsample(scale_factor=2, mode="nearest")
        self.out = nn.Conv2d(8, 1, 1)
        self.rise = nn.ConvTranspose2d(16, 16, 2, stride=2)
        self.slope = nn.PReLU(8)

    def forward(self, pixel_values: Tensor) -> Tensor:
        a = self.down(pixel_values)
        b = self.middle(self.pool(a))
        c = self.up(torch.cat([a, self.grow(b) + self.rise(b)], 1))
        return torch.sigmoid(self.out(self.slope(c)))


class MobileBlock(nn.Module):
    """Of MobileNetV3: expanded, by channel, squeezed and excited, projected."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = 4 * inputs
        self.expand, self.project = nn.Conv2d(inputs, wide, 1, bias=False), nn.Conv2d(wide, outputs, 1, bias=False)
        self.each = nn.Conv2d(wide, wide, 5, stride, 2, groups=wide, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in (wide, wide, outputs))
        self.squeeze, self.excite = nn.Conv2d(wide, 8, 1), nn.Conv2d(8, wide, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.hardswish(self.norms[0](self.expand(x)))
        y = nn.functional.hardswish(self.norms[1](self.each(y)))
        s = self.excite(torch.relu(self.squeeze(nn.functional.adaptive_avg_pool2d(y, 1))))
        y = self.norms[2](self.project(y * nn.functional.hardsigmoid(s)))
        return y + x if y.shape == x.shape else y


class MobileNetV3(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.blocks = nn.Sequential(MobileBlock(8, 8, 1), MobileBlock(8, 16, 2))
        self.wide, self.out = nn.Linear(16, 32), nn.Linear(32, 10)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.blocks(nn.functional.hardswish(self.norm(self.stem(pixel_values))))
        x = torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1)
        return self.out(nn.functional.hardswish(self.wide(x)))


LLAMA = {**SMALL, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
BERT = {**SMALL, "intermediate_size": 64, "max_position_embeddings": 16}
#: By name; the second half of a name is the attention of transformers.
NETWORKS: dict[str, Callable[[], Network]] = {
    "bert": lambda: text("Bert", **BERT),
    "bert_eager": lambda: text("Bert", "eager", **BERT),
    "distilbert": lambda: text("DistilBert", vocab_size=40, dim=32, n_layers=1, n_heads=2, hidden_dim=64),
    "deberta": lambda: text("DebertaV2", "eager", **BERT, relative_attention=True, pos_att_type="c2p|p2c",
                            position_buckets=4, type_vocab_size=0),
    "mpnet": lambda: text("MPNet", "eager", **BERT),
    "gpt2": lambda: text("GPT2", vocab_size=40, n_embd=32, n_layer=1, n_head=2, n_positions=16),
    "gpt2_eager": lambda: text("GPT2", "eager", vocab_size=40, n_embd=32, n_layer=1, n_head=2, n_positions=16),
    "gptj": lambda: text("GPTJ", "eager", vocab_size=40, n_embd=32, n_layer=1, n_head=2, n_positions=16, rotary_dim=8),
    "llama": lambda: text("Llama", **LLAMA),
    "llama_eager": lambda: text("Llama", "eager", **LLAMA),
    "qwen3": lambda: text("Qwen3", **LLAMA, head_dim=8),
    "gemma2": lambda: text("Gemma2", "eager", **LLAMA, head_dim=8),
    "phi": lambda: text("Phi", **SMALL, intermediate_size=64),
    "t5": t5,
    "vit": lambda: picture(tf.ViTModel(tf.ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                                                     intermediate_size=64, image_size=32, patch_size=8))),
    "swin": lambda: picture(tf.SwinModel(tf.SwinConfig(image_size=32, patch_size=2, embed_dim=16, depths=[2, 1],
                                                        num_heads=[2, 4], window_size=4))),
    "whisper": lambda: whisper("sdpa"),
    "whisper_eager": lambda: whisper("eager"),
    "conformer": conformer,
    "convnext": lambda: picture(tf.ConvNextModel(tf.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2))),
    "mobilenetv3": lambda: (MobileNetV3(), dict(PICTURE)),
    "efficientnet": lambda: picture(tf.EfficientNetModel(tf.EfficientNetConfig(
        width_coefficient=0.25, depth_coefficient=0.3, image_size=32, hidden_dim=320, kernel_sizes=[3, 5],
        in_channels=[32, 16], out_channels=[16, 24], strides=[1, 2], num_block_repeats=[1, 2], expand_ratios=[1, 6],
        depthwise_padding=[]))),
    "resnet": lambda: picture(tf.ResNetModel(tf.ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1]))),
    "unet": lambda: (UNet(), dict(PICTURE)),
    "lstm": lambda: (Recurrent("LSTM"), {"input_ids": (IDS, ROWS)}),
    "gru": lambda: (Recurrent("GRU"), {"input_ids": (IDS, ROWS)}),
}  # fmt: skip


#: What an exporter refuses: an operator that it does not know, or batches of a varying number.
FAILS = ("t5_dynamo", "swin_dynamo", "conformer_dynamo", "whisper", "whisper_eager", "efficientnet_dynamo")


def export(name: str) -> None:
    kind, dynamo = name.removesuffix("_dynamo"), name.endswith("_dynamo")
    torch.manual_seed(0)
    module, inputs = NETWORKS[kind]()
    module.eval()
    with torch.no_grad():
        for each in (*module.parameters(), *(b for b in module.buffers() if b.dtype == torch.float32 and b.ndim == 1)):
            if each.ndim > 1:  # few different values
                each.copy_((each * 4 / each.abs().max().clamp(min=1e-6)).round() / 16)
    path = FOLDER / f"{name}.onnx"
    free = {given: axes for given, (_, axes) in inputs.items()}
    if dynamo:
        shapes = tuple(dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for axes in free.values())
        takes_many = any(p.kind == p.VAR_POSITIONAL for p in inspect.signature(module.forward).parameters.values())
        options = {"dynamic_shapes": (shapes,) if takes_many else shapes}
    else:
        options = {"dynamic_axes": free}
    torch.onnx.export(
        module, tuple(tensor for tensor, _ in inputs.values()), str(path), input_names=list(inputs),
        output_names=["y"], opset_version=18 if dynamo else 17, dynamo=dynamo, external_data=False, **options,
    )  # fmt: skip
    model = onnx.load(path)
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for function in model.functions:
        for node in function.node:
            del node.metadata_props[:]
    del model.graph.value_info[:]
    path.unlink()
    packed = path.with_suffix(".onnx.gz")
    packed.write_bytes(gzip.compress(model.SerializeToString(deterministic=True), mtime=0))
    print(f"{packed.stat().st_size:7} {name}", flush=True)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for chosen in sys.argv[1:] or [f"{name}{by}" for name in NETWORKS for by in ("", "_dynamo")]:
        if chosen not in FAILS:
            export(chosen)
