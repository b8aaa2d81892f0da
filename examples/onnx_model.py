"""From an ONNX file to production: all-MiniLM-L6-v2 quantized by `dynq quantize`, beside ONNX Runtime.

The model's ONNX file is written as an exporter would (examples/bert_onnx.py). The command makes an int8 artifact of it.
Our session then runs the artifact, and ONNX Runtime the float32 file and what its quantize_dynamic (per channel) makes
of it. Each runs in a process of its own, because idle threads of one library take the cores of another.

    python examples/onnx_model.py                          # the demo; fetches the model (84 MB) on first use
    python examples/onnx_model.py --texts 50 --threads 1   # fewer reviews, one thread for everybody

The files stay in --folder (default build/demo). It ends with status 1 when embeddings have drifted from float32.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

if __package__:  # imported as examples.onnx_model
    from .fetch import FetchError, Progress, fetch, load_reviews
else:  # run as a script
    from fetch import FetchError, Progress, fetch, load_reviews

Array = NDArray[np.float32]
MAX_TOKENS = 128
ROUNDS, BLOCK, APART, PATIENCE = 3, 50, 0.2, 20  # rounds, texts in a row, seconds between, seconds of all rounds
FLOORS = 0.998, 0.995  # cosines to keep, mean and worst
EXAMPLES = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
PUBLISHED = ".6660 .1046 .1411"  # their cosines in the documentation of sentence-transformers


def ours(path: Path, threads: int) -> Callable[..., list[Array]]:
    from dynq_numba.onnx import InferenceSession

    return InferenceSession(path, threads=threads).run


def onnxruntime(path: Path, threads: int) -> Callable[..., list[Array]]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run


def serve(pipe: Connection, build: Callable[[Path, int], Callable[..., list[Array]]], path: Path, threads: int) -> None:
    """What a contestant's process does: for a list of texts as token ids, embeddings and milliseconds of each."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with the demo
    run = build(path, threads)

    def embed(ids: list[int]) -> Array:
        return run(None, {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)})[0][0]

    while True:
        try:
            texts = pipe.recv()
        except EOFError:
            return
        embeddings, times = [], []
        embed(texts[0])  # untimed: wakes the threads up
        for ids in texts:
            start = time.perf_counter()
            embeddings.append(embed(ids))
            times.append(1e3 * (time.perf_counter() - start))
        pipe.send((embeddings, times))


class Contestant:
    """A runtime and a model file."""

    def __init__(self, name: str, build: Callable[[Path, int], Callable[..., list[Array]]], path: Path, threads: int):
        self.name, self.bytes = name, path.stat().st_size
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, build, path, threads), daemon=True)
        self.process.start()
        other.close()
        self.embeddings: dict[int, Array] = {}
        self.times: dict[int, list[float]] = {}

    def embed(self, texts: list[list[int]]) -> tuple[list[Array], list[float]]:
        try:
            self.pipe.send(texts)
            return self.pipe.recv()
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(f"the process of {self.name} ended; its message is above") from error


def compare(contestants: list[Contestant], texts: list[list[int]], progress: Progress) -> None:
    """All embed all texts, some times, in turn by blocks; the first round is not counted."""
    begun = time.monotonic()
    for number in range(ROUNDS):
        if number > 1 and time.monotonic() - begun > PATIENCE:
            break
        for first in range(0, len(texts), BLOCK):
            for each in contestants:
                time.sleep(APART)  # idle threads of ONNX Runtime spin for a while
                embeddings, times = each.embed(texts[first : first + BLOCK])
                for place, (embedding, milliseconds) in enumerate(zip(embeddings, times, strict=True), first):
                    each.embeddings[place] = embedding
                    each.times.setdefault(place, []).append(milliseconds)
                done = min(first + BLOCK, len(texts))
                progress.update(f"embedding reviews: {done} of {len(texts)}, round {number + 1} of {ROUNDS}")


def write_model(path: Path, folder: Path) -> None:
    """MiniLM as ONNX."""
    import onnx
    from safetensors.numpy import load_file

    if __package__:
        from .bert_onnx import export
    else:
        from bert_onnx import export
    model = export(load_file(folder / "model.safetensors"))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def quantize_elsewhere(source: Path, path: Path) -> None:
    """By ONNX Runtime."""
    from onnxruntime.quantization import quantize_dynamic

    logging.getLogger().setLevel(logging.ERROR)  # it advises to run shape inference first
    quantize_dynamic(source, path, per_channel=True)


def command(*arguments: str | Path) -> None:
    """Run `dynq` as a build would, and show it."""
    shown = " ".join(Path(a).name if isinstance(a, Path) else a for a in arguments)
    print(f"$ dynq {shown}", flush=True)
    subprocess.run([sys.executable, "-m", "dynq_numba", *map(str, arguments)], check=True)


