"""The command line: reads it, runs a command, makes one line of what goes wrong."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

from .. import __version__
from .base import Command
from .info import INFO
from .inspect import INSPECT
from .quantize import QUANTIZE
from .run import RUN
from .warmup import WARMUP

COMMANDS = (QUANTIZE, RUN, WARMUP, INFO, INSPECT)
#: Exit statuses.
FINE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with a command line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


def _examples(commands: Iterable[Command]) -> str:
    lines = [example for command in commands for example in command.examples]
    width = max(len(line) for line, _ in lines)
    return "examples:\n" + "".join(f"  {line:{width}}   {what}\n" for line, what in lines)


def _parser() -> Parser:
    about, raw = "Dynamic quantization for CPUs.", argparse.RawDescriptionHelpFormatter
    parser = Parser("dynq", description=about, epilog=_examples(COMMANDS), formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"dynq-numba {__version__}")
    parsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command in COMMANDS:
        each = parsers.add_parser(
            command.name, help=command.summary, description=f"{command.summary[0].upper()}{command.summary[1:]}.",
            epilog=_examples([command]), formatter_class=raw,
        )  # fmt: skip
        command.add_arguments(each)
        each.set_defaults(run=command.run, refuse=each.error)
    return parser


def _line(error: BaseException) -> str:
    """An error's first line; of a child's traceback, which it may quote, the last one too."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1]}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit status."""
    parser = _parser()
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        getattr(args, "refuse", parser.error)(f"unrecognized arguments: {' '.join(unknown)}")
    if args.command is None:
        parser.print_help()
        return FINE
    try:
        args.run(args)
        sys.stdout.flush()
        return FINE
    except BrokenPipeError:  # such as `| head`: nobody reads on, and the interpreter's end must not write either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        print("dynq: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (OSError, ValueError, RuntimeError, MemoryError, ImportError) as error:
        print(f"dynq: {_line(error)}", file=sys.stderr)
        return FAILED
