"""Models of any size, on small ones whose limits are lowered: mapped, streamed, sharded, whole or not at all.

Of 3 GB: `python -m bench memory`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from children import child
from onnx_models import floats, in_onnxruntime, parsed

from dynq_numba.onnx import InferenceSession, files, inspect, quantize, wire

BODY = "h = Gather (words, ids) a = MatMul (h, w0) b = Relu (a) y = MatMul (b, w1)"
FEEDS = {"ids": np.array([3, 0, 98])}


def model() -> onnx.ModelProto:
    return parsed("int64[n] ids", "float[n, 70] y", BODY, words=floats(99, 64), w0=floats(64, 80), w1=floats(80, 70))


@pytest.fixture
def small_limits(monkeypatch):
    """All that happens to large models happens to this one."""
    monkeypatch.setattr("dynq_numba.onnx.files.MAPPED", 0)
    monkeypatch.setattr("dynq_numba.onnx.files.SPILLED", 0)
    for module in ("wire", "mapping"):
        monkeypatch.setattr(f"dynq_numba.onnx.{module}.LARGE", 1 << 10)
    monkeypatch.setattr("dynq_numba.onnx.wire.taken_apart.__defaults__", (1 << 10,))


def sharded(folder: Path) -> Path:
    """The weights in two files, of which one lies in a folder, and not all aligned."""
    made = model()
    (folder / "more").mkdir()
    places = ["weights.0", "more/weights.1"]
    contents = {place: bytearray(b"123") for place in places}
    for i, tensor in enumerate(made.graph.initializer):
        place = places[i % 2]
        raw = tensor.raw_data
        wire.point_to(tensor, place, len(contents[place]), len(raw))
        contents[place] += raw
    for place, content in contents.items():
        (folder / place).write_bytes(content)
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def test_files_in_parts(tmp_path, small_limits):
    path, want = sharded(tmp_path), in_onnxruntime(model(), FEEDS)[0]
    assert np.allclose(InferenceSession(path).run(None, FEEDS)[0], want, rtol=1e-4, atol=1e-4)
    assert np.allclose(InferenceSession(ir.load(path)).run(None, FEEDS)[0], want, rtol=1e-4, atol=1e-4)
    whole = path.stat().st_size + sum(each.stat().st_size for each in tmp_path.rglob("weights.*"))
    receipt = quantize(path)
    assert len(receipt.quantized) == 3 and receipt.source_bytes == whole
    made, other = (ir.to_proto(each.model).graph.SerializeToString() for each in (receipt, quantize(model())))
    assert made == other


def test_weights_of_a_mapped_file_are_not_read(tmp_path, small_limits):
    """The model that protobuf sees has none of them; the arrays lie in the file."""
    path = tmp_path / "model.onnx"
    path.write_bytes(model().SerializeToString())
    assert len(wire.small(memoryview(path.read_bytes()))) < 1500
    for name, value in files.read(path).graph.initializers.items():
        want = next(each for each in model().graph.initializer if each.name == name)
        assert np.array_equal(value.const_value.numpy(), onnx.numpy_helper.to_array(want))
        with pytest.raises(ValueError, match="read-only"):
            value.const_value.numpy()[0] = 0


def test_maps_of_the_caller_keep_what_is_in_memory_only(tmp_path):
    """Of his model: pages that he has changed are in no file, and must not be let go of."""
    made, path, want = ir.from_proto(model()), tmp_path / "weights", in_onnxruntime(model(), FEEDS)[0]
    weight = made.graph.initializers["w0"].const_value.numpy()
    np.zeros_like(weight).tofile(path)
    mapped = np.memmap(path, np.float32, "c", shape=weight.shape)
    mapped[:] = weight
    made.graph.initializers["w0"].const_value = ir.tensor(np.asarray(mapped), name="w0")
    assert np.allclose(InferenceSession(made).run(None, FEEDS)[0], want, rtol=1e-4, atol=1e-4)
    quantize(made, tmp_path / "int8.onnx")
    assert np.array_equal(mapped, weight)


def test_what_is_streamed_is_what_protobuf_writes(tmp_path, small_limits):
    made = ir.from_proto(model())
    whole = ir.to_proto(made).SerializeToString(deterministic=True)
    parts = list(wire.parts(made))
    assert b"".join(bytes(each) for each in parts) == whole and len(parts) > 6
    assert files.digest(made) == hashlib.sha256(whole).hexdigest()
    four = quantize(model(), bits=4).model  # packed in bytes
    assert b"".join(bytes(each) for each in wire.parts(four)) == ir.to_proto(four).SerializeToString(deterministic=True)


@pytest.mark.parametrize("bits", [8, 4])
def test_an_artifact_is_the_same_by_every_way(bits, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    quantize(model(), tmp_path / "a" / "x.onnx", bits=bits)
    for name, value in (("MAPPED", 0), ("SPILLED", 0)):
        monkeypatch.setattr(f"dynq_numba.onnx.files.{name}", value)
    monkeypatch.setattr("dynq_numba.onnx.mapping.LARGE", 1 << 10)
    quantize(model(), tmp_path / "b" / "x.onnx", bits=bits)
    assert (tmp_path / "a" / "x.onnx").read_bytes() == (tmp_path / "b" / "x.onnx").read_bytes()
    assert [each.name for each in (tmp_path / "b").iterdir()] == ["x.onnx"]


# -- two files ----------------------------------------------------------------------------------
def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.fixture
def two_files(monkeypatch):
    monkeypatch.setattr("dynq_numba.onnx.files.MOST_INSIDE", 1000)


def test_much_weight_lies_beside_the_model(tmp_path, two_files):
    out = tmp_path / "out.onnx"
    receipt = quantize(model(), out)
    stored, beside = names(tmp_path)
    assert stored == "out.onnx" and receipt.artifact_bytes == sum(each.stat().st_size for each in tmp_path.iterdir())
    proto = onnx.load(out, load_external_data=False)
    places = [{e.key: e.value for e in each.external_data} for each in proto.graph.initializer if each.external_data]
    assert places and all(each["location"] == beside and int(each["offset"]) % 4096 == 0 for each in places)
    y = InferenceSession(out).run(None, FEEDS)[0]
    assert np.array_equal(y, InferenceSession(receipt.model).run(None, FEEDS)[0])
    assert inspect(out).summary() == receipt.summary()


def test_a_new_artifact_takes_the_place_of_both_files(tmp_path, two_files):
    out = tmp_path / "out.onnx"
    quantize(model(), out)
    first, mine = names(tmp_path), tmp_path / "out.onnx.mine.data"
    mine.write_bytes(b"somebody's")
    opened = InferenceSession(out)
    quantize(model(), out, bits=4)
    second = names(tmp_path)
    assert len(second) == 3 and mine.name in second and not set(first[1:]) & set(second)
    assert opened.run(None, FEEDS)[0].shape == (3, 70)  # from the file that is gone
    quantize(model(), out, bits=4)
    assert names(tmp_path) == second  # the same bytes have the same name


@pytest.mark.parametrize("failing", ["replace", "write"])
def test_a_failure_between_two_files_leaves_the_old_ones(failing, tmp_path, two_files, monkeypatch):
    out = tmp_path / "out.onnx"
    quantize(model(), out)
    before = {each: each.read_bytes() for each in tmp_path.iterdir()}

    def replace(source, target, real=files.os.replace):
        if Path(target) == out:
            raise OSError(5, "Input/output error")
        real(source, target)

    def full(*_):
        raise OSError(28, "No space left on device")

    if failing == "replace":
        monkeypatch.setattr("dynq_numba.onnx.files.os.replace", replace)
    else:
        monkeypatch.setattr("dynq_numba.onnx.wire.data_of", full)
    with pytest.raises(OSError, match=r"Input|No space"):
        quantize(model(), out, bits=4)
    assert {each: each.read_bytes() for each in tmp_path.iterdir()} == before


# -- memory -------------------------------------------------------------------------------------
MEASURED = """
import json, sys
from pathlib import Path
from bench.tools.memory import memory, write_model
folder = Path(sys.argv[1])
path, sizes = write_model(folder, 100_000_000, 1024)
from dynq_numba.onnx import InferenceSession, quantize
from dynq_numba.onnx import files
files.SPILLED = 0
before = memory("VmHWM")
InferenceSession(path)
opened = memory("VmHWM")
quantize(path, folder / "out.onnx")
taken = {"before": before, "opened": opened, "quantized": memory("VmHWM"), "largest": sorted(sizes)[-2:]}
print(json.dumps(taken))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_that_of_the_largest_tensors(tmp_path):
    """Of 100 MB of which a table has a quarter: opening reads nothing, quantizing takes a few tensors."""
    done = child("-c", MEASURED, tmp_path)
    assert done.returncode == 0, done.stderr
    taken = json.loads(done.stdout)
    assert taken["opened"] - taken["before"] < 40
    assert taken["quantized"] - taken["before"] < sum(taken["largest"]) / 2**20 + 40
