"""PackedLinear: a quantized weight, laid out for the instruction set that runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...arguments import deprecated
from ...kernels.linear.reference_rotation import rotate as rotated
from ...runtime import isa, threads
from ...runtime.builtin import prepare
from . import backend, schemes

if TYPE_CHECKING:
    from .layout import Later

X_GRANULARITIES = ("per_token", "per_tensor")
X_BITS = (8, 16)


class PackedLinear:
    """A linear layer's weight [N, K] as small integers, packed for this machine. Made by `pack_linear`.

    Can be pickled and copied, and compares by value. A pickle holds plain integers, so other machines can read it.

    Attributes
    ----------
    shape : tuple of int
        (N, K): outputs, inputs.
    bits : int
        8 or 4.
    granularity : str
        "per_tensor", "per_channel" or "per_group".
    group_size : int or None
        How many values of k share a scale, for "per_group".
    x_granularity : str
        "per_token" (a scale per row of x) or "per_tensor".
    x_bits : int
        8 or 16: bits of the integers that `linear` makes of x.
    activations : str
        The old name of `x_granularity`, until 0.3.
    scale : float32 array
        Shape () per tensor, [N] per channel, [N, ceil(K / group_size)] per group (a new array at each call; each
        value fits bfloat16, and is negative for some groups of 4 bits).
    zero_point : uint8 array [N, ceil(K / group_size)] or None
        Of groups packed with ``symmetric=False``: `qweight` is the stored integers, 0 … 15, minus these (a new array at
        each call).
    bias : float32 array [N] or None
        Added to every row.
    rotate : int or None
        The block of the Hadamard rotation of x and the weight. `qweight`, `scale` and `zero_point` belong to the
        rotated weight.
    outliers : tuple of int
        Columns of K that stay float32, ascending; `qweight` is 0 in them.
    symmetric : bool
        Whether groups have no zero point.
    qweight : int8 array [N, K]
        The integers that multiply the scale (a new array at each call).
    scheme : str
        All of this in one word, such as "int8_per_channel" or "int4_per_group_32".
    nbytes : int
        Bytes in memory.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> w = dq.pack_linear(np.array([[1.27, -0.64], [0.0, 12.7]]))
    >>> w.qweight.tolist(), w.scale.round(3), w.scheme
    ([[127, -64], [0, 127]], array([0.01, 0.1 ], dtype=float32), 'int8_per_channel')
    >>> w.dequantize().round(2)
    array([[ 1.27, -0.64],
           [ 0.  , 12.7 ]], dtype=float32)
    """

    __slots__ = (
        "__weakref__", "_first", "_layouts", "_scales", "_words",
        "bias", "bits", "granularity", "group_size", "outliers", "rotate", "shape", "symmetric", "x_bits",
        "x_granularity",
    )  # fmt: skip
    shape: tuple[int, int]
    bits: int
    granularity: str
    group_size: int | None
    rotate: int | None
    x_granularity: str
    x_bits: int
    bias: np.ndarray | None
    symmetric: bool
    outliers: tuple[int, ...]

    def __init__(
        self,
        q: np.ndarray | Later,
        scales: np.ndarray,
        bias: np.ndarray | None,
        bits: int,
        granularity: str,
        group_size: int | None,
        x_granularity: str,
        zero_point: np.ndarray | None = None,
        rotate: int | None = None,
        outliers: tuple[int, ...] = (),
        floats: np.ndarray | None = None,
        x_bits: int = 8,
    ):
        self.shape = q.shape
        self.bits, self.granularity, self.group_size, self.rotate = bits, granularity, group_size, rotate
        self.x_granularity, self.x_bits, self.bias, self.symmetric = x_granularity, x_bits, bias, zero_point is None
        self._scales = None if group_size else scales  # of groups they are in the panels
        for array in (scales, bias):
            if array is not None:
                array.flags.writeable = False  # the panels hold copies: a change here would change no result
        self.outliers = outliers
        self._layouts: dict[str, Any] = {}
        self._first = self._layout_of(q, scales, zero_point, floats)
        self._words: np.ndarray | None = None  # the descriptor once it is complete; quick paths look here

    def _layout_of(
        self, q: np.ndarray | Later, scales: np.ndarray, zero_point: np.ndarray | None, floats: np.ndarray | None
    ) -> Any:
        """Lay q and the outliers' weights [outliers, N] out for the instruction set in force."""
        n = self.shape[0]
        scales = np.broadcast_to(scales, (n, scales.shape[1])).copy()
        bias = np.zeros(n, np.float32) if self.bias is None else self.bias
        target = isa.active()
        layout = backend.Layout(
            q, scales, bias, zero_point, bits=self.bits, group=self.group_size or 0,
            per_tensor=self.x_granularity == "per_tensor", isa=target, rotate=self.rotate or 0,
            columns=self.outliers, floats=floats, x_bits=self.x_bits,
        )  # fmt: skip
        return self._layouts.setdefault(target.name, layout)  # the first of two threads wins

    def _layout(self) -> Any:
        """The layout for the instruction set in force, about to multiply; made on first use of another one."""
        if self._words is not None and not isa.ever_forced:
            return self._first
        layout = self._chosen()
        layout.prepare()
        if layout is self._first:
            self._words = layout.descriptor
        return layout

    def _step_layout(self) -> Any:
        """The same for steps of programs, which need less of it compiled."""
        layout = self._chosen()
        layout.prepare_worker()
        return layout

    def _chosen(self) -> Any:
        if not isa.ever_forced:
            return self._first
        return self._layouts.get(isa.active().name) or self._layout_of(*self._parts(), self._first.floats)

    def _parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """The integers, scales [N or 1, groups] and zero points."""
        q, scales, zero_point = next(iter(self._layouts.values())).unpack(self.shape)
        return q, scales if self._scales is None else self._scales, zero_point

    def _descriptor(self) -> np.ndarray:
        """What compiled code gets of this weight."""
        threads.ready()
        return self._layout().descriptor

    @property
    def activations(self) -> str:
        """The old name of `x_granularity`."""
        deprecated.warn("PackedLinear.activations", "it is x_granularity now")
        return self.x_granularity

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

        Zero points are already subtracted; then the range is -15 … 15.
        """
        return self._parts()[0]

    @property
    def nbytes(self) -> int:
        """Bytes in memory: panels with padding (of each instruction set used so far), scales, sums, bias, outliers."""
        others = sum(array.nbytes for array in (self._scales, self.bias) if array is not None)
        return others + sum(layout.nbytes for layout in self._layouts.values())

    @property
    def scheme(self) -> str:
        """The scheme in one word, such as "int8_per_channel", "int4_per_group_32" or, with zero points, "uint4…"."""
        return schemes.scheme_name(self.bits, self.granularity, self.group_size, self.symmetric)

    def dequantize(self) -> np.ndarray:
        """The weight the integers stand for: float32 [N, K] = qweight · scale, one multiplication each.

        A rotated weight is rotated back. Outlier columns are as they were given.
        """
        with np.errstate(over="ignore"):  # 127 · (the largest float32 / 127, rounded up) is inf
            q, scales, _ = self._parts()
            weight = q * schemes.expand(scales, self.shape[1], self.group_size)
        weight[:, self.outliers] = self._first.floats.T
        return rotated(weight, self.rotate) if self.rotate else weight

    def __repr__(self) -> str:
        n, k = self.shape
        layouts = "+".join(self._layouts)
        bias = "no bias" if self.bias is None else "bias"
        scheme = f"{self.scheme} rotated_{self.rotate}" if self.rotate else self.scheme
        floats = f", {len(self.outliers)} float32 columns" if self.outliers else ""
        return (
            f"PackedLinear({k} -> {n}, {scheme} weights{floats}, {self.x_granularity} uint{self.x_bits} activations, "
            f"{bias}, {self.nbytes} bytes, {layouts})"
        )

    def __eq__(self, other: object) -> bool:
        """The same scheme, integers, scales, zero points, float columns and bias, whatever the layout."""
        if not isinstance(other, PackedLinear):
            return NotImplemented
        mine, theirs = ((w._form(), w.symmetric, w.rotate, w.outliers, w.x_bits) for w in (self, other))
        if mine != theirs:
            return False
        none = np.zeros(0)
        return all(
            np.array_equal(none if a is None else a, none if b is None else b)
            for a, b in zip(*((w.bias, w._first.floats, *w._parts()) for w in (self, other)), strict=True)
        )

    def __hash__(self) -> int:
        return hash(self._form())

    def _form(self) -> tuple[Any, ...]:
        return self.shape, self.bits, self.granularity, self.group_size, self.x_granularity

    def __reduce__(self) -> tuple[Any, ...]:
        q, scales, zero_point = self._parts()
        more = (zero_point, self.rotate, self.outliers, self._first.floats, self.x_bits)
        return PackedLinear, (q, scales, self.bias, *self._form()[1:], *more)


prepare(PackedLinear, "_words")
