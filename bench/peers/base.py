"""What a contestant is: one way to run a dynamically quantized linear layer, y = x·Wᵀ + bias, ours or a peer's."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Layer(Protocol):
    """A linear layer that is ready to run."""

    #: Only the framework's own run on the input that the last call left, without copies from and to numpy arrays;
    #: None where a call is already that.
    bare: Callable[[], object] | None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """As a user calls it: a float32 numpy array [M, K] in, a fresh one [M, N] out."""


class Function:
    """A layer that is a function of numpy arrays, with its `bare` run if that is something else."""

    def __init__(self, call: Callable[[np.ndarray], np.ndarray], bare: Callable[[], object] | None = None):
        self.call = call
        self.bare = bare

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.call(x)


def no_environment(threads: int) -> dict[str, str]:
    """For frameworks that take their thread count as an argument."""
    return {}


@dataclass(frozen=True)
class Contestant:
    """One row of the tables. Each is built and run in a process of its own."""

    #: Unique: the table row.
    name: str
    #: dynq, xnnpack, torch, onnxruntime, openvino, zentorch or numpy.
    family: str
    #: int8, int4 or float32.
    weights: str
    #: Distributions whose versions are reported, and whose modules must be there.
    distributions: tuple[str, ...]
    #: (weight float32 [N, K], bias float32 [N], rows M, threads) -> Layer. Imports the framework.
    build: Callable[[np.ndarray, np.ndarray, int, int], Layer]
    #: The largest relative error (norms, against float64) on normal data that is still believable.
    tolerance: float
    #: Variables to set before the process starts, for a thread count.
    environment: Callable[[int], dict[str, str]] = no_environment
    #: The framework's own switches that limit it to AVX2; None where it has none.
    avx2: dict[str, str] | None = None


def missing(contestant: Contestant) -> str | None:
    """Why this contestant cannot run here, or None."""
    for distribution in contestant.distributions:
        try:
            importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            return f"{distribution} is not installed"
        if importlib.util.find_spec(distribution.replace("-", "_")) is None:
            return f"{distribution} cannot be imported"
    return None


def versions(contestant: Contestant) -> dict[str, str]:
    """The installed version of each distribution."""
    return {name: importlib.metadata.version(name) for name in contestant.distributions}
