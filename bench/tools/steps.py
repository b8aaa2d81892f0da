"""Where the time of a whole ONNX model goes: microseconds of each step of our session.

    python -m bench steps silero                   the artifact of a case of `python -m bench models`
    python -m bench steps magika --conv --threads 1
    python -m bench steps rapidocr --float --top 20

A run calls its steps one after another. Here it is stopped after each number of steps in turn, some times; a step's
time is the difference of the fastest two. What is below a microsecond or two is noise.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import plan
from bench.publish.tables import aligned
from bench.topics import model_files

#: Runs before anything is measured, and times that each number of steps is tried.
WARM, TIMES = 20, 15


def measured(session: Any, feeds: model_files.Feeds) -> list[tuple[float, str, str]]:
    """Microseconds, kernel and nodes of each step that a run calls."""
    from dynq_numba.kernels.program import run as program

    for _ in range(WARM):
        session.run(None, feeds)
    whole = session._plan
    call, place = whole._run, list(program.Segment.kinds).index("step_count")
    found: list[tuple[float, str, str]] = []

    def stepwise(words: np.ndarray, *rest: Any) -> int:
        count = int(words[place])
        seconds = np.full(count + 1, np.inf)
        for _ in range(TIMES):
            for steps in range(count + 1):
                words[place] = steps
                begun = time.perf_counter()
                call(words, *rest)
                seconds[steps] = min(seconds[steps], time.perf_counter() - begun)
        segment = next(each for each in whole.segments() if each.words is words)
        for step, taken in zip(segment.steps, np.diff(seconds), strict=True):
            found.append((1e6 * float(taken), step.kernel, ", ".join(step.nodes)))
        return call(words, *rest)

    whole._run = stepwise
    try:
        session.run(None, feeds)
    finally:
        whole._run = call
    return found


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench steps", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case", metavar="WORD", help=f"of {'; '.join(model_files.CASES)}")
    parser.add_argument("--float", action="store_true", help="the model as it is")
    parser.add_argument("--conv", action="store_true", help="with convolutions in int8")
    parser.add_argument("--threads", type=int, default=plan.thread_counts()[-1], help="(default: all)")
    parser.add_argument("--top", type=int, default=15, metavar="N", help="the N longest (default 15)")
    args = parser.parse_args(argv)
    import dynq_numba as dq

    cases = model_files.CASES | model_files.SMOKE
    case = next((each for name, each in cases.items() if args.case in name), None)
    if case is None:
        parser.error(f"no case has {args.case!r}; there are: {'; '.join(cases)}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        model_files.MODELS[case.model].write(path)
        source = path if args.float else dq.onnx.quantize(path, conv=args.conv).model
        steps = measured(dq.onnx.InferenceSession(source, threads=args.threads), case.feeds())
    total = sum(us for us, _, _ in steps)
    rows = [["step", "µs", "of all"]]
    for us, kernel, nodes in sorted(steps, reverse=True)[: args.top]:
        name = f"{kernel}: {nodes}"
        rows.append([name if len(name) <= 90 else f"{name[:87]}…", f"{us:.1f}", f"{us / total:.0%}"])
    print(f"{len(steps)} steps, {total:.0f} µs\n{aligned(rows)}")
    return 0
