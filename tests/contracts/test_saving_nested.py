"""Lists, dicts, chains and metadata in a file; what inspect and `dynq inspect` say of files; what is no such file."""

import json
import sys

import numpy as np
import pytest
import saved
from children import child
from safetensors.numpy import save_file

import dynq_numba as dq
from dynq_numba import cli


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_lists_tuples_and_dicts_come_back(rng, path):
    small = saved.small(rng)
    objects = {"all": list(small.values()), "": {"": np.arange(3), "a.b": [small, ()]}, "none": {}, "two": ([], {})}
    dq.save(path, objects)
    assert saved.same(objects, dq.load(path))
    with pytest.raises(ValueError, match=r"objects\['a'\].*names that differ"):
        dq.save(path, {"a": {"b": [np.ones(1)], "b.0": np.ones(1)}})
    assert saved.same(objects, dq.load(path))


def test_a_chain_comes_back_and_gives_the_same_bits(isa, rng, path):
    chain, single = saved.chains(rng)
    dq.save(path, {"block": chain, "more": [single]}, metadata={"model": "tiny", "": "ü"})
    found = dq.load(path)
    x, addend = rng.standard_normal((2, 5, 33), np.float32)
    for one, other in zip(chain(x, addend=addend), found["block"](x, addend=addend), strict=True):
        assert one.tobytes() == other.tobytes()
    assert single(x).tobytes() == found["more"][0](x).tobytes()
    assert repr(found["block"]) == repr(chain) and repr(found["more"][0]) == repr(single)
    assert dq.inspect(path).metadata == {"model": "tiny", "": "ü"}
    before = path.read_bytes()
    dq.save(path, found, metadata=dq.inspect(path).metadata)
    assert path.read_bytes() == before


def cycle():
    itself = []
    itself.append(itself)
    return itself


WRONG = [
    (TypeError, r"objects\['a'\]\['1'\]", {"objects": {"a": [np.ones(1), None]}}),
    (TypeError, r"objects\['a'\] must have names that are strings", {"objects": {"a": {1: np.ones(1)}}}),
    (ValueError, "nested too deep", {"objects": {"a": cycle()}}),
    (TypeError, "metadata must be a dict", {"metadata": "text"}),
    (TypeError, "metadata must have names that are strings", {"metadata": {1: "text"}}),
    (TypeError, r"metadata\['a'\] must be a string", {"metadata": {"a": 1}}),
    (ValueError, "UTF-8", {"metadata": {"a": "\ud800"}}),
    (ValueError, '"format"', {"metadata": {"format": "pt"}}),
    (ValueError, "dynq_numba.sha256", {"metadata": {"dynq_numba.sha256": "0"}}),
]


@pytest.mark.parametrize(("error", "told", "arguments"), WRONG)
def test_what_cannot_be_saved_is_told(path, error, told, arguments):
    with pytest.raises(error, match=told):
        dq.save(path, **({"objects": {}} | arguments))
    assert list(path.parent.iterdir()) == []


def test_inspect_says_what_is_there(rng, path, capsys):
    chain, single = saved.chains(rng)
    objects = {"all": list(saved.small(rng).values()), "block": chain, "plain": saved.arrays(rng), "one": single}
    dq.save(path, objects, metadata={"model": "tiny"})
    found = dq.inspect(path)
    assert (found.path, found.nbytes, found.format) == (str(path), path.stat().st_size, "dynq_numba 1")
    content = path.read_bytes()
    assert sum(entry.nbytes for entry in found.entries) == len(content) - 8 - int.from_bytes(content[:8], "little")
    names = [entry.name for entry in found.entries]
    assert names[:2] == ["all.0", "all.1"] and {"block.up", "plain.empty"} <= set(names)
    assert len(set(names)) == len(names)
    for entry, packed in zip(found.entries, objects["all"], strict=False):
        assert entry.kind in type(packed).__name__.lower() and entry.shape == getattr(packed, "shape", ())
        if isinstance(packed, dq.PackedLinear):
            assert entry.about.startswith(packed.scheme)
    assert cli.main(["inspect", str(path)]) == 0
    printed = capsys.readouterr().out
    assert printed == f"{found}\n" and "model: tiny" in printed and all(name in printed for name in names)


def test_inspect_of_a_file_of_others(path):
    save_file({"b": np.ones((2, 3), np.float16), "a": np.ones(4)}, path, metadata={"format": "pt"})
    found = dq.inspect(path)
    assert found.format == "safetensors" and found.metadata == {"format": "pt"}
    assert {(e.name, e.kind, e.shape, e.about, e.nbytes) for e in found.entries} == {
        ("a", "array", (4,), "F64", 32), ("b", "array", (2, 3), "F16", 12),
    }  # fmt: skip


OTHERS = {
    "it is empty": b"",
    "zip archive": b"PK\3\4" + bytes(100),
    "pickle": b"\x80\4\x95" + bytes(100),
    "npy": b"\x93NUMPY\1\0v\0{'descr'" + bytes(100),
    "GGUF": b"GGUF" + bytes(100),
    "git lfs pull": b"version https://git-lfs.github.com/spec/v1\noid",
    "JSON": json.dumps({"a": [1, 2, 3]}).encode(),
    "other bytes": b"# A heading\n",
}


@pytest.mark.parametrize("told", OTHERS)
def test_what_is_no_safetensors_file_is_called_so(path, told, capsys):
    path.write_bytes(OTHERS[told])
    for function in (dq.load, dq.inspect):
        with pytest.raises(ValueError, match=f"model.safetensors: this is no safetensors file.*{told}"):
            function(path)
    assert cli.main(["inspect", str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("dynq: ") and err.count("\n") == 1 and told in err


def test_a_file_that_is_not_there_is_one_line(path):
    done = child("-m", "dynq_numba", "inspect", path)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "No such file" in done.stderr and str(path) in done.stderr, sys.version
