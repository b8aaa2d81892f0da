"""``dynq inspect``: what files hold."""

from __future__ import annotations

import argparse

from .base import Command, apart


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="a .safetensors file, or an .onnx model")
    parser.add_argument("--why", metavar="NODE", help="of a model: what becomes of a node, and why")
    parser.add_argument("--graph", metavar="ONNX", help="of a model: write it there as sessions run it, to look at")


def _run(args: argparse.Namespace) -> None:
    if args.why is not None or args.graph is not None:
        _rewrites(args)
        return
    for i, path in enumerate(args.files):
        print(f"{chr(10) if i else ''}{_contents(path)}")


def _rewrites(args: argparse.Namespace) -> None:
    """What a session makes of the graph."""
    if len(args.files) != 1:
        raise ValueError(f"--why and --graph are for one model; got {len(args.files)} files")
    from ..onnx.optimisation import optimise, why

    if args.graph is not None:
        apart(args.graph, "--graph", args.files[0])
    if args.why is None:
        optimise(args.files[0], args.graph)
    else:
        print("\n".join(why(args.files[0], args.why, args.graph)))
    if args.graph is not None:
        print(f"written to {args.graph}")


def _contents(path: str) -> object:
    if path.lower().endswith(".onnx"):
        from .. import onnx

        return onnx.inspect(path)
    from ..inspection import inspect

    return inspect(path)


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
