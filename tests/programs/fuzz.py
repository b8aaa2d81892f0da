"""Coverage-guided fuzzing of what reads, plans and quantizes models.

    python tests/programs/fuzz.py SECONDS [SEED] [FOLDER]     findings are written to FOLDER (default: ./findings)
    python tests/programs/fuzz.py FILE…                       tries files again

A mutant is kept and mutated further when it reaches a pair of lines of dynq_numba's onnx, graph or planning that none
reached before. It begins with the models of tests/support/mutants.py and small ones of onnx's node tests. Allowed
are results, and ValueError, TypeError or MemoryError with a message. Findings are other errors, messages with the name
of one of Python's own, arenas that are overwritten, more than MOST seconds for a mutant, and ends of the process, which
is why a child does the work.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import mutants
import numpy as np
import onnx
from onnx.backend.test.case.node import collect_testcases

from dynq_numba.onnx import InferenceSession, quantize
from dynq_numba.onnx.session import zeros_for

WATCHED = tuple(f"dynq_numba/{each}/" for each in ("onnx", "graph", "planning"))
#: Seconds for a mutant until its signal, and until its process is ended.
MOST, LAST = 20, 60
#: Bytes of a model of onnx's.
NODE_TEST = 20_000
#: What a message of ours does not have: errors of Python itself.
RAW = re.compile(r"\b(Index|Key|Attribute|Recursion|Assertion|UnboundLocal|ZeroDivision|Runtime)Error\b")


class Coverage:
    """Pairs of lines that were run one after the other."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, int, int]] = set()
        self.fresh = 0
        self._wanted: dict[str, bool] = {}
        self._last: dict[object, int] = {}

    def __enter__(self) -> Coverage:
        self.fresh = 0
        sys.settrace(self._call)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)

    def _call(self, frame, event, argument):
        name = frame.f_code.co_filename
        if name not in self._wanted:
            self._wanted[name] = any(each in name for each in WATCHED)
        if not self._wanted[name]:
            return None
        last = frame.f_lineno

        def line(frame, event, argument):
            nonlocal last
            if event == "line":
                pair = (name, last, frame.f_lineno)
                last = frame.f_lineno
                if pair not in self.seen:
                    self.seen.add(pair)
                    self.fresh += 1
            return line

        return line


def outcome(data: bytes, feeds: dict, whole) -> str | None:
    """What is wrong with how a mutant was taken, or None."""
    signal.alarm(MOST)
    said = None
    for take in (run, smaller):
        try:
            with np.errstate(all="ignore"):
                take(data, feeds)
        except (ValueError, TypeError, MemoryError) as error:
            if not str(error) or RAW.search(str(error)) or type(error) is TypeError:
                said = f"{take.__name__}: {type(error).__name__}: {error}"
        except mutants.TooLong:
            said = f"{take.__name__} takes more than {MOST} s"
        except Exception as error:
            said = f"{take.__name__}: {type(error).__name__}: {error}"
    signal.alarm(0)
    return said if whole() else f"WRITES ELSEWHERE; {said}"


def run(data: bytes, feeds: dict) -> None:
    session = InferenceSession(data)
    given, _ = zeros_for(session)
    own = {name: feeds[name] for name, array in given.items() if name in feeds and array.dtype == feeds[name].dtype
           and array.ndim == feeds[name].ndim}  # fmt: skip
    session.run(None, given | own)


def smaller(data: bytes, feeds: dict) -> None:
    quantize(data, conv=True)


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    if rng.random() < 0.7:
        try:
            return mutants.changed(onnx.ModelProto.FromString(data), rng)
        except Exception:  # some mutants are no models any more
            pass
    return mutants.flipped(data, rng)


def work(seconds: float, seed: int, folder: Path) -> None:
    rng, coverage, current = np.random.default_rng(seed), Coverage(), folder / "current.onnx"
    corpus = [(model.SerializeToString(), feeds) for model, feeds in mutants.models()]
    for data, feeds in corpus:
        run(data, feeds)  # compiles
    cases = [case.model for case in collect_testcases(None) if case.model is not None]
    corpus += [(data, {}) for data in (case.SerializeToString() for case in cases) if len(data) < NODE_TEST]
    rng.shuffle(corpus)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + mutants.MEMORY, used + mutants.MEMORY))
    signal.signal(signal.SIGALRM, mutants.late)
    whole, begun, tried = mutants.guard_arenas(), time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        recent = len(corpus) - 1 - int(rng.exponential(20)) if rng.random() < 0.5 else int(rng.integers(len(corpus)))
        data, feeds = corpus[max(recent, 0)]
        data = mutated(data, rng)
        current.write_bytes(data)
        with coverage:
            said = outcome(data, feeds, whole)
        tried += 1
        if coverage.fresh:
            corpus.append((data, feeds))
        if said is not None:
            (folder / f"{seed}-{tried}.onnx").write_bytes(data)
            print(json.dumps({"file": f"{seed}-{tried}.onnx", "said": said[:400]}), flush=True)
        elif tried % 20 == 0:
            print(json.dumps({"tried": tried, "corpus": len(corpus), "pairs": len(coverage.seen)}), flush=True)
    current.unlink()
    print(json.dumps({"tried": tried, "corpus": len(corpus), "pairs": len(coverage.seen)}), flush=True)


def supervise(seconds: float, seed: int, folder: Path) -> int:
    """Let children work until the time is over; each that ends early is a finding."""
    folder.mkdir(exist_ok=True)
    begun, findings = time.monotonic(), 0
    while (left := seconds - (time.monotonic() - begun)) > 1:
        options = ["-W", "ignore", "-X", "faulthandler"]
        command = [sys.executable, *options, __file__, "--work", str(left), str(seed), str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            watch = signal.signal(signal.SIGALRM, lambda *_: child.kill())
            signal.alarm(10 * LAST)  # it may compile first
            for line in child.stdout:
                signal.alarm(LAST * 50)
                findings += "said" in json.loads(line)
                print(line, end="", flush=True)
            signal.alarm(0)
            signal.signal(signal.SIGALRM, watch)
        if child.returncode:
            findings += 1
            (folder / "current.onnx").rename(folder / f"{seed}-end.onnx")
            said = f"the process ended with {child.returncode}"
            print(json.dumps({"file": f"{seed}-end.onnx", "said": said}), flush=True)
        seed += 1
    return findings


def main() -> int:
    if sys.argv[1] == "--work":
        work(float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
        return 0
    if not sys.argv[1].isdecimal():
        signal.signal(signal.SIGALRM, mutants.late)
        whole = mutants.guard_arenas()
        found = {path: outcome(Path(path).read_bytes(), {}, whole) for path in sys.argv[1:]}
        print("\n".join(f"{path}: {said or 'fine'}" for path, said in found.items()))
        return sum(said is not None for said in found.values())
    seed, folder = [*sys.argv[2:], "0", "findings"][:2] if len(sys.argv) < 4 else sys.argv[2:4]
    return 1 if supervise(float(sys.argv[1]), int(seed), Path(folder)) else 0


if __name__ == "__main__":
    sys.exit(main())
