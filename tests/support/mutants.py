"""Mutated ONNX models, loaded and run: what each gives.

    python tests/support/mutants.py FIRST LAST        prints a JSON list: for each seed "result", or the error's text

Bits flip, the file ends early, or protobuf fields change: names, lengths, attributes, types. Blocks of the arena lie
between patterns that must stay as they are. A mutant that wants more memory than there is here gets a MemoryError.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import AttributeProto, TensorProto
from onnx_models import parsed

from dynq_numba.onnx import InferenceSession, quantize
from dynq_numba.onnx.session import zeros_for
from dynq_numba.planning import frame

#: Bytes of address space beyond those in use at the beginning, and seconds that Python code may take for a mutant.
MEMORY, SECONDS = 3 << 30, 20
EDGE = 4096


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


LAYERS = """
    shape = Shape (x) zero = Constant <value_ints: ints = [0]> () one = Constant <value_ints: ints = [1]> ()
    two = Constant <value_ints: ints = [2]> () heads = Constant <value_ints: ints = [2, 8]> ()
    minus = Constant <value_ints: ints = [-1]> () axis = Constant <value_int: int = 1> ()
    ends = Slice (shape, zero, two) split = Concat <axis: int = 0> (ends, heads)
    q = MatMul (x, w1) q4 = Reshape (q, split) qt = Transpose <perm: ints = [0, 2, 1, 3]> (q4)
    k = MatMul (x, w2) k4 = Reshape (k, split) kt = Transpose <perm: ints = [0, 2, 3, 1]> (k4)
    scores = MatMul (qt, kt) shares = Softmax <axis: int = -1> (scores)
    v = Transpose <perm: ints = [0, 2, 1, 3]> (q4) mixed = MatMul (shares, v)
    back = Transpose <perm: ints = [0, 2, 1, 3]> (mixed) flat = Concat <axis: int = 0> (ends, minus)
    joined = Reshape (back, flat) sum = Add (joined, x) norm = LayerNormalization (sum, scale, shift)
    words = Gather <axis: int = 0> (table, ids) first = Gather <axis: int = 1> (norm, axis)
    a, b = Split <axis: int = -1, num_outputs: int = 2> (norm) both = Concat <axis: int = -1> (b, a)
    means = ReduceMean <keepdims: int = 1> (both, minus) less = Sub (both, means) y = Gelu (less)
    tiled = Unsqueeze (first, one) z = Add (tiled, words)
"""
IMAGES = """
    a = Conv <kernel_shape: ints = [3, 3], pads: ints = [1, 1, 1, 1], strides: ints = [2, 2]> (x, w, b)
    n = BatchNormalization (a, scale, shift, mean, variance) c = Relu (n)
    d = MaxPool <kernel_shape: ints = [2, 2], strides: ints = [2, 2]> (c)
    pads = Constant <value_ints: ints = [0, 0, 1, 1, 0, 0, 1, 0]> () e = Pad <mode: string = "reflect"> (d, pads)
    f = GlobalAveragePool (e) g = Flatten (f) h = Gemm <transB: int = 1> (g, w2, b2) y = Softmax (h)
"""
BRANCHES = """<ir_version: 10, opset_import: ["": 21]>
choose (bool c, float[n, 4] x, int64[2] shape) => (float y, float z) {
    y = If (c) < then_branch = yes () => (float[n, 4] a) { a = Add (x, x) }, else_branch = no () => (float[n, 4] b) {
        b = Neg (x) } >
    r = Reshape (x, shape) three = Constant <value_ints: ints = [2, 3]> () z = Tile (r, three) }"""


@cache
def models() -> list[tuple[onnx.ModelProto, dict[str, np.ndarray]]]:
    """Models with feeds: float32 and quantized ones of each kind."""
    square = {name: floats(16, 16) for name in ("w1", "w2")}
    layers = parsed("float[n, t, 16] x, int64[n] ids", "float y, float z", LAYERS, table=floats(9, 16),
                    scale=floats(16), shift=floats(16), **square)  # fmt: skip
    of_four = {name: np.abs(floats(4)) for name in ("b", "scale", "shift", "mean", "variance")}
    images = parsed("float[n, 3, h, v] x", "float y", IMAGES, w=floats(4, 3, 3, 3), w2=floats(5, 4), b2=floats(5),
                    **of_four)  # fmt: skip
    sequences = parsed("float[t, n, 6] x, float[1, n, 8] h, float[1, n, 8] c", "float y, float yh",
                       "y, yh = LSTM <hidden_size: int = 8> (x, W, R, B, , h, c)", W=floats(1, 32, 6),
                       R=floats(1, 32, 8), B=floats(1, 64))  # fmt: skip
    x = {"x": floats(2, 5, 16), "ids": np.array([3, 8])}
    picture = {"x": floats(2, 3, 12, 10)}
    sound = {"x": floats(7, 2, 6), "h": floats(1, 2, 8), "c": floats(1, 2, 8)}
    branch = {"c": np.array(True), "x": floats(3, 4), "shape": np.array([4, 3])}
    found = [(layers, x), (images, picture), (sequences, sound), (onnx.parser.parse_model(BRANCHES), branch)]
    made = [(ir.to_proto(quantize(model, conv=True).model), feeds) for model, feeds in found[:3]]
    return found + made


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bits of a file flipped, or its end cut off."""
    mutant = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        mutant[int(rng.integers(len(mutant)))] ^= 1 << int(rng.integers(8))
    if rng.random() < 0.1:
        del mutant[int(rng.integers(len(mutant))) :]
    return bytes(mutant)


