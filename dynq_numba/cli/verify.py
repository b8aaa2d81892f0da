"""``dynq verify``: prove that a model's bits depend on nothing but its inputs."""

from __future__ import annotations

import argparse

from .base import Answer, Command, positive, progress_of
from .status import Status


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="an ONNX file: float, or quantized by any tool")
    parser.add_argument(
        "--data", metavar="PATH", help=".npz, .parquet, folder of .npy or .npz (default: numbers from a seed)"
    )
    parser.add_argument("--rows", type=positive, default=32, metavar="N", help="the most rows (default 32)")
    parser.add_argument("--no-isas", action="store_true", help="do not try other instruction sets")
    parser.add_argument("--no-runtimes", action="store_true", help="do not try other runtimes")
    parser.add_argument("--threads", type=positive, metavar="N", help="the most threads (default: all cores)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of orders and padding (default 0)")
    parser.add_argument("--quiet", action="store_true", help="print the summary only")


def _run(args: argparse.Namespace) -> Answer:
    from ..evaluate import verify

    found = verify(
        args.model, args.data, rows=args.rows, isas=not args.no_isas, runtimes=not args.no_runtimes,
        threads=args.threads, seed=args.seed, progress=progress_of("kinds of checks", args.quiet),
    )  # fmt: skip
    status = Status.PASS if found.held else Status.FAIL
    return Answer(found.to_json(), found.summary() if args.quiet else found, status)


VERIFY = Command(
    "verify", "prove that bits do not depend on batch, padding, threads, machine",
    (
        ("dynq verify model.int8.onnx --data probe.npz", "all that should not matter, and hashes"),
        ("dynq verify model.onnx --no-isas --no-runtimes", "what takes longest left out"),
    ),
    _arguments, _run,
)  # fmt: skip
