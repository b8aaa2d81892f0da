"""Every kernel the package has, by name; and their addresses, compiled on first use.

    qd8_f32_qc8w_gemm_14x32c4__avx512vnni
    │   │   │    │    │        └ instruction set
    │   │   │    │    └ tile: rows × columns, k per word
    │   │   │    └ operation
    │   │   └ weights: qc8w one scale per channel (or tensor), qb4w32 blocks of 32 of 4 bits,
    │   │       qb4w32z with zero points
    │   └ output
    └ activations: quantized dynamically to 8 bits

Operators that multiply no panels are named by operands, result and what they do: f32_qd8_vcvt__…, f32_attention__…,
qr8w_f32_vgather__… (rows of 8 bits with a scale and a minimum each); so are recurrent layers (qd8_f32_qc8w_lstm__…),
whose products are those of `linear`. The grammar is XNNPACK's; tests hold every name to GRAMMAR.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

from numba.core.registry import cpu_target

from ..kernels.attention.int8 import integer_attention_worker
from ..kernels.attention.worker import attention_worker
from ..kernels.base.cache import places
from ..kernels.base.jit import address
from ..kernels.base.memory import WORKER_SIGNATURE
from ..kernels.conv.worker import convolution_worker
from ..kernels.embedding.worker import lookup_worker
from ..kernels.gemm.intrinsics import max_rows
from ..kernels.gemm.tile import Scheme
from ..kernels.isa.base import InstructionSet
from ..kernels.linear.worker import linear_worker
from ..kernels.matmul.integer import integer_worker
from ..kernels.matmul.worker import batched_worker
from ..kernels.quantize.worker import dequantize_worker, quantize_worker
from ..kernels.recurrent.worker import recurrent_worker
from ..kernels.rowwise.worker import WORKERS as FLOATS
from .isa import INSTRUCTION_SETS

GRAMMAR = re.compile(
    r"(qd8_f32_q([cd]8w|c4w|b8w(32|64|128)|b4w(32|64|128)z?)|u8s8_s32)_gemm(_longk)?_\d+x\d+c[24]__[a-z0-9]+"
    r"|qd8_f32_qc8w_(conv_\d+x\d+c[24]|lstm|gru|rnn)__[a-z0-9]+"
    r"|(f32|qd8|qr[48]w)(_f32|_qd8)?_[a-z_]+__[a-z0-9]+"
)

EIGHT_BIT, FOUR_BIT = Scheme(), Scheme(bits=4)


@dataclass(frozen=True)
class Operator:
    """An operator whose kernels have no tile of their own."""

    #: What the names of its kernels begin with; {bits} are those of the scheme.
    stem: str
    #: (instruction set, scheme) -> worker.
    build: Callable
    schemes: tuple[Scheme, ...] = (EIGHT_BIT,)
    #: What the support matrix says of its weights.
    weights: str = "none"


def lookup(stem: str, kind: str) -> Operator:
    """Rows of a packed embedding."""
    both, weights = (EIGHT_BIT, FOUR_BIT), "int{bits}, a scale and a minimum per row"
    return Operator(f"qr{{bits}}w_f32_{stem}", lambda isa, scheme: lookup_worker(isa, scheme.bits, kind), both, weights)


def recurrent(kind: str) -> Operator:
    """A recurrent layer: one time loop for all kinds and sets, which calls the set's `linear` and the layer's cells."""
    return Operator(f"qd8_f32_qc8w_{kind}", lambda isa, scheme: recurrent_worker, weights="int8, per channel")


#: A new operator is a row here.
OPERATORS: dict[str, Operator] = {
    "quantize": Operator("f32_qd8_vcvt", lambda isa, scheme: quantize_worker(isa)),
    "dequantize": Operator("qd8_f32_vcvt", lambda isa, scheme: dequantize_worker(isa)),
    "attention": Operator("f32_attention", lambda isa, scheme: attention_worker(isa)),
    "attention_int8": Operator(
        "qd8_f32_attention", lambda isa, scheme: integer_attention_worker(isa), weights="float32, made int8 at run time"
    ),
    "embedding": lookup("vgather", "rows"),
    "embedding_bag": lookup("vbagsum", "sum"),
    "embedding_bag_max": lookup("vbagmax", "max"),
    **{kind: recurrent(kind) for kind in ("lstm", "gru", "rnn")},
    **{name: Operator(f"f32_v{name}", lambda isa, scheme, worker=worker: worker) for name, worker in FLOATS.items()},
}
#: What products multiply that have no packed weight.
OPERANDS = {"matmul_integer": "u8s8_s32", "matmul": "qd8_f32_qd8w"}
SCHEMES = (
    *(Scheme(bits, group) for bits in (8, 4) for group in (0, 128, 64, 32)),
    *(Scheme(4, group, zero_points=True) for group in (128, 64, 32)),
)


@dataclass(frozen=True)
class Kernel:
    """One compiled worker: what it computes, on which instruction set."""

    operation: str
    scheme: Scheme
    isa: InstructionSet
    build: Callable

    @property
    def name(self) -> str:
        if self.operation in OPERATORS:
            return f"{OPERATORS[self.operation].stem.format(bits=self.scheme.bits)}__{self.isa.name}"
        rows, columns = max_rows(self.form, self.scheme), self.form.columns
        data = OPERANDS.get(self.operation.removesuffix("_long")) or f"qd8_f32_{self.scheme.name}"
        gemm = "conv" if self.operation == "conv" else "gemm_longk" if self.operation.endswith("_long") else "gemm"
        return f"{data}_{gemm}_{rows}x{columns}c{self.form.k_per_word}__{self.isa.name}"

    @property
    def form(self) -> InstructionSet:
        """How it multiplies on that instruction set."""
        return self.isa.form(self.scheme.group) if self.operation in ("linear", "matmul") else self.isa


@cache
def kernels() -> dict[tuple[str, Scheme, str], Kernel]:
    """All kernels, keyed by operation, scheme and instruction set."""
    table = []
    for isa in INSTRUCTION_SETS:
        table += [Kernel("linear", s, isa, lambda isa=isa, s=s: linear_worker(isa.form(s.group), s)) for s in SCHEMES]
        table.append(Kernel("linear_long", EIGHT_BIT, isa, lambda isa=isa: linear_worker(isa, EIGHT_BIT, long=True)))
        table.append(Kernel("matmul_integer", EIGHT_BIT, isa, lambda isa=isa: integer_worker(isa)))
        table.append(Kernel("matmul", EIGHT_BIT, isa, lambda isa=isa: batched_worker(isa)))
        table.append(Kernel("matmul_long", EIGHT_BIT, isa, lambda isa=isa: batched_worker(isa, long=True)))
        table.append(Kernel("conv", EIGHT_BIT, isa, lambda isa=isa: convolution_worker(isa)))
        for name, operator in OPERATORS.items():
            table += [Kernel(name, s, isa, partial(operator.build, isa, s)) for s in operator.schemes]
    return {(kernel.operation, kernel.scheme, kernel.isa.name): kernel for kernel in table}


def is_kept(kernel: Kernel) -> bool:
    """Whether the kernel is in the cache on disk, so that nothing is compiled when it is called."""
    kept = kernel.build().root("address")._cache
    name, _ = kept._file(WORKER_SIGNATURE, cpu_target.target_context.codegen())
    return any((folder / name).is_file() for folder in places())


def kernel_for(operation: str, isa: InstructionSet, scheme: Scheme = EIGHT_BIT) -> Kernel:
    """The kernel of an operation on an instruction set."""
    return kernels()[operation, scheme, isa.name]


@cache
def worker_address(operation: str, isa: InstructionSet, scheme: Scheme = EIGHT_BIT) -> int:
    """Address of that kernel's worker."""
    return address(kernel_for(operation, isa, scheme).build(), WORKER_SIGNATURE)
