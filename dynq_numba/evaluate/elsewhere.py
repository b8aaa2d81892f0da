"""The same runs on other instruction sets, each in a process of its own, and in other runtimes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from ..graph.canonical import canonical
from ..graph.model import DOMAIN, RECEIPT
from ..graph.receipt import Receipt
from ..onnx import files
from ..runtime.isa import available_isas
from .blocks import Numbered
from .checks import Check, same
from .fidelity import Tally
from .invariance import Tried
from .stages import Program

#: Seconds that a process may take: it may have to compile all that it needs.
PATIENCE = 900
#: Runs that onnx.reference, which is slow, is asked for.
FEW = 1
#: (model, feeds): what a runtime gives for all outputs.
Runner = Callable[[onnx.ModelProto, Mapping[str, np.ndarray]], Sequence[Any]]


def instruction_sets(tried: Tried) -> Iterator[Check]:
    """Every set that this machine has."""
    with tempfile.TemporaryDirectory() as folder:
        files.write(tried.model.clone(), Path(folder) / "model.onnx")
        for i, feeds in enumerate(tried.feeds):
            inputs = [feeds[each.name] for each in tried.session.get_inputs()]
            np.savez(Path(folder) / f"{i:06d}.npz", *map(_plain, inputs))  # by place: an input may be called "file"
        for name in available_isas():
            environment = os.environ | {
                "DYNQ_ISA": name, "DYNQ_QUIET": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            }  # fmt: skip
            try:
                done = subprocess.run(
                    [sys.executable, "-m", "dynq_numba.evaluate.child", folder], env=environment, capture_output=True,
                    text=True, timeout=PATIENCE, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                why = f"it takes longer than {PATIENCE} s"
                yield Check(f"instructions {name}", False, f"{len(tried.feeds)} runs", why)
                continue
            words = done.stdout.split()
            if done.returncode or len(words) != 2 or words[0] != name:
                lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
                yield Check(f"instructions {name}", False, f"{len(tried.feeds)} runs", lines[-1])
            else:
                yield Check(f"instructions {name}", words[1] == tried.sha256, f"{len(tried.feeds)} runs", "", words[1])


def _plain(array: np.ndarray) -> np.ndarray:
    """Texts as .npz files take them without pickling."""
    return array.astype(str) if array.dtype == object else array


def runtimes(tried: Tried) -> Iterator[Check]:
    """ONNX Runtime, where it is installed, and onnx.reference."""
    proto = ir.to_proto(tried.model)
    for name, run, runs in (("onnxruntime", _in_onnxruntime, len(tried.feeds)), ("onnx.reference", _in_reference, FEW)):
        try:
            yield from _other(name, run, proto, tried, runs)
        except Exception as error:  # whatever another runtime raises
            reason = str(error).strip().splitlines() or [type(error).__name__]
            yield Check(name, None, "the model", f"cannot run it: {reason[0][:200]}")


def _other(name: str, run: Runner, proto: onnx.ModelProto, tried: Tried, runs: int) -> Iterator[Check]:
    tallies = [Tally(each) for each in tried.outputs]
    for feeds, results in zip(tried.feeds[:runs], tried.results, strict=False):
        for tally, a, b in zip(tallies, results, run(proto, feeds), strict=True):
            tally.update(np.asarray(a), np.asarray(b))
    found = [tally.result() for tally in tallies]
    distance = ", ".join(
        f"{each.name} {'identical' if each.identical else f'{each.sqnr_db:.1f} dB, loss {each.loss:.1e}'}"
        for each in found
    )
    yield Check(name, None, f"{runs} runs", f"distance, of which nothing is promised: {distance}")
    yield from _layers(name, run, tried)


def _layers(name: str, run: Runner, tried: Tried) -> Iterator[Check]:
    """Of each layer of an artifact that is exact: whether a runtime has our bits, given what it takes there."""
    text = tried.model.metadata_props.get(RECEIPT)
    if text is None:
        return
    model, _ = canonical(tried.model.clone(), "model")
    exact = {entry.node for entry in Receipt.from_json(text).quantized if entry.exact}
    calls = [node for node in model.graph if node.domain == DOMAIN and node.name in exact]
    if not calls:
        return
    graph = Numbered(model, (), [value.name or "" for value in model.graph.outputs])
    own = {value.name for value in (*model.graph.inputs, *model.graph.outputs)}
    wanted = [value for node in calls for value in (*graph.takes(node), *_given(node))]
    shown = list(dict.fromkeys(value.name or "" for value in wanted if value.name not in own))
    proto = ir.to_proto(model)
    for value in shown:
        proto.graph.output.append(onnx.helper.make_empty_tensor_value_info(value))
    names = [each.name for each in proto.graph.output]
    values = dict(zip(names, run(proto, tried.feeds[0]), strict=True)) | dict(tried.feeds[0])
    wrong = []
    for node in calls:
        program = Program(graph, [node], _given(node))
        known = {graph.number(value): values[value.name or ""] for value in graph.takes(node)}
        made = program.run(known)
        if not all(same(made[graph.number(value)], values[value.name or ""]) for value in _given(node)):
            wrong.append(node.name or node.op_type)
    detail = f"other bits than ours in {', '.join(wrong)}" if wrong else ""
    yield Check(f"{name}, layer by layer", not wrong, f"{len(calls)} layers on equal inputs", detail)


def _given(node: ir.Node) -> list[ir.Value]:
    """Results that something takes."""
    return [value for value in node.outputs if value.uses() or value.is_graph_output()]


def _in_onnxruntime(proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> Sequence[Any]:
    onnxruntime = import_module("onnxruntime")

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    data = proto.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feeds)))


def _in_reference(proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> Sequence[Any]:
    from onnx.reference import ReferenceEvaluator

    with np.errstate(all="ignore"):
        return list(ReferenceEvaluator(proto).run(None, dict(feeds)))

