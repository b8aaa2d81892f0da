"""Runs a model on the feeds of a folder, and prints the digest of its results: for another instruction set."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ..onnx import InferenceSession
from ..runtime import isa
from .checks import digest


def main(folder: str) -> None:
    session = InferenceSession(Path(folder) / "model.onnx")
    names, results = [each.name for each in session.get_inputs()], []
    for path in sorted(Path(folder).glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            results.append(session.run(None, {name: file[f"arr_{i}"] for i, name in enumerate(names)}))
    print(isa.active().name, digest(results))


if __name__ == "__main__":
    main(sys.argv[1])
