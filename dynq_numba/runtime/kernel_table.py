"""All kernels of the package by name, and their addresses. Compiled on first use. Operators register them.

    qd8_f32_qc8w_gemm_14x32c4__avx512vnni
    │   │   │    │    │        └ instruction set
    │   │   │    │    └ tile: rows of x × columns, k per word
    │   │   │    └ operation
    │   │   └ weights: qc8w one scale per channel (or tensor), qb4w32 blocks of 32 of 4 bits,
    │   │       qb4w32z with zero points
    │   └ output
    └ activations: quantized dynamically to 8 bits, or 16 (qd16)

Operators without panels are named by their operands, result and action: f32_qd8_vcvt__…, f32_attention__…,
qr8w_f32_vgather__… (rows of 8 bits with a scale and a minimum each). So are recurrent layers (qd8_f32_qc8w_lstm__…),
whose products are those of `linear`. The grammar is XNNPACK's. Tests check every name against GRAMMAR.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from numba.core.registry import cpu_target

from ..kernels.base.cache import places
from ..kernels.base.jit import address
from ..kernels.base.memory import WORKER_SIGNATURE
from ..kernels.gemm.tile import Scheme, max_rows
from ..kernels.isa.base import InstructionSet
from .isa import INSTRUCTION_SETS

GRAMMAR = re.compile(
    r"(qd8_f32_q([cd]8w|c4w|b8w(32|64|128)f?|b4w(32|64|128)z?f?)|u8s8_s32)_gemm(_longk)?_\d+x\d+c[24]__[a-z0-9]+"
    r"|f32_(gemm|conv|winograd4?)_\d+x\d+__[a-z0-9]+"
    r"|qd16_f32_qc8w_gemm(_longk)?_\d+x\d+c[24]__[a-z0-9]+"
    r"|qd8_f32_qc8w_(conv_\d+x\d+c[24]|lstm|gru|rnn)__[a-z0-9]+"
    r"|(f32|qd8|qr[48]w)(_f32|_qd8)?_[a-z_]+__[a-z0-9]+"
)

EIGHT_BIT, FOUR_BIT, WIDE = Scheme(), Scheme(bits=4), Scheme(x_bits=16)
SCHEMES = (
    *(Scheme(bits, group) for bits in (8, 4) for group in (0, 128, 64, 32)),
    *(Scheme(4, group, zero_points=True) for group in (128, 64, 32)),
)
#: Groups whose scales are float32, as other tools make them.
FLOAT_SCALES = tuple(replace(scheme, float_scales=True) for scheme in SCHEMES if scheme.group)


@dataclass(frozen=True)
class Family:
    """The workers of one operation: a kernel for each instruction set and scheme."""

    operation: str
    #: A kernel's name before "__" and its set; {bits} and {scheme} are those of the scheme, {tile} where it has one.
    stem: str
    #: (instruction set, scheme) -> worker.
    build: Callable[[InstructionSet, Scheme], Callable]
    schemes: tuple[Scheme, ...] = (EIGHT_BIT,)
    #: What the support matrix says of its weights; {bits} are those of the scheme.
    weights: str = "none"
    #: Whether a warm-up compiles it. What is rare may wait for its first call.
    warmed: bool = True
    #: How a set does the operation, where `InstructionSet.form` does not say it.
    form: Callable[[InstructionSet], InstructionSet] | None = None

    @property
    def has_tile(self) -> bool:
        return "{tile}" in self.stem


@dataclass(frozen=True)
class Kernel:
    """One compiled worker: what it computes, on which instruction set."""

    family: Family
    scheme: Scheme
    isa: InstructionSet

    @property
    def operation(self) -> str:
        return self.family.operation

    def worker(self) -> Any:
        """Its dispatcher, not compiled yet."""
        return self.family.build(self.form, self.scheme)

    @property
    def name(self) -> str:
        tile = self.tile("x", f"c{self.form.k_per_word}" if self.form.k_per_word > 1 else "")
        stem = self.family.stem.format(bits=self.scheme.bits, scheme=self.scheme.name, tile=tile)
        return f"{stem}__{self.isa.name}"

    @property
    def form(self) -> InstructionSet:
        """How it multiplies on that instruction set."""
        if self.family.form is not None:
            return self.family.form(self.isa)
        return self.isa.form(self.operation, self.scheme.group, self.scheme.bits)

    def tile(self, by: str, more: str = "") -> str:
        """Rows and columns of its tallest tile."""
        rows = self.form.matrix_rows // self.scheme.planes or max_rows(self.form, self.scheme)
        return f"{rows}{by}{self.form.columns}{more}"

_FAMILIES: list[Family] = []


def register(*families: Family) -> None:
    """Add kernels to the table, before anything is read from it."""
    _FAMILIES.extend(families)


@cache
def kernels() -> dict[tuple[str, Scheme, str], Kernel]:
    """All kernels, keyed by operation, scheme and instruction set."""
    table = [Kernel(family, s, isa) for isa in INSTRUCTION_SETS for family in _FAMILIES for s in family.schemes]
    return {(kernel.operation, kernel.scheme, kernel.isa.name): kernel for kernel in table}


def is_kept(kernel: Kernel) -> bool:
    """Whether the kernel is in the disk cache, so that a call compiles nothing."""
    kept = kernel.worker().root("address")._cache
    name, _ = kept._file(WORKER_SIGNATURE, cpu_target.target_context.codegen())
    return any((folder / name).is_file() for folder in places())


def kernel_for(operation: str, isa: InstructionSet, scheme: Scheme = EIGHT_BIT) -> Kernel:
    """The kernel of an operation on an instruction set."""
    return kernels()[operation, scheme, isa.name]


@cache
def worker_address(operation: str, isa: InstructionSet, scheme: Scheme = EIGHT_BIT) -> int:
    """Address of that kernel's worker."""
    return address(kernel_for(operation, isa, scheme).worker(), WORKER_SIGNATURE)
