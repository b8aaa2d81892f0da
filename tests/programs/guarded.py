"""Every operator on arrays between guard pages: one byte read or written beyond an array ends the process.

    python tests/programs/guarded.py NAME        run an operator's cases on every instruction set; status 0: all is well

Inputs and outputs are pieces of their own mappings, flush with an unreadable page behind them, or before them.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import sys
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from golden import SCHEMES, below, values

import dynq_numba as dq

PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)
_kept: list[mmap.mmap] = []


def guarded(array: np.ndarray, at_end: bool = True) -> np.ndarray:
    """A copy whose last byte is the last before an unreadable page, or whose first is the first behind one."""
    array = np.ascontiguousarray(array)
    pages = max(1, -(-array.nbytes // PAGE))
    room = mmap.mmap(-1, (pages + 2) * PAGE)
    _kept.append(room)
    start = ctypes.addressof(ctypes.c_char.from_buffer(room))
    for page in (0, pages + 1):
        if _libc.mprotect(ctypes.c_void_p(start + page * PAGE), PAGE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    first = (pages + 1) * PAGE - array.nbytes if at_end else PAGE
    copy = np.frombuffer(room, np.uint8, array.nbytes, first).view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def check(call: Callable[..., np.ndarray], arrays: list[np.ndarray], *, into: bool = True) -> None:
    """`call` gives the same from guarded arrays, and into a guarded `out`, as from plain ones."""
    expected = call(*arrays)
    for at_end, threads in product((True, False), (1, 2)):
        inputs = [guarded(array, at_end) for array in arrays]
        options = {"out": guarded(np.full_like(expected, 7), at_end)} if into else {}
        found = call(*inputs, threads=threads, **options)
        assert np.array_equal(found.view(np.uint8), expected.view(np.uint8)), (call, [a.shape for a in arrays])
    _kept.clear()


def linear() -> Iterator[None]:
    for scheme, options in SCHEMES.items():
        ks = (32, 96) if "rotate" in options else (41, 64, 70) if "outliers" in options else (1, 15, 64, 70)
        for k, n in product(ks, (1, 15, 16, 33, 65)):
            w = dq.pack_linear(values(1, n, k), values(2, n), **options)
            for m in (*range(1, 16), 28, 29, 30, 57) if scheme == "int8 per channel" else (1, 2, 5, 13, 14, 15, 29):
                check(lambda x, w=w, **given: dq.linear(x, w, **given), [values(3, m, k)])
            check(lambda x, r, w=w, **given: dq.linear(x, w, activation="gelu", residual=r, **given),
                  [values(3, 5, k), values(4, 5, n)])  # fmt: skip
            yield


def chain() -> Iterator[None]:
    for k, n in product((1, 15, 33), (16, 70)):
        up, down = dq.pack_linear(values(1, n, k), values(2, n)), dq.pack_linear(values(3, k, n))
        steps = {"up": dq.step.Linear(up, activation="gelu"), "down": dq.step.Linear(down),
                 "y": dq.step.LayerNorm(values(4, k), residual="r")}  # fmt: skip
        run = dq.Chain(steps, "y")
        for m in (1, 2, 13, 57, 60):
            check(lambda x, r, run=run, **given: run(x, r=r, **given), [values(5, m, k), values(6, m, k)], into=False)
        yield


def quantized() -> Iterator[None]:
    for rows, columns in product((1, 3, 8), (1, 15, 16, 17, 63, 64, 65, 130)):
        x = values(5, rows, columns)
        for granularity in ("per_token", "per_tensor"):
            q = dq.quantize(x, granularity=granularity)
            for at_end in (True, False):
                again = dq.quantize(guarded(x, at_end), granularity=granularity, out=guarded(q.data * 0, at_end))
                assert np.array_equal(again.data, q.data)
                whole = q._replace(data=guarded(q.data, at_end))
                assert np.array_equal(dq.dequantize(whole, out=guarded(x * 0, at_end)), dq.dequantize(q))
        _kept.clear()
        yield


def matmul() -> Iterator[None]:
    for m, k, n in product((1, 2, 13, 14, 15, 30), (1, 15, 64, 67), (1, 15, 16, 17, 33)):
        check(dq.quantized_matmul, [values(6, m, k), values(7, k, n)])
        for b in (below(9, 256, k, n).astype(np.uint8), below(9, 256, k, n).astype(np.uint8).view(np.int8)):
            a = below(8, 256, m, k).astype(np.uint8)
            assert np.array_equal(dq.matmul_integer(guarded(a), guarded(b)), a.astype(np.int32) @ b.astype(np.int32))
        yield


def conv() -> Iterator[None]:
    for channels, outputs, size in product((1, 3, 8), (1, 13, 17), ((5, 5), (7, 18), (3, 33))):
        w = dq.pack_conv(values(10, outputs, channels, 3, 3), values(11, outputs), padding=1)
        check(lambda x, w=w, **given: dq.conv(x, w, **given), [values(12, 2, channels, *size)])
        yield


def attention() -> Iterator[None]:
    for rows, keys, dim in product((1, 2, 15, 17, 33), (1, 15, 63, 64, 65, 130), (1, 8, 17, 32)):
        q, k, v = values(13, 1, 2, rows, dim), values(14, 1, 1, keys, dim), values(15, 1, 1, keys, dim + 3)
        for bits in (None, 8):
            check(lambda q, k, v, bits=bits, **given: dq.attention(q, k, v, bits=bits, **given), [q, k, v])
        check(lambda q, k, v, mask, **given: dq.attention(q, k, v, mask=mask, **given),
              [q, k, v, values(16, 1, 1, rows, keys)])  # fmt: skip
        yield


def embedding() -> Iterator[None]:
    for bits, columns in product((8, 4), (1, 15, 16, 17, 33, 70)):
        packed = dq.pack_embedding(values(17, 20, columns), bits=bits)
        ids, offsets = below(18, 20, 50), np.array([0, 3, 3, 20])
        check(lambda ids, packed=packed, **given: dq.embedding(ids, packed, **given), [ids])
        for mode in ("sum", "mean", "max"):
            check(lambda ids, offsets, packed=packed, mode=mode, **given: dq.embedding_bag(
                ids, offsets, packed, mode, **given), [ids, offsets])  # fmt: skip
        yield


def floats() -> Iterator[None]:
    for rows, columns in product((1, 2, 5), (1, 15, 16, 17, 64, 65, 131)):
        x, other = values(19, rows, columns), values(20, rows, columns)
        weight, bias = values(21, columns), values(22, columns)
        for function in (dq.softmax, dq.gelu, dq.silu):
            check(function, [x])
        check(dq.swiglu, [x, other])
        check(lambda x, w, b, r, **given: dq.layer_norm(x, w, b, residual=r, **given), [x, weight, bias, other])
        check(lambda x, w, r, **given: dq.rms_norm(x, w, residual=r, **given), [x, weight, other])
        yield


def rotary() -> Iterator[None]:
    for dim, interleaved in product((2, 4, 16, 30, 34, 64), (True, False)):
        cos, sin = dq.rotary_tables(9, dim)
        check(lambda x, c, s, interleaved=interleaved, **given: dq.rotary(x, c, s, interleaved=interleaved, **given),
              [values(23, 1, 3, 9, dim), cos, sin])  # fmt: skip
        yield


def recurrent() -> Iterator[None]:
    for pack, run, gates in ((dq.pack_lstm, dq.lstm, 4), (dq.pack_gru, dq.gru, 3), (dq.pack_rnn, dq.rnn, 1)):
        for inputs, hidden, batch in product((1, 17, 64), (1, 15, 16, 33), (1, 3, 15)):
            packed = pack(values(24, 1, gates * hidden, inputs), values(25, 1, gates * hidden, hidden))
            check(lambda x, packed=packed, run=run, **given: run(x, packed, **given)[0],
                  [values(26, 4, batch, inputs)], into=False)  # fmt: skip
            yield


OPERATORS = {
    f.__name__: f
    for f in (linear, chain, quantized, matmul, conv, attention, embedding, floats, rotary, recurrent)
}


def main() -> int:
    faulthandler.enable()
    for isa in dq.available_isas():
        with dq.force_isa(isa):
            count = sum(1 for _ in OPERATORS[sys.argv[1]]())
        print(f"{isa}: {count} groups of cases", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
