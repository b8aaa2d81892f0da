"""Speech to text: Whisper tiny.en in our sessions, CTranslate2 and ONNX Runtime, time and word errors.

    python -m bench whisper                       50 sentences that espeak-ng speaks; fetches the model (71 MB)
    python -m bench whisper --rounds 0            word errors alone
    python -m bench whisper --sentences 3         times alone, or nearly so
    python -m bench whisper --write               into bench/results/whisper.json and RESULTS.md

All have the same weights and features, and take the most probable word. Each runs in a process of its own, in turn.
"encoder" is what 30 seconds of sound take, "whole" encoder and decoder of a sentence; milliseconds, medians over rounds
and sentences. "/ ours" is the median of a contestant's time over that of dynq int8 on the same sentence in the same
round. Word errors are counted against the transcript of ONNX Runtime in float32, and against what was spoken.

The sentences are ones of which the model in float32 mishears at most two words each, spoken so. Where it understands
little, small errors change what it takes the sound for, and integers differ from float32 in more words (`--texts`).
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import machine, plan
from bench.harness.awake import Awake, rest
from bench.harness.remote import Failed, Remote
from bench.publish import whisper as publish
from bench.publish.tables import aligned
from bench.topics.model_files import make_int8
from examples.fetch import Progress, fetch
from examples.whisper import NO_TIMES, RECIPES, START, Whisper, Words, log_mel, read_wav
from examples.whisper_onnx import FILES, export, read_weights

OURS, EXACT = "dynq int8", "ONNX Runtime float32"
SPOKEN = Path(__file__).with_name("whisper_sentences.txt")
VOICE = ("-v", "en-us", "-s", "140")  # of espeak-ng: clear speech
ROUNDS, TIMED = 5, 4  # how often, and how many of the sentences
#: Seconds between two contestants: idle threads of other libraries spin for some tenths of one.
APART = 0.2

Encode = Callable[[np.ndarray], Any]
Decode = Callable[[Any], list[int]]


def ours(folder: Path, threads: int) -> tuple[Encode, Decode]:
    from dynq_numba.onnx import InferenceSession

    return _whisper(lambda path: InferenceSession(path, threads=threads), folder)


def onnxruntime(folder: Path, threads: int) -> tuple[Encode, Decode]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return _whisper(lambda path: ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]), folder)


def _whisper(session: Callable[[Path], Any], folder: Path) -> tuple[Encode, Decode]:
    config = fetch("whisper", Progress(quiet=True)) / "config.json"
    model = Whisper([session(folder / f"{name}.onnx") for name in FILES], config)
    return model.encode, model.decode


def ctranslate2(kind: str, folder: Path, threads: int) -> tuple[Encode, Decode]:
    from ctranslate2 import StorageView
    from ctranslate2.models import Whisper as Theirs

    source = str(fetch("whisper", Progress(quiet=True)))
    model = Theirs(source, device="cpu", compute_type=kind, inter_threads=1, intra_threads=threads)

    def decode(states: Any) -> list[int]:
        return model.generate(states, [[START, NO_TIMES]], beam_size=1)[0].sequences_ids[0]

    return lambda features: model.encode(StorageView.from_array(features)), decode


def as_they_are(source: Path, path: Path) -> None:
    path.symlink_to(source.resolve())


def in_int8(source: Path, path: Path) -> None:
    from dynq_numba.onnx import quantize

    quantize(source, path, recipe=RECIPES[source.stem])


#: What runs it, and what makes its files of the model's.
WAYS: dict[str, tuple[Callable, Callable | None]] = {
    OURS: (ours, in_int8),
    "dynq float32": (ours, as_they_are),
    "CTranslate2 int8": (lambda *given: ctranslate2("int8", *given), None),
    "CTranslate2 float32": (lambda *given: ctranslate2("float32", *given), None),
    "ONNX Runtime int8": (onnxruntime, lambda *paths: make_int8(*paths, per_channel=False, conv=False)),
    "ONNX Runtime int8 per channel": (onnxruntime, lambda *paths: make_int8(*paths, per_channel=True, conv=False)),
    EXACT: (onnxruntime, as_they_are),
}


class Running:
    """One way in the process that this is: what bench/harness/worker.py drives."""

    def __init__(self, way: str, threads: int):
        self.way, self.threads = way, threads

    def prepare(self, folder: str) -> dict:
        self.features = np.load(Path(folder) / "features.npy", mmap_mode="r")
        self.encode, self.decode = WAYS[self.way][0](Path(folder) / self.way, self.threads)
        return self.sentence(0) and {}

    def sentence(self, number: int) -> dict:
        features = np.array(self.features[number])
        begun = time.perf_counter()
        states = self.encode(features)
        between = time.perf_counter()
        words = self.decode(states)
        return {"encoder": between - begun, "whole": time.perf_counter() - begun, "words": words}


class TOPIC:
    running = Running


def make_files(folder: Path, sentences: list[str]) -> None:
    """The model's files, those of each way, and the features of the sentences; what is there already stays."""
    source = folder / EXACT
    for name in WAYS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    if not all((source / f"{name}.onnx").exists() for name in FILES):
        import onnx

        for name, model in export(read_weights(fetch("whisper") / "model.bin")).items():
            onnx.save(model, source / f"{name}.onnx")
    for way, (_, make) in WAYS.items():
        for name in FILES:
            path = folder / way / f"{name}.onnx"
            if make is not None and not path.exists():
                print(f"whisper: making {path}", file=sys.stderr, flush=True)
                make(source / f"{name}.onnx", path)
    spoken = [folder / f"{number}.wav" for number in range(len(sentences))]
    for path, text in zip(spoken, sentences, strict=True):
        subprocess.run(["espeak-ng", *VOICE, "-w", path, text], check=True)
    np.save(folder / "features.npy", np.stack([log_mel(read_wav(path)) for path in spoken]))


