"""``dynq inspect``: what files hold."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from ..arguments.errors import UsageError
from .base import Answer, Command, apart


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="a .safetensors file, or an .onnx model")
    parser.add_argument("--why", metavar="NODE", help="of a model: what becomes of a node, and why")
    parser.add_argument("--graph", metavar="ONNX", help="of a model: write it there as sessions run it, to look at")


def _run(args: argparse.Namespace) -> Answer:
    if args.why is not None or args.graph is not None:
        return _rewrites(args)
    found = [_contents(path) for path in args.files]
    data = {path: each for path, (each, _) in zip(args.files, found, strict=True)}
    return Answer(data, "\n\n".join(text for _, text in found))


def _rewrites(args: argparse.Namespace) -> Answer:
    """What a session makes of the graph."""
    if len(args.files) != 1:
        raise UsageError(f"--why and --graph are for one model; got {len(args.files)} files")
    from ..onnx.optimisation import optimise, why

    if args.graph is not None:
        apart(args.graph, "--graph", args.files[0])
    if args.why is None:
        optimise(args.files[0], args.graph)
        lines = []
    else:
        lines = why(args.files[0], args.why, args.graph)
    data = {"node": args.why, "why": lines, "written": args.graph}
    return Answer(data, "\n".join(lines + ([f"written to {args.graph}"] if args.graph is not None else [])))


def _contents(path: str) -> tuple[Any, str]:
    """As data, and as text."""
    if path.lower().endswith(".onnx"):
        from .. import onnx

        receipt = onnx.inspect(path)
        return json.loads(receipt.to_json()), str(receipt)
    from ..inspection import inspect

    contents = inspect(path)
    return asdict(contents), str(contents)


INSPECT = Command(
    "inspect", "what a file of weights or a model holds: names, kinds, shapes, schemes, bytes",
    (
        ("dynq inspect FILE", "what a .safetensors file holds"),
        ("dynq inspect model.int8.onnx", "how each weight is quantized, or why not"),
        ("dynq inspect model.onnx --why Add_12", "whether that node was fused, or why not"),
        ("dynq inspect model.onnx --graph optimised.onnx", "the model as our session runs it"),
    ),
    _arguments, _run,
)  # fmt: skip
