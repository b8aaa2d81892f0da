"""``dynq quantize``: an ONNX model in, a smaller one out, and an account of every weight."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..files.whole import write_text
from .base import Answer, Command, apart, fraction, hints, progress_of
from .reports import check_report, report_option, write_report

#: As dynq_numba/graph/formats has them, which is imported when it is needed.
_FORMATS = ("dynq", "qdq", "nbits", "qoperator", "qoperator_u8s8")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="an ONNX file, opset 9 or newer")
    parser.add_argument("-o", "--output", metavar="FILE", help="where it goes (default: MODEL.int8.onnx or such)")
    parser.add_argument("--recipe", metavar="TOML", help="ordered rules: which layer is quantized how")
    parser.add_argument("--bits", type=int, default=8, choices=(8, 4, 32), help="where no rule matches (default 8)")
    parser.add_argument("--granularity", choices=("per_channel", "per_tensor", "per_group"), help="what shares a scale")
    parser.add_argument("--group-size", type=int, choices=(32, 64, 128), help="values that share a scale")
    parser.add_argument("--x-bits", type=int, default=8, choices=(8, 16), help="of what weights are multiplied by")
    parser.add_argument("--include", action="append", metavar="REGEX", help="only layers that match; repeatable")
    parser.add_argument("--exclude", action="append", metavar="REGEX", help="no layer that matches; repeatable")
    parser.add_argument("--conv", action="store_true", help="quantize convolutions, too")
    parser.add_argument("--format", default="dynq", choices=_FORMATS, help="how layers are written (default dynq)")
    parser.add_argument(
        "--data", metavar="PATH", help="typical inputs, for smooth, outliers and gptq: .npz, .parquet, folder of .npy"
    )
    parser.add_argument("--strict", action="store_true", help="fail where a weight, no Conv, stays in floats unasked")
    parser.add_argument("--require-coverage", type=fraction, metavar="95%", help="fail below this part of the bytes")
    parser.add_argument("--receipt", metavar="FILE", help="write the receipt there as JSON, too")
    report_option(parser)
    parser.add_argument("--quiet", action="store_true", help="print the summary only")


def _run(args: argparse.Namespace) -> Answer:
    from ..onnx import quantize
    from ..onnx.files import check_place

    source = Path(args.model)
    kind = f".int{4 if args.bits == 4 else 8}" + (f".{args.format}" if args.format != "dynq" else "")
    out = Path(args.output or source.parent / f"{source.stem}{kind}{source.suffix}")
    apart(str(out), "--output", args.model)
    if args.receipt:
        apart(args.receipt, "--receipt", args.model)
        check_place(args.receipt, "--receipt")
    check_report(args, args.model, str(out))
    receipt = quantize(
        source, out, recipe=args.recipe, bits=args.bits, granularity=args.granularity, group_size=args.group_size,
        x_bits=args.x_bits, include=args.include, exclude=args.exclude, conv=args.conv, format=args.format,
        strict=args.strict, require_coverage=args.require_coverage,
        data=_runs(args.data, source) if args.data else None, progress=progress_of("layers", args.quiet),
    )  # fmt: skip
    if args.receipt:
        write_text(Path(args.receipt), receipt.to_json() + "\n")
    lines = [receipt.summary() if args.quiet else str(receipt), *hints(receipt), f"written to {out}"]
    recipe = Path(args.recipe).read_text("utf-8") if args.report and args.recipe else ""
    lines += write_report(args, receipt=json.loads(receipt.to_json()), recipe=recipe, title=out.name)
    return Answer(receipt.to_json(), "\n".join(lines))


def _runs(path: str, model: Path) -> list[dict[str, Any]]:
    """The inputs of a model among data, in the runs that `dynq search` makes of them."""
    from ..evaluate.data import read_data
    from ..evaluate.search import BATCH
    from ..onnx import files
    from ..onnx.feeds import argument

    inputs = [argument(value) for value in files.read(model).graph.inputs if value.const_value is None]
    return [batch.feeds for batch in read_data(path, inputs, batch=BATCH)]


QUANTIZE = Command(
    "quantize", "make the weights of an ONNX model int8 or int4, and account for each",
    (
        ("dynq quantize model.onnx", "to model.int8.onnx, and list its weights"),
        ("dynq quantize model.onnx -o small.onnx --bits 4", "in groups of 32"),
        ("dynq quantize model.onnx --format qdq", "for other runtimes, such as OpenVINO"),
        ("dynq quantize model.onnx --recipe recipe.toml", "some layers in another way than others"),
        ("dynq quantize model.onnx --require-coverage 95%", "as a step of a build"),
        ("dynq quantize model.onnx --report out.html", "a page about it, for others"),
        ("dynq quantize model.onnx --receipt receipt.json", "keep the account of every weight, too"),
    ),
    _arguments, _run,
)  # fmt: skip
