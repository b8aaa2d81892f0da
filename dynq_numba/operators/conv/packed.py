"""PackedConv: a convolution's quantized weight, laid out for the instruction set that runs it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arguments import checks
from ...arguments.checks import F32
from ...arguments.geometry import Geometry
from ...kernels.gemm.pack import MAX_K
from ...runtime import isa, threads
from ..linear import schemes
from . import backend

#: Spatial arguments: an integer, or one for each spatial dimension; padding also a pair for each.
Sizes = int | Sequence[int]


class PackedConv:
    """A convolution's weight as int8, a scale for each output channel, packed for this machine. Made by `pack_conv`.

    Can be pickled and copied, and compares by value. A pickle holds plain integers, so other machines can read it.

    Attributes
    ----------
    shape : tuple of int
        (O, C / groups, kH, kW), or (O, C / groups, kW) of one spatial dimension.
    stride, dilation : tuple of int
        One for each spatial dimension.
    padding : tuple of pairs of int
        (before, after) for each spatial dimension.
    groups : int
        Groups of channels. Each group uses only its own inputs.
    bias : float32 array [O] or None
        Added to every pixel of an output channel.
    scale : float32 array [O]
        One for each output channel (a new array at each call).
    qweight : int8 array, shape of the weight
        The integers (a new array at each call).
    nbytes : int
        Bytes in memory.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> w = dq.pack_conv(np.full((2, 1, 3, 3), 0.5), padding=1)
    >>> w.shape, w.padding, w.qweight[0, 0, 0].tolist()
    ((2, 1, 3, 3), ((1, 1), (1, 1)), [127, 127, 127])
    """

    __slots__ = ("__weakref__", "_first", "_geometry", "_layouts", "bias", "shape")
    shape: tuple[int, ...]
    bias: np.ndarray | None

    def __init__(self, q: np.ndarray, scale: np.ndarray, bias: np.ndarray | None, geometry: Geometry):
        self.shape = q.shape
        self.bias, self._geometry = bias, geometry
        if bias is not None:
            bias.flags.writeable = False  # the layout holds a copy: a change here would change no result
        self._layouts: dict[str, Any] = {}
        self._first = self._layout_of(q, scale)

    def _layout_of(self, q: np.ndarray, scale: np.ndarray) -> Any:
        """Lay q out for the instruction set in force."""
        bias = np.zeros(self.shape[0], F32) if self.bias is None else self.bias
        target = isa.active()
        layout = backend.Layout(q.reshape(self._shape_2d), scale, bias, self._geometry, target)
        return self._layouts.setdefault(target.name, layout)  # the first of two threads wins

    def _layout(self) -> Any:
        """The layout for the instruction set in force; made on first use of another one."""
        if not isa.ever_forced:
            return self._first
        return self._layouts.get(isa.active().name) or self._layout_of(*self._parts())

    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        """The integers and the scales."""
        q, scale = next(iter(self._layouts.values())).unpack()
        return q.reshape(self.shape), scale

    def _descriptor(self) -> np.ndarray:
        """What compiled code gets of this weight."""
        threads.ready()
        return self._layout().descriptor

    @property
    def _shape_2d(self) -> tuple[int, ...]:
        return (*self.shape[:2], 1, *self.shape[2:])[-4:] if len(self.shape) == 3 else self.shape

    @property
    def stride(self) -> tuple[int, ...]:
        """Pixels from one output to the next, for each spatial dimension."""
        return self._geometry.stride[4 - len(self.shape) :]

    @property
    def padding(self) -> tuple[tuple[int, int], ...]:
        """Pixels of zeros before and after the image, for each spatial dimension."""
        return self._geometry.padding[4 - len(self.shape) :]

    @property
    def dilation(self) -> tuple[int, ...]:
        """Pixels from one tap of the kernel to the next, for each spatial dimension."""
        return self._geometry.dilation[4 - len(self.shape) :]

    @property
    def groups(self) -> int:
        """Groups of channels. Each group uses only its own inputs."""
        return self._geometry.groups

    @property
    def scale(self) -> np.ndarray:
        """float32 [O], one for each output channel (a new array at each call)."""
        return self._parts()[1]

    @property
    def qweight(self) -> np.ndarray:
        """The integers, int8 in the weight's shape, independent of any layout (a new array at each call)."""
        return self._parts()[0]

    @property
    def nbytes(self) -> int:
        """Bytes in memory: panels with padding (of each instruction set used so far), scales, sums, bias."""
        own = 0 if self.bias is None else self.bias.nbytes
        return own + sum(layout.nbytes for layout in self._layouts.values())

    def dequantize(self) -> np.ndarray:
        """The weight the integers stand for: float32 = qweight · scale, one multiplication each."""
        q, scale = self._parts()
        with np.errstate(over="ignore"):  # 127 · (the largest float32 / 127, rounded up) is inf
            return q * scale.reshape(-1, *(1,) * (q.ndim - 1))

    def __repr__(self) -> str:
        taps = "x".join(map(str, self.shape[2:]))
        return (
            f"PackedConv({self.shape[1] * self.groups} -> {self.shape[0]}, {taps}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}, groups={self.groups}, int8_per_channel weights, "
            f"{'no bias' if self.bias is None else 'bias'}, {self.nbytes} bytes, {'+'.join(self._layouts)})"
        )

    def __eq__(self, other: object) -> bool:
        """The same integers, scales, bias and geometry, whatever the layout."""
        if not isinstance(other, PackedConv):
            return NotImplemented
        if self._form() != other._form():
            return False
        none = np.zeros(0)
        mine, theirs = ((none if w.bias is None else w.bias, *w._parts()) for w in (self, other))
        return all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))

    def __hash__(self) -> int:
        return hash(self._form())

    def _form(self) -> tuple[Any, ...]:
        return self.shape, self._geometry

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedConv, (*self._parts(), self.bias, self._geometry)


