"""``dynq gate``: may this build ship?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..files.whole import write_text
from .base import Answer, Command, progress_of
from .reports import check_report, report_option, write_report
from .status import Status


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("goals", metavar="TOML", help="models, data, and what must hold")
    parser.add_argument("--candidate", metavar="ONNX", help="check this model, not the one that the file names")
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", help="write gate.json, junit.xml, summary.md and model-card.md there"
    )
    report_option(parser)
    parser.add_argument("--quiet", action="store_true", help="print the verdict only")


def _run(args: argparse.Namespace) -> Answer:
    from ..gate import ConfigError, check, junit, model_card

    check_report(args, args.goals)
    if args.output and Path(args.output).exists() and not Path(args.output).is_dir():
        raise NotADirectoryError(f"--output must be a folder; got {args.output}")
    try:
        report = check(args.goals, candidate=args.candidate, progress=progress_of("rows", args.quiet))
    except ConfigError as error:
        for mistake in error.mistakes[:-1]:
            print(f"dynq: {mistake}", file=sys.stderr)
        raise ConfigError(error.mistakes[-1:]) from error
    if args.output:
        folder = Path(args.output)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "gate.json", report.to_json())
        write_text(folder / "junit.xml", junit(report))
        write_text(folder / "summary.md", report.to_markdown())
        write_text(folder / "model-card.md", model_card(report))
    more = write_report(args, gate=report.as_dict(), title=report.models["candidate"]["file"])
    text = "\n".join([*more, report.summary() if args.quiet else str(report)])  # the verdict is the last line
    return Answer(report.to_json(), text, Status(report.status))


GATE = Command(
    "gate", "may this build ship? Goals of a file, checked against the float model",
    (
        ("dynq gate gate.toml", "a line for each goal; status 0, 1 or 4"),
        ("dynq gate gate.toml -o build/gate", "files for CI and a model hub, too"),
        ("dynq gate gate.toml --report gate.html", "a page about it, for others"),
        ("dynq gate gate.toml --json > gate.json", "all figures and intervals"),
    ),
    _arguments, _run,
)  # fmt: skip
