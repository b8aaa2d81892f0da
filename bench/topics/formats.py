"""Formats of quantized models: what ONNX Runtime and OpenVINO make of each, in time and in distance, and our session.

    python -m bench formats                     every case, all threads
    python -m bench formats MiniLM --quick      the cases whose names have one of these words, 3 rounds
    python -m bench formats --write             into bench/results/formats.json and docs/howto/formats.md

Each contestant runs in a process of its own, in turn, as in `python -m bench models`; a time is the median over rounds.
Loss is 1 - cosine of all outputs to float32; "from ours" is the same to our session on the artifact of the same bits in
format dynq, where attention is float32 as it is elsewhere.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import machine
from bench.harness.awake import Awake
from bench.harness.disturbance import quiet_part
from bench.harness.remote import Failed, Remote
from bench.harness.results import micro
from bench.publish import formats as publish
from bench.topics import model_files, models

NARROW = {"bits": 4, "group_size": 128}
#: What a file is, and what `quantize` is told; None for the model's own.
FORMS: dict[str, Mapping[str, Any] | None] = {
    "float32": None,
    "dynq": {},
    "qdq": {"format": "qdq"},
    "nbits": {"format": "nbits"},
    "qoperator": {"format": "qoperator"},
    "qoperator_u8s8": {"format": "qoperator_u8s8"},
    "dynq int4": NARROW,
    "qdq int4": NARROW | {"format": "qdq"},
    "nbits int4": NARROW | {"format": "nbits"},
}
RUNTIMES = {"ONNX Runtime": models.onnxruntime, "OpenVINO": models.openvino, "dynq": models.session}
NEEDS = {"ONNX Runtime": ("onnxruntime",), "OpenVINO": ("openvino",), "dynq": ()}
CASES = {name: model_files.CASES[name] for name in (
    "MiniLM 1 × 16", "MiniLM 1 × 128", "ddddocr 64 × 174", "g2p encoder, 14 letters × 1",
)}  # fmt: skip


#: OpenVINO takes no functions.
WAYS = {
    (form, runtime): f"{form} in {runtime}" for form in FORMS for runtime in RUNTIMES
    if not (form.startswith("dynq") and runtime == "OpenVINO")
}  # fmt: skip


class Running(models.Running):
    """One file in one runtime, in the process that this is."""

    def __init__(self, way: str, threads: int):
        self.form, runtime = next(pair for pair, name in WAYS.items() if name == way)
        self.way, self.threads = models.Way(RUNTIMES[runtime], integers=self.form != "float32"), threads
        self.call = None

    def prepare(self, path: str, folder: str) -> dict:
        found = super().prepare(path, folder)
        if "loss" in found and self.form != "float32":
            ours = dict(np.load(Path(folder) / f"ours {_bits(self.form)}.npz"))
            found["apart"] = models.distance(self.call(), list(ours.values()))
        return found


class TOPIC:
    running = Running


def _bits(form: str) -> int:
    return (FORMS[form] or {}).get("bits", 8)


def measure(name: str, case: model_files.Case, threads: int, rounds: int, folder: Path) -> dict:
    """The record of one case."""
    files, remotes, cells, missing = _files(case, threads, folder), {}, {}, {}
    try:
        for pair, way in WAYS.items():
            remote = Remote(f"{__name__}:{way}", threads, {})
            try:
                if absent := [each for each in NEEDS[pair[1]] if machine.version(each) is None]:
                    raise Failed(f"{absent[0]} is not installed")
                cells[pair] = remote.ask("prepare", path=str(files[pair[0]]), folder=str(folder))
                remotes[pair] = remote
            except Failed as reason:
                missing[way] = str(reason)
                remote.stop()
        print(f"  {len(remotes)} files are loaded", file=sys.stderr, flush=True)
        times, quiet = models.run(remotes, rounds)
    finally:
        for remote in remotes.values():
            remote.stop()
    rows = []
    for form, path in files.items():
        row: dict[str, Any] = {"form": form, "bytes": path.stat().st_size}
        for runtime in RUNTIMES:
            if (form, runtime) in times:
                median = statistics.median(times[form, runtime].values())
                figures = {each: float(f"{value:.3g}") for each, value in cells[form, runtime].items()}
                row[runtime] = {"us": micro(median), **figures}
        rows.append(row)
    calm = quiet_part(quiet)
    return {"case": name, "threads": threads, "rounds": rounds, "rows": rows, "missing": missing, "quiet": calm}


def _files(case: model_files.Case, threads: int, folder: Path) -> dict[str, Path]:
    """One file for each form; feeds and results beside them: of float32, and of our session by bits."""
    from dynq_numba.onnx import quantize

    source = folder / f"{case.model}.onnx"
    if not source.exists():
        model_files.MODELS[case.model].write(source)
    feeds = case.feeds()
    np.savez(folder / "feeds.npz", **feeds)
    files = {}
    for form, options in FORMS.items():
        files[form] = source if options is None else folder / f"{case.model}.{form}.onnx"
        if options is not None and not files[form].exists():
            quantize(source, files[form], recipe={"attention": 32}, **options)
    results = {"float32": models.onnxruntime(source, feeds, 1)()}
    for form in ("dynq", "dynq int4"):
        results[f"ours {_bits(form)}"] = models.session(files[form], feeds, threads)()
    for name, arrays in results.items():
        np.savez(folder / f"{name}.npz", **{f"{i:02}": each for i, each in enumerate(arrays)})
    return files


def main(argv: list[str]) -> int:
    args, chosen, cases, rounds = models.asked(argv, "formats", __doc__, CASES, "docs/howto/formats.md")
    groups = []
    with Awake(), tempfile.TemporaryDirectory() as folder:
        for name, case in chosen.items():
            print(f"formats: {name}, {args.threads} threads", file=sys.stderr, flush=True)
            groups.append(measure(name, case, args.threads, rounds, Path(folder)))
            for each, reason in groups[-1]["missing"].items():
                print(f"  {each} is missing: {reason}", file=sys.stderr)
    stamp = machine.stamp(sorted({"onnx", *(each for needs in NEEDS.values() for each in needs)}))
    measured = {group["case"]: group | {"stamp": stamp} for group in groups}
    print(publish.content({"groups": list(measured.values())}))
    if args.smoke:
        return int(any(each.endswith("in dynq") for group in groups for each in group["missing"]))
    if args.write:
        publish.write(measured, list(cases))
    return 0
