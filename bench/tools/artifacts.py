"""Of whole ONNX models: what int8 loses, how much of it the weights lose, and whether other runtimes give our results.

    python -m bench artifacts [WORD ...]        cases of `python -m bench models` whose names have one of these words

All figures are means over some inputs, because the loss on one input is chance: it may be twice that on another.

``loss``       1 - cosine of all outputs to float32: our session on our artifact, and ONNX Runtime on its own (dynamic,
               per channel). The ratio stands where it quantizes as many layers.
``weights``    the same of our artifact where only the weights are rounded and all else is float32. The rest of the loss
               is what rounding the activations costs.
``apart``      1 - cosine between our session and ONNX Runtime on our artifact, as a part of our loss; "attention 32" is
               the same of a recipe that leaves attention in float32.
``itself``     the same between ONNX Runtime and itself without its graph optimizations: the same operators, whose sums
               differ in the last bits. A quantized layer makes a step of 8 bits of such a difference where it lies at a
               tie, the next layer more of them. So no two runtimes come closer than about that.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness.results import geometric_mean
from bench.publish.tables import aligned
from bench.topics import model_files
from bench.topics.model_files import Feeds

#: How many inputs each case has.
INPUTS = 6


def runtime(model: Any, inputs: list[Feeds], optimised: bool = True) -> list[np.ndarray]:
    """All results of ONNX Runtime for each of the inputs, one behind the other."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [flat(session.run(None, feeds)) for feeds in inputs]


def ours(artifact: Any, inputs: list[Feeds]) -> list[np.ndarray]:
    import dynq_numba as dq

    session = dq.onnx.InferenceSession(artifact)
    return [flat(session.run(None, feeds)) for feeds in inputs]


def flat(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.float64(array).ravel() for array in arrays])


def distance(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    """The mean of 1 - cosine."""
    pairs = zip(a, b, strict=True)
    return float(np.mean([1 - x @ y / np.sqrt((x @ x) * (y @ y)) for x, y in pairs]))


# -- only the weights rounded -------------------------------------------------------------------
_LINEAR = """
    middle = Constant <value_float: float = 128.0> ()
    above = Cast <to: int = 1> (weight)
    centred = Sub (above, middle)
    floats = Mul (centred, weight_scale)
    products = MatMul (x, floats)
    y = Add (products, bias)
"""
_CONSTANTS = """
    middle = Constant <value_float: float = 128.0> ()
    axis = Constant <value_ints: ints = [1]> ()
"""
_FLOATS = """
    W_above = Cast <to: int = 1> (W)
    W_centred = Sub (W_above, middle)
    W_factor = Unsqueeze (W_scale, axis)
    W_columns = Mul (W_centred, W_factor)
    W_floats = Transpose <perm: ints = [0, 2, 1]> (W_columns)
"""


def in_floats(artifact: Any) -> Any:
    """Our artifact with the float meaning of its functions: the weights as they are stored, activations in float32."""
    import onnx
    import onnx_ir as ir

    from dynq_numba.graph.functions import function
    from dynq_numba.graph.layers.recurrent import ATTRIBUTES, OPTIONAL
    from dynq_numba.graph.layers.recurrent_body import RESULTS

    made = onnx.ModelProto()
    made.CopyFrom(artifact)
    for proto in made.functions:
        names = ", ".join(proto.input)
        kind, hidden = [*proto.name.split("_"), ""][:2]
        if proto.name == "Linear":
            proto.CopyFrom(ir.serde.serialize_function(function(proto.name, names, _LINEAR)))
        elif kind in OPTIONAL:
            placed = ", ".join(each if each in proto.input else "" for each in OPTIONAL[kind]).rstrip(", ")
            text = _CONSTANTS + _FLOATS + _FLOATS.replace("W", "R")
            results = ", ".join(RESULTS[kind.lower()])
            text += f"    {results} = {kind} (x, W_floats, R_floats, B{', ' if placed else ''}{placed})\n"
            changed = function(proto.name, names, text, results)
            given = next(each.value for each in proto.metadata_props if each.key == ATTRIBUTES)
            attributes = {"hidden_size": int(hidden), **json.loads(given)}
            list(changed.graph)[-1].attributes.update(
                {each.name: each for each in ir.convenience.convert_attributes(attributes)}
            )
            proto.CopyFrom(ir.serde.serialize_function(changed))
        elif not kind.startswith("Embedding"):
            raise ValueError(f"{proto.name} has no float meaning here")
    return made


def measure(case: model_files.Case, folder: Path) -> dict[str, float | None]:
    """The figures of a case; None where ONNX Runtime quantizes nothing. Comparable: it quantizes as many layers."""
    import onnx
    import onnx_ir as ir

    from dynq_numba.onnx import quantize

    path, inputs = folder / f"{case.model}.onnx", [case.feeds(seed=seed) for seed in range(INPUTS)]
    if not path.exists():
        model_files.MODELS[case.model].write(path)
    whole = runtime(onnx.load(path), inputs)
    artifact, floats = (ir.to_proto(quantize(path, recipe={"attention": bits}).model) for bits in (8, 32))
    results, theirs = ours(artifact, inputs), runtime(artifact, inputs)
    loss = distance(results, whole)
    row: dict[str, float | None] = {
        "loss": loss, "weights": distance(runtime(in_floats(artifact), inputs), whole),
        "apart": distance(results, theirs) / loss, "attention 32": distance(ours(floats, inputs), theirs) / loss,
        "itself": distance(runtime(artifact, inputs, optimised=False), theirs) / loss,
        "theirs": None, "comparable": None,
    }  # fmt: skip
    peer = folder / "peer.onnx"
    try:
        model_files.make_int8(path, peer, per_channel=True, conv=False)
    except ValueError:
        return row
    made = onnx.load(peer)
    row["theirs"] = distance(runtime(made, inputs), whole)
    row["comparable"] = float(model_files.quantized(made) == model_files.quantized(artifact))
    return row


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench artifacts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", metavar="WORD")
    words = parser.parse_args(argv).words
    chosen = {name: case for name, case in model_files.CASES.items() if not words or any(w in name for w in words)}
    if not chosen:
        parser.error(f"no case has one of {', '.join(words)}; there are: {'; '.join(model_files.CASES)}")
    lines = [["", "loss", "ONNX Runtime's", "ratio", "weights", "apart", "attention 32", "itself"]]
    ratios, floors = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, case in chosen.items():
            print(f"artifacts: {name}", file=sys.stderr, flush=True)
            row = measure(case, Path(folder))
            ratio = None
            if row["comparable"] and row["theirs"] and row["loss"] and row["weights"]:
                ratio = row["loss"] / row["theirs"]
                ratios.append(ratio)
                floors.append(row["weights"] / row["theirs"])
            numbers: list[tuple[float | None, Callable[[float], str]]] = [
                (row["loss"], "{:.2e}".format), (row["theirs"], "{:.2e}".format), (ratio, "{:.2f}".format),
                (row["weights"], "{:.2e}".format),
                *((row[each], "{:.3f}".format) for each in ("apart", "attention 32", "itself")),
            ]  # fmt: skip
            lines.append([name, *("–" if number is None else form(number) for number, form in numbers)])
    print(aligned(lines))
    if ratios:
        means = geometric_mean(ratios), geometric_mean(floors)
        print("over ONNX Runtime's loss, geometric mean of {}: loss {:.2f}, weights {:.2f}".format(len(ratios), *means))
    return 0
