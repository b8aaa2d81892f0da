"""onnx's own node tests on InferenceSession, through onnx's own runner.

case ──outside──▶ a reason: no case of ours, and whether it passes all the same
  └──▶ runner ──▶ passes, no step in Python │ passes, Python only looks at numbers between kernels │
                  passes, with a node in Python │ fails
"""

from __future__ import annotations

import unittest
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.backend.base import Backend, BackendRep
from onnx.backend.test import BackendTest
from onnx.backend.test.loader import load_model_tests

from dynq_numba.graph.canonical import OLDEST
from dynq_numba.onnx import InferenceSession

#: How a case can come out.
KERNELS, READS, PYTHON, FAILS = "kernels", "reads", "python", "fails"
#: Of what is none of ours: it fails, or it passes all the same.
OUTSIDE, PASSES = "outside", "outside, passes"
#: Types of no kernel's and of no numpy's: what a case that has one is about.
_TYPES = {
    TensorProto.STRING: "strings", TensorProto.FLOAT8E4M3FN: "floats of 8 bits",
    TensorProto.FLOAT8E4M3FNUZ: "floats of 8 bits", TensorProto.FLOAT8E5M2: "floats of 8 bits",
    TensorProto.FLOAT8E5M2FNUZ: "floats of 8 bits",
    TensorProto.FLOAT8E8M0: "floats of 8 bits", TensorProto.FLOAT4E2M1: "floats of 4 bits",
}  # fmt: skip
#: What would come out differently each time.
RANDOM = "random numbers"
_OPERATORS = {
    "ImageDecoder": "images", "RandomNormal": RANDOM, "RandomUniform": RANDOM,
    "RandomNormalLike": RANDOM, "RandomUniformLike": RANDOM, "Multinomial": RANDOM,
    "Bernoulli": RANDOM, "StringNormalizer": "strings", "TfIdfVectorizer": "strings",
    "RegexFullMatch": "strings", "StringConcat": "strings", "StringSplit": "strings",
}  # fmt: skip


def outside(case: Any) -> str | None:
    """Why a case is none of ours: what it is about, which sessions do not have."""
    graph = case.model.graph
    for value in (*graph.input, *graph.output):
        kind = value.type.WhichOneof("value")
        if kind in ("sequence_type", "optional_type"):
            return kind.replace("_type", "s")
    if any(node.op_type == "Scan" for node in graph.node) and case.model.opset_import[0].version < OLDEST:
        return "an opset before 9"
    for code in types(graph):
        if code in _TYPES:
            return _TYPES[code]
    for node in nodes(graph):
        if node.op_type in _OPERATORS:
            return _OPERATORS[node.op_type]
        if node.domain == "ai.onnx.preview.training" or _trains(node, graph, case):
            return "training"
    return None


def _trains(node: onnx.NodeProto, graph: onnx.GraphProto, case: Any) -> bool:
    if any(each.name == "training_mode" and each.i == 1 for each in node.attribute):
        return True
    if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
        return False
    names = [value.name for value in graph.input]
    given = case.data_sets[0][0]
    return node.input[2] in names and bool(np.any(array(given[names.index(node.input[2])])))


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Of a graph, and of the graphs in it."""
    for node in graph.node:
        yield node
        for each in node.attribute:
            for inner in (each.g, *each.graphs):
                yield from nodes(inner)


def types(graph: onnx.GraphProto) -> Iterator[int]:
    """Types that a graph names."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.type.tensor_type.elem_type
    yield from (each.data_type for each in graph.initializer)
    for node in graph.node:
        for each in node.attribute:
            if each.name in ("to", "dtype", "output_dtype"):
                yield each.i
            yield each.t.data_type
            for inner in (each.g, *each.graphs):
                yield from types(inner)


def array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


class _Prepared(BackendRep):
    def __init__(self, session: InferenceSession) -> None:
        self._session = session

    def run(self, inputs: Any, **options: Any) -> Any:
        names = [each.name for each in self._session.get_inputs()]
        return tuple(self._session.run(None, dict(zip(names, inputs, strict=False))))


class Sessions(Backend):
    """What the runner asks; remembers the latest session."""

    latest: InferenceSession | None = None

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **options: Any) -> BackendRep:
        cls.latest = None
        cls.latest = InferenceSession(model)
        return _Prepared(cls.latest)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device == "CPU"


def cases() -> dict[str, Any]:
    """onnx's node tests by name, those for training among them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {case.name: case for case in load_model_tests(kind="node")}


def runner() -> type[unittest.TestCase]:
    """onnx's runner of them: a method for each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return BackendTest(Sessions, __name__).test_cases["OnnxBackendNodeModelTest"]


def _told(trace: str) -> str:
    """What a traceback says, in a line without numbers that differ."""
    lines = [line.strip() for line in trace.strip().splitlines()]
    last = next((line for line in lines if line.startswith(("Mismatched elements", "(shapes"))), lines[-1])
    return "other values" if last.startswith("Mismatched") else last[:200]


def outcome(tests: type[unittest.TestCase], name: str) -> tuple[str, str]:
    """How a case comes out, and what is to be said of it: the error, or why a step runs in Python."""
    method = f"{name}_cpu"
    result = unittest.TestResult()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        tests(method).run(result)
    assert result.testsRun == 1 and not result.skipped, name
    if not result.wasSuccessful():
        (_, trace), *_ = (*result.failures, *result.errors)
        return FAILS, _told(trace)
    assert Sessions.latest is not None
    steps = [step for step in Sessions.latest.report() if step.kind == "python"]
    for step in steps:
        _, _, operator = step.kernel.partition(" ")
        if operator:
            return PYTHON, f"{operator}: {step.why}"
    return (READS, steps[0].why) if steps else (KERNELS, "")
