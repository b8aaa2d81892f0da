"""What the goals of similarity.toml call."""

from __future__ import annotations

from pathlib import Path

import numpy as np

HUMAN = Path(__file__).parents[2] / "build" / "pipeline" / "similarity.npy"


def lee_correlation(documents: np.ndarray, embeddings: np.ndarray) -> float:
    """Pearson's correlation of cosines with people's judgements, over the pairs of two different documents."""
    human = np.load(HUMAN)
    human = np.maximum(human, human.T)  # the file has the upper half
    first, second = np.triu_indices(len(documents), 1)
    different = documents[first] != documents[second]
    first, second = first[different], second[different]
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return float(np.corrcoef((unit[first] * unit[second]).sum(1), human[documents[first], documents[second]])[0, 1])
