"""``dynq compare``: what quantization cost, of the whole model and layer by layer."""

from __future__ import annotations

import argparse

from .base import Answer, Command, positive, progress_of


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
    parser.add_argument("--quiet", action="store_true", help="print the summary only")


def _run(args: argparse.Namespace) -> Answer:
    from ..evaluate import compare

    found = compare(
        args.reference, args.candidate, args.data, layers=args.layers, logits=args.logits, threshold=args.threshold,
        batch=args.batch, seed=args.seed, threads=args.threads, progress=progress_of("rows", args.quiet),
    )  # fmt: skip
    return Answer(found.to_json(), found.summary() if args.quiet else found)


COMPARE = Command(
    "compare", "say how far a quantized model is from the float one, and where",
    (
        ("dynq compare model.onnx model.int8.onnx --data probe.npz", "results beside results"),
        ("dynq compare model.onnx model.int8.onnx --data probe.npz --layers", "and the layers that hurt"),
        ("dynq compare model.onnx model.int8.onnx --json", "as JSON, on random numbers"),
    ),
    _arguments, _run,
)  # fmt: skip
