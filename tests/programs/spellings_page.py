"""What becomes of what exporters write: the page of the documentation, made from the catalogue that tests hold.

    python tests/programs/spellings_page.py             run the networks of tests/models/networks, compare the record
    python tests/programs/spellings_page.py --write     write networks.json and docs/reference/spellings.md anew
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import spellings as catalogue  # noqa: E402

from dynq_numba.onnx import InferenceSession  # noqa: E402

MODELS = ROOT / "tests" / "models"
RECORD, PAGE = Path(__file__).with_name("networks.json"), ROOT / "docs" / "reference" / "spellings.md"
NETWORKS = {path.name.partition(".")[0]: path for path in sorted((MODELS / "networks").glob("*.onnx.gz"))}
#: Lengths of the axes of an input that vary: of an encoder, of a decoder.
LENGTHS, TARGET = (2, 6), (2, 4)


def network(name: str) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A model and inputs of it."""
    model = onnx.load_from_string(gzip.decompress(NETWORKS[name].read_bytes()))
    rng, feeds = np.random.default_rng(0), {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        free = TARGET if value.name.startswith("decoder") else LENGTHS
        shape = [each.dim_value or free[axis] for axis, each in enumerate(kind.shape.dim)]
        if kind.elem_type == onnx.TensorProto.FLOAT:
            feeds[value.name] = rng.standard_normal(shape, np.float32)
        else:
            feeds[value.name] = rng.integers(1, 40, shape)
        if "mask" in value.name:
            feeds[value.name] = np.arange(shape[1]) < np.array([[shape[1]], [4]])
            feeds[value.name] = feeds[value.name].astype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return model, feeds


def ran(name: str) -> tuple[dict, list[np.ndarray]]:
    """What the record says of a network, and its results."""
    model, feeds = network(name)
    session = InferenceSession(model)
    results = session.run(None, feeds)
    report = session.report()
    kernels = Counter(step.kernel.partition(" ")[0] for step in report if step.kind != "python")
    python = [f"{step.kernel.partition(' ')[2] or 'numbers'}: {step.why}" for step in report if step.kind == "python"]
    return {
        "exporter": catalogue.exporter(name, model.producer_name, model.producer_version),
        "nodes": len(model.graph.node), "fused": report.kinds["fused"], "kernels": dict(sorted(kernels.items())),
        "python": sorted(python),
    }, results  # fmt: skip


def page(record: dict[str, dict]) -> str:
    """The page of the documentation."""
    lines = [
        "# What exporters write", "",
        "Exporters spell one thing in many ways. Fusion computes nodes on numbers and looks at what comes out, so it",
        "knows most of them (ARCHITECTURE.md, Fusion). `dynq inspect MODEL --why NODE` says what became of a node of",
        "yours. This page is made from the tests (`python tests/programs/spellings_page.py --write`).", "",
        "## Whole networks", "",
        "Tiny ones of transformers and of our own, by both of PyTorch's exporters where these can do it. *Steps* are",
        "what a session calls; *fused* are those that stand for several nodes. Nodes of shapes need no step.", "",
        "| network | exporter | nodes | steps | fused | in Python |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, found in record.items():
        steps = sum(found["kernels"].values()) + len(found["python"])
        python = ", ".join(f"{count} × {why}" for why, count in Counter(found["python"]).items()) or "–"
        title = name.removesuffix("_dynamo")
        lines.append(f"| {title} | {found['exporter']} | {found['nodes']} | {steps} | {found['fused']} | {python} |")
    lines += ["", "The steps of each, by kernel:", "", "| network | exporter | kernels |", "|---|---|---|"]
    for name, found in record.items():
        kernels = ", ".join(f"{count} {kernel}" for kernel, count in found["kernels"].items())
        lines.append(f"| {name.removesuffix('_dynamo')} | {found['exporter'].partition(',')[0]} | {kernels} |")
    lines += ["", "## Files of exporters", "", "| spelling | exporter | becomes |", "|---|---|---|"]
    for name, functions in catalogue.EXPORTED.items():
        model = onnx.load(MODELS / "files" / f"{name}.onnx")
        by = catalogue.exporter(name, model.producer_name, model.producer_version)
        opset = next(each.version for each in model.opset_import if each.domain == "")
        lines.append(f"| {catalogue.about(name)} | {by}, opset {opset} | {_counted(functions)} |")
    lines += ["", "## Texts", "", "As exporters spell it that no test can run.", ""]
    lines += ["| pattern | spelling | becomes |", "|---|---|---|"]
    for pattern, spelling, functions in catalogue.texts():
        lines.append(f"| {pattern} | {spelling} | {_counted(functions)} |")
    lines += ["", "## What stays, and why", "", "| what | reason |", "|---|---|"]
    lines += [f"| {what} | … {reason} … |" for what, (_, _, reason) in catalogue.STAYS.items()]
    return "\n".join(lines) + "\n"


def _counted(functions: str) -> str:
    names = Counter(functions.split())
    return ", ".join(f"{count} `{name}`" if count > 1 else f"`{name}`" for name, count in names.items())


def main() -> int:
    found = {name: ran(name)[0] for name in NETWORKS}
    if "--write" in sys.argv[1:]:
        RECORD.write_text(json.dumps(found, indent=1) + "\n")
        PAGE.write_text(page(found))
        return 0
    kept = json.loads(RECORD.read_text())
    wrong = [name for name in found.keys() | kept.keys() if found.get(name) != kept.get(name)]
    for name in wrong:
        print(f"{name}: {found.get(name)}, recorded {kept.get(name)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
