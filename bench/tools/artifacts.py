"""Of whole ONNX models: what int8 loses, how much of it the weights lose, and whether other runtimes give our results.

    python -m bench artifacts [WORD ...]        cases of `python -m bench models` whose names have one of these words

``loss``       1 - cosine of all outputs to float32: our session on our artifact, and ONNX Runtime on its own (dynamic,
               per channel).
``weights``    the same where only the weights are rounded, to the integers of that artifact, and all else is float32.
               The rest of a loss is what rounding the activations costs.
``apart``      1 - cosine between our session and ONNX Runtime on our artifact, as a part of our loss; "attention 32" is
               the same of a recipe that leaves attention in float32.
``last bit``   the same between ONNX Runtime and itself on inputs that differ in their last bit. It shows what of
               ``apart`` any change of the order of a sum makes. Models of integers have no such input.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness.results import geometric_mean
from bench.publish.tables import aligned
from bench.topics import model_files, models
from bench.topics.model_files import Feeds

PER_CHANNEL = "ONNX Runtime int8 per channel"


def runtime(model: Any, feeds: Feeds) -> np.ndarray:
    """All results of ONNX Runtime, one behind the other."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    data = model.SerializeToString()
    return flat(ort.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, feeds))


def flat(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.float64(array).ravel() for array in arrays])


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(1 - a @ b / np.sqrt((a @ a) * (b @ b)))


def ours(artifact: Any, feeds: Feeds) -> np.ndarray:
    import dynq_numba as dq

    return flat(dq.onnx.InferenceSession(artifact).run(None, feeds))


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


def their_weights(source: Any, artifact: Any) -> Any:
    """The float model with the weights that ONNX Runtime's artifact has as integers."""
    import onnx
    from onnx import numpy_helper

    made = onnx.ModelProto()
    made.CopyFrom(source)
    stored = {each.name: each for each in artifact.graph.initializer}
    for tensor in made.graph.initializer:
        parts = [stored.get(f"{tensor.name}_{part}") for part in ("quantized", "scale", "zero_point")]
        if None in parts:
            continue
        q, scale, zero = (np.asarray(numpy_helper.to_array(each), np.float32) for each in parts)
        was = numpy_helper.to_array(tensor)
        tried = [each for each in candidates(q, scale, zero) if each.shape == was.shape]
        best = min(tried, key=lambda each: float(np.square(each - was).sum()))
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(best, np.float32), tensor.name))
    return made


def candidates(q: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> list[np.ndarray]:
    """Integers times scales along each axis, as it is and transposed: an artifact does not say which it is."""
    found = []
    for axis in range(max(1, q.ndim)):
        shape = [1] * q.ndim
        if scale.size > 1:
            if q.shape[axis] != scale.size and scale.ndim < 2:
                continue
            if scale.ndim < 2:
                shape[axis] = scale.size
        factor, point = scale, zero
        if scale.ndim < 2:
            factor, point = scale.reshape(shape), zero.reshape(shape) if zero.size > 1 else zero
        elif scale.ndim == 2 and q.ndim == 3:  # of an LSTM: directions and gates
            factor, point = scale[:, None], zero[:, None] if zero.ndim == 2 else zero
        floats = (q - point) * factor
        found += [floats, np.swapaxes(floats, -1, -2)] if q.ndim > 1 else [floats]
    return found


# -- a case -------------------------------------------------------------------------------------
def nudged(feeds: Feeds) -> Feeds | None:
    """Floats with the last bit of some changed."""
    if not any(array.dtype == np.float32 for array in feeds.values()):
        return None
    rng = np.random.default_rng(1)
    return {
        name: np.where(rng.random(array.shape) < 0.5, np.nextafter(array, np.float32(np.inf)), array)
        if array.dtype == np.float32 else array
        for name, array in feeds.items()
    }  # fmt: skip


def measure(case: model_files.Case, folder: Path) -> dict[str, float | None]:
    import onnx
    import onnx_ir as ir

    from dynq_numba.onnx import quantize

    path, feeds = folder / f"{case.model}.onnx", case.feeds()
    if not path.exists():
        model_files.MODELS[case.model].write(path)
    source = onnx.load(path)
    whole = runtime(source, feeds)
    artifact = ir.to_proto(quantize(path).model)
    results, theirs = ours(artifact, feeds), runtime(artifact, feeds)
    loss = distance(results, whole)
    floats = ir.to_proto(quantize(path, recipe={"attention": 32}).model)
    row: dict[str, float | None] = {
        "loss": loss, "weights": distance(runtime(in_floats(artifact), feeds), whole),
        "apart": distance(results, theirs) / loss, "attention 32": distance(ours(floats, feeds), theirs) / loss,
        "last bit": None, "theirs": None, "their weights": None,
    }  # fmt: skip
    other = nudged(feeds)
    if other is not None:
        row["last bit"] = distance(runtime(artifact, other), theirs) / loss
    peer = folder / "peer.onnx"
    try:
        models.WAYS[PER_CHANNEL].make(path, peer)
    except ValueError:  # it quantizes nothing
        return row
    made = onnx.load(peer)
    row["theirs"] = distance(runtime(made, feeds), whole)
    row["their weights"] = distance(runtime(their_weights(source, made), feeds), whole)
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
    lines = [["", "loss", "ONNX Runtime's", "ratio", "weights", "their weights", "apart", "attention 32", "last bit"]]
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for name, case in chosen.items():
            row = measure(case, Path(folder))
            ratio = row["loss"] / row["theirs"] if row["loss"] and row["theirs"] else None
            ratios += [] if ratio is None else [ratio]
            numbers: list[tuple[float | None, Callable[[float], str]]] = [
                (row["loss"], "{:.2e}".format), (row["theirs"], "{:.2e}".format), (ratio, "{:.2f}".format),
                (row["weights"], "{:.2e}".format), (row["their weights"], "{:.2e}".format),
                *((row[each], "{:.3f}".format) for each in ("apart", "attention 32", "last bit")),
            ]  # fmt: skip
            lines.append([name, *("–" if number is None else form(number) for number, form in numbers)])
            print("  ".join(lines[-1]), flush=True)
    print(aligned(lines))
    if ratios:
        print(f"loss over ONNX Runtime's, geometric mean of {len(ratios)}: {geometric_mean(ratios):.2f}")
    return 0
