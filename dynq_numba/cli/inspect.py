"""``dynq inspect``: what files hold."""

from __future__ import annotations

import argparse

from .base import Command


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="written by dq.save, or any other .safetensors file")


def _run(args: argparse.Namespace) -> None:
    from ..inspection import inspect

    for i, path in enumerate(args.files):
        print(f"{chr(10) if i else ''}{inspect(path)}")


INSPECT = Command(
    "inspect", "what a .safetensors file holds: names, kinds, shapes, schemes, bytes",
    (("dynq inspect FILE", "what a .safetensors file holds"),),
    _arguments, _run,
)  # fmt: skip
