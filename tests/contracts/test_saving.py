"""save and load: everything comes back to the bit, files appear whole or not at all, and errors say what is wrong."""

import os
import stat
import sys
import threading

import numpy as np
import pytest
import saved
from children import child

import dynq_numba as dq


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def run(packed, rng):
    """Results of a packed weight."""
    if isinstance(packed, dq.PackedLinear):
        return dq.linear(rng.standard_normal((3, packed.shape[1]), np.float32), packed)
    if isinstance(packed, dq.PackedConv):
        wide = rng.standard_normal((2, packed.shape[1] * packed.groups, 9, 8), np.float32)
        return dq.conv(wide if len(packed.shape) == 4 else wide[..., 0], packed)
    if isinstance(packed, dq.PackedEmbedding):
        return dq.embedding(np.arange(len(packed.qweight)), packed)
    x = rng.standard_normal((5, 2, packed.input_size), np.float32)
    function = {"lstm": dq.lstm, "gru": dq.gru, "rnn": dq.rnn}[packed.kind]
    return np.concatenate([part.reshape(-1) for part in function(x, packed)])


def check(objects, path):
    dq.save(path, objects)
    found = dq.load(path)
    assert list(found) == list(objects)
    for name, value in objects.items():
        assert saved.same(value, found[name]), name
        if not isinstance(value, np.ndarray):
            one, other = (run(w, np.random.default_rng(1)) for w in (value, found[name]))
            assert one.tobytes() == other.tobytes(), name
    return found


def test_every_linear(isa, rng, path):
    check({f"layer.{i}": w for i, w in enumerate(saved.linears(rng))}, path)


def test_every_kind(isa, rng, path):
    check(saved.small(rng), path)


def test_arrays_are_read_only_views_of_the_file(rng, path):
    found = check(saved.arrays(rng), path)
    for name, array in found.items():
        assert not array.flags.writeable and array.flags.aligned, name
        assert not array.flags.owndata, name
    before = {name: array.tobytes() for name, array in found.items()}
    dq.save(path, {"other": np.zeros(10_000)})  # a new file: the map keeps the old one
    assert all(array.tobytes() == before[name] for name, array in found.items())


def test_other_byte_orders_strides_and_subclasses_become_plain(path, tmp_path):
    values = np.arange(12.0).reshape(3, 4)
    mapped = np.memmap(tmp_path / "mapped", np.float32, "w+", shape=(2, 3))
    dq.save(path, {"big": values.astype(">f4"), "mapped": mapped, "broadcast": np.broadcast_to(values[0], (2, 4))})
    found = dq.load(path)
    assert np.array_equal(found["big"], values) and found["big"].dtype == "<f4"
    assert type(found["mapped"]) is np.ndarray and np.array_equal(found["broadcast"], [values[0]] * 2)


def test_the_same_objects_make_the_same_file_and_it_is_as_small_as_the_weights(rng, path, tmp_path):
    for scheme in saved.SCHEMES:
        w = dq.pack_linear(rng.standard_normal((256, 1024), np.float32), **scheme)
        dq.save(path, {"w": w})
        dq.save(tmp_path / "again", dq.load(path))
        assert path.read_bytes() == (tmp_path / "again").read_bytes()
        assert path.stat().st_size <= w.nbytes + 1500, scheme


def test_nothing_saved_is_nothing_loaded(path):
    dq.save(path, {})
    assert dq.load(path) == {} == dq.load(str(path), verify=False)


def test_a_file_made_on_one_instruction_set_loads_on_another(rng, path, sets):
    dq.save(path, saved.small(np.random.default_rng(5)))
    made = path.read_bytes()
    for name in sets:
        with dq.force_isa(name):
            dq.save(path, saved.small(np.random.default_rng(5)))
        assert path.read_bytes() == made, name


