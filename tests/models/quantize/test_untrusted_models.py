"""Models of anybody: whatever is wrong with a file is one error that says what, before anything is computed or written.

Each case is given to a session, to quantize, and to the commands. A limit on memory holds for all of it.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import floats, parsed

from dynq_numba.cli.main import main
from dynq_numba.onnx import InferenceSession, inspect, optimise, quantize, wire
from dynq_numba.planning.segment import words_of

#: Bytes beyond those in use; the error must come before they are asked for.
MEMORY = 4 << 30


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def refuse(path: Path, match: str, *, compiled: bool = False) -> None:
    """Everything that takes a model raises one ValueError like this, and leaves the folder as it is.

    `compiled`: only what a session makes of the graph is wrong, not the file itself.
    """
    before = {each: each.lstat().st_mtime_ns for each in path.parent.iterdir()}
    takers: list[Callable] = [InferenceSession, optimise]
    if not compiled:
        takers += [lambda model: quantize(model, path.with_name("out.onnx"), bits=4), inspect]
    for take in takers:
        with pytest.raises(ValueError, match=match) as caught:
            take(path)
        assert type(caught.value) is ValueError and str(path) in str(caught.value), repr(caught.value)
    assert {each: each.lstat().st_mtime_ns for each in path.parent.iterdir()} == before


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def layer() -> onnx.ModelProto:
    return parsed("float[m, 64] x", "float[m, 64] y", "y = MatMul (x, w)", w=floats(64, 64))


# -- tensors ------------------------------------------------------------------------------------
def tensor_of(model: onnx.ModelProto) -> TensorProto:
    return model.graph.initializer[0]


TENSORS = {
    "negative": (lambda t: t.dims.__setitem__(0, -64), r"tensor 'w' must have lengths from 0 on.* shape \[-64, 64\]"),
    "huge": (lambda t: t.dims.__setitem__(0, 2**62), r"tensor 'w' must have lengths.*at most 2\^48 elements"),
    "overflowing": (lambda t: t.dims.extend([2**33, 2**33]), "at most 2.48 elements"),
    "short": (lambda t: setattr(t, "raw_data", t.raw_data[:-4]), "must have 16384 bytes of raw data; got 16380"),
    "long": (lambda t: setattr(t, "raw_data", t.raw_data + b"\0"), "must have 16384 bytes of raw data; got 16385"),
    "empty": (lambda t: setattr(t, "raw_data", b""), "must have 16384 bytes of raw data; got 0"),
    "absent": (lambda t: t.ClearField("raw_data"), "must have 4096 entries of float_data; got 0"),
    "unknown type": (lambda t: setattr(t, "data_type", 99), "tensor 'w' has the unknown type 99"),
    "no type": (lambda t: setattr(t, "data_type", 0), "tensor 'w' of UNDEFINED cannot be raw data"),
    "text": (lambda t: setattr(t, "data_type", TensorProto.STRING), "tensor 'w' of STRING cannot be raw data"),
    "wider": (lambda t: setattr(t, "data_type", TensorProto.DOUBLE), "must have 32768 bytes of raw data; got 16384"),
    "few entries": (lambda t: (t.ClearField("raw_data"), t.float_data.append(1)), "4096 entries of float_data; got 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", TENSORS)
def test_a_tensor_that_is_not_what_its_shape_says(case, tmp_path):
    change, match = TENSORS[case]
    model = layer()
    change(tensor_of(model))
    refuse(saved(model, tmp_path), match)


def test_a_tensor_of_a_node_and_of_a_branch(tmp_path):
    text = """<ir_version: 10, opset_import: ["": 21]> g (bool c, float[2] x) => (float[2] y) {
        y = If (c) < then_branch = a () => (float[2] p) { v = Constant <value = float[2] {1, 2}> () p = Add (x, v) },
                     else_branch = b () => (float[2] q) { q = Neg (x) } > }"""
    model = onnx.parser.parse_model(text)
    model.graph.node[0].attribute[0].g.node[0].attribute[0].t.float_data.append(3)
    refuse(saved(model, tmp_path), "must have 2 entries of float_data; got 3")


# -- external data ------------------------------------------------------------------------------
def beside(folder: Path, location: str = "weights", **entries: object) -> Path:
    """A model whose weight is in a file beside it."""
    model, tensor = layer(), tensor_of(layer())
    (folder / "weights").write_bytes(tensor.raw_data)
    tensor = tensor_of(model)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": location} | entries).items():
        tensor.external_data.add(key=key, value=str(value))
    return saved(model, folder)


OUTSIDE = ["../weights", "/etc/passwd", "a/../../weights", "", ".", "weights\0", "../../../../etc/passwd"]


@pytest.mark.parametrize("location", OUTSIDE)
def test_external_data_stays_in_the_folder(location, tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "weights").write_bytes(bytes(16384))
    refuse(beside(tmp_path / "inner", location), "tensor 'w': its data must be in a file of the model's folder; got ")


@pytest.mark.parametrize("kind", ["link to a file", "link out", "link as folder", "absent", "folder", "pipe"])
def test_external_data_is_a_file(kind, tmp_path):
    path = beside(tmp_path, "data/weights" if kind == "link as folder" else "data")
    place, match = tmp_path / "data", "which is a link"
    if kind == "link to a file":
        place.symlink_to("weights")
    elif kind == "link out":
        place.symlink_to("/dev/zero")
    elif kind == "link as folder":
        (tmp_path / "real").mkdir()
        (tmp_path / "real" / "weights").write_bytes(bytes(16384))
        place.symlink_to("real")
    elif kind == "absent":
        match = "does not exist"
    else:
        os.mkfifo(place) if kind == "pipe" else place.mkdir()
        match = "is no file"
    refuse(path, f"tensor 'w': its data must be in a file.* {match}")


@pytest.mark.parametrize(("entries", "match"), [
    ({"offset": 4}, r"is to be bytes 4 to 16388 of .*weights, which has 16384"),
    ({"offset": 2**63}, r"is to be bytes 9223372036854775808 to"),
    ({"length": 16385}, "has 16384 bytes; got length=16385"),
    ({"length": 4}, "has 16384 bytes; got length=4"),
    ({"offset": -1}, "must have its offset in digits; got '-1'"),
    ({"length": "1e9"}, "must have its length in digits; got '1e9'"),
    ({"offset": "9" * 30}, "must have its offset in digits"),
])  # fmt: skip
def test_places_in_external_data_are_inside_of_it(entries, match, tmp_path):
    refuse(beside(tmp_path, **entries), match)


def test_external_data_that_is_cut_off(tmp_path):
    path = beside(tmp_path)
    (tmp_path / "weights").write_bytes(bytes(16383))
    refuse(path, "is to be bytes 0 to 16384 of .*weights, which has 16383")
    (tmp_path / "weights").write_bytes(b"")
    refuse(path, "is to be bytes 0 to 16384 of .*weights, which has 0")


def test_external_data_of_what_is_no_file(tmp_path, monkeypatch):
    path = beside(tmp_path)
    monkeypatch.chdir(tmp_path)
    for given in (path.read_bytes(), onnx.load(path, load_external_data=False)):
        with pytest.raises(ValueError, match="tensor 'w' has data in another file: give the model as a path"):
            InferenceSession(given)
    assert InferenceSession("model.onnx").run(None, {"x": floats(2, 64)})[0].shape == (2, 64)


# -- files --------------------------------------------------------------------------------------
@pytest.mark.parametrize("large", [False, True])
def test_a_file_that_is_cut_off(large, tmp_path, monkeypatch):
    monkeypatch.setattr("dynq_numba.onnx.files.MAPPED", 0 if large else 1 << 24)
    monkeypatch.setattr("dynq_numba.onnx.wire.LARGE", 1 << 12)
    data = layer().SerializeToString()
    for end in (1, 7, 100, len(data) - 1):
        path = tmp_path / "model.onnx"
        path.write_bytes(data[:end])
        refuse(path, "is no valid ONNX model: ")
    path.write_bytes(b"")
    refuse(path, "is no valid ONNX model: ")


def test_lengths_in_a_large_file_that_go_beyond_it(tmp_path, monkeypatch):
    monkeypatch.setattr("dynq_numba.onnx.files.MAPPED", 0)
    path = tmp_path / "model.onnx"
    for data in (b"\x3a\xff\xff\xff\xff\x07" + bytes(99), b"\x3a" + b"\xff" * 12, b"\x3f" + bytes(9), b"\x3a"):
        path.write_bytes(data)
        refuse(path, "is no valid ONNX model: ")


# -- graphs -------------------------------------------------------------------------------------
def test_a_cycle(tmp_path):
    model = parsed("float[2] x", "float[2] y", "a = Add (x, b) b = Neg (a) y = Neg (b)")
    refuse(saved(model, tmp_path), "topologically sorted")


def test_a_cycle_in_what_onnx_runtime_wrote(tmp_path):
    """Its operators are not onnx's, whose checker is shown the rest."""
    body = "a = Add (x, b) b = Neg (a) y = SimplifiedLayerNormalization (b, w)"
    model = parsed("float[2, 4] x", "float[2, 4] y", body, w=floats(4))
    refuse(saved(model, tmp_path), "topologically sorted")


