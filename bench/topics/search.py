"""What dq.onnx.search finds: recipes for MiniLM and for a regression network that is fed row by row.

    python -m bench search              all three; needs tokenizers; fetches the model like examples/minilm.py
    python -m bench search regression   one: "loss", "size" or "regression"

loss: MiniLM on 64 reviews, a fifth of int8's loss. size: MiniLM with linears of at most 17 % of float32's bytes.
regression: 6 → 512 × 4 → 2500 with SiLU, one row a run, a fifth of int8's loss. Loss is 1 - mean cosine of the results
to float32, on the data of the search and on as many other rows. Times are medians of runs that take turns.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

TEXTS, TOKENS, BATCH = 64, 128, 16
#: Parts of the limits.
FIFTH, LINEARS = 0.2, 0.17
TURNS = 30


def reviews(count: int) -> list[dict[str, np.ndarray]]:
    """So many batches of tokens, padded."""
    from tokenizers import Tokenizer

    from examples.fetch import Progress, fetch, load_reviews

    quiet = Progress(quiet=True)
    tokenizer = Tokenizer.from_file(str(fetch("minilm", quiet) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS)
    texts = [tokenizer.encode(text).ids for text in load_reviews(fetch("reviews", quiet), count)]
    found = []
    for first in range(0, count, BATCH):
        part = texts[first : first + BATCH]
        ids = np.zeros((len(part), max(map(len, part))), np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(part):
            ids[row, : len(text)], mask[row, : len(text)] = text, 1
        found.append({"input_ids": ids, "attention_mask": mask})
    return found


def network(path: Path) -> None:
    """6 → 512 × 4 → 2500 with SiLU, of a seed; a few units of each layer are large, as training makes them."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng, sizes = np.random.default_rng(0), [6, 512, 512, 512, 512, 2500]
    nodes, constants, x = [], [], "x"
    for i, (k, n) in enumerate(pairwise(sizes)):
        weight = rng.standard_normal((k, n)) * np.sqrt(2 / k) * np.exp(rng.standard_normal(n) / 2)
        bias = rng.standard_normal(n) / 10
        constants += [numpy_helper.from_array(each.astype(np.float32), f"{role}{i}")
                      for role, each in (("weight", weight), ("bias", bias))]  # fmt: skip
        nodes.append(helper.make_node("Gemm", [x, f"weight{i}", f"bias{i}"], [f"y{i}"], f"layer{i}"))
        x = f"y{i}"
        if i < len(sizes) - 2:
            nodes.append(helper.make_node("Sigmoid", [x], [f"gate{i}"], f"sigmoid{i}"))
            nodes.append(helper.make_node("Mul", [x, f"gate{i}"], [f"silu{i}"], f"silu{i}"))
            x = f"silu{i}"
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "regression", [value("x", TensorProto.FLOAT, ["n", 6])],
                              [value(x, TensorProto.FLOAT, ["n", 2500])], constants)  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def results(run: Any, feeds: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
    return np.concatenate([np.asarray(run(None, each)[0]) for each in feeds])


def loss(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one.astype(np.float64), other.astype(np.float64)
    return float(1 - ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean())


def times(runs: Sequence[Any], feeds: Mapping[str, np.ndarray]) -> list[float]:
    """Milliseconds, the median of turns."""
    found: list[list[float]] = [[] for _ in runs]
    for turn in range(TURNS + 3):
        for run, own in zip(runs, found, strict=True):
            begun = time.perf_counter()
            run(None, feeds)
            if turn >= 3:
                own.append((time.perf_counter() - begun) * 1e3)
    return [float(np.median(own)) for own in found]


class Case:
    """A float model, its data, and int8."""

    def __init__(self, folder: Path, name: str) -> None:
        from bench.topics import model_files
        from dynq_numba.onnx import InferenceSession, quantize

        self.path = folder / f"{name}.onnx"
        if name == "regression":
            network(self.path)
            rows = np.random.default_rng(1).standard_normal((2 * 256, 6)).astype(np.float32)
            feeds = [{"x": rows[i : i + 64]} for i in range(0, len(rows), 64)]
            self.one: dict[str, np.ndarray] = {"x": rows[:1]}
        else:
            model_files.minilm(self.path)
            feeds = reviews(2 * TEXTS)
            self.one = feeds[0]
        half = len(feeds) // 2
        self.feeds, self.others = feeds[:half], feeds[half:]
        self.float = InferenceSession(self.path)
        self.int8_file = folder / f"{name}.int8.onnx"
        self.int8_receipt = quantize(self.path, self.int8_file)
        self.int8 = InferenceSession(self.int8_file)
        self.wanted = [results(self.float.run, each) for each in (self.feeds, self.others)]

    def losses(self, session: Any) -> list[float]:
        pairs = zip(self.wanted, (self.feeds, self.others), strict=True)
        return [loss(wanted, results(session.run, feeds)) for wanted, feeds in pairs]


def linear_bytes(receipt: Any) -> tuple[int, int]:
    """Of MatMul and Gemm: in float32, and as they are stored."""
    entries = [entry for entry in receipt.entries if entry.op_type in ("MatMul", "Gemm")]
    return sum(entry.bytes_before for entry in entries), sum(entry.bytes_after for entry in entries)


def report(name: str, case: Case, folder: Path, **limits: Any) -> None:
    """Search, and print what it came to."""
    import onnxruntime

    from dynq_numba.onnx import InferenceSession, quantize, search

    begun, out = time.perf_counter(), case.path.with_suffix(".toml")

    def say(done: int, steps: int, what: str) -> None:
        print(f"{done} of {steps}: {what}", file=sys.stderr, flush=True)

    record = search(case.path, case.feeds, out, progress=say, **limits)
    seconds = time.perf_counter() - begun
    print(f"{name}: {seconds:.0f} s; limits {limits}")
    if not record.found:
        print("  nothing was found\n")
        return
    made = folder / f"{name}.best.onnx"
    receipt = quantize(case.path, made, recipe=out, data=case.feeds)
    best = InferenceSession(made)
    theirs = onnxruntime.InferenceSession(str(case.path), providers=["CPUExecutionProvider"])
    ms = times([case.float.run, case.int8.run, best.run, theirs.run], case.one)
    before, after = linear_bytes(receipt)
    plain = linear_bytes(case.int8_receipt)[1]
    for label, session in (("int8", case.int8), ("recipe", best)):
        here, other = case.losses(session)
        print(f"  {label:8} loss {here:.3e}, on other rows {other:.3e}")
    size, beside = made.stat().st_size, case.int8_file.stat().st_size
    print(f"  linears {after / before:.1%} of float32's bytes (int8 {plain / before:.1%})")
    print(f"  file {size:,} bytes, {size / beside - 1:+.2%} beside int8")
    print(f"  ms a run: float32 {ms[0]:.3f}, int8 {ms[1]:.3f}, recipe {ms[2]:.3f} ({ms[2] / ms[1] - 1:+.1%})")
    print(f"  ONNX Runtime float32 {ms[3]:.3f} ms, {ms[3] / ms[2]:.2f} × the recipe's")
    counts: dict[str, int] = {}
    for rung in record.chosen.values():
        counts[rung] = counts.get(rung, 0) + 1
    print(f"  units by rung: {', '.join(f'{rung} {count}' for rung, count in sorted(counts.items()))}\n", flush=True)


def main(argv: list[str]) -> int:
    """Print what each search came to."""
    wanted = argv or ["loss", "size", "regression"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if {"loss", "size"} & set(wanted):
            case = Case(folder, "minilm")
            if "loss" in wanted:
                report("loss", case, folder, max_degradation=FIFTH * case.losses(case.int8)[0])
            if "size" in wanted:
                before, plain = linear_bytes(case.int8_receipt)
                report("size", case, folder, max_size=case.int8_file.stat().st_size - plain + LINEARS * before)
        if "regression" in wanted:
            case = Case(folder, "regression")
            report("regression", case, folder, max_degradation=FIFTH * case.losses(case.int8)[0], batch=64)
    return 0
