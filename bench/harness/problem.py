"""What is computed: shapes, and the seeded data of one shape, shared by every process through files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

SHAPES = Path(__file__).parents[1] / "shapes"
#: Multiply-adds that a float64 check may cost; a larger product is checked on some of its columns.
CHECKED = 100_000_000
#: Bits of a weight, by the word that contestants say.
BITS = {"int8": 8, "int4": 4, "float32": 32}


class Shape(NamedTuple):
    """x [M, K] times a weight [N, K]."""

    m: int
    k: int
    n: int

    @property
    def operations(self) -> int:
        """A multiply-add counts as two."""
        return 2 * self.m * self.k * self.n

    def __str__(self) -> str:
        return f"{self.m},{self.k},{self.n}"


@dataclass(frozen=True)
class Case:
    """One group of rows in the tables: a shape, a thread count, and where the weights are when a call begins."""

    shape: Shape
    threads: int
    cold: bool = False

    def __str__(self) -> str:
        where = ", cold weights" if self.cold else ""
        return f"M,K,N = {self.shape}, {self.threads} thread{'s'[: self.threads - 1]}{where}"

    def record(self) -> dict:
        return {**self.shape._asdict(), **{k: v for k, v in asdict(self).items() if k != "shape"}}


def files() -> list[str]:
    """Names of the shape files there are."""
    return sorted(path.stem for path in SHAPES.glob("*.txt"))


def read_shapes(name: str) -> list[Shape]:
    """The shapes of a file of lines "M K N"; # begins a comment."""
    lines = (line.partition("#")[0].split() for line in (SHAPES / f"{name}.txt").read_text().splitlines())
    return [Shape(*map(int, words)) for words in lines if words]


@dataclass(frozen=True)
class Problem:
    """Normal data, and what float64 makes of it in some columns of the result."""

    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    columns: np.ndarray
    exact: np.ndarray

    def error(self, y: np.ndarray) -> float:
        """Relative error (norms) of a result; infinite where its shape or type is wrong."""
        if y.shape != (len(self.x), len(self.weight)) or y.dtype != np.float32 or not np.isfinite(y).all():
            return float("inf")
        return float(np.linalg.norm(y[:, self.columns] - self.exact) / np.linalg.norm(self.exact))

    @classmethod
    def load(cls, folder: Path) -> Problem:
        parts = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in cls.__annotations__}
        return cls(**parts)


def make(shape: Shape, folder: Path) -> None:
    """Write the problem of a shape into `folder`, whose weight is kept when it is the one needed."""
    m, k, n = shape
    rng = np.random.default_rng([k, n])
    weight_file, bias_file, stamp = folder / "weight.npy", folder / "bias.npy", folder / "weight-of"
    if not (stamp.exists() and stamp.read_text() == f"{k},{n}"):
        for path in folder.glob("*"):  # never written in place: a process may have the old one mapped
            path.unlink()
        np.save(weight_file, rng.standard_normal((n, k), dtype=np.float32))
        np.save(bias_file, rng.standard_normal(n, dtype=np.float32))
        stamp.write_text(f"{k},{n}")
    weight, bias = np.load(weight_file, mmap_mode="r"), np.load(bias_file)
    rng = np.random.default_rng([m, k, n])
    x = rng.standard_normal((m, k), dtype=np.float32)
    count = min(n, max(8, CHECKED // (m * k)))
    columns = np.sort(rng.choice(n, count, replace=False))
    exact = x.astype(np.float64) @ weight[columns].T.astype(np.float64) + bias[columns]
    for name, array in (("x", x), ("columns", columns), ("exact", exact)):
        (folder / f"{name}.npy").unlink(missing_ok=True)
        np.save(folder / f"{name}.npy", array)
