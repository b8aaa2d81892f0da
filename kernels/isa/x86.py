"""What the x86 sets share: saturating packs, which work within each 128-bit lane.

    vpackssdw   a b   ─▶  per lane:  4 of a, 4 of b as s16
    vpackuswb   ab cd ─▶  per lane:  4 of a, 4 of b, 4 of c, 4 of d as u8

So two packs of four rows' integers put the four words of k-word j into lane j.
"""

from __future__ import annotations

from collections.abc import Iterator

from llvmlite import ir

from .emitter import I1, I8, I16, I32, Emitter, constant, vector


def _pack(e: Emitter, name: str, a: ir.Value, b: ir.Value, to: ir.Type) -> ir.Value:
    """One pack of a set's own width: "ssdw" or "uswb"."""
    kind = vector(to, 2 * a.type.count)
    wide = a.type.count * a.type.element.width == 512
    return e.call(f"llvm.x86.avx512.pack{name}.512" if wide else f"llvm.x86.avx2.pack{name}", kind, [a, b])


def _pieces(e: Emitter, value: ir.Value, lanes: int) -> list[ir.Value]:
    return [e.part(value, first, lanes) for first in range(0, value.type.count, lanes)]


def _bytes(e: Emitter, values: list[ir.Value], lanes: int) -> Iterator[ir.Value]:
    """Four rows' <16 x i32> as registers of bytes, each the k-words' words one after another."""
    for a, b, c, d in zip(*(_pieces(e, value, lanes) for value in values), strict=True):
        yield _pack(e, "uswb", _pack(e, "ssdw", a, b, I16), _pack(e, "ssdw", c, d, I16), I8)


def byte_words(e: Emitter, values: list[ir.Value], lanes: int) -> list[ir.Value]:
    """Four rows' <16 x i32> to words of 4 bytes: <4 x i32> for each k-word. `lanes`: of a vector register."""
    kind = vector(I32, lanes)
    return [word for packed in _bytes(e, values, lanes) for word in _pieces(e, e.builder.bitcast(packed, kind), 4)]


def shifted_words(e: Emitter, values: list[ir.Value], lanes: int) -> list[ir.Value]:
    """The same in two parts: x' = x - 128 as signed bytes, then |x'| (0 … 128) as unsigned ones."""
    kind, words = vector(I32, lanes), []
    for packed in _bytes(e, values, lanes):
        shifted = e.builder.xor(packed, constant(packed.type, -128))
        size = e.call(f"llvm.abs.v{packed.type.count}i8", packed.type, [shifted, ir.Constant(I1, 0)])
        parts = (_pieces(e, e.builder.bitcast(part, kind), 4) for part in (shifted, size))
        words += [word for pair in zip(*parts, strict=True) for word in pair]
    return words


def half_words(e: Emitter, values: list[ir.Value], lanes: int) -> list[ir.Value]:
    """The same for words of two 16-bit values in 0 … 255."""
    low, high = constant(vector(I16, 2 * lanes), 0), constant(vector(I16, 2 * lanes), 255)
    words = []
    for a, b, c, d in zip(*(_pieces(e, value, lanes) for value in values), strict=True):
        halves = []
        for pair in (_pack(e, "ssdw", a, b, I16), _pack(e, "ssdw", c, d, I16)):
            clipped = e.builder.select(e.builder.icmp_signed(">", pair, low), pair, low)
            clipped = e.builder.select(e.builder.icmp_signed("<", clipped, high), clipped, high)
            halves.append(e.builder.bitcast(clipped, vector(I32, lanes)))
        for first in range(0, lanes, 4):
            ab, cd = (e.part(half, first, 4) for half in halves)  # a0 a1 b0 b1, c0 c1 d0 d1
            words += [e.shuffle(ab, cd, [0, 2, 4, 6]), e.shuffle(ab, cd, [1, 3, 5, 7])]
    return words


def row_bytes(e: Emitter, values: list[ir.Value], lanes: int) -> ir.Value:
    """One row's <16 x i32>, four in a row, clipped to bytes and in order: <64 x i8>."""
    packed = []
    pieces = [piece for value in values for piece in _pieces(e, value, lanes)]
    for a, b, c, d in zip(*(pieces[i::4] for i in range(4)), strict=True):
        together = _pack(e, "uswb", _pack(e, "ssdw", a, b, I16), _pack(e, "ssdw", c, d, I16), I8)
        words = e.builder.bitcast(together, vector(I32, lanes))  # lane by lane a word of a, b, c, d
        order = [4 * lane + source for source in range(4) for lane in range(lanes // 4)]
        packed.append(e.builder.bitcast(e.shuffle(words, words, order), vector(I8, 4 * lanes)))
    return packed[0] if len(packed) == 1 else e.join(*packed)
