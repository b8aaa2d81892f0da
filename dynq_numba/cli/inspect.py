"""``dynq inspect``: what files hold."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from .base import Command, apart


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="a .safetensors file, or an .onnx model")
    parser.add_argument("--why", metavar="NODE", help="of a model: what rewrites made of a node, or why they did not")
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
    from .. import onnx

    if args.graph is not None:
        apart(args.graph, "--graph", args.files[0])
    notes = onnx.optimise(args.files[0], args.graph)
    if args.graph is not None:
        print(f"written to {args.graph}")
    if args.why is None:
        return
    about = [note for note in notes if args.why in (note.node, note.result)]
    if not about:
        known = _some(note.node for note in notes)
        raise ValueError(f"--why: no rewrite looked at a node {args.why!r}; they looked at {known}")
    for note in about:
        print(f"{note.rewrite}: {f'no: {note.reason}' if note.reason else f'became {note.result}'}")


def _some(names: Iterable[str]) -> str:
    """The first of different names."""
    different = list(dict.fromkeys(names))
    return ", ".join(different[:8]) + (", …" if len(different) > 8 else "")


def _contents(path: str) -> object:
    if path.endswith(".onnx"):
        from .. import onnx

        return onnx.inspect(path)
    from ..inspection import inspect

    return inspect(path)


INSPECT = Command(
    "inspect", "what a file of weights or a model holds: names, kinds, shapes, schemes, bytes",
    (
        ("dynq inspect FILE", "what a .safetensors file holds"),
        ("dynq inspect model.int8.onnx", "how each weight of an ONNX model is quantized, or why not"),
        ("dynq inspect model.onnx --why Add_12", "whether that node was fused, or why not"),
        ("dynq inspect model.onnx --graph optimised.onnx", "the model as our session runs it"),
    ),
    _arguments, _run,
)  # fmt: skip
