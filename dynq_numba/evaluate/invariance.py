"""The same rows in other company: alone, in another order, in other batches, padded; by more threads; saved, read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from ..onnx import InferenceSession, files
from ..runtime.threads import get_num_threads
from .checks import Check, digest, same

#: Positions that padding adds.
PADDING = 5
#: Up to so many threads each number is tried; beyond, powers of two and the most.
EACH = 8
Feeds = Mapping[str, np.ndarray]


class Tried:
    """A model, runs of it, and their results.

    Parameters
    ----------
    model : onnx_ir.Model
    session : InferenceSession
    feeds : sequence of mapping of str to array
        Of each run.
    seed : int
        Of orders and of what is put into padding.
    """

    def __init__(self, model: ir.Model, session: InferenceSession, feeds: Sequence[Feeds], seed: int) -> None:
        self.model, self.session, self.feeds = model, session, feeds
        self.results = [session.run(None, each) for each in feeds]
        self.sha256 = digest(self.results)
        self.outputs = [each.name for each in session.get_outputs()]
        self._rng = np.random.default_rng(seed)
        inputs = session.get_inputs()
        self._open = bool(inputs) and all(each.shape and not isinstance(each.shape[0], int) for each in inputs)

    def first(self) -> Check:
        """What all others are compared with; and the same again."""
        again = digest([self.session.run(None, each) for each in self.feeds])
        return Check("again", again == self.sha256, f"{len(self.feeds)} runs twice", sha256=self.sha256)

    def alone_and_together(self) -> Iterator[Check]:
        """Rows alone, in another order, and in batches of other sizes."""
        why = "" if self._open else "the model has a fixed number of rows"
        groups = self._groups() if self._open else []
        names = [name for i, name in enumerate(self.outputs) if self._open and self._by_rows(i)]
        if self._open and not names:
            why = "no result has a row for each row of the inputs"
        if why:
            yield Check("batch", None, "rows alone", why)
            return
        ways = {"rows alone": self._singles, "other order": self._permuted, "other batches": self._cut}
        for name, made in ways.items():
            wrong: dict[str, int] = {}
            rows = 0
            for group in groups:
                rows += len(group)
                for order in made(len(group)):
                    stacked = {key: np.concatenate([group[i][0][key] for i in order]) for key in group[0][0]}
                    found = dict(zip(self.outputs, self.session.run(None, stacked), strict=True))
                    for place, i in enumerate(order):
                        for output in names:
                            if not same(found[output][place : place + 1], group[i][1][output]):
                                wrong[output] = wrong.get(output, 0) + 1
            detail = ", ".join(f"{count} rows of {output} differ" for output, count in wrong.items())
            yield Check(name, not wrong, f"{rows} rows", detail)

    def padded(self) -> Iterator[Check]:
        """Positions behind the last one that the mask leaves out, with anything in them."""
        found = self._mask()
        if found is None:
            yield Check("padding", None, "longer rows", "the model has no mask among its inputs")
            return
        mask, length = found
        wrong: dict[str, float] = {}
        for feeds, results in zip(self.feeds, self.results, strict=True):
            padded = {name: self._extended(name, array, mask, length) for name, array in feeds.items()}
            try:
                got = self.session.run(None, padded)
            except ValueError as error:  # such as a mask that has more positions than the inputs
                reason = str(error).splitlines()[0]
                yield Check("padding", None, "longer rows", f"the model does not take longer rows: {reason}")
                return
            for output, a, b in zip(self.outputs, map(np.asarray, results), map(np.asarray, got), strict=True):
                longer = a.ndim == b.ndim and all(n in (m, m + PADDING) for m, n in zip(a.shape, b.shape, strict=True))
                b = b[tuple(map(slice, a.shape))] if longer else b
                if not same(a, b):
                    wrong[output] = max(wrong.get(output, 0.0), _distance(a, b))
        detail = ", ".join(f"{name} differs by up to {error:.2g}" for name, error in wrong.items())
        yield Check("padding", not wrong, f"{PADDING} more positions, which {mask} leaves out", detail)

    def threads(self, most: int) -> Iterator[Check]:
        """1 to n threads."""
        most = most or get_num_threads()
        counts = range(1, min(most, EACH) + 1)
        for count in [*counts, *(n for i in range(4, 20) if EACH < (n := min(2**i, most)) and 2 ** (i - 1) < most)]:
            yield self.like(f"threads {count}", InferenceSession(self.model, threads=count))

    def saved(self) -> Iterator[Check]:
        """Written and read again."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            files.write(self.model.clone(), path)
            yield self.like("saved and read", InferenceSession(path))

    def like(self, name: str, session: InferenceSession) -> Check:
        """Whether another session has the same results."""
        found = digest([session.run(None, each) for each in self.feeds])
        return Check(name, found == self.sha256, f"{len(self.feeds)} runs", sha256=found)

    # -- rows -----------------------------------------------------------------------------------
    def _by_rows(self, i: int) -> bool:
        """Whether an output has a row for each row of the inputs."""
        return all(
            np.ndim(results[i]) > 0 and len(results[i]) == len(next(iter(feeds.values())))
            for feeds, results in zip(self.feeds, self.results, strict=True)
        ) and not isinstance(self.session.get_outputs()[i].shape[0], int)

    def _groups(self) -> list[list[tuple[dict[str, np.ndarray], dict[str, Any]]]]:
        """Rows of the same shapes, with their results. One that is alone is there twice."""
        found: dict[Any, list[tuple[dict[str, np.ndarray], dict[str, Any]]]] = {}
        for feeds, results in zip(self.feeds, self.results, strict=True):
            for i in range(len(next(iter(feeds.values())))):
                row = {name: array[i : i + 1] for name, array in feeds.items()}
                made = {name: np.asarray(each)[i : i + 1] for name, each in zip(self.outputs, results, strict=True)
                        if np.ndim(each)}  # fmt: skip
                found.setdefault(tuple(each.shape for each in row.values()), []).append((row, made))
        return [group * 2 if len(group) == 1 else group for group in found.values()]

    def _singles(self, n: int) -> Iterator[Sequence[int]]:
        yield from ([i] for i in range(n))

    def _permuted(self, n: int) -> Iterator[Sequence[int]]:
        yield self._rng.permutation(n).tolist()

    def _cut(self, n: int) -> Iterator[Sequence[int]]:
        order, i = self._rng.permutation(n).tolist(), 0
        while i < n:
            size = int(self._rng.integers(1, n + 1))
            yield order[i : i + size]
            i += size

    def _mask(self) -> tuple[str, str] | None:
        """The input that says which positions count, and the name of the axis of these."""
        for each in self.session.get_inputs():
            last = each.shape[-1] if len(each.shape) > 1 else None
            if "mask" in each.name.lower() and isinstance(last, str):
                return each.name, last
        return None

    def _extended(self, name: str, array: np.ndarray, mask: str, length: str) -> np.ndarray:
        """An input with PADDING positions more: zeros in the mask, values of its own in others, in another order."""
        shape = next(each.shape for each in self.session.get_inputs() if each.name == name)
        for axis, each in enumerate(shape):
            if each == length:
                extra = array.take(self._rng.integers(0, array.shape[axis], PADDING), axis)
                array = np.concatenate([array, np.zeros_like(extra) if name == mask else extra], axis)
        return array


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference; infinity of what has none."""
    if a.shape != b.shape or a.dtype.kind not in "biuf":
        return float(np.inf)
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())
