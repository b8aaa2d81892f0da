"""Recipes, receipts and files: rules in order, errors that name what is wrong, artifacts whole or not at all."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_models import parsed

from dynq_numba.onnx import CoverageError, Receipt, inspect, quantize


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    """Three linears and a table."""
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal((64, 64)).astype(np.float32) for name in ("first", "second", "head", "words")}
    body = "x = Gather (words, ids) a = MatMul (x, first) b = MatMul (a, second) y = MatMul (b, head)"
    return parsed("int64[n] ids", "float[n, 64] y", body, **weights)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def schemes(receipt: Receipt) -> dict[str, str]:
    return {entry.weight: entry.scheme for entry in receipt.entries}


def test_the_first_rule_that_matches_wins(model, tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text("""
        [[rule]]
        match = "^head$"
        bits = 32
        [[rule]]
        match = "first|head"
        op = "MatMul"
        bits = 4
        group_size = 64
    """)
    receipt = quantize(model, recipe=recipe)
    assert schemes(receipt) == {
        "words": "uint8_per_row", "first": "int4_per_group_64", "second": "int8_per_channel", "head": "float32",
    }  # fmt: skip
    assert receipt.kept[0].reason == "a rule of the recipe says so"
    given = {"rule": [{"match": "head", "bits": 32}]}
    assert schemes(quantize(model, recipe=given, bits=4))["first"] == "int4_per_group_32"
    only_tables = quantize(model, bits=32, recipe={"rule": [{"op": ["Gather"]}]}, strict=True)
    assert [entry.weight for entry in only_tables.quantized] == ["words"]
    assert {entry.reason for entry in quantize(model, bits=32).kept} == {"bits=32"}
    wide = schemes(quantize(model, recipe={"rule": [{"match": "head", "bits": 8, "x_bits": 16}]}))
    assert (wide["head"], wide["first"]) == ("int8_per_channel, x_bits=16", "int8_per_channel")


def test_include_and_exclude(model):
    assert [entry.weight for entry in quantize(model, include=["first", "words"]).quantized] == ["words", "first"]
    assert [entry.weight for entry in quantize(model, include="first|second", exclude="second").quantized] == ["first"]


def test_a_rule_that_others_hide_is_told(model):
    rules = [{"match": "first|second"}, {"match": "first", "bits": 4}, {"op": "MatMul", "bits": 32}]
    assert quantize(model, recipe={"rule": rules}).notes == [
        "rule 'first' decides nothing: 'first|second' before it matches first"
    ]
    assert quantize(model, recipe={"rule": rules[1:]}).notes == []


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"exclude": "third"}, "rule 'third' matches no layer; layers are first, second, head, words"),
        ({"include": ["first", "third"]}, "include 'third' matches no layer"),
        ({"recipe": {"rule": [{"match": "first"}, {"op": "Conv"}]}}, "rule '' Conv matches no layer"),
        ({"recipe": {"rule": [{"matches": "first"}]}}, "recipe, rule 1: unknown matches; a rule has match, op"),
        ({"recipe": {"rule": [{"match": "first"}, {"op": "Matmul"}]}},
         "recipe, rule 2: op must be one or a list of MatMul, Gemm, LSTM, GRU, RNN, Conv, Gather; got 'Matmul'"),
        ({"recipe": {"rule": [{"op": 3}]}}, "recipe, rule 1: op must be one or a list of MatMul, .*; got 3"),
        ({"recipe": {"rule": [{"bits": 5}]}}, "recipe, rule 1: bits must be one of"),
        ({"recipe": {"rule": {"bits": 8}}}, r"recipe: holds attention and \[\[rule\]\] tables only"),
        ({"recipe": {"attention": 4}}, "recipe: attention must be 8 or 32; got"),
        ({"bits": 3}, "bits must be one of"),
        ({"x_bits": 12}, "x_bits must be one of 8, 16; got int 12"),
        ({"x_bits": 16, "bits": 4}, "x_bits=16 goes with bits=8; got bits=4"),
        ({"x_bits": 16, "bits": 32}, "bits=32 stays float32, without granularity, group_size or x_bits"),
        ({"x_bits": 16, "group_size": 32}, "x_bits=16 goes with granularity=\"per_channel\" or \"per_tensor\""),
        ({"recipe": {"rule": [{"bits": 4, "x_bits": 16}]}}, "recipe, rule 1: x_bits=16 goes with bits=8"),
        ({"group_size": 48}, "group_size must be one of"),
        ({"granularity": "per_channel", "group_size": 32}, 'group_size=32 goes with granularity="per_group"'),
        ({"exclude": "("}, "exclude must be a regular expression; got '\\('"),
        ({"require_coverage": 95}, "require_coverage must be a number from 0 to 1; got 95"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_written(model, tmp_path, arguments, message):
    out = tmp_path / "out.onnx"
    with pytest.raises(ValueError, match=message):
        quantize(model, out, **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given,kind,message", [
    (3, TypeError, r"model must be a path, bytes, onnx\.ModelProto or onnx_ir\.Model; got int"),
    (b"no model", ValueError, "model is no valid ONNX model: "),
    (b"", ValueError, "model is no valid ONNX model: "),
    ("absent.onnx", FileNotFoundError, r"absent\.onnx"),
])  # fmt: skip
def test_what_is_no_model(given, kind, message):
    with pytest.raises(kind, match=message):
        quantize(given)


def test_a_file_that_is_no_model(tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(b"\x00garbage" * 100)
    with pytest.raises(ValueError, match=r"x\.onnx is no valid ONNX model: "):
        quantize(path)
    for content, told in ((b"\x08\x09\x3a\x90", "cut off or damaged"), (b"version https://git-lfs.", "Git LFS")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"x\.onnx is no valid ONNX model: it is .*{told}"):
            quantize(path)
    proto = parsed("float[n] x", "float[n] y", "y = Relu (x)")
    proto.graph.node[0].input[0] = "absent"
    with pytest.raises(ValueError, match=r"input 'absent' of node: .*Relu.* is not output of any previous nodes\.$"):
        quantize(proto)


def test_the_four_forms_of_a_model_give_the_same_artifact_twice(model, tmp_path):
    source, made = tmp_path / "source.onnx", []
    onnx.save(model, source)
    for given in (source, str(source), source.read_bytes(), model, ir.from_proto(model)):
        out = tmp_path / f"{len(made)}.onnx"
        receipt = quantize(given, out)
        made.append(out.read_bytes())
        assert Receipt.from_json(receipt.to_json()) == receipt
        assert {p.key: p.value for p in onnx.load(out).metadata_props}["dynq.receipt"] == receipt.to_json()
    assert made[0] == made[1] == made[2]
    strip = [onnx.load_model_from_string(data).graph.SerializeToString(deterministic=True) for data in made]
    assert len(set(strip)) == 1


def test_an_artifact_is_written_whole_or_not_at_all(model, tmp_path, monkeypatch):
    out = tmp_path / "out.onnx"
    out.write_bytes(b"before")
    with pytest.raises(CoverageError, match=r"coverage is 75.0%; at least 100.0% is required"):
        quantize(model, out, exclude="head", require_coverage=1.0)
    assert out.read_bytes() == b"before" and names(tmp_path) == ["out.onnx"]

    def full(*args):
        yield b"begun"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dynq_numba.onnx.wire.parts", full)
    with pytest.raises(OSError, match="No space"):
        quantize(model, out)
    assert out.read_bytes() == b"before" and names(tmp_path) == ["out.onnx"]


def test_large_weights_lie_in_a_file_beside(model, tmp_path, monkeypatch):
    monkeypatch.setattr("dynq_numba.onnx.files.MOST_INSIDE", 1000)
    out = tmp_path / "out.onnx"
    quantize(model, out)
    (beside,) = set(names(tmp_path)) - {"out.onnx"}
    assert re.fullmatch(r"out\.onnx\.[0-9a-f]{16}\.data", beside) and out.stat().st_size < 20_000
    onnx.checker.check_model(out, full_check=True)
    again = quantize(out)  # nothing is left to quantize, and nothing breaks
    assert {each.reason for each in again.quantized} == {"quantized before"}


def test_the_receipt_reads(model):
    receipt = quantize(model, exclude="head")
    assert receipt.summary() == "3 of 4 weights quantized, 75.0% of their bytes; weights 65.5 kB -> 30.5 kB; exact: yes"
    text, table = str(receipt), receipt.to_markdown()
    assert "excluded" in text and "int8_per_channel" in text and text.splitlines()[-1] == receipt.summary()
    assert len([line for line in table.splitlines() if line.startswith("|")]) == 6
    assert json.loads(receipt.to_json())["coverage"] == 0.75


def test_the_receipt_has_the_bytes_of_files_too(model, tmp_path, monkeypatch):
    source, out = tmp_path / "source.onnx", tmp_path / "out.onnx"
    apart = copy.deepcopy(model)  # which saving changes
    onnx.save(apart, source, save_as_external_data=True, location="weights", size_threshold=0)
    receipt = quantize(source, out)
    before = source.stat().st_size + (tmp_path / "weights").stat().st_size
    assert (receipt.source_bytes, receipt.artifact_bytes) == (before, out.stat().st_size)
    sizes = f"file {before / 1e3:.1f} kB -> {out.stat().st_size / 1e3:.1f} kB"
    assert receipt.summary().endswith(f"{sizes}; exact: yes") and inspect(out).summary() == receipt.summary()
    monkeypatch.setattr("dynq_numba.onnx.files.MOST_INSIDE", 1000)
    beside = quantize(source, out)
    assert beside.artifact_bytes == out.stat().st_size + next(tmp_path.glob("out.onnx.*.data")).stat().st_size
    assert inspect(out).artifact_bytes == beside.artifact_bytes
    assert quantize(model).source_bytes is None and "file" not in quantize(model).summary()


def test_the_receipt_says_what_is_not_exact(model):
    receipt = quantize(model, bits=4)
    assert receipt.exact and json.loads(receipt.to_json())["exact"] is True
    receipt.entries[1] = replace(receipt.entries[1], exact=False)
    assert receipt.inexact == [receipt.entries[1].weight] and not receipt.exact
    assert receipt.summary().endswith(f"; exact: no ({receipt.entries[1].weight})")
    assert json.loads(receipt.to_json())["exact"] is False


def test_progress_names_each_layer(model):
    seen = []
    quantize(model, progress=lambda done, layers, name: seen.append((done, layers, name)))
    assert seen == [(0, 4, "first"), (1, 4, "second"), (2, 4, "head"), (3, 4, "words")]


def test_mutated_files_give_a_clear_error_or_a_model(model, tmp_path):
    data, outcomes = model.SerializeToString(), []
    for seed in range(500):
        rng, mutant = np.random.default_rng(seed), bytearray(data)
        for _ in range(rng.integers(1, 5)):  # the beginning has the graph, the rest are weights
            mutant[int(rng.integers(0, 400 if seed % 5 else len(data)))] = int(rng.integers(0, 256))
        if seed % 10 == 0:
            del mutant[int(rng.integers(0, len(data))) :]
        try:
            outcomes.append(quantize(bytes(mutant), tmp_path / "out.onnx").coverage)
        except ValueError as error:
            assert str(error)
            outcomes.append(None)
    assert None in outcomes and 1.0 in outcomes and {path.name for path in tmp_path.iterdir()} <= {"out.onnx"}
