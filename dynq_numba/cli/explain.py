"""``dynq explain``: why a layer is stored as it is, in numbers."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from .base import Answer, Command


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="NODE", help="the name of a node or of a weight")
    parser.add_argument("file", metavar="FILE", help="a recipe that dynq search wrote, its record, or an artifact")


def _run(args: argparse.Namespace) -> Answer:
    path = Path(args.file)
    if path.suffix != ".onnx":
        from ..evaluate.search import read_record

        record = read_record(path if path.suffix == ".json" else path.with_name(f"{path.name}.search.json"))
        text = record.explain(args.node)
        unit = next(each for each in record.units if args.node in (*each["layers"], *each["weights"]))
        return Answer(unit | {"chosen": record.chosen.get(unit["name"])}, text)
    from ..onnx import inspect

    entries = [each for each in inspect(path).entries if args.node in (each.node, each.weight)]
    if not entries:
        raise ValueError(f"{path}: no weight of the receipt is called {args.node!r}, nor its node")
    lines, data = [], []
    for each in entries:
        error = "not tried" if each.error is None else f"{each.error:.3%} on the inputs it was tried on"
        why = f" ({each.reason})" if each.reason else ""
        lines.append(f"{each.weight} of {each.node or each.op_type}: {each.scheme}{why}")
        lines.append(f"  {each.bytes_before:,} bytes before, {each.bytes_after:,} after; error: {error}")
        data.append(asdict(each))
    return Answer(data, "\n".join(lines))


EXPLAIN = Command(
    "explain", "say why a layer is stored as it is, in numbers",
    (
        ("dynq explain encoder.0 best.toml", "every rung that was tried for it"),
        ("dynq explain encoder.0 model.int8.onnx", "what the receipt says of it"),
    ),
    _arguments, _run,
)  # fmt: skip
