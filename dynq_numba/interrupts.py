"""Ctrl-C while the package is imported: as `kernels/base/jit.py` has it while a kernel is compiled, without numba."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def held() -> Iterator[None]:
    """SIGINT's handler runs at the end of the block: an import of numba that is cut short cannot be repeated.

    Handlers run in the main thread only, so others have nothing to hold.
    """
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[Any] = []
    signal.signal(signal.SIGINT, lambda *given: received.append(given))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if received:
            handler(*received[0])
