"""Plain data of a report, as large as that of MiniLM: a comparison, a gate, a receipt, timings, a search …"""

from __future__ import annotations

import numpy as np

#: A name that would break a page that does not escape it, in HTML, in a script and in a specification.
HOSTILE = "</script><script>window.hacked=1</script><img src=http://evil.example/x onerror=hacked()>\"'&{{7*7}}"
LAYERS = 36


def fidelity(name, loss, **more):
    return {
        "name": name, "values": 24576, "rows": 64, "identical": loss == 0, "loss": loss, "cosine_mean": 1 - loss,
        "cosine_worst": 1 - 4 * loss, "sqnr_db": "inf" if loss == 0 else float(-10 * np.log10(2 * loss)),
        "worst_row": 17, "max_abs_error": 0.21, "p99_abs_error": 0.034, "mismatches": 24576, "not_finite": 0,
        "kl_mean": 2.5e-4, "kl_max": 1e-2, "decisions": 64, "argmax_flips": 0.03125, "ranking_flips": 0.1,
        "threshold_flips": None, "threshold": None,
    } | more  # fmt: skip


def layer_names(hostile=HOSTILE):
    parts = ("attention/self/query/MatMul", "attention/self/key/MatMul", "attention/self/value/MatMul",
             "attention/output/dense/MatMul", "intermediate/dense/MatMul", "output/dense/MatMul")  # fmt: skip
    names = [f"/encoder/layer.{i}/{part}" for i in range(LAYERS // 6) for part in parts]
    names[20] = hostile
    return names


def comparison(layers=True, hostile=HOSTILE, losses=None):
    rng = np.random.default_rng(0)
    alone = 10 ** rng.uniform(-6.5, -3.8, LAYERS) if losses is None else losses
    found = [
        {"layer": name, "weights": [f"w{i}"], "op_type": "MatMul", "scheme": "int8_per_channel",
         "own": fidelity("own", float(each) * 3), "only_quantized": [fidelity("y", float(each))],
         "only_float": [fidelity("y", 1.2e-3 - float(each))], "loss_alone": float(each),
         "loss_without": 1.2e-3 - float(each)}
        for i, (name, each) in enumerate(zip(layer_names(hostile), alone, strict=True))
    ]  # fmt: skip
    return {
        "kind": "comparison", "version": 1, "reference": "minilm.onnx", "candidate": "minilm.int8.onnx",
        "reference_sha256": "4f" * 32, "candidate_sha256": "a7" * 32, "data": "texts.npz", "synthetic": False,
        "seed": None, "rows": 64, "batches": 1, "loss": 1.2e-3,
        "looks": ["own", "only_quantized", "only_float"] if layers else [],
        "outputs": [fidelity("sentence_embedding", 1.2e-3), fidelity("token_embeddings", 8e-4, argmax_flips=None)],
        "layers": found if layers else [], "notes": ["2 layers cannot be told apart, and are looked at together."],
        "machine": {"processor": "Intel(R) Xeon(R) Processor", "isa": "amx", "threads": "2", "dynq_numba": "0.2.0"},
        "seconds": {"outputs": 1.2},
    }  # fmt: skip


def receipt(hostile=HOSTILE):
    entries = [
        {"weight": f"w{i}", "node": name, "op_type": "MatMul", "shape": [384, 1536 if i % 6 == 4 else 384],
         "bytes_before": 2359296 if i % 6 == 4 else 589824, "bytes_after": 598000 if i % 6 == 4 else 150000,
         "scheme": "int8_per_channel" if i % 5 else "int4_per_group_32", "reason": "", "error": 0.0083, "exact": True}
        for i, name in enumerate(layer_names(hostile))
    ]  # fmt: skip
    entries.append({"weight": hostile, "node": "head", "op_type": "Gather", "shape": [30522, 384],
                    "bytes_before": 46881792, "bytes_after": 46881792, "scheme": "float32", "reason": "excluded",
                    "error": None, "exact": None})  # fmt: skip
    before, after = (sum(each[key] for each in entries) for key in ("bytes_before", "bytes_after"))
    return {
        "entries": entries, "source_sha256": "4f" * 32, "recipe": {}, "notes": [], "format": "dynq",
        "bytes_before": before, "bytes_after": after, "coverage": 1 - 46881792 / before, "attention": 8,
        "source_bytes": before, "exact": False,
    }  # fmt: skip


def result(goal, where, value, limit, verdict, bound="max-degradation", least=False, wide=0.004, **more):
    return {
        "goal": goal, "where": where, "metric": "accuracy", "fairness": None, "bound": bound, "limit": limit,
        "least": least, "value": value, "low": value - wide if wide else None, "high": value + wide if wide else None,
        "reference": 0.912, "candidate": 0.912 - value, "rows": 500, "verdict": verdict, "critical": True, "note": "",
        "sentence": f"{goal}: {value}",
    } | more  # fmt: skip


def gate(verdict="fail", hostile=HOSTILE):
    results = [
        result("accuracy stays", "", 0.0021, 0.01, "pass"),
        result("flips", "", 0.031, 0.05, "pass", "max-flips", metric=None),
        result("size", "", 11.2e6, 12e6, "pass", "max-size", wide=0, metric=None, rows=None, reference=None,
               candidate=None),
        result("accuracy stays", "language = de", 0.019, 0.01, "fail"),
        result("accuracy stays", f"language = {hostile}", 0.008, 0.01, "inconclusive", wide=0.009, critical=False,
               note="40 rows are few"),
        result("fair", "group", 0.012, 0.02, "pass", fairness="equalized_odds_difference", metric=None),
    ]  # fmt: skip
    return {
        "verdict": verdict, "status": 1, "results": results, "seconds": 3.2, "command": "dynq gate gate.toml",
        "summary": f"{verdict.upper()}: 1 of 6 looks: accuracy stays [language = de]: 0.019 (0.015 to 0.023), wanted "
                   "≤ 0.01: fail",
        "models": {"reference": {"file": "minilm.onnx", "bytes": 90387630, "sha256": "4f" * 32},
                   "candidate": {"file": "minilm.int8.onnx", "bytes": 23012000, "sha256": "a7" * 32,
                                 "receipt": "36 of 37 weights quantized", "coverage": 0.52}},
        "data": {"description": "labelled.parquet", "rows": 1000, "label": "label", "slices": ["language"]},
        "statistics": {"words": "paired bootstrap, 2000 resamples, 95 %, seed 0, corrected for 6 looks (Holm)"},
        "machine": {"processor": "Intel(R) Xeon(R) Processor", "threads": 2}, "versions": {"numpy": "2.4.6"},
    }  # fmt: skip


def timings():
    about = {"model": "minilm.int8.onnx", "first_ms": 900.0, "why": ""}
    none = dict.fromkeys(("median_ms", "least_ms", "most_ms", "ratio", "ratio_least", "ratio_most", "difference"))
    return {
        "kind": "timings", "version": 1, "threads": 2, "rounds": 7, "data": "texts.npz: input_ids 1×128",
        "timings": [
            none | about | {"name": "dynq", "median_ms": 3.1, "least_ms": 2.9, "most_ms": 3.6},
            about | {"name": "onnxruntime", "median_ms": 7.4, "least_ms": 6.9, "most_ms": 9.2, "ratio": 2.37,
                     "ratio_least": 2.1, "ratio_most": 2.9, "difference": 0.011},
            none | about | {"name": "openvino", "why": "it is not installed: pip install openvino"},
        ],
    }  # fmt: skip


def search(found=True, hostile=HOSTILE):
    rng = np.random.default_rng(1)
    points = [
        {"name": f"mix {i}", "choice": {}, "batches": [0, 1], "all": True, "predicted": 1e-3, "ms": 3.0 + i / 20,
         "bytes": int(size), "loss": float(10 ** (-2 - 2 * i / 12 + rng.normal() / 20)),
         "degradation": float(10 ** (-2 - 2 * i / 12))}
        for i, size in enumerate(np.linspace(9e6, 24e6, 12))
    ]  # fmt: skip
    units = [
        {"name": f"u{i}", "layers": [name], "weights": [f"w{i}"], "sensitivity": 0.1, "float_us": 120.0,
         "int8_us": 60.0,
         "rungs": {"int8": {"error": 0.008, "loss": 1e-5 * (i + 1), "bytes": 150000, "work": 1.0, "why": "larger"},
                   "int4": {"error": 0.09, "loss": 1e-4, "bytes": 80000, "work": 1.1, "why": "worse"}}}
        for i, name in enumerate(layer_names(hostile))
    ]  # fmt: skip
    return {
        "key": {"model": "4f" * 32, "max_degradation": 3e-4}, "units": units, "receipts": {}, "looks": {},
        "points": [*points, points[0] | {"all": False, "name": "some batches"}],
        "chosen": {f"u{i}": "int4" if i % 4 else "int8" for i in range(LAYERS)} if found else {},
        "result": points[7] if found else {}, "recipe": "[[rule]]\nbits = 4\n" if found else "", "notes": ["a note"],
    }  # fmt: skip


def histograms(hostile=HOSTILE):
    rng = np.random.default_rng(2)
    made = []
    for name in (layer_names(hostile)[20], layer_names()[3]):
        both = {}
        for key, values in (("weights", rng.normal(0, 0.04, 100_000)), ("inputs", rng.standard_t(3, 100_000))):
            counts, edges = np.histogram(values, 48)
            both[key] = {"edges": edges.tolist(), "counts": counts.tolist()}
        made.append({"layer": name} | both)
    return made


def whole(hostile=HOSTILE):
    """Everything that a page may have."""
    return {
        "comparison": comparison(hostile=hostile), "gate": gate(hostile=hostile), "search": search(),
        "receipt": receipt(hostile), "timings": timings(), "histograms": histograms(hostile),
        "command": "dynq compare minilm.onnx minilm.int8.onnx --data texts.npz --layers --report out.html",
        "recipe": '[[rule]]\nname = "layer.0"\nbits = 8\n',
    }  # fmt: skip
