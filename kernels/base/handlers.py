"""Signals while the package imports or compiles: their handlers wait until it is done. Imports no numba."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def handlers_held() -> Iterator[None]:
    """The handlers that Python has for signals run at the end of the block, not within; each at most once.

    An exception of a handler, such as KeyboardInterrupt, is dropped where LLVM calls llvmlite back, and what it cut
    short is missing later: the process was seen to crash. An import of numba that is cut short cannot be repeated.
    And a handler that calls the package itself would compile in the middle of compiling, which numba cannot.
    Handlers run in the main thread only, so others have nothing to hold.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = {int(number): signal.getsignal(number) for number in signal.valid_signals()}
    handlers = {number: handler for number, handler in found.items() if callable(handler)}
    received: dict[int, FrameType | None] = {}
    for number in handlers:
        signal.signal(number, received.setdefault)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number, frame in received.items():
            handlers[number](number, frame)
