"""verify: runs a model in every way that should not matter, and says where it did."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from .. import tables
from ..onnx import InferenceSession, files
from ..onnx.options import thread_count
from . import elsewhere, invariance
from .checks import Check
from .data import Data, Source, read_data
from .machine import machine

#: Rows that are tried, at most, and of a run.
ROWS, BATCH = 32, 8
#: Called with what is done, how much there is, and the name of what comes next.
Progress = Callable[[int, int, str], None]


@dataclass
class Verification:
    """What was tried with a model, and whether its bits stayed the same.

    Attributes
    ----------
    model, sha256 : str
    data : str
        Where the feeds come from.
    rows : int
        How many were tried.
    checks : list of Check
    steps : list of str
        Steps of the model that `InferenceSession.report` calls not invariant, with the reason.
    machine : dict of str to str
        Processor, instruction set, threads, versions.
    seconds : float
    """

    model: str
    sha256: str
    data: str
    rows: int
    checks: list[Check]
    steps: list[str] = field(default_factory=list)
    machine: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def held(self) -> bool:
        """Whether all that could be tried held."""
        return all(each.held is not False for each in self.checks)

    def to_json(self) -> str:
        """All of it: the attributes, and "held"; of checks theirs, where `held` is null of what is not judged."""
        return json.dumps({"kind": "verification", "version": 1, **asdict(self), "held": self.held}, indent=1)

    def summary(self) -> str:
        """One line."""
        counts = {held: sum(each.held is held for each in self.checks) for held in (True, False, None)}
        parts = [f"{counts[True]} of {counts[True] + counts[False]} checks held"]
        parts += [f"{counts[None]} not judged"] if counts[None] else []
        return "; ".join([*parts, f"{self.rows} rows of {self.data}"])

    def table(self) -> str:
        """For a terminal."""
        rows = tables.table(_HEAD, list(map(_row, self.checks)), "LlLl")
        lines = [line for each in (self.summary(), *self._remarks()) for line in tables.folded(each)]
        return "\n".join([rows, "", *lines])

    def to_markdown(self) -> str:
        """A table, and where it did not hold."""
        rows = tables.markdown(_HEAD, list(map(_row, self.checks)), "llll")
        return "\n".join([self.summary(), "", rows, "", *self._remarks()]) + "\n"

    def _remarks(self) -> list[str]:
        return [*(f"{each.name}: {each.detail}" for each in self.checks if each.detail),
                *(f"not invariant: {each}" for each in self.steps)]  # fmt: skip

    __str__ = table


def verify(
    model: Any,
    feeds: Source | Data = None,
    *,
    rows: int = ROWS,
    isas: bool = True,
    runtimes: bool = True,
    threads: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Verification:
    """Prove that a model's results depend on nothing but its inputs, on some rows of data.

    The same rows are run alone, in another order, in other batches, with padding (of a model with an attention mask),
    with 1 to n threads, on every instruction set that this machine has (each in a process of its own), after the model
    was saved and read again, and by other runtimes. All but the last must give the same bits. Of other runtimes the
    distance is told; and of each layer that `quantize` made and calls exact, they must have our bits on equal inputs.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto or onnx_ir.Model
    feeds : path, mapping of arrays, iterable of mappings, or None
        As for `compare`.
    rows : int
        The most rows that are tried.
    isas, runtimes : bool
        Whether to try other instruction sets and runtimes, which takes longest.
    threads : int, optional
        The most threads that are tried; all cores by default.
    seed : int
        Of orders, padding and synthetic feeds.
    progress : callable, optional
        Called as ``progress(done, all, name)``.

    Returns
    -------
    Verification
        Prints as a table; `Verification.held` is the verdict.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what it was and what is allowed.
    OSError
        From reading.

    Notes
    -----
    A step without a kernel is computed by onnx.reference, whose bits may depend on the batch; `Verification.steps`
    lists these. Source: the promise of `InferenceSession`, held to it by running.

    Examples
    --------
    >>> from onnx import parser
    >>> import dynq_numba as dq
    >>> model = parser.parse_model('''<ir_version: 10, opset_import: ["": 21]>
    ...     g (float[n,8] x) => (float[n,8] y) { y = Softmax (x) }''')
    >>> dq.onnx.verify(model, isas=False, runtimes=False).held
    True
    """
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
        raise ValueError(f"rows must be a positive integer; got {rows!r}")
    begun, most = time.perf_counter(), thread_count(threads, None)
    session = InferenceSession(model, threads=threads)
    data = feeds if isinstance(feeds, Data) else read_data(
        feeds, session.get_inputs(), model=files.read(model), batch=BATCH, seed=seed
    )  # fmt: skip
    batches = []
    for each in data:
        batches.append(each)
        if sum(batch.rows for batch in batches) >= rows:
            break
    if not batches:
        raise ValueError(f"feeds must have rows; {data.description} has none")
    tried = invariance.Tried(files.read(model), session, [each.feeds for each in batches], seed)
    ways: list[Callable[[], Iterator[Check]]] = [
        tried.alone_and_together, tried.padded, lambda: tried.threads(most), tried.saved
    ]
    ways += [lambda: elsewhere.instruction_sets(tried)] if isas else []
    ways += [lambda: elsewhere.runtimes(tried)] if runtimes else []
    found = [tried.first()]
    for i, way in enumerate(ways):
        for check in way():
            found.append(check)
            if progress is not None:
                progress(i, len(ways), check.name)
    steps = [f"{step.kernel} ({', '.join(step.nodes)}): {step.why}" for step in session.report() if not step.invariant]
    return Verification(
        files.called(model, "model"), files.digest(model), data.description, sum(each.rows for each in batches), found,
        list(dict.fromkeys(steps)), machine(threads), time.perf_counter() - begun,
    )  # fmt: skip


_HEAD = ("check", "held", "what was tried", "sha256")


def _row(check: Check) -> tuple[str, str, str, str]:
    held = {True: "yes", False: "NO", None: "-"}[check.held]
    return check.name, held, check.tried, check.sha256[:16]
