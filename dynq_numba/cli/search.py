"""``dynq search``: from a float model and data to the cheapest recipe within budgets."""

from __future__ import annotations

import argparse
import json

from .base import Answer, Command, apart, positive, progress_of
from .reports import check_report, report_option, write_report
from .status import Status

_BYTES = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "b": 1.0}
_MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def _number(units: dict[str, float], example: str):  # type: ignore[no-untyped-def]
    """A type for numbers with a unit behind them; without one they are as they are."""

    def read(text: str) -> float:
        unit = next((each for each in units if text.lower().endswith(each)), "")
        try:
            value = float(text[: len(text) - len(unit)]) * units.get(unit, 1.0)
        except ValueError:
            value = -1.0
        if not value > 0:
            raise argparse.ArgumentTypeError(f"must be a positive number such as {example}; got {text!r}")
        return value

    return read


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="FLOAT", help="the float model, an ONNX file")
    parser.add_argument("-o", "--output", metavar="TOML", required=True, help="where the recipe goes")
    parser.add_argument(
        "--data", metavar="PATH", help=".npz, .parquet, folder of .npy or .npz (default: numbers from a seed)"
    )
    parser.add_argument("--metric", metavar="MODULE:FUNCTION", help="more is better (default: cosine to float)")
    parser.add_argument("--max-degradation", type=float, metavar="X", help="how much the metric may fall")
    parser.add_argument("--max-size", type=_number(_BYTES, "60MB"), metavar="60MB", help="of the artifact")
    parser.add_argument("--max-latency", type=_number(_MILLISECONDS, "5ms"), metavar="5ms", help="of a batch, here")
    parser.add_argument("--only-if-faster", action="store_true", help="leave float32 what int8 makes no faster here")
    parser.add_argument("--batch", type=positive, default=16, metavar="ROWS", help="rows of a run (default 16)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the rows of the first phase (default 0)")
    parser.add_argument("--threads", type=positive, metavar="N", help="the most threads (default: all cores)")
    parser.add_argument("--fresh", action="store_true", help="begin anew, not where an earlier search stopped")
    report_option(parser)
    parser.add_argument("--quiet", action="store_true", help="say nothing on the way")


def _run(args: argparse.Namespace) -> Answer:
    from ..evaluate.search import search

    apart(args.output, "--output", args.model)
    check_report(args, args.model, args.output)
    found = search(
        args.model, args.data, args.output, metric=args.metric, max_degradation=args.max_degradation,
        max_size=args.max_size, max_latency=args.max_latency, only_if_faster=args.only_if_faster, batch=args.batch,
        seed=args.seed, threads=args.threads, resume=not args.fresh, progress=progress_of("steps", args.quiet),
    )  # fmt: skip
    end = [f"written to {args.output}"] if found.found else []
    end += write_report(args, search=json.loads(found.to_json()), title=f"Search of a recipe for {args.model}")
    return Answer(found.to_json(), "\n".join([str(found), *end]), Status.PASS if found.found else Status.FAIL)


SEARCH = Command(
    "search", "find the cheapest recipe within budgets of loss, size and time",
    (
        ("dynq search model.onnx --data probe.npz --max-degradation 3e-4 -o best.toml", "of 1 - cosine to float32"),
        ("dynq search model.onnx --data probe.npz --max-size 60MB -o best.toml", "the least loss that fits"),
    ),
    _arguments, _run,
)  # fmt: skip