@pytest.mark.parametrize("name", ["value", "initializer"])
def test_two_values_of_one_name(name, tmp_path):
    model = parsed("float[2] x", "float[2] y", "a = Neg (x) b = Abs (x) y = Add (a, b)")
    if name == "value":
        model.graph.node[1].output[0] = "a"
    else:
        model.graph.initializer.extend([numpy_helper.from_array(floats(2), "w")] * 2)
    refuse(saved(model, tmp_path), "is no valid ONNX model: ")


@pytest.mark.parametrize("place", ["node", "input", "value", "weight", "graph"])
def test_names_with_code_0(place, tmp_path):
    model = layer()
    node = model.graph.node[0]
    if place == "node":
        node.name = "no\0de"
    elif place == "input":
        model.graph.input[0].name = node.input[0] = "x\0"
    elif place == "value":
        model.graph.output[0].name = node.output[0] = "y\0z"
    elif place == "weight":
        model.graph.initializer[0].name = node.input[1] = "\0w"
    else:
        model.graph.name = "g\0"
    refuse(saved(model, tmp_path), "a name must have no character of code 0; got '.*x00")


@pytest.mark.parametrize(("body", "match"), [
    ("y = LayerNormalization <axis: int = 2147483648> (x, x)", "axis must be an axis; got 2147483648"),
    ("y = Transpose <perm: ints = [0, 1099511627776]> (x)", "perm must be an axis; got 1099511627776"),
    ("y, z = Split <axis: int = 0, num_outputs: int = 1> (x)", "Split .*has 2 results; got num_outputs=1"),
])  # fmt: skip
def test_what_ends_the_process_in_onnx(body, match, tmp_path):
    """In its inference of shapes, found by tests/programs/fuzz.py."""
    refuse(saved(parsed("float[2, 2] x", "float[2, 2] y", body), tmp_path), match)


