"""How long the looks at the layers of MiniLM take, and which layers they name.

    python -m bench looks                      64 reviews, each at its own length, int8
    python -m bench looks --texts 256 --bits 4
    python -m bench looks --smoke              three texts of random words

Seconds are of one pass over the texts, with planning and packing; "compare" is both models' results alone, "all" the
whole call with three looks, in which the models are read again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.publish.tables import aligned
from bench.topics import model_files

#: Words of a text are numbered from here to there in the table.
WORDS = 1996, 29_000


def reviews(count: int) -> list[list[int]]:
    """Texts as ids of words."""
    from tokenizers import Tokenizer

    from examples.fetch import Progress, fetch, load_reviews
    from examples.minilm import MAX_TOKENS

    tokenizer = Tokenizer.from_file(str(fetch("minilm", Progress(quiet=True)) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return [tokenizer.encode(text).ids for text in load_reviews(fetch("reviews", Progress(quiet=True)), count)]


def drawn(count: int) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [[101, *rng.integers(*WORDS, length).tolist(), 102] for length in rng.integers(4, 12, count)]


def measured(texts: list[list[int]], bits: int) -> str:
    """The tables."""
    import dynq_numba as dq

    feeds = [{"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)} for ids in texts]
    with tempfile.TemporaryDirectory() as folder:
        source, artifact = Path(folder) / "float.onnx", Path(folder) / "artifact.onnx"
        model_files.minilm(source)
        dq.onnx.quantize(source, artifact, bits=bits)
        begun = time.perf_counter()
        dq.onnx.compare(source, artifact, feeds, layers=False)
        between = time.perf_counter()
        found = dq.onnx.compare(source, artifact, feeds)
        seconds = {"compare": between - begun, **found.seconds, "all": time.perf_counter() - between}
    del seconds["outputs"]
    rows = [("", "s"), *((name.replace("_", " "), f"{each:.1f}") for name, each in seconds.items())]
    worst = [("look", "the worst three layers"), *((look.replace("_", " "), ", ".join(
        each.layer for each in found.worst(look)[:3])) for look in found.looks)]  # fmt: skip
    length = float(np.mean([len(ids) for ids in texts]))
    head = f"MiniLM, int{bits}, {len(texts)} texts of {length:.0f} tokens on average, {len(found.layers)} layers"
    return "\n\n".join([head, aligned(rows), found.summary(), "\n".join(f"{a}: {b}" for a, b in worst[1:])])


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench looks")
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--bits", type=int, default=8, choices=(8, 4))
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args(argv)
    print(measured(drawn(3) if args.smoke else reviews(args.texts), args.bits))
    return 0
