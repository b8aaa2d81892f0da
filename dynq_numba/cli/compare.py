"""``dynq compare``: what quantization cost, of the whole model and layer by layer."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from .base import Answer, Command, positive, progress_of
from .reports import check_report, report_option, write_report

if TYPE_CHECKING:
    from ..evaluate import Comparison

#: Layers of which a report has histograms.
_WORST = 3


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", metavar="FLOAT", help="the float model, an ONNX file")
    parser.add_argument("candidate", metavar="CANDIDATE", help="an ONNX file with the same inputs and outputs")
    parser.add_argument(
        "--data", metavar="PATH", help=".npz, .parquet, folder of .npy or .npz (default: numbers from a seed)"
    )
    parser.add_argument("--layers", action="store_true", help="look at each layer that differs, in three ways")
    parser.add_argument("--logits", action="store_true", help="outputs are logits: KL compares their softmax")
    parser.add_argument("--threshold", type=float, metavar="X", help="whose sides values are compared for")
    parser.add_argument("--batch", type=positive, default=64, metavar="ROWS", help="most rows of a run (default 64)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of random numbers (default 0)")
    parser.add_argument("--threads", type=positive, metavar="N", help="the most threads (default: all cores)")
    report_option(parser)
    parser.add_argument("--quiet", action="store_true", help="print the summary only")


def _run(args: argparse.Namespace) -> Answer:
    from ..evaluate import compare

    check_report(args, args.reference, args.candidate, *filter(None, [args.data]))
    found = compare(
        args.reference, args.candidate, args.data, layers=args.layers, logits=args.logits, threshold=args.threshold,
        batch=args.batch, seed=args.seed, threads=args.threads, progress=progress_of("rows", args.quiet),
    )  # fmt: skip
    lines = [found.summary() if args.quiet else str(found), *(_report(args, found) if args.report else ())]
    return Answer(found.to_json(), "\n".join(lines))


def _report(args: argparse.Namespace, found: Comparison) -> list[str]:
    """Writes a page of it, with the receipt of the candidate, and values of the layers that hurt most."""
    from ..evaluate.histograms import histograms
    from ..onnx import inspect

    receipt, told = inspect(args.candidate), []
    look = "only_quantized" if "only_quantized" in found.looks else (*found.looks, None)[0]
    worst = [each.layer for each in found.worst(look)[:_WORST]] if look else []
    try:
        values = histograms(args.reference, worst, args.data, rows=args.batch, seed=args.seed)
    except ValueError as error:  # the page has the rest
        values, told = [], [f"no histograms: {error}"]
    own = json.loads(receipt.to_json()) if receipt.quantized else None
    return told + write_report(args, comparison=json.loads(found.to_json()), receipt=own, histograms=values)


COMPARE = Command(
    "compare", "say how far a quantized model is from the float one, and where",
    (
        ("dynq compare model.onnx model.int8.onnx --data probe.npz", "results beside results"),
        ("dynq compare model.onnx model.int8.onnx --data probe.npz --layers", "and the layers that hurt"),
        ("dynq compare model.onnx model.int8.onnx --layers --report out.html", "a page about it, for others"),
        ("dynq compare model.onnx model.int8.onnx --json", "as JSON, on random numbers"),
    ),
    _arguments, _run,
)  # fmt: skip