NUMBERS = (-(2**63), -(2**31), -7, -2, -1, 0, 1, 2, 3, 5, 16, 1000, 2**20, 2**31, 2**40, 2**62, 2**63 - 1)
KINDS = (1, 2, 3, 6, 7, 9, 10, 11, 12, 13, 16)


def changed(model: onnx.ModelProto, rng: np.random.Generator) -> bytes:
    """One to three fields changed."""
    model = onnx.ModelProto.FromString(model.SerializeToString())

    def pick(items):
        return items[int(rng.integers(len(items)))]

    graphs = [model.graph, *(a.g for n in model.graph.node for a in n.attribute if a.type == AttributeProto.GRAPH)]
    for _ in range(rng.integers(1, 4)):
        graph = pick([*graphs, *model.functions])
        nodes, choice = list(graph.node), int(rng.integers(8))
        tensors = [*getattr(graph, "initializer", ()), *(a.t for n in nodes for a in n.attribute if a.HasField("t"))]
        if choice < 2 and nodes:  # another value, or a node in another place
            names = [name for each in nodes for name in (*each.input, *each.output)]
            names += [each.name for each in getattr(graph, "initializer", ())]
            node = pick(nodes)
            if node.input:
                node.input[int(rng.integers(len(node.input)))] = pick([*names, ""])
        elif choice == 2 and nodes:
            pick(nodes).op_type = pick(nodes).op_type
        elif choice in (3, 4) and nodes:
            given = [a for n in nodes for a in n.attribute]
            if given:
                attribute = pick(given)
                if attribute.ints:
                    attribute.ints[int(rng.integers(len(attribute.ints)))] = pick(NUMBERS)
                elif attribute.type == AttributeProto.INT:
                    attribute.i = pick(NUMBERS)
                else:
                    attribute.f = float(rng.choice([0, -1, np.nan, np.inf, 1e30]))
        elif choice == 5 and tensors:
            tensor = pick(tensors)
            if tensor.dims and rng.random() < 0.5:
                order = rng.permutation(len(tensor.dims))
                dims = [tensor.dims[i] for i in order]
                whole = int(np.prod(dims))
                dims = dims if rng.random() < 0.5 else pick([[whole], [1, whole], [whole, 1]])
                tensor.dims[:] = dims
            elif tensor.data_type == TensorProto.INT64 and tensor.raw_data:
                numbers = np.frombuffer(tensor.raw_data, np.int64).copy()
                numbers[int(rng.integers(max(1, len(numbers))))] = pick(NUMBERS)
                tensor.raw_data = numbers.tobytes()
            else:
                tensor.data_type = pick(KINDS)
        elif choice == 6 and getattr(graph, "input", None) and graph is model.graph:
            value = pick(graph.input).type.tensor_type
            if rng.random() < 0.5:
                value.elem_type = pick(KINDS)
            elif value.shape.dim:
                pick(value.shape.dim).dim_value = pick((1, 2, 3, 5, 16))
        elif nodes:
            graph.node.remove(pick(nodes))
    return model.SerializeToString()


def mutant(seed: int) -> tuple[bytes, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    model, feeds = models()[seed % len(models())]
    return (flipped(model.SerializeToString(), rng) if seed % 3 == 0 else changed(model, rng)), feeds


def guard_arenas() -> Callable[[], bool]:
    """Let arenas lie between patterns; a function that says whether all of them are whole."""
    arenas: list[np.ndarray] = []
    make = frame.aligned_zeros

    def guarded(nbytes: int) -> np.ndarray:
        block = make(nbytes + 2 * EDGE)
        block[:EDGE] = block[EDGE + nbytes :] = 0xA5
        arenas.append(block)
        return block[EDGE : EDGE + nbytes]

    def whole() -> bool:
        found = all((each[:EDGE] == 0xA5).all() and (each[-EDGE:] == 0xA5).all() for each in arenas)
        arenas.clear()
        return found

    frame.aligned_zeros = guarded
    return whole


class TooLong(Exception):
    pass


def outcome(seed: int, whole: Callable[[], bool]) -> str:
    data, feeds = mutant(seed)
    try:
        session = InferenceSession(data)
        given, _ = zeros_for(session)
        own = {name: feeds[name] for name, array in given.items() if name in feeds and array.dtype == feeds[name].dtype
               and array.ndim == feeds[name].ndim}  # fmt: skip
        for _ in range(2):
            results = session.run(None, given | own)
        said = "result" if all(isinstance(each, np.ndarray) for each in results) else "no arrays"
    except (ValueError, TypeError, MemoryError) as error:
        said = f"{type(error).__name__}: {error}"
    return said if whole() else f"WRITES ELSEWHERE; {said}"


def late(signum, frame):
    raise TooLong


def main() -> None:
    first, last = map(int, sys.argv[1:3])
    models()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    signal.signal(signal.SIGALRM, late)
    whole, outcomes = guard_arenas(), []
    for seed in range(first, last):
        print(seed, file=sys.stderr, flush=True)
        begin = time.monotonic()
        signal.alarm(SECONDS)
        with np.errstate(all="ignore"):
            outcomes.append(outcome(seed, whole))
        signal.alarm(0)
        if (took := time.monotonic() - begin) > 2:
            print(f"{seed} took {took:.1f} s", file=sys.stderr, flush=True)
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
