"""--report, of the commands that have something to tell to others."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Any

from .base import apart


def report_option(parser: argparse.ArgumentParser) -> None:
    """Adds --report; `check_report` and `write_report` do the rest."""
    parser.add_argument("--report", metavar="HTML", help="write a page with charts there, too")


def check_report(args: argparse.Namespace, *others: str) -> None:
    """Whether a report can be written, before the work that it is about; `others` are files that are read."""
    if args.report:
        from ..arguments.extras import load
        from ..onnx.files import check_place

        for module in ("jinja2", "altair", "vl_convert"):
            load(module, "report", "--report")
        apart(args.report, "--report", *others)
        check_place(args.report, "--report")


def write_report(args: argparse.Namespace, **parts: Any) -> list[str]:
    """Write the page of `parts`, as `dynq_numba.report.page` takes them; what to tell."""
    if not args.report:
        return []
    from ..report import write

    write(args.report, command=shlex.join(["dynq", *sys.argv[1:]]), **parts)
    return [f"report written to {args.report}"]
