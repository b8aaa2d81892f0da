"""Whole ONNX models: a session of ours on float files and on artifacts, beside ONNX Runtime and OpenVINO.

    python -m bench models                           every model, all threads
    python -m bench models MiniLM silero --quick     the cases whose names have one of these words
    python -m bench models --write                   into bench/results/models.json, RESULTS.md and README.md

Each contestant runs in a process of its own, in turn, 0.2 s apart; in every round each has a burst. Microseconds from
numpy arrays to numpy arrays. "best peer / ours" is the median over rounds of the fastest peer's time over ours, above 1
ours is faster: of all peers, whatever their precision; float32 is compared with theirs alone, too. Loss is 1 - cosine
of all outputs to float32; of a file that another tool has quantized, to what ONNX Runtime makes of it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import machine, plan, timing
from bench.harness.awake import Awake, rest
from bench.harness.disturbance import disturbed, iqr, quiet_part, spread, steady
from bench.harness.remote import Failed, Remote
from bench.harness.results import micro, paired
from bench.publish import models as publish
from bench.topics import model_files
from bench.topics.model_files import Feeds, Model

ROUNDS, QUICK = 9, 3
#: Seconds between two contestants: idle threads of other libraries spin for some tenths of one.
APART = 0.2
#: A contestant that takes so many times the fastest one's time has a burst in every third round only.
SLOW = 3
#: How far from float32 results may be, as 1 - cosine, to be believable: of integers, and of floats.
BELIEVABLE = {True: 0.2, False: 1e-5}
Call = Callable[[], list[np.ndarray]]


def session(path: Path, feeds: Feeds, threads: int) -> Call:
    import dynq_numba as dq

    return partial(dq.onnx.InferenceSession(path, threads=threads).run, None, feeds)


def by_hand(path: Path, feeds: Feeds, threads: int) -> Call:
    """examples/minilm.py; the case has no padding."""
    from safetensors.numpy import load_file

    import dynq_numba as dq
    from examples.fetch import Progress, fetch
    from examples.minilm import MiniLM, Quantized

    dq.set_num_threads(threads)
    model = MiniLM(Quantized(load_file(fetch("minilm", Progress(quiet=True)) / "model.safetensors")))
    return lambda: [model.encode_batch(feeds["input_ids"])]


def onnxruntime(path: Path, feeds: Feeds, threads: int) -> Call:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return partial(ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run, None, feeds)


def openvino(path: Path, feeds: Feeds, threads: int) -> Call:
    """Shapes are fixed beforehand, which is faster; activations become int8 in groups where weights are."""
    import openvino as ov

    core = ov.Core()
    model = core.read_model(path)
    model.reshape({name: list(array.shape) for name, array in feeds.items()})
    properties = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 64,
    }
    request = core.compile_model(model, "CPU", properties).create_infer_request()
    count = len(model.outputs)

    def call() -> list[np.ndarray]:
        for name, array in feeds.items():
            request.set_tensor(name, ov.Tensor(array, shared_memory=True))
        request.infer(share_outputs=True)
        return [request.get_output_tensor(place).data.copy() for place in range(count)]

    return call


def ours_int8(source: Path, path: Path, *, conv: bool) -> None:
    from dynq_numba.onnx import quantize

    quantize(source, path, conv=conv)


@dataclass(frozen=True)
class Way:
    """One way to run a model: a file made of the model's, and what runs it."""

    run: Callable[[Path, Feeds, int], Call]
    make: Callable[[Path, Path], None] | None = None
    distributions: tuple[str, ...] = ("onnx",)
    integers: bool = False
    #: Whether it is there for a model.
    suits: Callable[[Model], bool] = lambda model: True
    #: The way whose file this one is made of; the model's own for none.
    source: str = ""


def ort_int8(source: str = "", *, per_channel: bool = False, conv: bool = False, suits=lambda model: True) -> Way:
    make = partial(model_files.make_int8, per_channel=per_channel, conv=conv)
    return Way(onnxruntime, make, ("onnxruntime", "onnx"), True, suits, source)


