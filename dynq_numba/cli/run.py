"""``dynq run``: an ONNX model on arrays from a file."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from .base import Answer, Command, apart, arrays_of, positive, write_arrays


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="an ONNX file: float, or quantized by any tool")
    parser.add_argument(
        "--input", required=True, metavar="NPZ", help="an array for each input of the model, by its name"
    )
    parser.add_argument("--output", metavar="NPZ", help="where to write the results (default: say what they are, only)")
    parser.add_argument(
        "--semantics", choices=("rowwise", "file"), default="rowwise",
        help="of a model that another tool quantized: activations row by row (default), or all as the file says",
    )  # fmt: skip
    parser.add_argument("--threads", type=positive, metavar="N", help="the most threads (default: all cores)")
    parser.add_argument(
        "--repeat", type=positive, default=1, metavar="N", help="run so often, and say how long it took"
    )
    parser.add_argument("--report", action="store_true", help="list the steps: kernel or Python, invariant or not")
    parser.add_argument("--times", action="store_true", help="the same, with the time of each step")


def _run(args: argparse.Namespace) -> Answer:
    import numpy as np

    from ..onnx import InferenceSession
    from ..onnx.files import check_place

    if args.output:
        apart(args.output, "--output", args.model, args.input)
        check_place(args.output, "--output")
    feeds = arrays_of(args.input)
    session = InferenceSession(args.model, threads=args.threads, semantics=args.semantics)
    results = session.run(None, feeds)
    names = [each.name for each in session.get_outputs()]
    found = [{"name": name, "dtype": str(a.dtype), "shape": a.shape} for name, a in zip(names, results, strict=True)]
    data: dict[str, Any] = {"outputs": found}
    lines = []
    if args.repeat > 1:
        times = []
        for _ in range(args.repeat):
            begun = time.perf_counter()
            session.run(None, feeds)
            times.append(1e3 * (time.perf_counter() - begun))
        data |= {"runs": args.repeat, "median_ms": float(np.median(times)), "times_ms": times}
        lines.append(f"median of {args.repeat} runs: {data['median_ms']:.3f} ms")
    lines += [f"{each['name']}: {each['dtype']} {list(each['shape'])}" for each in found]
    if args.report or args.times:
        report = session.report(feeds if args.times else None)
        data |= {"steps": [step._asdict() for step in report], "run_us": report.run_us}
        lines.append(str(report))
    if args.output:
        write_arrays(Path(args.output), dict(zip(names, results, strict=True)))
        data["written"] = args.output
        lines.append(f"written to {args.output}")
    return Answer(data, "\n".join(lines))


RUN = Command(
    "run", "run an ONNX model on arrays from a file",
    (
        ("dynq run model.int8.onnx --input x.npz --output y.npz", "results by the names of the outputs"),
        ("dynq run model.onnx --input x.npz --repeat 100 --report", "how long it takes, and its steps"),
        ("dynq run model.onnx --input x.npz --times", "how long each step takes"),
        ("dynq run theirs.onnx --input x.npz --semantics file", "all as another tool's file says"),
    ),
    _arguments, _run,
)  # fmt: skip
