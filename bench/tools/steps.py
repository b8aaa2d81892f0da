"""Where the time of a whole ONNX model goes: microseconds of each step of our session.

    python -m bench steps silero                   the artifact of a case of `python -m bench models`
    python -m bench steps magika --conv --threads 1
    python -m bench steps rapidocr --float --top 20

The times are those of `session.report(times=…)`, the longest first.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bench.harness import plan
from bench.publish.tables import aligned
from bench.topics import model_files


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

    try:
        case = model_files.case_of(args.case)
    except ValueError as error:
        parser.error(str(error))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        model_files.MODELS[case.model].write(path)
        source = path if args.float else dq.onnx.quantize(path, conv=args.conv).model
        steps = dq.onnx.InferenceSession(source, threads=args.threads).report(times=case.feeds())
    total = sum(step.us for step in steps)
    rows = [["step", "µs", "of all"]]
    for step in sorted(steps, key=lambda step: -step.us)[: args.top]:
        name = f"{step.kernel}: {', '.join(step.nodes)}"
        rows.append([name if len(name) <= 90 else f"{name[:87]}…", f"{step.us:.1f}", f"{step.us / total:.0%}"])
    print(f"{len(steps)} steps, {total:.0f} µs\n{aligned(rows)}")
    return 0
