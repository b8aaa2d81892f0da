"""PackedLSTM, PackedGRU, PackedRNN: the weights of one recurrent layer, as PackedLinears. Made by pack.py."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np

from ...runtime import isa, threads
from ..linear.packed import PackedLinear
from . import backend as runtime


class Options(NamedTuple):
    """What a layer does besides its weights; the same for all its directions except for the activations."""

    direction: str
    activations: tuple[tuple[str, ...], ...]
    alpha: tuple[tuple[float, ...], ...]
    beta: tuple[tuple[float, ...], ...]
    clip: float | None
    input_forget: bool
    linear_before_reset: bool


class PackedRecurrent:
    """What PackedLSTM, PackedGRU and PackedRNN share: one layer in one or two directions.

    Can be pickled and copied, and compares by value. A pickle holds plain integers, so other machines can read it.

    Attributes
    ----------
    input_size, hidden_size, state_size : int
        I, H, and P: what h holds (H without a projection).
    directions : int
        1 or 2.
    options : Options
        Direction, activations with their alpha and beta, clip, and the kind's own switches.
    weights : tuple of tuple of PackedLinear
        For each direction W, R, and what is multiplied second in a step: the projection of an LSTM, or R of the h gate
        of a GRU without linear_before_reset. Rows are gates (ONNX order: i o f c, z r h) in blocks of 16 units.
    peepholes : tuple of float32 array [3, H] in order i o f, or None
    """

    kind: ClassVar[str] = ""
    __slots__ = (
        "__weakref__", "_first", "_layers", "directions", "hidden_size", "input_size", "options", "peepholes",
        "state_size", "weights",
    )  # fmt: skip
    weights: tuple[tuple[PackedLinear, ...], ...]
    peepholes: tuple[np.ndarray, ...] | None
    options: Options
    input_size: int
    hidden_size: int
    state_size: int
    directions: int

    def __init__(
        self,
        weights: tuple[tuple[PackedLinear, ...], ...],
        hidden_size: int,
        peepholes: tuple[np.ndarray, ...] | None,
        options: Options,
    ):
        self.weights, self.peepholes, self.options = weights, peepholes, Options(*options)
        self.hidden_size, self.directions = hidden_size, len(weights)
        self.input_size, self.state_size = weights[0][0].shape[1], weights[0][1].shape[1]
        for array in peepholes or ():
            array.flags.writeable = False
        self._layers: dict[str, runtime.Layer] = {}
        self._first = self._layer_of()

    def _layer_of(self) -> runtime.Layer:
        name = isa.active().name
        return self._layers.get(name) or self._layers.setdefault(name, runtime.Layer(self))

    def _layer(self) -> runtime.Layer:
        """What runs on the instruction set in force; made on first use of another one."""
        return self._layer_of() if isa.ever_forced else self._first

    def _descriptor(self) -> np.ndarray:
        """What compiled code gets of this layer."""
        threads.ready()
        return self._layer().words

    @property
    def nbytes(self) -> int:
        """Bytes in memory: packed weights with their padding, scales, sums, biases, peepholes."""
        arrays = sum(array.nbytes for array in self.peepholes or ())
        return arrays + sum(weight.nbytes for direction in self.weights for weight in direction)

    def __repr__(self) -> str:
        names = ", ".join("/".join(names) for names in dict.fromkeys(self.options.activations))
        extras = ["projected" if self.state_size != self.hidden_size else "", "peepholes" if self.peepholes else ""]
        if self.options.clip is not None:
            extras.append(f"clip {self.options.clip:g}")
        text = "".join(f", {extra}" for extra in extras if extra)
        return (
            f"{type(self).__name__}({self.input_size} -> {self.directions * self.state_size}, "
            f"hidden {self.hidden_size}, {self.options.direction}, {names}{text}, "
            f"int8_per_channel weights, {self.nbytes} bytes)"
        )

    def __eq__(self, other: object) -> bool:
        """The same options, integers, scales, biases and peepholes, whatever the layout."""
        if type(self) is not type(other) or not isinstance(other, PackedRecurrent):
            return NotImplemented
        if self._form() != other._form() or self.weights != other.weights:
            return False
        mine, theirs = self.peepholes or (), other.peepholes or ()
        return len(mine) == len(theirs) and all(map(np.array_equal, mine, theirs))

    def __hash__(self) -> int:
        return hash(self._form())

    def _form(self) -> tuple[Any, ...]:
        return self.kind, self.input_size, self.hidden_size, self.state_size, self.options

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.weights, self.hidden_size, self.peepholes, tuple(self.options))


class PackedLSTM(PackedRecurrent):
    """An LSTM layer, from `pack_lstm`; for `lstm` and `lstm_cell`.

    Can be pickled and copied, and compares by value. A pickle holds plain integers, so other machines can read it.

    Attributes
    ----------
    input_size, hidden_size, state_size : int
        I, H, and P: what h holds (H without a projection).
    directions : int
        1 or 2.
    options : named tuple
        ``direction``, ``activations`` with their ``alpha`` and ``beta``, ``clip``, and the kind's own switches.
    weights : tuple of tuple of PackedLinear
        For each direction W, R, and the projection if there is one. Rows are gates i o f c,
        in blocks of 16 units.
    peepholes : tuple of float32 array [3, H], or None
        In the order i o f.
    nbytes : int
        Bytes in memory: packed weights with their padding, scales, sums, biases, peepholes.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> layer = dq.pack_lstm(np.ones((4 * 8, 3)), np.ones((4 * 8, 8)), layout="onnx")
    >>> layer.input_size, layer.hidden_size, layer.directions, layer.options.direction
    (3, 8, 1, 'forward')
    """

    kind: ClassVar[str] = "lstm"
    __slots__ = ()


class PackedGRU(PackedRecurrent):
    """A GRU layer, from `pack_gru`; for `gru` and `gru_cell`.

    Can be pickled and copied, and compares by value. A pickle holds plain integers, so other machines can read it.

    Attributes
    ----------
    input_size, hidden_size, state_size : int
        I, H, and P: what h holds (H).
    directions : int
        1 or 2.
    options : named tuple
        ``direction``, ``activations`` with their ``alpha`` and ``beta``, ``clip``, and the kind's own switches.
    weights : tuple of tuple of PackedLinear
        For each direction W, R, and R of the h gate without linear_before_reset. Rows are gates
        z r h, in blocks of 16 units.
    peepholes : tuple of float32 array [3, H], or None
        None.
    nbytes : int
        Bytes in memory: packed weights with their padding, scales, sums, biases, peepholes.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> layer = dq.pack_gru(np.ones((3 * 8, 3)), np.ones((3 * 8, 8)), layout="torch")
    >>> layer.input_size, layer.hidden_size, layer.options.linear_before_reset
    (3, 8, True)
    """

    kind: ClassVar[str] = "gru"
    __slots__ = ()


class PackedRNN(PackedRecurrent):
    """A plain recurrent layer, from `pack_rnn`; for `rnn` and `rnn_cell`.

    Can be pickled and copied, and compares by value. A pickle holds plain integers, so other machines can read it.

    Attributes
    ----------
    input_size, hidden_size, state_size : int
        I, H, and P: what h holds (H).
    directions : int
        1 or 2.
    options : named tuple
        ``direction``, ``activations`` with their ``alpha`` and ``beta``, ``clip``, and the kind's own switches.
    weights : tuple of tuple of PackedLinear
        For each direction W and R, in blocks of 16 units.
    peepholes : tuple of float32 array [3, H], or None
        None.
    nbytes : int
        Bytes in memory: packed weights with their padding, scales, sums, biases, peepholes.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> layer = dq.pack_rnn(np.ones((2, 8, 3)), np.ones((2, 8, 8)))
    >>> layer.directions, layer.options.activations
    (2, (('tanh',), ('tanh',)))
    """

    kind: ClassVar[str] = "rnn"
    __slots__ = ()