def _integers(name: str, value: Any, count: int, least: int) -> tuple[int, ...]:
    """An integer for each of `count` dimensions."""
    values = value if isinstance(value, (tuple, list)) else (value,) * count
    if len(values) != count:
        raise ValueError(f"{name} must be an integer or {count} of them; got {checks.describe(value)}")
    for each in values:
        if not checks.is_integer(each):
            raise TypeError(f"{name} must be an integer or {count} of them; got {checks.describe(value)}")
        if not least <= each < 2**31:
            raise ValueError(f"{name} must be at least {least} and below 2**31; got {checks.describe(value)}")
    return tuple(int(each) for each in values)


def _padding(value: Any, count: int) -> tuple[tuple[int, ...], ...]:
    """(before, after) for each of `count` dimensions."""
    if isinstance(value, (tuple, list)) and any(isinstance(each, (tuple, list)) for each in value):
        if len(value) != count:
            raise ValueError(f"padding must be an integer, or one or a pair for each dimension; got {value!r}")
        return tuple(_integers("padding", each, 2, 0) for each in value)
    return tuple((each, each) for each in _integers("padding", value, count, 0))


def convolution_geometry(
    shape: tuple[int, ...], stride: Any, padding: Any, dilation: Any, groups: Any
) -> Geometry:
    """How a weight of that shape moves, having checked it and these."""
    if len(shape) not in (3, 4) or 0 in shape:
        forms = "[O, C / groups, kW] or [O, C / groups, kH, kW], none of them 0"
        raise ValueError(f"weight must be {forms}; got {shape}")
    if math.prod(shape[1:]) > MAX_K:
        k = math.prod(shape[1:])
        raise ValueError(f"weight must have at most {MAX_K} values for each output; got {k}, shape {shape}")
    spatial = len(shape) - 2
    (groups,) = _integers("groups", groups, 1, 1)
    if shape[0] % groups:
        raise ValueError(f"groups must divide the {shape[0]} outputs of weight; got {groups}")
    flat = ((0, 0),) * (2 - spatial)
    ones = (1,) * (2 - spatial)
    return Geometry(
        (*ones, *_integers("stride", stride, spatial, 1)),  # type: ignore[arg-type]
        (*flat, *_padding(padding, spatial)),  # type: ignore[arg-type]
        (*ones, *_integers("dilation", dilation, spatial, 1)),  # type: ignore[arg-type]
        groups,
    )


def pack_conv(
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: Sizes = 1,
    padding: Sizes | Sequence[Sequence[int]] = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> PackedConv:
    """Quantize and pack the weight of a convolution, once, for any number of `conv` calls.

    Parameters
    ----------
    weight : array [O, C / groups, kH, kW] or [O, C / groups, kW] of float16, float32, float64 or bfloat16
        As PyTorch stores it, for images or for sequences; finite. C / groups · kH · kW ≤ 65,793.
    bias : array [O] of floats, optional
        Added to every pixel of an output channel; zeros by default.
    stride, dilation : int or sequence of int
        One for all spatial dimensions, or one for each.
    padding : int, sequence of int, or sequence of pairs
        Zeros around the image: for all sides, for each dimension, or (before, after) for each dimension.
    groups : int
        O and C must be multiples of it. Each group of outputs uses only its own inputs.

    Returns
    -------
    PackedConv

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed.

    Notes
    -----
    Per output channel: scale = max|w| / 127 (1 where that is 0), q = clip(rint(w / scale), -127, 127), in float32, as
    `pack_linear`: |w - q·scale| ≤ scale / 2 · (1 + 2^-15). Source: ONNX QuantizeLinear-13, symmetric.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> w = dq.pack_conv(np.ones((8, 3, 3, 3), np.float32), stride=2, padding=1)
    >>> w.shape, w.stride, w.padding
    ((8, 3, 3, 3), (2, 2), ((1, 1), (1, 1)))
    """
    weight = checks.float_array("weight", weight)
    geometry = convolution_geometry(weight.shape, stride, padding, dilation, groups)
    outputs = len(weight)
    if bias is not None:
        bias = checks.float_array("bias", bias, ndim=1)
        if bias.shape != (outputs,):
            raise ValueError(f"bias must have shape ({outputs},), one for each output of weight; got {bias.shape}")
        bias = np.array(bias)
    matrix = schemes.weight_matrix(weight.reshape(outputs, -1))
    q, scale, _ = schemes.quantize_weight(matrix, 8, "per_channel", None)
    return PackedConv(q.reshape(weight.shape), scale[:, 0].copy(), bias, geometry)