RUNTIME, FUSED = ("onnxruntime", "onnx"), "ONNX Runtime float32 fused"
PER_CHANNEL = "ONNX Runtime int8 per channel"
is_bert, has_conv = (lambda model: model.bert), (lambda model: model.conv)
WAYS = {
    "dynq int8": Way(session, partial(ours_int8, conv=False), integers=True),
    "dynq int8 conv": Way(session, partial(ours_int8, conv=True), integers=True, suits=has_conv),
    "dynq float32": Way(session),
    "dynq by hand": Way(by_hand, integers=True, suits=is_bert, distributions=("safetensors",)),
    "ONNX Runtime float32": Way(onnxruntime, None, RUNTIME),
    FUSED: Way(onnxruntime, model_files.fused, (*RUNTIME, "sympy"), suits=is_bert),
    "ONNX Runtime int8": ort_int8(),
    PER_CHANNEL: ort_int8(per_channel=True),
    "ONNX Runtime int8 fused": ort_int8(FUSED, suits=is_bert),
    "ONNX Runtime int8 per channel fused": ort_int8(FUSED, per_channel=True, suits=is_bert),
    "ONNX Runtime int8 conv": ort_int8(conv=True, suits=has_conv),
    f"{PER_CHANNEL} conv": ort_int8(per_channel=True, conv=True, suits=has_conv),
    "OpenVINO float32": Way(openvino, None, ("openvino", "onnx")),
    "OpenVINO int8": Way(openvino, model_files.compressed, ("openvino", "onnx"), True),
}


def distance(found: list[np.ndarray], want: list[np.ndarray]) -> float:
    """1 - cosine of all outputs."""
    a, b = (np.concatenate([np.float64(each).ravel() for each in arrays]) for arrays in (want, found))
    return float(1 - a @ b / np.sqrt((a @ a) * (b @ b)))


#: Of a model that another tool has quantized: these, with its own file.
AS_GIVEN = ("dynq int8", "ONNX Runtime int8", "OpenVINO int8")


class Running:
    """One way in the process that this is: what bench/harness/worker.py drives."""

    def __init__(self, way: str, threads: int):
        self.way, self.threads = WAYS[way], threads
        self.call: Call | None = None

    def prepare(self, path: str, folder: str) -> dict:
        """Build, and compare with float32."""
        feeds, want = (dict(np.load(Path(folder) / f"{name}.npz")) for name in ("feeds", "float32"))
        self.call = self.way.run(Path(path), feeds, self.threads)
        found = self.call()
        shapes = [list(array.shape) for array in found], [list(array.shape) for array in want.values()]
        if shapes[0] != shapes[1]:
            return {"failed": f"wrong: shapes {shapes[0]} where {shapes[1]} are right"}
        loss = distance(found, list(want.values()))
        if not loss <= BELIEVABLE[self.way.integers]:
            return {"failed": f"wrong: 1 - cosine is {loss:.3g} where {BELIEVABLE[self.way.integers]:g} is believable"}
        return {"loss": loss}

    def burst(self) -> dict:
        return {"called": timing.burst(self.call)}

    def release(self) -> dict:
        self.call = None
        return {}


class TOPIC:
    running = Running


