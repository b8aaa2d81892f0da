"""Intel AMX: eight registers of 16 rows × 64 bytes, and one instruction that multiplies two of them. Exact.

    tdpbusd c, a, b     LLVM  llvm.x86.tdpbusd(i8 c, i8 a, i8 b)                       (wraps, never saturates)
                        c[m][n] += Σ_{k<16} Σ_{j<4} int32(uint8 a[m][4k+j]) · int32(int8 b[k][4n+j])

    a  16 rows × 64 values of k       b  16 words of k × 16 columns × 4         c  16 rows × 16 columns of int32

* ``amx``   dense 8-bit products only. ``avx512vnni`` does everything else, and panels of few rows: its dot reads the
            same weight panels.

A thread must configure tile registers before it uses them. Code that multiplies calls `configure` first and `release`
last. So threads outside of products have no such state (8 KB, which Linux must save at every switch of tasks). All
eight have the full size: a product of fewer rows takes as long, down to about 8 rows.

Linux gives the registers only to processes that ask for them (arch_prctl); see `unavailable`.

Reference: Intel SDM volume 1, chapter 18, and volume 2, TDPBUSD; Linux Documentation/arch/x86/xstate.rst.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from dataclasses import dataclass

from llvmlite import ir

from .base import ROW_BYTES, ROWS
from .emitter import I8, I64, VOID, Emitter, vector
from .vnni import AVX512VNNI, Vnni

REGISTERS = 8
#: LDTILECFG's 64 bytes: the palette, then 16 × uint16 bytes in a row from byte 16 on, 16 × uint8 rows from byte 48 on.
CONFIGURATION = bytes([1, *[0] * 15, *[ROW_BYTES, 0] * REGISTERS, *[0] * 16, *[ROWS] * REGISTERS, *[0] * 8])

#: The system call and what it asks: leave to use a state component, the one of the tile registers' data.
_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18


def permission() -> str:
    """Ask Linux for the tile registers, for all threads of this process; "" or why not."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "only Linux on x86-64 is asked for tile registers"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) != 0:
        return f"Linux refuses the tile registers: arch_prctl says {os.strerror(ctypes.get_errno())}"
    return ""


@dataclass(frozen=True)
class Amx(Vnni):
    def form(self, operation: str, group: int = 0, bits: int = 8) -> Vnni:
        return self if operation in ("linear", "matmul") and not group and bits == 8 else AVX512VNNI

    def unavailable(self) -> str:
        return permission()

    # -- verbs of the matrix tile: registers are numbers 0 … 7 ----------------------------------
    def configure(self, e: Emitter) -> None:
        kind = vector(I8, len(CONFIGURATION))
        buffer = e.builder.alloca(kind)
        buffer.align = ROW_BYTES
        e.builder.store(ir.Constant(kind, list(CONFIGURATION)), buffer, align=ROW_BYTES)
        e.call("llvm.x86.ldtilecfg", VOID, [e.builder.bitcast(buffer, I8.as_pointer())])

    def release(self, e: Emitter) -> None:
        e.call("llvm.x86.tilerelease", VOID, [])

    def zero(self, e: Emitter, tile: int) -> None:
        e.call("llvm.x86.tilezero", VOID, [ir.Constant(I8, tile)])

    def load(self, e: Emitter, tile: int, pointer: ir.Value, stride: int, *, stream: bool = False) -> None:
        """`stream`: data that will not be used again soon does not take the place of other in the first cache."""
        name = "llvm.x86.tileloaddt164" if stream else "llvm.x86.tileloadd64"
        e.call(name, VOID, [ir.Constant(I8, tile), pointer, ir.Constant(I64, stride)])

    def store(self, e: Emitter, tile: int, pointer: ir.Value, stride: int) -> None:
        e.call("llvm.x86.tilestored64", VOID, [ir.Constant(I8, tile), pointer, ir.Constant(I64, stride)])

    def multiply(self, e: Emitter, sums: int, a: int, b: int) -> None:
        e.call("llvm.x86.tdpbusd", VOID, [ir.Constant(I8, tile) for tile in (sums, a, b)])


AMX = Amx(
    name="amx",
    features=(("amx-tile", "amx-int8", *AVX512VNNI.features[0]),),
    lanes=16,
    k_per_word=4,
    registers=32,
    max_rows=14,
    max_rows_grouped=6,
    fused=True,
    k_align=64,
    slab=16,
    matrix_rows=2 * ROWS,
)
