"""What a command is, what it gives, and what several share.

The module of a command imports nothing slow at the top: ``dynq --help`` reads all of them.
"""

from __future__ import annotations

import argparse
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..files.whole import written
from .status import Status

if TYPE_CHECKING:
    from ..graph.receipt import Receipt


class Answer(NamedTuple):
    """What a command has found out. main.py prints it: the text, or with --json the data."""

    #: Plain numbers, texts, lists and dicts; or JSON as it is written already, such as ``receipt.to_json()``.
    data: Any
    #: What ``str`` makes the printed text of; only that is done, so a table is made only where it is seen.
    text: object
    #: What a check came to.
    status: Status = Status.PASS


class Command(NamedTuple):
    """One of ``dynq``'s commands. main.py adds --help and --json to each."""

    name: str
    #: A line for the list of commands.
    summary: str
    #: (command line, what it does)
    examples: tuple[tuple[str, str], ...]
    add_arguments: Callable[[argparse.ArgumentParser], None]
    #: May print how far it is (with --json that goes to stderr). What goes wrong is an exception; main.py makes a line
    #: of it: UsageError is status 2, UnsupportedModelError 3, others 1.
    run: Callable[[argparse.Namespace], Answer]


def arrays_of(path: str, option: str = "--input") -> dict[str, Any]:
    """The arrays of an .npz file, by name."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{option} must be an .npz file with an array for each input; {path} is none") from error


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


def shape(text: str) -> tuple[str, tuple[int, ...]]:
    """A type for arguments such as input_ids=1x128: a name, and lengths of which there may be none."""
    name, _, lengths = text.rpartition("=")
    parts = lengths.split("x") if lengths else []
    if not name or not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"must be a name and lengths such as input_ids=1x128; got {text!r}")
    return name, tuple(map(int, parts))


def fraction(text: str) -> float:
    """A type for arguments such as 95% or 0.95."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a percentage such as 95%; got {text!r}")
    return value


def progress_of(unit: str, quiet: bool) -> Callable[[int, int, str], None] | None:
    """What says on stderr how many of these are done, of how many if that is known, from the third second on."""
    if quiet:
        return None
    begun = shown = time.monotonic()

    def say(done: int, whole: int, name: str) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - begun > 2 and now - shown > 1:
            shown = now
            count = f"{done} of {whole} {unit}" if whole else f"{done} {unit}"
            print(f"dynq: {count}, {now - begun:.0f} s: {name}", file=sys.stderr, flush=True)

    return say


def hints(receipt: Receipt) -> Iterator[str]:
    """What a user may have expected otherwise of what was quantized."""
    if not receipt.kept and all(entry.reason for entry in receipt.quantized):
        yield "nothing was left to quantize: no weight is in floats"
    kept = [entry for entry in receipt.kept if entry.op_type == "Conv"]
    size = sum(entry.bytes_before for entry in kept)
    if not any(entry.op_type == "Conv" for entry in receipt.quantized) and 4 * size > receipt.bytes_before:
        share = size / receipt.bytes_before
        yield f"{len(kept)} convolutions stay in floats, {share:.0%} of the bytes of weights: --conv quantizes them"
    before, after = receipt.source_bytes, receipt.artifact_bytes
    if before is not None and after is not None and after >= before:
        yield f"the file has not become smaller: {before:,} -> {after:,} bytes"


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """An .npz file."""
    import numpy as np

    # np.savez takes some names for arguments of its own
    with written(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
