"""What a row of the catalogue is, and the arrays that rows are made with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

F32 = np.float32
#: small: microseconds. middle: up to some milliseconds, worth two threads. large: tens of megabytes.
Size = Literal["small", "middle", "large"]
Arrays = Iterator[np.ndarray]


class Call(NamedTuple):
    """A call of a public function on plain arrays; the options in `takes` may be given, too."""

    name: str
    run: Callable[..., Any]
    arrays: Mapping[str, np.ndarray]
    takes: tuple[str, ...] = ("out", "threads")
    #: How often soak.py makes it, in relation to the other calls of the size.
    share: int | None = None


class Draw(Protocol):
    """What test_extremes draws: lengths, often 0 or 1, and rows of values at the ends of float32."""

    def length(self) -> int: ...
    def short(self) -> int: ...
    def one_of(self, *choices: int) -> int: ...
    def floats(self, *shape: int) -> np.ndarray: ...
    def rng(self) -> np.random.Generator: ...


class Extreme(NamedTuple):
    """A function of plain arrays, and how they are drawn."""

    draw: Callable[[Draw], tuple[np.ndarray, ...]]
    run: Callable[..., list]


@dataclass(frozen=True)
class Row:
    """All that tests know of an operator by name. What they do with it: see the package's docstring."""

    #: Calls of a size, with arrays made anew.
    calls: Callable[[Size], Iterator[Call]]
    #: Calls at lengths around those of vectors, panels and tiles, which give one array.
    edges: Callable[[], Iterator[Call]]
    #: Calls of every option: none may have to compile anything after a warm-up.
    warm: Callable[[], Iterator[Callable[[], object]]]
    #: Arrays whose digests are kept in golden.json, by name.
    golden: Mapping[str, Callable[[], Arrays]]
    #: Folders of kernels/ that its kernels may import.
    imports: str
    #: Modules of bench/topics/.
    bench: tuple[str, ...] = ()
    #: What is compared with the reference at the ends of float32 and of lengths, by name.
    extremes: Mapping[str, Extreme] = field(default_factory=dict)


def bits(result: Any) -> bytes:
    """A result's, whether it is an array or several."""
    parts = result if isinstance(result, tuple | list) else (result,)
    return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)


class Maker:
    """Random arrays of a row and a size: the same in every process."""

    def __init__(self, seed: int = 7) -> None:
        self.rng = np.random.default_rng(seed)

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape, F32)

    def ids(self, limit: int, *shape: int) -> np.ndarray:
        return self.rng.integers(0, limit, shape)


# Golden inputs: raw bits of PCG64 (a stream that numpy promises to keep) and exact steps, so the same everywhere.


def raw(seed: int, *shape: int) -> np.ndarray:
    return np.random.PCG64(seed).random_raw(int(np.prod(shape))).reshape(shape)


def values(seed: int, *shape: int) -> np.ndarray:
    """float32 in [-2, 2), more of them near 0: the product of a value and a factor, each of 24 bits."""
    bits = raw(seed, *shape)
    value = ((bits >> np.uint64(40)).astype(np.float32) - np.float32(2**23)) / np.float32(2**22)
    return value * ((bits & np.uint64(0xFFFFFF)).astype(np.float32) / np.float32(2**24))


def special(seed: int, *shape: int) -> np.ndarray:
    """float32 of any bits: every exponent, denormals, infinities, NaN."""
    return (raw(seed, *shape) >> np.uint64(32)).astype(np.uint32).view(np.float32)


def below(seed: int, limit: int, *shape: int) -> np.ndarray:
    return (raw(seed, *shape) % np.uint64(limit)).astype(np.int64)