class Files:
    """The files of all ways, each made once, and why others are missing."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.made: dict[tuple[str, str], Path | str] = {}

    def source(self, model: str) -> Path:
        path = self.folder / f"{model}.onnx"
        if not path.exists():
            model_files.MODELS[model].write(path)
        return path

    def of(self, model: str, way: str) -> Path:
        """Raises Failed."""
        if (model, way) not in self.made:
            self.made[model, way] = self._make(model, way)
        found = self.made[model, way]
        if isinstance(found, str):
            raise Failed(found)
        return found

    def _make(self, model: str, name: str) -> Path | str:
        way = WAYS[name]
        if absent := [each for each in way.distributions if machine.version(each) is None]:
            return f"{absent[0]} is not installed"
        try:
            source = self.of(model, way.source) if way.source else self.source(model)
            if way.make is None or model_files.MODELS[model].integers:
                return source
            path = self.folder / f"{model}.{name}.onnx"
            way.make(source, path)
            return path
        except Exception as error:  # whatever a tool throws is a row of the table
            return f"{type(error).__name__}: {error}".splitlines()[0][:200]

    def layers(self, model: str, way: str) -> int:
        import onnx

        return model_files.quantized(onnx.load(self.of(model, way)))

    def feed(self, case: model_files.Case) -> None:
        """feeds.npz, and float32.npz: what ONNX Runtime makes of them on one thread, which leaves none behind."""
        feeds = case.feeds()
        np.savez(self.folder / "feeds.npz", **feeds)
        results = onnxruntime(self.source(case.model), feeds, 1)()
        np.savez(self.folder / "float32.npz", **{f"{i:02}": each for i, each in enumerate(results)})


def measure(name: str, case: model_files.Case, threads: int, rounds: int, files: Files) -> dict:
    """The record of one case."""
    files.feed(case)
    missing: dict[str, str] = {}
    remotes: dict[str, Remote] = {}
    losses, layers = {}, {}
    try:
        for each, way in WAYS.items():
            model = model_files.MODELS[case.model]
            if not way.suits(model) or (model.integers and each not in AS_GIVEN):
                continue
            remote = Remote(f"{__name__}:{each}", threads, {})
            try:
                path = files.of(case.model, each)
                losses[each] = remote.ask("prepare", path=str(path), folder=str(files.folder))["loss"]
                layers[each] = files.layers(case.model, each)
                remotes[each] = remote
            except Failed as reason:
                missing[each] = str(reason)
                remote.stop()
        times, quiet = run(remotes, rounds)
    finally:
        for remote in remotes.values():
            remote.stop()
    medians = {each: statistics.median(series.values()) for each, series in times.items()}
    peer = min((each for each in medians if not each.startswith("dynq")), key=medians.get, default=None)
    rows = []
    for each, series in times.items():
        row = {"name": each, "us": micro(medians[each]), "iqr_us": micro(iqr(series.values())),
               "loss": float(f"{losses[each]:.3g}"), "layers": layers[each]}  # fmt: skip
        if peer and each.startswith("dynq"):
            row |= {"best": peer, "ratio": round(paired(times[peer], series), 3)}
        rows.append(row)
    spreads = [spread(series.values()) for each, series in times.items() if each.startswith("dynq") or each == peer]
    record = {"case": name, "threads": threads, "rows": rows, "missing": missing, "quiet": quiet_part(quiet)}
    return record | {"disturbed": disturbed(spreads, record["quiet"])}


def run(remotes: dict[str, Remote], rounds: int) -> tuple[dict[str, dict[int, float]], list[bool]]:
    """Seconds by contestant and round, and whether nothing else ran before each burst."""
    times: dict[str, dict[int, float]] = {}
    first: dict[str, float] = {}
    quiet, order = [], list(remotes)
    for number in range(-1, rounds):  # the first is not counted
        turn = number % max(1, len(order))
        for each in order[turn:] + order[:turn]:
            slow = number > 0 and first[each] > SLOW * min(first.values())
            if slow and number % 3:
                continue
            begun = time.monotonic()
            calm = rest(APART)
            time.sleep(max(0, APART - (time.monotonic() - begun)))
            seconds = remotes[each].ask("burst")["called"]
            if number < 0:
                first[each] = seconds
            else:
                quiet.append(calm)
                times.setdefault(each, {})[number] = seconds
    return times, quiet


def asked(
    argv: list[str], topic: str, description: str | None, every: Mapping[str, Any], pages: str
) -> tuple[argparse.Namespace, dict[str, Any], Mapping[str, Any], int]:
    """The arguments of a topic that times whole models, the cases that were chosen, all of them, and the rounds."""
    parser = argparse.ArgumentParser(
        prog=f"python -m bench {topic}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="WORD", help=f"of {'; '.join(every)}")
    parser.add_argument("--threads", type=int, default=plan.thread_counts()[-1], help="(default: all)")
    parser.add_argument("--smoke", action="store_true", help="a tiny model, one round")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} rounds, none repeated: a look, not a result")
    parser.add_argument("--write", action="store_true", help=f"keep the record, and fill in {pages}")
    args = parser.parse_args(argv)
    cases = model_files.SMOKE if args.smoke else every
    chosen = {name: case for name, case in cases.items() if not args.cases or any(w in name for w in args.cases)}
    if not chosen:
        parser.error(f"no case has one of {', '.join(args.cases)}; there are: {'; '.join(cases)}")
    return args, chosen, cases, 1 if args.smoke else QUICK if args.quick else ROUNDS


def main(argv: list[str]) -> int:
    args, chosen, cases, rounds = asked(argv, "models", __doc__, model_files.CASES, "RESULTS.md and README.md")
    groups = []
    with Awake(), tempfile.TemporaryDirectory() as folder:
        files = Files(Path(folder))
        for name, case in chosen.items():
            print(f"models: {name}, {args.threads} threads", file=sys.stderr, flush=True)
            once = partial(measure, name, case, args.threads, rounds, files)
            groups.append(once() if args.smoke or args.quick else steady(once))
            for row in groups[-1]["rows"]:
                print("  {name}: {us} µs, loss {loss}".format(**row), file=sys.stderr)
            for each, reason in groups[-1]["missing"].items():
                print(f"  {each} is missing: {reason}", file=sys.stderr)
    stamp = machine.stamp(sorted({each for way in WAYS.values() for each in way.distributions}))
    measured = {group["case"]: group | {"stamp": stamp} for group in groups}
    print(publish.content({"groups": list(measured.values())}))
    if args.smoke:
        return int(any(each.startswith("dynq") for group in groups for each in group["missing"]))
    if args.write:
        publish.write(measured, list(cases))
    return 0
