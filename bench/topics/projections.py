"""Query, key and value: three linear layers of one input, as linear_many and one after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from bench import peers
from bench.topics.base import Case, Inputs, Topic, Way

LAYERS = 3
CASES = {
    f"{m} × {k} → 3 × {n}": {"m": m, "k": k, "n": n}
    for m, k, n in ((1, 384, 384), (16, 384, 384), (128, 384, 384), (1, 768, 768), (128, 768, 768), (1, 4096, 4096))
}


def inputs(case: Case) -> Inputs:
    rng = np.random.default_rng(0)
    m, k, n = case["m"], case["k"], case["n"]
    normal = partial(rng.standard_normal, dtype=np.float32)
    return {"x": normal((m, k)), "weights": normal((LAYERS, n, k)), "biases": normal((LAYERS, n))}


def exact(case: Case, given: Inputs) -> np.ndarray:
    x = given["x"].astype(np.float64)
    return np.concatenate([x @ w.T + b for w, b in zip(given["weights"], given["biases"], strict=True)], axis=-1)


def together(case: Case, given: Inputs, threads: int) -> Callable[[], list[np.ndarray]]:
    import dynq_numba as dq

    dq.set_num_threads(threads)
    ws = [dq.pack_linear(w, b) for w, b in zip(given["weights"], given["biases"], strict=True)]
    x = given["x"]
    return lambda: dq.linear_many(x, ws)


def one_by_one(name: str, case: Case, given: Inputs, threads: int) -> Callable[[], list[np.ndarray]]:
    """A contestant of the linear layer, three times."""
    (contestant,) = (c for c in peers.CONTESTANTS if c.name == name)
    pairs = zip(given["weights"], given["biases"], strict=True)
    layers = [contestant.build(w.copy(), b.copy(), case["m"], threads) for w, b in pairs]
    x = given["x"]
    return lambda: [layer(x) for layer in layers]


def way(contestant: peers.Contestant) -> Way:
    label = "dynq linear × 3" if contestant.family == "dynq" else contestant.name
    build = partial(one_by_one, contestant.name)
    return Way(label, contestant.distributions, build, contestant.tolerance, contestant.environment)


PEERS = ("dynq int8", "XNNPACK int8", "ONNX Runtime int8 per channel", "PyTorch x86", "OpenVINO int8")
TOPIC = Topic(
    title="Query, key and value of one input (`linear_many`)",
    cases=CASES,
    inputs=inputs,
    exact=exact,
    ways=(
        Way("dynq", ("dynq-numba",), together, 0.02),
        *(way(c) for c in peers.CONTESTANTS if c.name in PEERS),
    ),
)
