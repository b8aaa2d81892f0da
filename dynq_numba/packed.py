"""PackedLinear: a quantized weight, laid out for the instruction set that runs it."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import checks, schemes
from .kernels.emit.rotation import BLOCKS
from .kernels.reference_rotation import rotate as rotated
from .kernels.reference_rotation import rotate_weight
from .runtime import backend, isa, threads
from .runtime.builtin import prepare

ACTIVATION_SCHEMES = ("per_token", "per_tensor")


class PackedLinear:
    """A linear layer's weight [N, K] as small integers, packed for this machine. Made by `pack_linear`.

    Pickles, copies and compares by value; the pickle holds plain integers, so it moves between machines.

    Attributes
    ----------
    shape : tuple of int
        (N, K): outputs, inputs.
    bits : int
        8 or 4.
    granularity : str
        "per_tensor", "per_channel" or "per_group".
    group_size : int or None
        Values of k that share a scale, for "per_group".
    activations : str
        "per_token" (a scale per row of x) or "per_tensor".
    scale : float32 array
        Shape () per tensor, [N] per channel, [N, ceil(K / group_size)] per group (a new array at each call; each
        value fits bfloat16, and is negative for some groups of 4 bits).
    zero_point : uint8 array [N, ceil(K / group_size)] or None
        Of groups packed with ``symmetric=False``: what was subtracted from the stored integers, 0 … 15, to give
        `qweight` (a new array at each call).
    bias : float32 array [N] or None
    rotate : int or None
        The block of the Hadamard rotation of x and the weight; `qweight`, `scale` and `zero_point` are the rotated
        weight's.
    """

    __slots__ = (
        "__weakref__", "_first", "_layouts", "_scales", "_words",
        "activations", "bias", "bits", "granularity", "group_size", "rotate", "shape", "symmetric",
    )  # fmt: skip

    def __init__(
        self,
        q: np.ndarray,
        scales: np.ndarray,
        bias: np.ndarray | None,
        bits: int,
        granularity: str,
        group_size: int | None,
        activations: str,
        zero_point: np.ndarray | None = None,
        rotate: int | None = None,
    ):
        self.shape: tuple[int, int] = q.shape
        self.bits, self.granularity, self.group_size, self.rotate = bits, granularity, group_size, rotate
        self.activations, self.bias, self.symmetric = activations, bias, zero_point is None
        self._scales = None if group_size else scales  # of groups they are in the panels
        for array in (scales, bias):
            if array is not None:
                array.flags.writeable = False  # the panels hold copies: a change here would change no result
        self._layouts: dict[str, Any] = {}
        self._first = self._layout_of(q, scales, zero_point)
        self._words = self._first.descriptor

    def _layout_of(self, q: np.ndarray, scales: np.ndarray, zero_point: np.ndarray | None) -> Any:
        """Lay q out for the instruction set in force."""
        n = self.shape[0]
        scales = np.broadcast_to(scales, (n, scales.shape[1])).copy()
        bias = np.zeros(n, np.float32) if self.bias is None else self.bias
        target = isa.active()
        layout = backend.Layout(
            q, scales, bias, zero_point, bits=self.bits, group=self.group_size or 0,
            per_tensor=self.activations == "per_tensor", isa=target, rotate=self.rotate or 0,
        )  # fmt: skip
        return self._layouts.setdefault(target.name, layout)  # the first of two threads wins

    def _layout(self) -> Any:
        """The layout for the instruction set in force; made on first use of another one."""
        if not isa.ever_forced:
            return self._first
        return self._layouts.get(isa.active().name) or self._layout_of(*self._parts())

    def _parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """The integers, scales [N or 1, groups] and zero points."""
        q, scales, zero_point = next(iter(self._layouts.values())).unpack(self.shape)
        return q, scales if self._scales is None else self._scales, zero_point

    def _descriptor(self) -> np.ndarray:
        """What compiled code gets of this weight."""
        threads.ready()
        return self._layout().descriptor

    @property
    def scale(self) -> np.ndarray:
        """Scales in the shape of the granularity."""
        scales = self._parts()[1] if self._scales is None else self._scales
        if self.granularity == "per_tensor":
            return scales.reshape(())
        return scales[:, 0] if self.granularity == "per_channel" else scales

    @property
    def zero_point(self) -> np.ndarray | None:
        """Zero points of groups packed with ``symmetric=False``, else None."""
        return None if self.symmetric else self._parts()[2]

    @property
    def qweight(self) -> np.ndarray:
        """The integers that multiply the scale, int8 [N, K], independent of any layout (a new array at each call).

        Zero points are subtracted already: these are -15 … 15 then.
        """
        return self._parts()[0]

    @property
    def nbytes(self) -> int:
        """Bytes held: panels with their padding (of each instruction set used so far), scales, sums, bias."""
        others = sum(array.nbytes for array in (self._scales, self.bias) if array is not None)
        return others + sum(layout.nbytes for layout in self._layouts.values())

    @property
    def scheme(self) -> str:
        """The scheme in one word, such as "int8_per_channel", "int4_per_group_32" or, with zero points, "uint4…"."""
        size = f"_{self.group_size}" if self.group_size else ""
        return f"{'' if self.symmetric else 'u'}int{self.bits}_{self.granularity}{size}"

    def dequantize(self) -> np.ndarray:
        """The weight the integers stand for: float32 [N, K] = qweight · scale, one multiplication each.

        Rotated back, where it was rotated.
        """
        with np.errstate(over="ignore"):  # 127 · (the largest float32 / 127, rounded up) is inf
            q, scales, _ = self._parts()
            weight = q * schemes.expand(scales, self.shape[1], self.group_size)
        return rotated(weight, self.rotate) if self.rotate else weight

    def __repr__(self) -> str:
        n, k = self.shape
        layouts = "+".join(self._layouts)
        bias = "no bias" if self.bias is None else "bias"
        scheme = f"{self.scheme} rotated_{self.rotate}" if self.rotate else self.scheme
        return (
            f"PackedLinear({k} -> {n}, {scheme} weights, {self.activations} uint8 activations, {bias}, "
            f"{self.nbytes} bytes, {layouts})"
        )

    def __eq__(self, other: object) -> bool:
        """The same scheme, integers, scales, zero points and bias, whatever the layout."""
        if not isinstance(other, PackedLinear):
            return NotImplemented
        if self._form() != other._form() or (self.symmetric, self.rotate) != (other.symmetric, other.rotate):
            return False
        mine, theirs = ((w.bias, *w._parts()) for w in (self, other))
        none = np.zeros(0)
        return all(
            np.array_equal(none if a is None else a, none if b is None else b)
            for a, b in zip(mine, theirs, strict=True)
        )

    def __hash__(self) -> int:
        return hash(self._form())

    def _form(self) -> tuple[Any, ...]:
        return self.shape, self.bits, self.granularity, self.group_size, self.activations

    def __reduce__(self) -> tuple[Any, ...]:
        q, scales, zero_point = self._parts()
        return PackedLinear, (q, scales, self.bias, *self._form()[1:], zero_point, self.rotate)


prepare(PackedLinear, "_words")


def pack_linear(
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    bits: int = 8,
    granularity: str = "auto",
    group_size: int | None = None,
    activations: str = "per_token",
    symmetric: bool = True,
    rotate: int | None = None,
) -> PackedLinear:
    """Quantize and pack the weight of a linear layer, once, for any number of `linear` calls.

    Parameters
    ----------
    weight : array [N, K] of float16, float32, float64 or bfloat16
        Outputs by inputs, as PyTorch stores it; finite.
    bias : array [N] of floats, optional
    bits : {8, 4}
        Integers of a weight, symmetric: in [-127, 127], or [-7, 7] ([-8, 7] in groups).
    granularity : {"auto", "per_channel", "per_tensor", "per_group"}
        What shares a scale; "auto" asks `choose_scheme`.
    group_size : {32, 64, 128}, optional
        For "per_group", 32 unless given.
    activations : {"per_token", "per_tensor"}
        Whether `linear` quantizes each row of x on its own (then no row's result depends on another) or all
        of x together.
    symmetric : bool
        False: a zero point for each group, with bits=4.
    rotate : {16, 32, 64, 128}, optional
        Multiply x and the weight by a Hadamard matrix, in blocks of so many k: the product stays, and what is loud in a
        few columns of either is spread over a block. `linear` rotates x in the same call. K must be a multiple.

    Returns
    -------
    PackedLinear

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what it was and what is allowed.

    Notes
    -----
    scale = max|w| / 127 (8 bit) or / 7 (4 bit) over what shares it, in groups rounded up to bfloat16, and
    q = clip(rint(w / scale)), in float32: |w - q·scale| ≤ scale / 2 · (1 + 2^-15).
    A group of 4 bits takes, among 32 scales of either sign (16 ranges with zero points), the one with the least squared
    error over the group, which is thus no larger than that of max|w| / 7 (of min … max over 15 steps).
    Source: ONNX QuantizeLinear-13, symmetric; ARCHITECTURE.md, Numerics.
    rotate: x·H in float32, by additions in the order of kernels/reference_rotation.py (a value beyond the largest
    float32 / block may overflow, and its row is NaN), W·H / block in float64, rounded once; all bounds are of these.
    Measured (``python -m bench.accuracy``, MiniLM, 60 reviews, mean cosine to float32): rotate=128 takes 8 bits from
    .9987 to .9997; rotate=32 takes 4 bits per channel from .901 to .923, in groups of 128 from .954 to .959, in groups
    of 32, which confine what is loud already, from .970 to .971. More than 32 is worse there.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> w = dq.pack_linear(np.eye(4, 6, dtype=np.float32), granularity="per_channel")
    >>> w.shape, w.scheme
    ((4, 6), 'int8_per_channel')
    >>> dq.linear(np.arange(6, dtype=np.float32), w).round(2)
    array([0., 1., 2., 3.], dtype=float32)
    """
    weight = schemes.weight_matrix(weight)
    checks.choice("bits", bits, schemes.LIMITS)
    checks.choice("granularity", granularity, ("auto", *schemes.GRANULARITIES))
    checks.choice("activations", activations, ACTIVATION_SCHEMES)
    if group_size is not None:
        checks.choice("group_size", group_size, schemes.GROUP_SIZES)
        if granularity not in ("auto", "per_group"):
            raise ValueError(f'group_size={group_size} goes with granularity="per_group"; got {granularity!r}')
        granularity = "per_group"
    if not isinstance(symmetric, (bool, np.bool_)):
        raise TypeError(f"symmetric must be True or False; got {checks.describe(symmetric)}")
    if not symmetric and (bits != 4 or granularity != "per_group"):
        raise ValueError(
            f'symmetric=False goes with bits=4 and granularity="per_group"; got bits={bits}, {granularity!r}'
        )
    if rotate is not None:
        checks.choice("rotate", rotate, BLOCKS)
        if weight.shape[1] % rotate:
            raise ValueError(f"rotate must divide K, the columns of weight; got rotate={rotate}, K={weight.shape[1]}")
    if bias is not None:
        bias = checks.float_array("bias", bias, ndim=1)
        if bias.shape != weight.shape[:1]:
            raise ValueError(f"bias must have shape ({weight.shape[0]},), one for each row of weight; got {bias.shape}")
        bias = np.array(bias)
    if rotate is not None:
        weight = rotate_weight(weight, rotate)
    if granularity == "auto":
        choice = schemes.choose_scheme(weight, bits=bits)
        granularity, group_size = choice.granularity, choice.group_size
    elif granularity == "per_group":
        group_size = group_size or schemes.GROUP_SIZES[0]
    q, scales, zero_point = schemes.quantize_weight(weight, bits, granularity, group_size, bool(symmetric))
    return PackedLinear(q, scales, bias, bits, granularity, group_size, activations, zero_point, rotate)
