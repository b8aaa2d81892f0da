"""A real sentence-embedding model, all-MiniLM-L6-v2, in float32 and in int8 side by side.

The model is a BERT encoder: 6 layers, 384 wide, 12 heads, 36 linear layers. It is written out below in
numpy. Both runs share every line of it except two: what a "linear" is, and what the table of words is. In one run they
are numpy's float32 matmul and array, in the other `dynq_numba.linear`, with weights made int8 once and activations made
int8 on the fly, and `dynq_numba.embedding`, with a table made int8 once.

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
from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

import dynq_numba as dq

if __package__:  # imported as examples.minilm
    from .fetch import FetchError, Progress, fetch, load_reviews
else:  # run as a script
    from fetch import FetchError, Progress, fetch, load_reviews

Array = NDArray[np.float32]

LAYERS, HEADS, MAX_TOKENS = 6, 12, 128
ROUNDS, BLOCK, PATIENCE = 3, 20, 60  # of the timing: rounds, texts in a row, seconds after which no round begins
PARTS = [*(f"attention.self.{part}" for part in ("query", "key", "value")),
         "attention.output.dense", "intermediate.dense", "output.dense"]
# Cosines to keep, mean and worst, by bits; on the default reviews .9987 and .9969, .9693 and .9168.
FLOORS = {8: (0.998, 0.996), 4: (0.967, 0.9)}
EXAMPLES = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
PUBLISHED = ".6660 .1046 .1411"  # their cosines in the documentation of sentence-transformers


class Float32Linear:
    """The original: float32 weights, numpy's BLAS."""

    def __init__(self, weight: Array, bias: Array) -> None:
        self.weight, self.bias = weight, bias
        self.nbytes = weight.nbytes + bias.nbytes

    def __call__(self, x: Array, *, activation: str | None = None, residual: Array | None = None) -> Array:
        y = x @ self.weight.T
        y += self.bias
        if activation == "gelu":
            y = gelu(y)
        if residual is not None:
            y += residual
        return y


class QuantizedLinear:
    """Ours: weights packed once as int8 (or int4); bias, activation and residual happen inside the kernel."""

    def __init__(self, weight: Array, bias: Array, *, threads: int | None = None, **scheme: Any) -> None:
        self.packed, self.threads = dq.pack_linear(weight, bias, **scheme), threads
        self.nbytes = self.packed.nbytes

    def __call__(self, x: Array, *, activation: str | None = None, residual: Array | None = None) -> Array:
        return dq.linear(x, self.packed, activation=activation, residual=residual, threads=self.threads)


class Float32Table:
    """The original: a float32 row for each word."""

    def __init__(self, table: Array) -> None:
        self.table, self.nbytes = table, table.nbytes

    def __call__(self, ids: list[int]) -> Array:
        return self.table[ids]


class QuantizedTable:
    """Ours: a row of int8 for each word, with its scale and minimum."""

    def __init__(self, table: Array) -> None:
        self.packed = dq.pack_embedding(table)
        self.nbytes = self.packed.nbytes

    def __call__(self, ids: list[int]) -> Array:
        return dq.embedding(np.array(ids), self.packed)


class MiniLM:
    """The encoder; ``make_linear(weight, bias)`` decides what its 36 linear layers are, ``make_table`` its words."""

    def __init__(
        self,
        tensors: dict[str, Array],
        make_linear: Callable[..., Float32Linear | QuantizedLinear],
        make_table: Callable[[Array], Float32Table | QuantizedTable] = Float32Table,
    ) -> None:
        self.tensors = tensors
        self.words = make_table(tensors["embeddings.word_embeddings.weight"])
        layers = (f"encoder.layer.{layer}.{part}" for layer in range(LAYERS) for part in PARTS)
        self.linears = {name: make_linear(tensors[f"{name}.weight"], tensors[f"{name}.bias"]) for name in layers}

    @property
    def linear_bytes(self) -> int:
        """Bytes of all the linear layers: weights, scales and biases."""
        return sum(linear.nbytes for linear in self.linears.values())

    @property
    def file_bytes(self) -> int:
        """Bytes of all that the file holds: the linear layers, the words, and the rest as it is."""
        made = {f"{name}.{part}" for name in self.linears for part in ("weight", "bias")}
        made.add("embeddings.word_embeddings.weight")
        rest = sum(tensor.nbytes for name, tensor in self.tensors.items() if name not in made)
        return self.linear_bytes + self.words.nbytes + rest

    def encode(self, ids: list[int]) -> Array:
        """Embed one sentence, given as token ids, as a unit vector [384]."""
        x = self.words(ids)
        x += self.tensors["embeddings.position_embeddings.weight"][: len(ids)]
        x += self.tensors["embeddings.token_type_embeddings.weight"][0]
        x = self._norm(x, "embeddings.LayerNorm")
        for layer in range(LAYERS):
            x = self._layer(x, f"encoder.layer.{layer}")
        mean = x.mean(axis=0)  # one sentence per call: no padding, so no mask
        return mean / np.linalg.norm(mean)

    def _layer(self, x: Array, name: str) -> Array:
        query, key, value, project, up, down = (self.linears[f"{name}.{part}"] for part in PARTS)
        x = self._norm(project(attention(query(x), key(x), value(x)), residual=x), f"{name}.attention.output.LayerNorm")
        return self._norm(down(up(x, activation="gelu"), residual=x), f"{name}.output.LayerNorm")

    def _norm(self, x: Array, name: str) -> Array:
        return layer_norm(x, self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"])


def attention(query: Array, key: Array, value: Array) -> Array:
    """Every token [T, 384] looks at every other, in 12 heads of 32."""
    q, k, v = (x.reshape(len(x), HEADS, -1).swapaxes(0, 1) for x in (query, key, value))  # [heads, T, 32]
    scores = (q * np.float32(q.shape[-1] ** -0.5)) @ k.swapaxes(1, 2)  # scaled here: q is smaller than the scores
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    context = (scores @ v) / scores.sum(axis=-1, keepdims=True)  # and divided here, for the same reason
    return context.swapaxes(0, 1).reshape(query.shape)


def layer_norm(x: Array, weight: Array, bias: Array, epsilon: float = 1e-12) -> Array:
    """Shift and scale every row to mean 0 and variance 1, then by weight and bias."""
    x = x - x.mean(axis=-1, keepdims=True)
    variance = np.einsum("td,td->t", x, x)[:, None] / np.float32(x.shape[-1])
    x *= 1 / np.sqrt(variance + np.float32(epsilon))
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
    original = MiniLM(tensors, Float32Linear)
    quantized = MiniLM(
        tensors, lambda weight, bias: QuantizedLinear(weight, bias, threads=threads, **scheme), QuantizedTable
    )
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
