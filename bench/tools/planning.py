"""How long it takes to plan models of many nodes: the time must grow as the nodes do.

    python -m bench planning [--nodes 750 3000 12000] [--python]

A row is a model of random weights: linears, softmax, joins, slices. ``load`` is until there is a session, ``first run``
is processor time of the first run, which plans; all kernels are compiled by then.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from bench.publish.tables import aligned

#: Nodes of a layer, and its width.
NODES, WIDTH = 10, 16


def layered(layers: int, in_python: bool) -> bytes:
    """A model; with a node in each layer that has no kernel, if `in_python`."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    tensors = [numpy_helper.from_array(np.array([n]), f"at_{n}") for n in (0, 1, 4)]

    def node(operator: str, *inputs: str, **attributes: object) -> str:
        name = f"n{len(nodes)}"
        nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name

    x = "x"
    for i in range(layers):
        weight = rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / np.float32(WIDTH**0.5)
        tensors += [numpy_helper.from_array(weight, f"w{i}"), numpy_helper.from_array(weight[0].copy(), f"b{i}")]
        y = node("Relu", node("Add", node("MatMul", x, f"w{i}"), f"b{i}"))
        weights = node("Transpose", node("Softmax", node("Transpose", y, perm=[0, 2, 1])), perm=[0, 2, 1])
        joined = node("Concat", node("Mul", y, weights), x, axis=1)
        x = node("Bernoulli" if in_python else "Tanh", node("Slice", joined, "at_0", "at_4", "at_1"))
    shape = ["batch", 4, WIDTH]
    graph = helper.make_graph(
        nodes, "layers", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, shape)], tensors,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return model.SerializeToString()


def measured(layers: int, in_python: bool) -> tuple[float, float]:
    """Seconds to load a model, and of its first run."""
    import dynq_numba as dq

    model = layered(layers, in_python)
    begun = time.perf_counter()
    session = dq.onnx.InferenceSession(model, threads=1)
    loaded = time.perf_counter() - begun
    begun = time.process_time()
    session.run(None, {"x": np.ones((2, 4, WIDTH), np.float32)})
    return loaded, time.process_time() - begun


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench planning", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=[750, 3000, 12000], metavar="N")
    parser.add_argument("--python", action="store_true", help="with a node in ten that Python runs")
    args = parser.parse_args(argv)
    measured(1, args.python)
    rows = [["nodes", "load s", "first run s", "µs a node"]]
    for nodes in args.nodes:
        loaded, planned = measured(-(-nodes // NODES), args.python)
        rows.append([str(nodes), f"{loaded:.2f}", f"{planned:.2f}", f"{1e6 * planned / nodes:.0f}"])
    print(aligned(rows))
    return 0
