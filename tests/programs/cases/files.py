"""Calls of save and load, which belong to no operator."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import dynq_numba as dq

from .base import Call, Maker, Size


def calls(size: Size) -> Iterator[Call]:
    a = Maker()
    n = {"small": 20, "middle": 768, "large": 3000}[size]
    folder = tempfile.TemporaryDirectory()
    path = str(Path(folder.name) / "model")
    w = dq.pack_linear(a.normal(n, min(n, 64)))

    def save(big: np.ndarray, folder: object = folder) -> np.ndarray:  # which keeps the folder
        dq.save(path, {"w": w, "big": big})
        return np.frombuffer(Path(path).read_bytes()[-80:], np.uint8)

    def load(folder: object = folder) -> np.ndarray:
        return dq.load(path)["big"]

    big = a.normal(n, n)
    save(big)
    yield Call("save", save, {"big": big}, (), 10)
    yield Call("load", load, {}, (), 10)


def warm() -> Iterator[Callable[[], object]]:
    a = Maker(0)
    packed = {bits: dq.pack_linear(a.normal(70, 300), bits=bits, granularity="per_group") for bits in (8, 4)}
    x = a.normal(40, 300)

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            dq.save(folder + "/model", {str(bits): w for bits, w in packed.items()})
            for w in dq.load(folder + "/model").values():
                dq.linear(x, w)

    yield run
