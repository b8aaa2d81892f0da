"""``dynq bench``: a model in our session, beside other runtimes."""

from __future__ import annotations

import argparse
import json

from .base import Answer, Command, positive
from .reports import check_report, report_option, write_report


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="an ONNX file: float, or quantized by any tool")
    parser.add_argument(
        "--vs", nargs="+", default=[], choices=("onnxruntime", "openvino"), metavar="RUNTIME",
        help="beside these: onnxruntime, openvino (where they are installed)",
    )  # fmt: skip
    parser.add_argument("--vs-model", metavar="ONNX", help="what the others run (default: MODEL)")
    parser.add_argument(
        "--data", metavar="FILE", help="an .npz file, a folder or a parquet file (default: numbers from a seed)"
    )
    parser.add_argument("--rows", type=positive, default=1, metavar="N", help="rows of a run (default 1)")
    parser.add_argument("--threads", type=positive, metavar="N", help="of each (default: all cores)")
    report_option(parser)
    parser.add_argument("--rounds", type=positive, default=7, metavar="N", help="turns of each (default 7)")


def _run(args: argparse.Namespace) -> Answer:
    from ..evaluate.data import read_data
    from ..onnx import InferenceSession, files
    from ..runtime.threads import get_num_threads
    from ..timing.rounds import measure

    check_report(args, args.model)
    session = InferenceSession(args.model)
    data = read_data(args.data, session.get_inputs(), model=files.read(args.model), batch=args.rows)
    batch = next(iter(data))
    session.run(None, batch.feeds)  # what is wrong with the data is told here, and kernels are compiled once for all
    models = {"dynq": args.model} | dict.fromkeys(args.vs, args.vs_model or args.model)
    shapes = ", ".join(f"{name} {'×'.join(map(str, array.shape))}" for name, array in batch.feeds.items())
    threads = args.threads or get_num_threads()
    found = measure(models, batch.feeds, threads, f"{data.description}: {shapes}", args.rounds)
    lines = [str(found), *write_report(args, timings=json.loads(found.to_json()), title=args.model)]
    return Answer(found.to_json(), "\n".join(lines))


BENCH = Command(
    "bench", "time an ONNX model in our session, beside other runtimes",
    (
        ("dynq bench model.int8.onnx", "our session alone"),
        ("dynq bench model.onnx --vs onnxruntime openvino", "beside others, in turn"),
        ("dynq bench model.int8.onnx --vs onnxruntime --vs-model model.onnx", "ours beside their float model"),
        ("dynq bench model.onnx --data probe.npz --rows 8", "on the first 8 rows of your own data"),
    ),
    _arguments, _run,
)  # fmt: skip