def linear_bytes(receipt: dict[str, Any]) -> tuple[int, int]:
    """Bytes of the linear layers' weights before and after."""
    entries = [entry for entry in receipt["entries"] if entry["op_type"] in ("MatMul", "Gemm")]
    return sum(entry["bytes_before"] for entry in entries), sum(entry["bytes_after"] for entry in entries)


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(argv: list[str] | None = None) -> int:
    """Run the demo; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=200, metavar="N", help="reviews to embed (default 200)")
    parser.add_argument("--threads", type=int, default=cores(), help="of each contestant (default: all cores)")
    parser.add_argument("--folder", type=Path, default=Path("build/demo"), help="of the model files")
    parser.add_argument("--quiet", action="store_true", help="no progress, only results")
    arguments = parser.parse_args(argv)
    if min(arguments.texts, arguments.threads) < 1:
        parser.error("--texts and --threads must be at least 1")
    progress = Progress(quiet=arguments.quiet)
    try:
        return demo(arguments.texts, arguments.threads, arguments.folder, progress)
    except (FetchError, KeyboardInterrupt, RuntimeError, subprocess.CalledProcessError) as error:
        progress.clear()
        print(f"error: {str(error) or 'interrupted'}", file=sys.stderr)
        return 1


def demo(count: int, threads: int, folder: Path, progress: Progress) -> int:
    """Fetch, write, quantize, compare, time and print; 1 where too much was lost, else 0."""
    from tokenizers import Tokenizer

    source = fetch("minilm", progress)
    reviews = load_reviews(fetch("reviews", progress), count)
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    examples, texts = ([tokenizer.encode(text).ids for text in group] for group in (EXAMPLES, reviews))
    folder.mkdir(parents=True, exist_ok=True)
    model, artifact, theirs, receipt = (
        folder / name for name in ("minilm.onnx", "minilm.int8.onnx", "minilm.onnxruntime.onnx", "receipt.json")
    )
    progress.step("writing the model as an exporter would")
    write_model(model, source)
    progress.clear()
    command("quantize", model, "-o", artifact, "--receipt", receipt, "--quiet")
    progress.step("quantizing with ONNX Runtime, too")
    quantize_elsewhere(model, theirs)
    progress.step("starting the three processes, and compiling what the model needs, or loading it from disk")
    contestants = [
        Contestant("ONNX Runtime float32", onnxruntime, model, threads),
        Contestant("ONNX Runtime int8", onnxruntime, theirs, threads),
        Contestant("dynq int8", ours, artifact, threads),
    ]
    start = time.perf_counter()
    triples = []
    for each in contestants:
        a, b, c = each.embed(examples)[0]
        triples.append(" ".join(f"{x @ y:.4f}".lstrip("0") for x, y in ((a, b), (a, c), (b, c))))
    starting = time.perf_counter() - start
    progress.step(f"embedding {len(texts)} reviews, {ROUNDS} rounds")
    compare(contestants, texts, progress)
    progress.clear()
    embeddings = [np.array([each.embeddings[place] for place in range(len(texts))]) for each in contestants]
    cosines = [(each * embeddings[0]).sum(axis=1) for each in embeddings]
    # Of a text's rounds the fastest counts: what slowed the others down was mostly other programs.
    best = [np.median([min(times[1:]) for times in each.times.values()]) for each in contestants]
    before, after = linear_bytes(json.loads(receipt.read_text()))
    tokens = np.median([*map(len, texts)])
    print(f"{len(texts)} film reviews, median {tokens:.0f} tokens, one per call, {threads} threads,")
    print(f"each runtime in a process of its own, ready after {starting:.1f} s")
    print(f"{'':22}{'bytes of file':>14}{'ms a review':>13}{'cosine: mean':>14}{'worst':>8}   cosines of 3 examples")
    for each, cosine, time_, triple in zip(contestants, cosines, best, triples, strict=True):
        print(f"{each.name:<22}{each.bytes:>14,}{time_:>13.2f}{cosine.mean():>14.4f}{cosine.min():>8.4f}   {triple}")
    print(f"{'published':<71}   {PUBLISHED}")
    mean, worst = cosines[2].mean(), cosines[2].min()
    if failed := not (mean >= FLOORS[0] and worst >= FLOORS[1]):  # a NaN fails, too
        print(f"error: too far from float32; wanted mean {FLOORS[0]}, worst {FLOORS[1]}", file=sys.stderr, flush=True)
    print(f"demo: mean_cosine={mean:.4f} worst_cosine={worst:.4f} bytes_ratio={after / before:.2f}", end=" ")
    print(f"file_ratio={contestants[2].bytes / contestants[0].bytes:.3f}", end=" ")
    print(f"speedup={best[0] / best[2]:.1f} speedup_int8={best[1] / best[2]:.1f}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