WRONG = [
    (TypeError, "objects must be a dict", lambda w: [w]),
    (TypeError, "names that are strings", lambda w: {1: w}),
    (ValueError, "UTF-8", lambda w: {"\ud800": w}),
    (TypeError, r"objects\['a'\]\['b'\]", lambda w: {"a": {"b": 1}}),
    (TypeError, r"objects\['a'\]", lambda w: {"a": [1.0]}),
    (TypeError, r"objects\['a'\]", lambda w: {"a": None}),
    (TypeError, "mask", lambda w: {"a": np.ma.masked_array([1.0], [True])}),
    (TypeError, "object", lambda w: {"a": np.array([w])}),
    (TypeError, "<U1", lambda w: {"a": np.array(["a"])}),
    (TypeError, "datetime64", lambda w: {"a": np.array(["2020"], "M8[D]")}),
    (TypeError, r"longdouble|float128", lambda w: {"a": np.ones(3, np.longdouble)}),
    (TypeError, "complex128", lambda w: {"a": np.ones(3, complex)}),
    (TypeError, "ndarray", lambda w: {"a": np.ones(3, [("x", "f4")])}),
    (ValueError, "a.scale", lambda w: {"a": w, "a.scale": np.ones(3)}),
    (ValueError, "a.scale", lambda w: {"a.scale": np.ones(3), "a": w}),
    (ValueError, "__metadata__", lambda w: {"__metadata__": np.ones(3)}),
    (ValueError, "rows", lambda w: {"a": dq.pack_linear(np.ones((2_000_000, 0)), granularity="per_tensor")}),
]


@pytest.mark.parametrize(("error", "told", "objects"), WRONG)
def test_what_cannot_be_saved_is_told_and_nothing_is_written(path, error, told, objects):
    path.write_bytes(b"before")
    with pytest.raises(error, match=told):
        dq.save(path, objects(dq.pack_linear(np.ones((3, 4)))))
    assert path.read_bytes() == b"before" and len(list(path.parent.iterdir())) == 1


def test_the_file_system_says_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError):
        dq.load(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        dq.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        dq.save(tmp_path / "none" / "file", {})
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        dq.save(tmp_path / "folder", {})
    with pytest.raises(TypeError, match="verify"):
        dq.load(tmp_path / "none", verify=1)
    os.mkfifo(tmp_path / "pipe")
    for wrong in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(ValueError, match=r"pipe|null"):
            dq.load(wrong)
        with pytest.raises(ValueError, match=r"pipe|null"):
            dq.save(wrong, {})
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "pipe"]


def test_an_error_on_the_way_leaves_the_old_file_and_no_other(path, monkeypatch):
    dq.save(path, {"a": np.ones(3)})
    before = path.read_bytes()
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                dq.save(path, {"a": np.zeros(100_000)})
        assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the size of files")
def test_a_full_disk(path):
    code = f"""
import resource, signal, numpy as np, dynq_numba as dq
dq.save({str(path)!r}, {{"a": np.ones(3)}})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000,) * 2)
try:
    dq.save({str(path)!r}, {{"a": np.ones(100_000)}})
except OSError as error:
    print(error.strerror, dq.load({str(path)!r})["a"].tolist())
"""
    done = child("-c", code)
    assert done.stdout == "File too large [1.0, 1.0, 1.0]\n", done.stderr
    assert list(path.parent.iterdir()) == [path]


def test_a_disk_without_room(small_disk):
    path = small_disk / "model"
    dq.save(path, {"a": np.ones(3)})
    with pytest.raises(OSError, match="No space left"):
        dq.save(path, {"a": np.ones(100_000)})
    assert dq.load(path)["a"].tolist() == [1.0, 1.0, 1.0] and list(small_disk.iterdir()) == [path]


def test_modes_and_links_stay(path, tmp_path):
    dq.save(path, {"a": np.ones(3)})
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o600)
    link = tmp_path / "link"
    link.symlink_to(path.name)
    dq.save(link, {"a": np.zeros(3)})
    assert link.is_symlink() and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert dq.load(path)["a"].tolist() == [0, 0, 0]


def test_readers_meet_whole_files_while_others_write(path):
    contents = [{"a": np.full(50_000, i), "w": dq.pack_linear(np.full((50, 40), i + 1.0))} for i in range(4)]
    dq.save(path, contents[0])
    wrong, done = [], threading.Event()

    def write(content):
        while not done.is_set():
            dq.save(path, content)

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    try:
        for _ in range(60):
            found = dq.load(path)
            i = int(found["a"][0])
            if not (found["a"] == i).all() or found["w"] != contents[i]["w"]:
                wrong.append(i)
    finally:
        done.set()
        for writer in writers:
            writer.join()
    assert wrong == [] and list(path.parent.iterdir()) == [path]


def test_without_compiler_the_same_file(path):
    code = """
import sys
import numpy as np, saved, dynq_numba as dq
objects = saved.small(np.random.default_rng(5))
dq.save(sys.argv[1], objects)
assert all(saved.same(w, objects[name]) for name, w in dq.load(sys.argv[1]).items())
"""
    made = []
    for disabled in ("0", "1"):
        done = child("-c", code, path, NUMBA_DISABLE_JIT=disabled)
        assert done.returncode == 0, done.stderr
        made.append(path.read_bytes())
    assert made[0] == made[1]