def test_a_transpose_of_other_axes_than_there_are():
    body = "k = Transpose <perm: ints = [0]> (x) s = MatMul (x, k) p = Softmax (s) y = MatMul (p, x)"
    session = InferenceSession(parsed("float[a, b, c] x", "float[a, b, c] y", body))
    with pytest.raises(ValueError, match="perm must have each of 3 axes once"):
        session.run(None, {"x": floats(2, 3, 3)})


def with_functions(*texts: str, call: str) -> onnx.ModelProto:
    model = parsed("float[2] x", "float[2] y", "y = Neg (x)")
    model.opset_import.append(helper.make_opsetid("f", 1))
    head = '<domain: "f", opset_import: ["": 21, "f": 1]>'
    model.functions.extend(onnx.parser.parse_function(f"{head} {each}") for each in texts)
    model.graph.node[0].domain, model.graph.node[0].op_type = "f", call
    return model


def test_functions_that_call_each_other(tmp_path):
    first, second = "a (x) => (y) { y = f.b (x) }", "b (x) => (y) { y = f.a (x) }"
    both = with_functions(first, second, call="a")
    refuse(saved(both, tmp_path), "functions must not call themselves; got a → b → a")
    itself = "a (x) => (y) { z = Neg (x) y = f.a (z) }"
    refuse(saved(with_functions(itself, call="a"), tmp_path), "functions must not call themselves; got a → a")


