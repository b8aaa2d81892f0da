"""What the pipeline starts from: a float model and labelled data, in build/pipeline.

    reviews, people's labels ──▶ MiniLM ──▶ logistic head, trained ──▶ model.onnx      probability, sentence_embedding
    movies not trained on    ──▶ reviews.parquet         Lee's 50 documents ──▶ similarity.parquet

    python -m examples.pipeline.build                          # fetches model and texts (120 MB) on first use
    python -m examples.pipeline.build --broken two-bits        # and a candidate that must not pass: broken.onnx

A column `mentions` says whether a review speaks of women or of men: what the gate asks of fairness is about them.
"""

from __future__ import annotations

import argparse
import bz2
import csv
import hashlib
import logging
import re
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from examples.bert_onnx import export
from examples.fetch import FetchError, Progress, fetch

FOLDER = Path("build/pipeline")
MAX_TOKENS, BATCH, TRAINED, TESTED = 128, 64, 3000, 3000
WOMEN = re.compile(r"\b(she|her|hers|herself|woman|women|actress|girl|girls|mother|daughter|heroine)\b", re.IGNORECASE)
MEN = re.compile(r"\b(he|him|his|himself|man|men|actor|boy|boys|father|son|hero)\b", re.IGNORECASE)


def mentions(text: str) -> str:
    women, men = bool(WOMEN.search(text)), bool(MEN.search(text))
    return "women" if women and not men else "men" if men and not women else "both or none"


def load_reviews(folder: Path) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Reviews to train with, and of other movies to test with; in an order that their texts alone decide."""
    with bz2.open(folder / "rotten_tomatoes_corpus_full.csv.bz2", "rt", encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["category"] in ("fresh", "rotten") and row["text"].strip()]

    def digest(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    rows.sort(key=lambda row: digest(row["text"]))
    sides: tuple[list[dict[str, str]], list[dict[str, str]]] = [], []
    for row in rows:
        sides[digest(row["movie_name"]) < "8"].append(row)
    # Few reviews mention one of the two alone. All that do are tested: of a small group nothing can be said.
    sides[1].sort(key=lambda row: mentions(row["text"]) == "both or none")
    return sides[0][:TRAINED], sides[1][:TESTED]


def tokens(folder: Path, texts: Sequence[str]) -> list[list[int]]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return [each.ids for each in tokenizer.encode_batch(list(texts))]


def embeddings(model: Any, ids: list[list[int]], progress: Progress) -> np.ndarray:
    """Of the float model; texts of one length together."""
    from dynq_numba.onnx import InferenceSession

    session, found = InferenceSession(model), np.empty((len(ids), 384), np.float32)
    done = 0
    for _, group in groupby(sorted(range(len(ids)), key=lambda i: len(ids[i])), key=lambda i: len(ids[i])):
        same = list(group)
        for first in range(0, len(same), BATCH):
            part = same[first : first + BATCH]
            given = np.array([ids[i] for i in part])
            found[part] = session.run(None, {"input_ids": given, "attention_mask": np.ones_like(given)})[0]
            done += len(part)
            progress.update(f"embedding reviews to train with: {done} of {len(ids)}")
    return found


def with_head(model: Any, x: np.ndarray, labels: np.ndarray) -> Any:
    """The model with one more output: the probabilities of rotten and fresh."""
    from onnx import TensorProto, helper, numpy_helper
    from sklearn.linear_model import LogisticRegression

    head = LogisticRegression(C=10, max_iter=1000).fit(x, labels)
    weight, bias = head.coef_[0], head.intercept_[0]
    graph, embedding = model.graph, model.graph.output[0].name
    both = {"head.weight": np.stack([-weight, weight], 1) / 2, "head.bias": np.array([-bias, bias]) / 2}
    for name, array in both.items():
        graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    graph.node.extend([
        helper.make_node("MatMul", [embedding, "head.weight"], ["head/MatMul"], "head/MatMul"),
        helper.make_node("Add", ["head/MatMul", "head.bias"], ["head/Add"], "head/Add"),
        helper.make_node("Softmax", ["head/Add"], ["probability"], "head/Softmax", axis=-1),
    ])  # fmt: skip
    graph.output.insert(0, helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["texts", 2]))
    return model


def write_rows(path: Path, ids: list[list[int]], columns: dict[str, list[Any]]) -> None:
    """A table, shortest texts first: neighbours of one length run as a batch."""
    import pyarrow as pa
    import pyarrow.parquet

    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    whole = {"input_ids": ids, "attention_mask": [[1] * len(each) for each in ids], **columns}
    pa.parquet.write_table(pa.table({name: [values[i] for i in order] for name, values in whole.items()}), path)


def two_bits(model: Any) -> Any:
    """Weights of layers rounded to -1, 0, 1 times one scale for all: what no recipe of ours does."""
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        if ".weight" in tensor.name and len(tensor.dims) == 2 and "embeddings" not in tensor.name:
            weight = numpy_helper.to_array(tensor)
            scale = np.float32(np.abs(weight).max() / 2)
            tensor.CopyFrom(numpy_helper.from_array(np.clip(np.rint(weight / scale), -1, 1) * scale, tensor.name))
    return model


def break_model(folder: Path, how: str) -> None:
    import onnx

    if how == "two-bits":
        onnx.save(two_bits(onnx.load(folder / "model.onnx")), folder / "broken.onnx")
        return
    from onnxruntime.quantization import quantize_dynamic

    logging.getLogger().setLevel(logging.ERROR)  # it advises to run shape inference first
    quantize_dynamic(folder / "model.onnx", folder / "broken.onnx", per_channel=False)


def build(folder: Path, progress: Progress) -> None:
    import onnx
    from safetensors.numpy import load_file

    source, lee = fetch("minilm", progress), fetch("lee", progress)
    train, test = load_reviews(fetch("reviews", progress))
    folder.mkdir(parents=True, exist_ok=True)
    model = export(load_file(source / "model.safetensors"))
    ids = [tokens(source, [row["text"] for row in rows]) for rows in (train, test)]
    progress.step("embedding reviews to train with")
    labels = np.array([row["category"] == "fresh" for row in train])
    onnx.save(with_head(model, embeddings(model, ids[0], progress), labels), folder / "model.onnx")
    short, long = np.quantile([len(each) for each in ids[1]], [1 / 3, 2 / 3])
    write_rows(folder / "reviews.parquet", ids[1], {
        "label": [row["category"] for row in test], "mentions": [mentions(row["text"]) for row in test],
        "length": ["short" if len(i) <= short else "long" if len(i) > long else "middle" for i in ids[1]],
    })  # fmt: skip
    documents = (lee / "lee.cor").read_text(encoding="latin-1").splitlines()
    write_rows(folder / "similarity.parquet", tokens(source, documents), {"document": list(range(len(documents)))})
    np.save(folder / "similarity.npy", np.loadtxt(lee / "similarities0-1.txt"))
    progress.clear()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broken", choices=("two-bits", "per-tensor"), help="write a candidate that must not pass")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--quiet", action="store_true", help="no progress")
    arguments = parser.parse_args(argv)
    progress = Progress(quiet=arguments.quiet)
    try:
        if not arguments.broken or not (arguments.folder / "model.onnx").exists():
            build(arguments.folder, progress)
        if arguments.broken:
            break_model(arguments.folder, arguments.broken)
    except (FetchError, KeyboardInterrupt) as error:
        progress.clear()
        print(f"error: {str(error) or 'interrupted'}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
