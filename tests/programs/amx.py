"""What may happen around Intel's matrix registers, each in a process of its own: tests/contracts/test_amx.py.

    python tests/programs/amx.py NAME     one of the functions below
"""

import ctypes
import os
import signal
import struct
import sys
import threading
import warnings

import numpy as np
import pytest

import dynq_numba as dq
from dynq_numba import cli
from dynq_numba.kernels.threads.pool import Pool
from dynq_numba.runtime import isa as sets
from dynq_numba.runtime import threads


def product():
    rng = np.random.default_rng(1)
    x, weight = rng.standard_normal((130, 300), np.float32), rng.standard_normal((500, 300), np.float32)
    with dq.force_isa("portable"):
        want = dq.linear(x, dq.pack_linear(weight), threads=1)
    return x, weight, want


def in_many_threads():
    x, weight, want = product()
    w, failed = dq.pack_linear(weight), []

    def go():
        for count in range(300):
            if not (dq.linear(x, w, threads=1 + count % 2) == want).all():
                failed.append(count)

    crowd = [threading.Thread(target=go) for _ in range(8)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert dq.current_isa() == "amx" and not failed


def helpers_first():
    """Helpers that run before the process may use the registers."""
    threads.ready(2)
    assert threads._WORDS[Pool.helpers] >= 1
    assert sets._sets.cache_info().currsize == 0
    x, weight, want = product()
    w = dq.pack_linear(weight)
    assert dq.current_isa() == "amx"
    for _ in range(300):
        assert (dq.linear(x, w, threads=2) == want).all()


def forks():
    x, weight, want = product()
    w = dq.pack_linear(weight)
    assert (dq.linear(x, w, threads=2) == want).all()
    children = []
    for _ in range(4):
        if (pid := os.fork()) == 0:
            fine = all((dq.linear(x, w, threads=2) == want).all() for _ in range(50))
            os._exit(0 if fine else 1)
        children.append(pid)
    assert all((dq.linear(x, w, threads=2) == want).all() for _ in range(50))
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4


def signals():
    """A handler that multiplies by itself, a thousand times a second, in the midst of products."""
    x, weight, want = product()
    w = dq.pack_linear(weight)
    seen = []

    def handler(number, frame):
        seen.append((dq.linear(x[:40], w, threads=1) == want[:40]).all())

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    fine = all((dq.linear(x, w, threads=2) == want).all() for _ in range(3000))
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert fine and all(seen) and len(seen) > 10


def refuse_arch_prctl():
    """Let Linux refuse arch_prctl to this process, as a container's filter does."""
    load, jump, give = 0x20, 0x15, 0x06  # BPF: word at, jump if equal, return
    number, allow, refuse = 158, 0x7FFF0000, 0x00050000 | 1  # EPERM
    program = [(load, 0, 0, 0), (jump, 0, 1, number), (give, 0, 0, refuse), (give, 0, 0, allow)]
    code = b"".join(struct.pack("<HBBI", *line) for line in program)
    room = ctypes.create_string_buffer(code, len(code))
    filters = struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(room))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # no new privileges
    assert libc.prctl(22, 2, filters) == 0, ctypes.get_errno()  # a filter of system calls


def refused():
    refuse_arch_prctl()
    x, weight, want = product()
    assert dq.current_isa() == "avx512vnni" and "amx" not in dq.available_isas()
    assert "Linux refuses the tile registers" in sets.refused_isas()["amx"]
    assert (dq.linear(x, dq.pack_linear(weight)) == want).all()
    with pytest.raises(ValueError, match=r"amx.*Linux refuses"), dq.force_isa("amx"):
        pass
    cli.main(["info"])


def wrong_products():
    self_check_result = sets.matrix_products_are_exact
    sets.matrix_products_are_exact = lambda isa: not self_check_result(isa)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert dq.current_isa() == "avx512vnni"
    assert ["amx is not used: its products are wrong" in str(w.message) for w in said] == [True]


def unchecked():
    sets.matrix_products_are_exact = None
    assert dq.current_isa() == "amx"


if __name__ == "__main__":
    globals()[sys.argv[1]]()
