"""Rounds of turns: who is not in turn is stopped, so no idle thread of one takes the cores of another."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..tables import folded, table
from .contestant import CONTESTANTS

#: Rounds by default.
ROUNDS = 7


@dataclass(frozen=True)
class Timing:
    """A contestant's times.

    Attributes
    ----------
    name, model : str
        "dynq", or the package of another runtime; and the file it ran.
    median_ms, least_ms, most_ms : float or None
        Of the medians of its turns; None where it cannot run the model.
    first_ms : float or None
        To open the model and run it once.
    ratio, ratio_least, ratio_most : float or None
        Its time over ours: the median, and the ends, of all rounds. Above 1 ours is faster.
    difference : float or None
        Norm of what its results differ from ours, over the norm of ours; the largest of all outputs.
    why : str
        Why it has no times.
    """

    name: str
    model: str
    median_ms: float | None = None
    least_ms: float | None = None
    most_ms: float | None = None
    first_ms: float | None = None
    ratio: float | None = None
    ratio_least: float | None = None
    ratio_most: float | None = None
    difference: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Timings:
    """All contestants, ours first; prints as a table.

    Attributes
    ----------
    timings : list of Timing
    threads, rounds : int
    data : str
        What ran.
    """

    timings: list[Timing]
    threads: int
    rounds: int
    data: str

    def to_json(self) -> str:
        """All of it."""
        return json.dumps({"kind": "timings", "version": 1} | asdict(self), indent=1)

    def __str__(self) -> str:
        rows = [_row(each) for each in self.timings]
        head = ("runtime", "median ms", "least … most", "first ms", "its time / ours", "differs by")
        told = [f"{each.name}: {each.why}" for each in self.timings if each.why]
        about = f"{self.rounds} rounds, {self.threads} threads, {self.data}"
        shown = table(head, rows, "Lrrrrr", spare=("first ms", "differs by"))
        return "\n".join([shown, "", *folded(about), *told, *_verdicts(self)])


def _row(each: Timing) -> tuple[str, ...]:
    if each.median_ms is None:
        return each.name, "", "", "", "", ""
    ratio = "" if each.ratio is None else f"{each.ratio:.2f} ({each.ratio_least:.2f} … {each.ratio_most:.2f})"
    differs = "" if each.difference is None else f"{each.difference:.1e}"
    spread = f"{each.least_ms:.3f} … {each.most_ms:.3f}"
    return each.name, f"{each.median_ms:.3f}", spread, f"{each.first_ms:.0f}", ratio, differs


def _verdicts(found: Timings) -> list[str]:
    """A sentence for each other runtime that ran."""
    said = []
    for each in found.timings[1:]:
        if each.ratio is not None and each.ratio_least is not None and each.ratio_most is not None:
            clear = each.ratio_least > 1 or each.ratio_most < 1
            word = f"{each.ratio:.2f} × the time of ours" if clear else "no clear difference: rounds disagree"
            said.append(f"{each.name}: {word}")
    return said


class _Process:
    """A contestant that is stopped but in its turns."""

    def __init__(self, name: str, model: str, folder: str, threads: int) -> None:
        command = [sys.executable, "-m", f"{__package__}.contestant", name, model, folder, str(threads)]
        paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
        self.errors = Path(folder, f"{name}.err").open("w+")  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=environment
        )

    def answer(self) -> Any:
        """The next line; RuntimeError with its last words where it has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            last = [each.strip() for each in self.errors.read().splitlines() if each.strip()][-1:]
            raise RuntimeError(last[0] if last else f"it ended with status {self.process.wait()}")
        return json.loads(line)

    def turn(self) -> list[float]:
        """Seconds of its calls."""
        assert self.process.stdin is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        found: list[float] = self.answer()
        self.stop()
        return found

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for each in (self.process.stdin, self.process.stdout, self.errors):
            if each is not None:
                each.close()


def measure(
    models: Mapping[str, str], feeds: Mapping[str, np.ndarray], threads: int, data: str, rounds: int = ROUNDS
) -> Timings:
    """Time contestants, ours first, in turn.

    Parameters
    ----------
    models : mapping of str to str
        The file that each of CONTESTANTS runs; "dynq" is one of them.
    feeds : mapping of str to array
    threads, rounds : int
    data : str
        What the feeds are, for readers.

    Raises
    ------
    RuntimeError
        Where ours cannot run it. Others that cannot have `why`.
    """
    names = ["dynq", *(name for name in models if name != "dynq")]
    firsts: dict[str, float] = {}
    why: dict[str, str] = {}
    times: dict[str, list[float]] = {name: [] for name in names}
    with TemporaryDirectory() as folder, ExitStack() as stack:
        np.savez(Path(folder) / "feeds.npz", **dict(feeds))  # type: ignore[arg-type]
        running: dict[str, _Process] = {}
        for name in names:
            if name != "dynq" and find_spec(name) is None:
                why[name] = f"it is not installed: pip install {name}"
                continue
            running[name] = _Process(name, models[name], folder, threads)
            stack.callback(running[name].close)
            try:
                firsts[name] = running[name].answer()
                running[name].stop()
            except RuntimeError as error:
                if name == "dynq":
                    raise
                why[name] = str(error)
                del running[name]
        for number in range(rounds):
            for name in _rotated(list(running), number):
                times[name].append(statistics.median(running[name].turn()))
        found = {name: _results(Path(folder) / f"{name}.npz") for name in running}
    return Timings([_timing(name, models[name], times, firsts, found, why) for name in names], threads, rounds, data)


def _rotated(names: list[str], number: int) -> list[str]:
    first = number % len(names)
    return names[first:] + names[:first]


def _results(path: Path) -> list[np.ndarray]:
    with np.load(path) as file:
        return [file[name] for name in file.files]


def _timing(
    name: str, model: str, times: Mapping[str, Sequence[float]], firsts: Mapping[str, float],
    results: Mapping[str, Sequence[np.ndarray]], why: Mapping[str, str],
) -> Timing:  # fmt: skip
    if name in why:
        return Timing(name, model, why=why[name])
    own = [1e3 * each for each in times[name]]
    about = Timing(name, model, statistics.median(own), min(own), max(own), 1e3 * firsts[name])
    if name == "dynq":
        return about
    ratios = [theirs / ours for theirs, ours in zip(times[name], times["dynq"], strict=True)]
    ends = {"ratio": statistics.median(ratios), "ratio_least": min(ratios), "ratio_most": max(ratios)}
    return Timing(**(asdict(about) | ends | {"difference": _difference(results["dynq"], results[name])}))


def _difference(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float | None:
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(ours, theirs, strict=False)
             if a.shape == b.shape and a.dtype.kind in "fiub"]  # fmt: skip
    found = [float(np.linalg.norm((a - b).ravel()) / max(float(np.linalg.norm(a.ravel())), 1e-30)) for a, b in pairs]
    return max(found) if found and all(map(np.isfinite, found)) else None


#: Other runtimes that `dynq bench --vs` takes.
OTHERS = tuple(name for name in CONTESTANTS if name != "dynq")
