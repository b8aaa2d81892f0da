"""What emitters are written with: LLVM IR for vectors of any width, nothing that names an instruction set.

LLVM turns ``<16 x float>`` into one zmm, two ymm, or four NEON registers. So this code runs everywhere; only the dot
products in the files of the instruction sets do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llvmlite import ir

VOID = ir.VoidType()
I1 = ir.IntType(1)
I8 = ir.IntType(8)
I16 = ir.IntType(16)
I32 = ir.IntType(32)
I64 = ir.IntType(64)
F32 = ir.FloatType()
F64 = ir.DoubleType()
BYTES = I8.as_pointer()


def vector(element: ir.Type, lanes: int) -> ir.VectorType:
    return ir.VectorType(element, lanes)


def constant(kind: ir.Type, value: object) -> ir.Constant:
    """A scalar constant, or the same value in every lane."""
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [value] * kind.count)
    return ir.Constant(kind, value)


class Emitter:
    """An ``IRBuilder`` with the words that kernels use. Pointers are bytes; offsets are bytes."""

    def __init__(self, builder: ir.IRBuilder):
        self.builder = builder

    # -- memory ---------------------------------------------------------------------------------
    def at(self, base: ir.Value, count: int | ir.Value) -> ir.Value:
        """base + count bytes."""
        if isinstance(count, int):
            if count == 0:
                return base
            count = ir.Constant(I64, count)
        return self.builder.gep(base, [count])

    def load(self, kind: ir.Type, pointer: ir.Value, align: int) -> ir.Value:
        return self.builder.load(self.builder.bitcast(pointer, kind.as_pointer()), align=align)

    def store(self, value: ir.Value, pointer: ir.Value, align: int) -> None:
        self.builder.store(value, self.builder.bitcast(pointer, value.type.as_pointer()), align=align)

    def masked_load(self, kind: ir.VectorType, pointer: ir.Value, mask: ir.Value, align: int) -> ir.Value:
        """Lanes where `mask` is set; the others are zero and their memory is not touched."""
        typed = self.builder.bitcast(pointer, kind.as_pointer())
        args = [typed, ir.Constant(I32, align), mask, constant(kind, 0)]
        name = f"llvm.masked.load.v{kind.count}{_short(kind.element)}.p0"
        return self.call(name, kind, args)

    def masked_store(self, value: ir.Value, pointer: ir.Value, mask: ir.Value, align: int) -> None:
        kind = value.type
        typed = self.builder.bitcast(pointer, kind.as_pointer())
        name = f"llvm.masked.store.v{kind.count}{_short(kind.element)}.p0"
        self.call(name, VOID, [value, typed, ir.Constant(I32, align), mask])

    def first_lanes(self, lanes: int, count: ir.Value) -> ir.Value:
        """Mask of the lanes below `count` (an i64)."""
        numbers = ir.Constant(vector(I64, lanes), list(range(lanes)))
        return self.builder.icmp_signed("<", numbers, self.splat(count, lanes))

    def prefetch(self, pointer: ir.Value, write: bool = False) -> None:
        """Prefetch a cache line; any address is allowed."""
        locality, data = ir.Constant(I32, 3), ir.Constant(I32, 1)
        self.call("llvm.prefetch.p0", VOID, [pointer, ir.Constant(I32, int(write)), locality, data])

    # -- values ---------------------------------------------------------------------------------
    def splat(self, value: ir.Value, lanes: int) -> ir.Value:
        kind = vector(value.type, lanes)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(I32, 0))
        return self.shuffle(one, ir.Constant(kind, ir.Undefined), [0] * lanes)

    def shuffle(self, a: ir.Value, b: ir.Value, lanes: list[int]) -> ir.Value:
        return self.builder.shuffle_vector(a, b, ir.Constant(vector(I32, len(lanes)), lanes))

    def part(self, a: ir.Value, first: int, count: int) -> ir.Value:
        """`count` lanes from `first` on."""
        return self.shuffle(a, ir.Constant(a.type, ir.Undefined), list(range(first, first + count)))

    def lane(self, a: ir.Value, index: int) -> ir.Value:
        return self.builder.extract_element(a, ir.Constant(I32, index))

    def interleave(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """a0 b0 a1 b1 …"""
        n = a.type.count
        return self.shuffle(a, b, [lane for i in range(n) for lane in (i, n + i)])

    def join(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """The lanes of a, then those of b."""
        return self.shuffle(a, b, list(range(2 * a.type.count)))

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a·b + c with one rounding: an instruction where the target has one, else a call that gives the same."""
        lanes = f"v{a.type.count}" if isinstance(a.type, ir.VectorType) else ""
        return self.call(f"llvm.fma.{lanes}f32", a.type, [a, b, c])

    def opaque(self, value: ir.Value) -> ir.Value:
        """The vector, integer or address, of which LLVM knows nothing: empty assembly, no instruction."""
        kind = ir.FunctionType(value.type, [value.type])
        where = "=x,0" if isinstance(value.type, ir.VectorType) else "=r,0"
        return self.builder.call(ir.InlineAsm(kind, "", where, side_effect=False), [value])

    def call(self, name: str, result: ir.Type, args: list[ir.Value]) -> ir.Value:
        kind = ir.FunctionType(result, [a.type for a in args])
        module = self.builder.module
        function = module.globals.get(name) or ir.Function(module, kind, name)
        return self.builder.call(function, args)

    # -- control --------------------------------------------------------------------------------
    def loop(self, count: ir.Value, initial: list[ir.Value], body: Callable[[list[ir.Value]], list[ir.Value]]):
        """Run `body` `count` times (at least once), threading loop-carried values; returns the last ones."""
        builder = self.builder
        before = builder.block
        block = builder.append_basic_block("loop")
        after = builder.append_basic_block("done")
        builder.branch(block)
        builder.position_at_end(block)
        left = builder.phi(I64)
        left.add_incoming(count, before)
        carried = [builder.phi(value.type) for value in initial]
        for phi, value in zip(carried, initial, strict=True):
            phi.add_incoming(value, before)
        results = body(list(carried))
        remaining = builder.sub(left, ir.Constant(I64, 1))
        left.add_incoming(remaining, builder.block)
        for phi, value in zip(carried, results, strict=True):
            phi.add_incoming(value, builder.block)
        builder.cbranch(builder.icmp_signed(">", remaining, ir.Constant(I64, 0)), block, after)
        builder.position_at_end(after)
        return results

    def repeat(self, count: ir.Value, initial: list[ir.Value], body: Callable[[list[ir.Value]], list[ir.Value]]):
        """`loop`, for a count that may be 0."""
        builder = self.builder
        before = builder.block
        inside = builder.append_basic_block("some")
        after = builder.append_basic_block("after")
        builder.cbranch(builder.icmp_signed(">", count, ir.Constant(I64, 0)), inside, after)
        builder.position_at_end(inside)
        results = self.loop(count, initial, body)
        last = builder.block
        builder.branch(after)
        builder.position_at_end(after)
        merged = [builder.phi(value.type) for value in initial]
        for phi, start, result in zip(merged, initial, results, strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(result, last)
        return merged

    def either(self, condition: ir.Value, then: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """One of two pieces of code."""
        with self.builder.if_else(condition) as (yes, no):
            with yes:
                then()
            with no:
                otherwise()

    @contextmanager
    def when(self, condition: ir.Value) -> Iterator[None]:
        with self.builder.if_then(condition):
            yield


def _short(kind: ir.Type) -> str:
    return "f32" if kind == F32 else f"i{kind.width}"


def internal_function(module: ir.Module, name: str, result: ir.Type, args: list[ir.Type]) -> tuple[ir.Function, bool]:
    """A function private to its module, and whether its body is still to be written."""
    known = module.globals.get(name)
    if known is not None:
        return known, False
    function = ir.Function(module, ir.FunctionType(result, args), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    return function, True
