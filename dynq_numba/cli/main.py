"""The command line: reads it, runs a command, prints what it gives, makes one line of what goes wrong."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext, redirect_stdout
from typing import Any, NoReturn

from .. import __version__
from ..arguments.errors import UnsupportedModelError, UsageError
from ..files.plain import plain
from .base import Command
from .bench import BENCH
from .compare import COMPARE
from .completion import COMPLETION
from .doctor import DOCTOR
from .explain import EXPLAIN
from .gate import GATE
from .info import INFO
from .inspect import INSPECT
from .quantize import QUANTIZE
from .run import RUN
from .search import SEARCH
from .status import MEANING, Status
from .verify import VERIFY
from .warmup import WARMUP

COMMANDS = (QUANTIZE, RUN, INSPECT, COMPARE, VERIFY, SEARCH, EXPLAIN, GATE, BENCH, WARMUP, DOCTOR, INFO, COMPLETION)
#: Status of an error, where it is not FAIL.
STATUS_OF: dict[type[BaseException], Status] = {
    UnsupportedModelError: Status.UNSUPPORTED, UsageError: Status.USAGE,
}  # fmt: skip


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with a command line."""

    def error(self, message: str) -> NoReturn:
        self.exit(Status.USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


class Help(argparse.RawDescriptionHelpFormatter):
    """Lines of 80 columns, wherever they go."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=80)


def examples(commands: Iterable[Command]) -> str:
    """Each example, what it does behind it, or below where the line is long."""
    text = "examples:\n"
    for line, what in (example for command in commands for example in command.examples):
        text += f"  {line:<38}  {what}\n" if len(line) <= 38 and len(what) <= 38 else f"  {line}\n      {what}\n"
    return text


def statuses() -> str:
    """The exit statuses, for the end of help."""
    return "exit status:\n" + "".join(f"  {status:3d}  {meaning}\n" for status, meaning in MEANING.items())


def parser_of(commands: Iterable[Command] = COMMANDS) -> Parser:
    """Reads the whole command line."""
    first = [command._replace(examples=command.examples[:1]) for command in commands]
    more = f"{examples(first)}\n`dynq COMMAND --help` has more of them.\n\n{statuses()}"
    parser = Parser("dynq", description="Dynamic quantization for CPUs.", epilog=more, formatter_class=Help)
    parser.add_argument("--version", action="version", version=f"dynq-numba {__version__}")
    parsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command in commands:
        each = parsers.add_parser(
            command.name, help=command.summary, description=f"{command.summary[0].upper()}{command.summary[1:]}.",
            epilog=examples([command]), formatter_class=Help,
        )  # fmt: skip
        command.add_arguments(each)
        each.add_argument("--json", action="store_true", help="print JSON, and nothing else, on standard output")
        each.set_defaults(run=command.run, refuse=each.error)
    return parser


def _line(error: BaseException) -> str:
    """An error's first line; of a child's traceback, which it may quote, the last one too."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1]}"


def as_json(data: Any) -> str:
    """What --json prints: finite numbers only, as JSON has no others; null stands for the rest."""
    return data if isinstance(data, str) else json.dumps(plain(data), indent=1, allow_nan=False)


def _print(text: str) -> None:
    """On standard output; a character that its encoding does not have is no failure of a command."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")
    if text:
        print(text)
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit status."""
    parser = parser_of()
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        getattr(args, "refuse", parser.error)(f"unrecognized arguments: {' '.join(unknown)}")
    if args.command is None:
        parser.print_help()
        return Status.PASS
    try:
        with redirect_stdout(sys.stderr) if args.json else nullcontext():
            answer = args.run(args)
        text = as_json(answer.data) if args.json else str(answer.text)
        if sys.stdout is not None:  # as `>&-` leaves it
            _print(text)
        return answer.status
    except BrokenPipeError:  # such as `| head`: nobody reads on, and the interpreter's end must not write either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Status.FAIL
    except KeyboardInterrupt:
        print("dynq: interrupted", file=sys.stderr)
        return Status.INTERRUPTED
    except (OSError, ValueError, TypeError, RuntimeError, MemoryError, ImportError) as error:
        print(f"dynq: {_line(error)}", file=sys.stderr)
        return next((status for kind, status in STATUS_OF.items() if isinstance(error, kind)), Status.FAIL)
