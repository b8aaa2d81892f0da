"""Exit statuses of ``dynq``: all of them, and what each means."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """What a shell sees."""

    PASS = 0
    FAIL = 1
    USAGE = 2
    UNSUPPORTED = 3
    INCONCLUSIVE = 4
    INTERRUPTED = 130


MEANING = {
    Status.PASS: "done; of a check: it passed",
    Status.FAIL: "a check failed, or a file could not be read or written",
    Status.USAGE: "the command line, or what it names, makes no sense",
    Status.UNSUPPORTED: "the model has something that nothing here computes",
    Status.INCONCLUSIVE: "a check cannot be decided with this data",
    Status.INTERRUPTED: "stopped by Ctrl-C",
}