def errors(found: str, wanted: str) -> tuple[int, int]:
    """Words to insert, remove or change for what is wanted, whatever the case and the marks; and how many those are."""
    a, b = (re.sub(r"[^\w' ]", " ", text.lower()).split() for text in (found, wanted))
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, 1):
        above, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (word != other))
    return row[-1], len(b)


def wrong_words(found: list[str], wanted: list[str]) -> list[int]:
    """How many, and of how many."""
    counts: list[int] = np.sum([errors(*pair) for pair in zip(found, wanted, strict=True)], axis=0).tolist()
    return counts


def row_of(way: str, said: dict[str, list[str]], times: dict[str, dict[str, list[float]]], spoken: list[str]) -> dict:
    """What is known of a way."""
    row: dict[str, Any] = {"name": way, "unlike_spoken": wrong_words(said[way], spoken)}
    if EXACT in said:
        row["unlike_float32"] = wrong_words(said[way], said[EXACT])
    for part in ("encoder", "whole") if times else ():
        mine, series = times[OURS][part], times[way][part]
        ratio = statistics.median(a / b for a, b in zip(series, mine, strict=True))
        row[part] = {"ms": 1e3 * statistics.median(series), "over_ours": ratio}
    return row


def measure(remotes: dict[str, Remote], sentences: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of each way, in rounds in whose order the ways change."""
    order = list(remotes)
    times = {way: {"encoder": [], "whole": []} for way in order}
    for number in range(rounds):
        for sentence in range(sentences):
            turn = (number * sentences + sentence) % len(order)
            for way in order[turn:] + order[:turn]:
                begun = time.monotonic()
                rest(APART)
                time.sleep(max(0, APART - (time.monotonic() - begun)))
                answer = remotes[way].ask("sentence", number=sentence)
                for part, series in times[way].items():
                    series.append(answer[part])
    return times


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench whisper", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=plan.thread_counts()[-1], help="(default: all)")
    parser.add_argument("--texts", type=Path, default=SPOKEN, metavar="FILE", help="sentences of yours, a line each")
    parser.add_argument("--sentences", type=int, default=50, metavar="N", help="the first N sentences (default 50)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"of the times (default {ROUNDS})")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="ways that have one of these words, and ours")
    parser.add_argument("--write", action="store_true", help="keep the record, and fill in RESULTS.md")
    parser.add_argument("--folder", type=Path, default=Path("build/whisper"), help="of the files, 900 MB")
    args = parser.parse_args(argv)
    if shutil.which("espeak-ng") is None:
        parser.error("espeak-ng must be installed: it speaks")
    sentences = args.texts.read_text().splitlines()[: max(1, args.sentences)]
    make_files(args.folder, sentences)
    texts = Words(fetch("whisper") / "tokenizer.json")
    remotes, said, times, missing = {}, {}, {}, {}
    with Awake():
        try:
            for way in WAYS:
                if args.only and way not in (OURS, EXACT) and not any(word in way for word in args.only):
                    continue
                remotes[way] = Remote(f"{__name__}:{way}", args.threads, {})
                try:
                    remotes[way].ask("prepare", folder=str(args.folder.resolve()))
                    answers = [remotes[way].ask("sentence", number=number) for number in range(len(sentences))]
                    said[way] = [texts.text(answer["words"]) for answer in answers]
                except Failed as reason:
                    print(f"whisper: {way} is missing: {reason}", file=sys.stderr)
                    missing[way] = str(reason)
                    remotes.pop(way).stop()
            if args.rounds and OURS in said:
                times = measure(remotes, min(TIMED, len(sentences)), args.rounds)
        finally:
            for remote in remotes.values():
                remote.stop()
    record = {
        "stamp": machine.stamp(["ctranslate2", "onnxruntime"]), "threads": args.threads, "sentences": len(sentences),
        "rows": [row_of(way, said, times, sentences) for way in said], "missing": missing,
    }  # fmt: skip
    print(publish.about(record))
    print(aligned(publish.rows(record)))
    if args.write and OURS in said:
        publish.write(record)
    return int(OURS not in said)
