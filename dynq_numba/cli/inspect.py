"""``dynq inspect``: what files hold."""

from __future__ import annotations

import argparse

from .base import Command


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="a .safetensors file, or an .onnx model")


def _run(args: argparse.Namespace) -> None:
    for i, path in enumerate(args.files):
        print(f"{chr(10) if i else ''}{_contents(path)}")


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
    ),
    _arguments, _run,
)  # fmt: skip
