"""What a command is. Its module imports nothing slow at the top: ``dynq --help`` reads all of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Command(NamedTuple):
    """One of ``dynq``'s commands."""

    name: str
    #: A line for the list of commands.
    summary: str
    #: (command line, what it does)
    examples: tuple[tuple[str, str], ...]
    add_arguments: Callable[[argparse.ArgumentParser], None]
    #: Prints plain text to stdout. What goes wrong is an exception; main.py makes a line of it.
    run: Callable[[argparse.Namespace], None]


def arrays_of(path: str) -> dict[str, Any]:
    """The arrays of an .npz file, by name."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"--input must be an .npz file with an array for each input; {path} is none") from error


def apart(path: str, option: str, *others: str) -> None:
    """Refuse to write over a file that is read."""
    for other in others:
        if Path(path).exists() and Path(other).exists() and Path(path).samefile(other):
            raise ValueError(f"{option} must be another file than {other}")


def positive(text: str) -> int:
    """A type for arguments that count."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer; got {text!r}")
    return int(text)


def fraction(text: str) -> float:
    """A type for arguments such as 95% or 0.95."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a percentage such as 95%; got {text!r}")
    return value
