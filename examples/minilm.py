"""A real sentence-embedding model, all-MiniLM-L6-v2, in float32 and in int8 side by side.

The model is a BERT encoder: 6 layers, 384 wide, 12 heads, 36 linear layers. It is written out below, once. Both runs
share it and differ in their operators: in one run numpy's, in float32; in the other dynq_numba's, with weights and the
table of words made int8 once and activations made int8 on the fly.

    python examples/minilm.py                           # the demo; fetches the model (84 MB) on first use
    python examples/minilm.py --texts 50 --threads 1    # fewer reviews, and one thread for both
    python examples/minilm.py --bits 4                  # int4 weights: smaller, less exact
    python examples/minilm.py --bits 4 --zero-points    # a bit larger, more exact; --group-size 128: the other way

It ends with status 1 when the quantized embeddings have drifted from the float32 ones. The floors fit the
default reviews: among thousands the worst, a review of one word, has a cosine near .995 in int8.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
import time
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

import dynq_numba as dq

if __package__:  # imported as examples.minilm
    from .fetch import FetchError, Progress, fetch, load_reviews
else:  # run as a script
    from fetch import FetchError, Progress, fetch, load_reviews

Array = NDArray[np.float32]
Ids = NDArray[np.int64]

LAYERS, WIDTH, HEADS, MAX_TOKENS, EPSILON = 6, 384, 12, 128, 1e-12
WORDS, EMBEDDED = "embeddings.word_embeddings.weight", "embeddings.LayerNorm"
ROUNDS, BLOCK, PATIENCE = 3, 20, 60  # of the timing: rounds, texts in a row, seconds after which no round begins
PARTS = [*(f"attention.self.{part}" for part in ("query", "key", "value")),
         "attention.output.dense", "intermediate.dense", "output.dense"]
LINEARS = [f"encoder.layer.{layer}.{part}" for layer in range(LAYERS) for part in PARTS]
NORMED = ("attention.output", "output")
NORMS = [f"encoder.layer.{layer}.{part}.LayerNorm" for layer in range(LAYERS) for part in NORMED]
# Cosines to keep, mean and worst, by bits; on the default reviews .9987 and .9969, .9693 and .9168.
FLOORS = {8: (0.998, 0.996), 4: (0.967, 0.9)}
EXAMPLES = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
PUBLISHED = ".6660 .1046 .1411"  # their cosines in the documentation of sentence-transformers


class Float32:
    """The original: float32 weights, numpy's BLAS, and the rest of the operators in numpy."""

    def __init__(self, tensors: dict[str, Array]) -> None:
        self.tensors = tensors
        self.linears = {name: (tensors[f"{name}.weight"], tensors[f"{name}.bias"]) for name in LINEARS}
        self.linear_bytes = sum(array.nbytes for pair in self.linears.values() for array in pair)
        self.word_bytes = tensors[WORDS].nbytes

    def words(self, ids: Ids) -> Array:
        return self.tensors[WORDS][ids]

    def linear(self, x: Array, name: str, activation: str | None = None) -> Array:
        weight, bias = self.linears[name]
        y = x @ weight.T
        y += bias
        return gelu(y) if activation == "gelu" else y

    def several(self, x: Array, names: list[str]) -> tuple[Array, ...]:
        return tuple(self.linear(x, name) for name in names)

    def norm(self, x: Array, name: str, residual: Array | None = None) -> Array:
        x = x if residual is None else x + residual
        return layer_norm(x, self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"])

    def attention(self, query: Array, key: Array, value: Array, lengths: Ids | None) -> Array:
        """Every token of a text looks at every other: [texts, heads, tokens, 32]."""
        scores = (query * np.float32(query.shape[-1] ** -0.5)) @ key.swapaxes(-1, -2)
        if lengths is not None:
            scores[np.broadcast_to(np.arange(key.shape[-2]) >= lengths[:, None, None, None], scores.shape)] = -np.inf
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        return (scores @ value) / scores.sum(axis=-1, keepdims=True)

    def rest(self, layer: int, context: Array, x: Array) -> tuple[Array, ...]:
        """What follows attention in a layer: its output, and the next layer's query, key and value."""
        (project, up, down), (seen, last) = LINEARS[6 * layer + 3 : 6 * layer + 6], NORMS[2 * layer : 2 * layer + 2]
        x = self.norm(self.linear(context, project), seen, residual=x)
        x = self.norm(self.linear(self.linear(x, up, "gelu"), down), last, residual=x)
        return (x, *self.several(x, LINEARS[6 * layer + 6 : 6 * layer + 9]))


class Quantized:
    """Ours: weights and words packed once as small integers; every operator is dynq_numba's."""

    def __init__(self, tensors: dict[str, Array], *, threads: int | None = None, **scheme: Any) -> None:
        self.tensors, self.threads = tensors, threads
        self.norms = {name: (tensors[f"{name}.weight"], tensors[f"{name}.bias"]) for name in (EMBEDDED, *NORMS)}
        # glibc then keeps the memory of arrays up to this size, instead of clearing it anew at every call.
        np.empty(32_000_000, np.uint8)
        self.packed = {
            name: dq.pack_linear(tensors[f"{name}.weight"], tensors[f"{name}.bias"], **scheme) for name in LINEARS
        }
        self.table = dq.pack_embedding(tensors[WORDS])
        self.linear_bytes = sum(packed.nbytes for packed in self.packed.values())
        self.word_bytes = self.table.nbytes
        self.chains = [self.chain(layer) for layer in range(LAYERS)]

    def chain(self, layer: int) -> dq.Chain:
        """`Float32.rest` as one call, in which a block of rows never leaves a core's cache."""
        linears = [self.packed[name] for name in LINEARS[6 * layer + 3 : 6 * layer + 9]]
        seen, last = (self.norms[name] for name in NORMS[2 * layer : 2 * layer + 2])
        steps: dict[str, Any] = {
            "projected": dq.step.Linear(linears[0], x="context"),
            "seen": dq.step.LayerNorm(*seen, eps=EPSILON, residual="x"),
            "inner": dq.step.Linear(linears[1], activation="gelu"),
            "outer": dq.step.Linear(linears[2]),
            "y": dq.step.LayerNorm(*last, eps=EPSILON, residual="seen"),
        }
        steps |= {name: dq.step.Linear(w, x="y") for name, w in zip(("q", "k", "v"), linears[3:], strict=False)}
        return dq.Chain(steps, ("y", "q", "k", "v") if linears[3:] else ("y",))

    def words(self, ids: Ids) -> Array:
        return dq.embedding(ids, self.table)

    def several(self, x: Array, names: list[str]) -> tuple[Array, ...]:
        return dq.linear_many(x, [self.packed[name] for name in names], threads=self.threads)

    def norm(self, x: Array, name: str, residual: Array | None = None) -> Array:
        weight, bias = self.norms[name]
        return dq.layer_norm(x, weight, bias, eps=EPSILON, residual=residual, threads=self.threads)

    def attention(self, query: Array, key: Array, value: Array, lengths: Ids | None) -> Array:
        return dq.attention(query, key, value, key_lengths=lengths, bits=8, threads=self.threads)

    def rest(self, layer: int, context: Array, x: Array) -> tuple[Array, ...]:
        return self.chains[layer](context, x=x, threads=self.threads)


class MiniLM:
    """The encoder; `operators` decide what it computes with."""

    def __init__(self, operators: Float32 | Quantized) -> None:
        self.operators, self.tensors = operators, operators.tensors
        positions = self.tensors["embeddings.position_embeddings.weight"]
        self.positions = positions + self.tensors["embeddings.token_type_embeddings.weight"][0]

    @property
    def linear_bytes(self) -> int:
        """Bytes of all the linear layers: weights, scales and biases."""
        return self.operators.linear_bytes

    @property
    def file_bytes(self) -> int:
        """Bytes of all that the file holds: the linear layers, the words, and the rest as it is."""
        made = {WORDS, *(f"{name}.{part}" for name in LINEARS for part in ("weight", "bias"))}
        rest = sum(tensor.nbytes for name, tensor in self.tensors.items() if name not in made)
        return self.linear_bytes + self.operators.word_bytes + rest

    def encode(self, ids: list[int]) -> Array:
        """Embed one text, given as token ids, as a unit vector [384]."""
        return self.encode_batch(np.array([ids]))[0]

    def encode_batch(self, ids: Ids, lengths: Ids | None = None) -> Array:
        """Embed texts [texts, tokens] as unit vectors [texts, 384]; beyond `lengths` a text is padding."""
        texts, tokens = ids.shape
        x = self.operators.words(ids)
        x += self.positions[:tokens]
        x = self.operators.norm(x.reshape(texts * tokens, WIDTH), EMBEDDED)
        several, heads = self.operators.several(x, LINEARS[:3]), (texts, tokens, HEADS, WIDTH // HEADS)
        for layer in range(LAYERS):
            query, key, value = (y.reshape(heads).swapaxes(1, 2) for y in several)
            context = self.operators.attention(query, key, value, lengths).swapaxes(1, 2).reshape(x.shape)
            x, *several = self.operators.rest(layer, context, x)
        x = x.reshape(texts, tokens, WIDTH)
        if lengths is None:
            mean = x.mean(axis=1)
        else:
            mean = np.stack([text[:length].mean(axis=0) for text, length in zip(x, lengths, strict=True)])
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def layer_norm(x: Array, weight: Array, bias: Array) -> Array:
    """Shift and scale every row to mean 0 and variance 1, then by weight and bias."""
    x = x - x.mean(axis=-1, keepdims=True)
    variance = np.einsum("td,td->t", x, x)[:, None] / np.float32(x.shape[-1])
    x *= 1 / np.sqrt(variance + np.float32(EPSILON))
    x *= weight
    x += bias
    return x


# numpy has no erf. gelu(x) = x Phi(x), with Phi(x) = (1 + erf(x/sqrt 2))/2 = 1/(1 + exp(x P(x^2))), and this minimax
# P leaves |error| < 2e-7 max(1, |x|) for every float32: what rounding leaves anyway, in few passes over memory.
P = [-1.5957685, -0.07266857, 6.6259985e-05, 1.1048032e-04, -7.938218e-06, 2.6689281e-07, -3.6112329e-09]


def gelu(x: Array) -> Array:
    """Gaussian error linear unit, the form with erf, to float32 accuracy."""
    with np.errstate(over="ignore"):  # far left exp is inf and the quotient, rightly, -0
        square = x * x
        p = square * np.float32(P[-1])
        for coefficient in P[-2:0:-1]:
            p += coefficient
            p *= square
        p += P[0]
        p *= x
        np.exp(p, out=p)
        p += 1
        return np.divide(x, p, out=p)


def blas_threads(threads: int | None = None) -> int | None:
    """Set, if asked to, and return the threads of the OpenBLAS inside numpy's wheel; None for another BLAS."""
    for path in Path(np.__file__).parents[1].glob("numpy.libs/libscipy_openblas64_*"):
        blas = ctypes.CDLL(str(path))  # numpy has loaded it already: this is the same one
        if threads is not None:
            blas.scipy_openblas_set_num_threads64_(threads)
        return blas.scipy_openblas_get_num_threads64_()
    return None


def example_cosines(model: MiniLM, examples: list[list[int]]) -> str:
    """Format the cosine of every pair of example sentences like the published ones."""
    return " ".join(f"{a @ b:.4f}".lstrip("0") for a, b in combinations(map(model.encode, examples), 2))


def compare(models: list[MiniLM], texts: list[list[int]], progress: Progress) -> tuple[Array, Array]:
    """Return embeddings [models, texts, 384] and milliseconds [rounds, models, texts]; a warm-up is dropped."""
    embeddings, rounds, begun = np.empty((len(models), len(texts), 384), np.float32), [], time.monotonic()
    while not rounds or (len(rounds) < 1 + ROUNDS and time.monotonic() - begun < PATIENCE):
        rounds.append(np.empty((len(models), len(texts))))
        # Models take turns, so that whatever else the machine does meets both; but by blocks, with a pause: threads of
        # numpy's BLAS and of numba go on spinning for up to 30 ms, and would take the other's cores (2 times slower).
        for first, (which, model) in product(range(0, len(texts), BLOCK), enumerate(models)):
            time.sleep(0.05)
            model.encode(texts[first])  # untimed: wakes the threads up
            for text in range(first, min(first + BLOCK, len(texts))):
                start = time.perf_counter()
                embeddings[which, text] = model.encode(texts[text])
                rounds[-1][which, text] = 1e3 * (time.perf_counter() - start)
                progress.update(f"embedding reviews: {text + 1} of {len(texts)}, round {len(rounds)} of {1 + ROUNDS}")
    return embeddings, np.array(rounds[1:] or rounds)  # without a second round the first has to do


def main(argv: list[str] | None = None) -> int:
    """Run the demo; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=200, metavar="N", help="reviews to embed (default 200)")
    parser.add_argument("--threads", type=int, help="threads of both runs (default: what each chooses itself)")
    parser.add_argument("--bits", type=int, choices=(8, 4), default=8, help="bits of a weight (default 8)")
    parser.add_argument("--group-size", type=int, choices=(32, 64, 128), help="default: what pack_linear picks")
    parser.add_argument("--zero-points", action="store_true", help="a zero point for every group, with --bits 4")
    parser.add_argument("--quiet", action="store_true", help="no progress, only results")
    arguments = parser.parse_args(argv)
    if min(arguments.texts, 1 if arguments.threads is None else arguments.threads) < 1:
        parser.error("--texts and --threads must be at least 1")
    if arguments.zero_points and arguments.bits != 4:
        parser.error("--zero-points goes with --bits 4")
    scheme: dict[str, Any] = {"bits": arguments.bits, "symmetric": not arguments.zero_points}
    if arguments.group_size or arguments.zero_points:
        scheme |= {"granularity": "per_group", "group_size": arguments.group_size}
    progress = Progress(quiet=arguments.quiet)
    try:
        return demo(arguments.texts, arguments.threads, scheme, progress)
    except (FetchError, KeyboardInterrupt) as error:
        progress.clear()
        print(f"error: {str(error) or 'interrupted'}", file=sys.stderr)
        return 1


def demo(count: int, threads: int | None, scheme: dict[str, Any], progress: Progress) -> int:
    """Fetch, pack, compare, time and print; 1 if the scheme (arguments of pack_linear) lost too much, else 0."""
    from safetensors.numpy import load_file  # here, so that the bench can do without
    from tokenizers import Tokenizer

    load = os.getloadavg()[0] / (os.cpu_count() or 1)  # of others: we have not begun
    folder = fetch("minilm", progress)
    reviews = load_reviews(fetch("reviews", progress), count)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    examples, texts = ([tokenizer.encode(text).ids for text in group] for group in (EXAMPLES, reviews))
    name, blas = f"int{scheme['bits']}", blas_threads(threads) or "?"
    progress.step(f"packing 36 linear layers as {name}, the words as int8")
    tensors = load_file(folder / "model.safetensors")
    original, quantized = MiniLM(Float32(tensors)), MiniLM(Quantized(tensors, threads=threads, **scheme))
    progress.step("compiling kernels for this machine, or loading them from disk")
    start = time.perf_counter()
    triples = [example_cosines(model, examples) for model in (original, quantized)]
    compiling = time.perf_counter() - start
    progress.step(f"embedding {len(texts)} reviews in float32 and in {name}, {1 + ROUNDS} rounds")
    embeddings, milliseconds = compare([original, quantized], texts, progress)
    progress.clear()
    # Of a text's rounds the fastest counts: what slowed the others down was mostly other programs.
    slow, fast = best = np.median(milliseconds.min(axis=0), axis=1)
    disturbance = (np.median(milliseconds, axis=(0, 2)) / best).max()
    cosines = (embeddings[0] * embeddings[1]).sum(axis=1)
    mean, worst = cosines.mean(), cosines.min()
    before, after = original.linear_bytes, quantized.linear_bytes
    print(f"all-MiniLM-L6-v2, its 36 linear layers in float32 (numpy) and in {name} (dynq-numba), its words in int8")
    ours = f"dynq-numba {dq.__version__} (numba {numba.__version__}): {threads or dq.get_num_threads()}"
    print(f"  versions and threads: numpy {np.__version__}: {blas}, {ours}; first {name} run {compiling:.1f} s")
    print(f"  {len(texts)} film reviews, median {np.median([*map(len, texts)]):.0f} tokens, one per call")
    print(f"{'':34}{'float32':>17}{name:>21}")
    print(f"  cosines of the three examples   {triples[0]:>19}{triples[1]:>21}   published {PUBLISHED}")
    print(f"  bytes of the linear layers      {before:>19,}{after:>21,}   {after / before:.2f} of float32")
    whole = original.file_bytes, quantized.file_bytes
    print(f"  bytes of the whole file         {whole[0]:>19,}{whole[1]:>21,}   {whole[1] / whole[0]:.3f} of float32")
    print(f"  ms per review, median           {slow:>19.2f}{fast:>21.2f}   {slow / fast:.1f} times as fast")
    print(f"  cosine of {name} to float32: mean {mean:.4f}, worst {worst:.4f} of {len(texts)} reviews")
    if disturbance > 1.5 or load > 0.75:
        print(f"  The times may be off: this machine was busy before ({load:.1f} waiting per core) or meanwhile.")
    floors = FLOORS[scheme["bits"]] if scheme.get("group_size") is None else (0.95, 0.85)  # coarse groups are a choice
    if failed := not (mean >= floors[0] and worst >= floors[1]):  # a NaN fails, too
        print(f"error: too far from float32; wanted mean {floors[0]}, worst {floors[1]}", file=sys.stderr, flush=True)
    print(f"demo: mean_cosine={mean:.4f} worst_cosine={worst:.4f}", end=" ")
    print(f"bytes_ratio={after / before:.2f} file_ratio={whole[1] / whole[0]:.3f} speedup={slow / fast:.1f}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