def test_functions_that_grow(tmp_path):
    """Ten calls of ten calls of …: 10^12 nodes in a few hundred bytes."""
    levels = ["f0 (x) => (y) { y = Neg (x) }"]
    for i in range(1, 13):
        body = "".join(f" v{j + 1} = f.f{i - 1} ({'x' if j == 0 else f'v{j}'})" for j in range(9))
        levels.append(f"f{i} (x) => (y) {{{body} y = f.f{i - 1} (v9) }}")
    match = "with its functions in their places it must have at most 1048576 nodes; got 1e.12"
    refuse(saved(with_functions(*levels, call="f12"), tmp_path), match)


def test_functions_that_call_each_other_deeply(tmp_path):
    levels = ["f0 (x) => (y) { y = Neg (x) }"] + [f"f{i} (x) => (y) {{ y = f.f{i - 1} (x) }}" for i in range(1, 500)]
    refuse(saved(with_functions(*reversed(levels), call="f499"), tmp_path), "call each other at most 64 deep")


def test_graphs_in_graphs(tmp_path, monkeypatch):
    """Deeper than protobuf reads."""
    data = b""
    for _ in range(2000):  # graph (node (attribute (graph …
        for number in (6, 5, 1):
            data = wire._head(number, len(data)) + data
    (tmp_path / "model.onnx").write_bytes(wire._head(7, len(data)) + data)
    refuse(tmp_path / "model.onnx", "is no valid ONNX model: ")
    monkeypatch.setattr("dynq_numba.onnx.files.MAPPED", 0)
    monkeypatch.setattr("dynq_numba.onnx.wire.LARGE", 0)
    refuse(tmp_path / "model.onnx", "is no valid ONNX model: ")


def test_a_chain_of_thousands_of_nodes_runs():
    """No step of the way may take a frame of Python for each."""
    body = " ".join(f"v{i + 1} = {'Neg' if i % 2 else 'Abs'} (v{i})" for i in range(1200))
    model = parsed("float[2] v0", "float[2] y", f"{body} y = MatMul (v1200, w)", w=floats(2, 2))
    y = InferenceSession(model).run(None, {"v0": np.array([1, -2], np.float32)})[0]
    assert np.allclose(y, -np.array([1, 2], np.float32) @ floats(2, 2))
    assert not quantize(model).quantized  # it is too small
    constant = " ".join(f"v{i + 1} = {'Neg' if i % 2 else 'Abs'} (v{i})" for i in range(1200))
    model = parsed("float[2] x", "float[2] y", f"{constant} y = Add (x, v1200)", v0=floats(2))
    assert np.array_equal(InferenceSession(model).run(None, {"x": np.zeros(2, np.float32)})[0], -abs(floats(2)))


