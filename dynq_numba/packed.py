"""PackedLinear: a quantized weight, laid out for the instruction set that runs it."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import checks, schemes
from .runtime import backend, isa, threads

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
        Shape () per tensor, [N] per channel, [N, ceil(K / group_size)] per group.
    bias : float32 array [N] or None
    """

    __slots__ = (
        "__weakref__", "_first", "_layouts", "_scales",
        "activations", "bias", "bits", "granularity", "group_size", "shape",
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
    ):
        self.shape: tuple[int, int] = q.shape
        self.bits, self.granularity, self.group_size = bits, granularity, group_size
        self.activations, self.bias = activations, bias
        self._scales = scales
        for array in (scales, bias):
            if array is not None:
                array.flags.writeable = False  # the panels hold copies: a change here would change no result
        self._layouts: dict[str, Any] = {}
        self._first = self._layout_of(q)

    def _layout_of(self, q: np.ndarray) -> Any:
        """Lay q out for the instruction set in force."""
        n = self.shape[0]
        scales = np.broadcast_to(self._scales, (n, self._scales.shape[1])).copy()
        bias = np.zeros(n, np.float32) if self.bias is None else self.bias
        target = isa.active()
        layout = backend.Layout(
            q, scales, bias, bits=self.bits, group=self.group_size or 0,
            per_tensor=self.activations == "per_tensor", isa=target,
        )  # fmt: skip
        return self._layouts.setdefault(target.name, layout)  # the first of two threads wins

    def _layout(self) -> Any:
        """The layout for the instruction set in force; made on first use of another one."""
        if not isa.ever_forced:
            return self._first
        return self._layouts.get(isa.active().name) or self._layout_of(self.qweight)

    def _descriptor(self) -> np.ndarray:
        """What compiled code gets of this weight."""
        threads.ready()
        return self._layout().descriptor

    @property
    def scale(self) -> np.ndarray:
        """Scales in the shape of the granularity."""
        if self.granularity == "per_tensor":
            return self._scales.reshape(())
        return self._scales[:, 0] if self.granularity == "per_channel" else self._scales

    @property
    def qweight(self) -> np.ndarray:
        """The plain integers, int8 [N, K], independent of any layout (a new array at each call)."""
        return next(iter(self._layouts.values())).unpack(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes held: panels with their padding (of each instruction set used so far), scales, sums, bias."""
        bias = 0 if self.bias is None else self.bias.nbytes
        return sum(layout.nbytes for layout in self._layouts.values()) + self._scales.nbytes + bias

    @property
    def scheme(self) -> str:
        """The scheme in one word, such as "int8_per_channel" or "int4_per_group_32"."""
        size = f"_{self.group_size}" if self.group_size else ""
        return f"int{self.bits}_{self.granularity}{size}"

    def dequantize(self) -> np.ndarray:
        """The weight the integers stand for: float32 [N, K] = qweight · scale, one multiplication each."""
        with np.errstate(over="ignore"):  # 127 · (the largest float32 / 127, rounded up) is inf
            return self.qweight * schemes.expand(self._scales, self.shape[1], self.group_size)

    def __repr__(self) -> str:
        n, k = self.shape
        layouts = "+".join(self._layouts)
        bias = "no bias" if self.bias is None else "bias"
        return (
            f"PackedLinear({k} -> {n}, {self.scheme} weights, {self.activations} uint8 activations, {bias}, "
            f"{self.nbytes} bytes, {layouts})"
        )

    def __eq__(self, other: object) -> bool:
        """The same scheme, integers, scales and bias, whatever the layout."""
        if not isinstance(other, PackedLinear):
            return NotImplemented
        mine, theirs = (np.zeros(0) if w.bias is None else w.bias for w in (self, other))
        same = self._form() == other._form() and np.array_equal(mine, theirs)
        return same and np.array_equal(self._scales, other._scales) and np.array_equal(self.qweight, other.qweight)

    def __hash__(self) -> int:
        return hash(self._form())

    def _form(self) -> tuple[Any, ...]:
        return self.shape, self.bits, self.granularity, self.group_size, self.activations

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedLinear, (self.qweight, self._scales, self.bias, *self._form()[1:])


def pack_linear(
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    bits: int = 8,
    granularity: str = "auto",
    group_size: int | None = None,
    activations: str = "per_token",
) -> PackedLinear:
    """Quantize and pack the weight of a linear layer, once, for any number of `linear` calls.

    Parameters
    ----------
    weight : array [N, K] of float16, float32, float64 or bfloat16
        Outputs by inputs, as PyTorch stores it; finite.
    bias : array [N] of floats, optional
    bits : {8, 4}
        Integers of a weight: symmetric, in [-127, 127] or [-7, 7].
    granularity : {"auto", "per_channel", "per_tensor", "per_group"}
        What shares a scale; "auto" asks `choose_scheme`.
    group_size : {32, 64, 128}, optional
        For "per_group", 32 unless given.
    activations : {"per_token", "per_tensor"}
        Whether `linear` quantizes each row of x on its own (then no row's result depends on another) or all
        of x together.

    Returns
    -------
    PackedLinear

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what it was and what is allowed.

    Notes
    -----
    scale = max|w| / 127 (8 bit) or / 7 (4 bit) over what shares it, q = clip(rint(w / scale)), in float32:
    |w - q·scale| ≤ scale / 2 · (1 + 2^-15). Source: ONNX QuantizeLinear-13, symmetric; ARCHITECTURE.md, Numerics.

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
    if bias is not None:
        bias = checks.float_array("bias", bias, ndim=1)
        if bias.shape != weight.shape[:1]:
            raise ValueError(f"bias must have shape ({weight.shape[0]},), one for each row of weight; got {bias.shape}")
        bias = np.array(bias)
    if granularity == "auto":
        choice = schemes.choose_scheme(weight, bits=bits)
        granularity, group_size = choice.granularity, choice.group_size
    elif granularity == "per_group":
        group_size = group_size or schemes.GROUP_SIZES[0]
    q, scales = schemes.quantize_weight(weight, bits, granularity, group_size)
    return PackedLinear(q, scales, bias, bits, granularity, group_size, activations)
