"""Says when compiling kernels takes long, how far it is, and how to compile in advance."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from numba.core import event

from ..kernels.base.jit import cache_directory

#: Up to so many seconds of compiling, nothing is said; and seconds of compiling from one message to the next.
PATIENCE, EVERY = 2.0, 3.0
#: Where it is said: on stderr, unless the program has set up logging otherwise.
LOGGER = logging.getLogger("dynq_numba")


class _Listener(event.Listener):
    """Adds up the time that our kernels take. numba compiles under a lock, one function at a time."""

    def __init__(self) -> None:
        self.depth, self.began, self.seconds, self.count = 0, 0.0, 0.0, 0
        self.silent, self.said_at = False, -1.0  # seconds at the last message

    def on_start(self, event: Any) -> None:
        if _ours(event):
            self.depth += 1
            if self.depth == 1:
                self.began = time.perf_counter()

    def on_end(self, event: Any) -> None:
        if _ours(event):
            self.depth -= 1
            if self.depth == 0:
                self.seconds += time.perf_counter() - self.began
                self.count += 1
                first = self.said_at < 0
                if not self.silent and self.seconds > (PATIENCE if first else self.said_at + EVERY):
                    self.said_at = self.seconds
                    _say(self.seconds, self.count, first)


def _ours(event: Any) -> bool:
    return event.data["dispatcher"].py_func.__module__.startswith("dynq_numba.kernels")


def _say(seconds: float, count: int, first: bool) -> None:
    if not first:
        LOGGER.warning("dynq_numba: %d kernels compiled in %.1f s so far", count, seconds)
        return
    place = cache_directory()
    kept = f"once for this machine: they are kept in {place}" if place else "in every process: no place is writable"
    told = "dynq_numba: compiling took %.1f s so far (%s); `dynq warmup` does all in advance, DYNQ_QUIET=1 hides this"
    LOGGER.warning(told, seconds, kept)


_listener = _Listener()


@cache
def watch() -> None:
    """Begin to count, unless DYNQ_QUIET is set."""
    if not os.environ.get("DYNQ_QUIET"):
        event.register("numba:compile", _listener)


@contextmanager
def silently() -> Iterator[None]:
    """Say nothing: the caller compiles on purpose."""
    silent, _listener.silent = _listener.silent, True
    try:
        yield
    finally:
        _listener.silent = silent
