"""Handlers of signals wait for the end of what must not be interrupted, each once; then they run, or raise."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from dynq_numba.kernels.base.handlers import handlers_held

LATE = signal.SIGRTMIN + 3  # a number that Python has no name for


@pytest.fixture
def received():
    """Numbers of signals, as their handlers get them; SIGINT has Python's handler, which a job of a shell may lack."""
    seen = []
    before = {number: signal.signal(number, lambda number, _: seen.append(number)) for number in (signal.SIGALRM, LATE)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield seen
    for number, handler in before.items():
        signal.signal(number, handler)


def test_handlers_run_once_and_afterwards(received):
    handler = signal.getsignal(signal.SIGALRM)
    with handlers_held():
        with handlers_held():
            for number in (signal.SIGALRM, signal.SIGALRM, LATE):
                os.kill(os.getpid(), number)
        assert received == []
    assert sorted(received) == [signal.SIGALRM, LATE] and signal.getsignal(signal.SIGALRM) is handler


def test_an_interrupt_is_raised_behind_the_block(received):
    done = []
    with pytest.raises(KeyboardInterrupt), handlers_held():
        os.kill(os.getpid(), signal.SIGINT)
        done.append(True)
    assert done == [True]


def test_other_threads_hold_nothing(received):
    def work():
        with handlers_held():
            done.append(signal.getsignal(signal.SIGALRM) is handler)

    done, handler = [], signal.getsignal(signal.SIGALRM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