# -- constants that ask for memory --------------------------------------------------------------
LENGTHS = np.array([10**6, 10**6])
BOMBS = {
    "ConstantOfShape": "big = ConstantOfShape (lengths)",
    "Expand": "big = Expand (one, lengths)",
    "Tile": "square = Reshape (one, ones) big = Tile (square, lengths)",
    "Range": "zero = Constant <value_int: int = 0> () end = Constant <value_int: int = 1000000000000> () "
             "step = Constant <value_int: int = 1> () flat = Range (zero, end, step) big = Unsqueeze (flat, ones)",
    "fine Range": "zero = Constant <value_float: float = 0.0> () end = Constant <value_float: float = 1.0> () "
                  "step = Constant <value_float: float = 1e-12> () flat = Range (zero, end, step) "
                  "axis = Constant <value_ints: ints = [0]> () big = Unsqueeze (flat, axis)",
    "Pad": "square = Reshape (one, ones) pads = Concat <axis: int = 0> (lengths, lengths) big = Pad (square, pads)",
    "OneHot": "depth = Constant <value_int: int = 1000000000000> () big = OneHot (ones, depth, twice)",
    "Resize": "square = Reshape (one, ones) big = Resize (square, , , lengths)",
    "scaled": "square = Reshape (one, ones) s = Cast <to: int = 1> (lengths) big = Resize (square, , s)",
    "MatMul": "big = MatMul (column, row)",
    "Mul": "big = Mul (column, row)",
    "Gather": "places = ConstantOfShape (many) wide = ConstantOfShape (broad) big = Gather (wide, places)",
    "doubled": "a = Expand (one, many) " + " ".join(
        f"{b} = Concat <axis: int = 0> ({a}, {a})" for a, b in pairwise("abcdefghijklmnopqrst")
    ) + " axis = Constant <value_ints: ints = [0]> () big = Unsqueeze (t, axis)",
    "HannWindow": "size = Constant <value_int: int = 1000000000000> () flat = HannWindow (size) "
                  "axis = Constant <value_ints: ints = [0]> () big = Unsqueeze (flat, axis)",
    "EyeLike": "flat = ConstantOfShape (lengths) big = EyeLike (flat)",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_constants_that_ask_for_memory(bomb, tmp_path, monkeypatch):
    """As a weight of a layer, which everybody wants to know."""
    monkeypatch.setattr("dynq_numba.graph.constants.MOST", 1 << 21)
    weights = {
        "one": np.ones(1, np.float32), "ones": np.array([1, 1]), "lengths": LENGTHS, "many": np.array([10**6]),
        "broad": np.array([1, 10**6]), "twice": np.array([0, 1], np.float32), "column": floats(10**6, 1),
        "row": floats(1, 10**6),
    }  # fmt: skip
    weights = {name: array for name, array in weights.items() if re.search(rf"[(, ]{name}[,)]", BOMBS[bomb])}
    model = parsed("float[m, n] x", "float[m, k] y", f"{BOMBS[bomb]} y = MatMul (x, big)", **weights)
    refuse(saved(model, tmp_path), r"cannot be computed: .*elements; a constant may have \d+|cannot be computed: ")


def test_commands_say_it_in_one_line(tmp_path, capsys):
    path = beside(tmp_path, "../weights")
    feeds = tmp_path / "x.npz"
    np.savez(feeds, x=floats(1, 64))
    for command in (["quantize", path], ["run", path, "--input", feeds], ["inspect", path], ["warmup", path],
                    ["inspect", path, "--why", "y"], ["inspect", path, "--graph", tmp_path / "g.onnx"]):  # fmt: skip
        assert main(list(map(str, command))) == 1
        said = capsys.readouterr()
        assert not said.out and said.err.count("\n") == 1 and "tensor 'w': its data must be in a file" in said.err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model.onnx", "weights", "x.npz"]


def test_outputs_of_any_name_are_written_as_arrays(tmp_path, capsys):
    model = parsed("float[2] x", "float[2] y", "y = Neg (x)")
    for name in ("file", "allow_pickle", "../up", "/etc/passwd"):
        model.graph.node[0].output[0] = model.graph.output[0].name = name
        path, feeds, out = saved(model, tmp_path), tmp_path / "x.npz", tmp_path / "y.npz"
        np.savez(feeds, x=floats(2))
        assert main(["run", str(path), "--input", str(feeds), "--output", str(out)]) == 0, capsys.readouterr().err
        with np.load(out) as found:
            assert found.files == [name] and np.array_equal(found[name], -floats(2))


def test_numbers_beyond_64_bits_are_an_error_of_ours():
    assert words_of([[1, 2], [3, 4]]).tolist() == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="must fit 64 bits"):
        words_of([1 << 63])


def test_attention_of_vectors():
    """Found by tests/programs/fuzz.py: an axis was looked for that is not there."""
    model = parsed("bool[6] m, float[2, 3, 6, 8] v", "float[2, 3, 4, 8] y", "y = Attention (m, v, v)", opset=24)
    with pytest.raises(ValueError, match=r"Attention|attention|axis|axes") as caught:
        InferenceSession(model).run(None, {"m": np.ones(6, bool), "v": floats(2, 3, 6, 8)})
    assert "IndexError" not in str(caught.value)
