"""Packed weights in files: mapped by who comes later, never trusted where they are not whole or not ours."""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from pathlib import Path

import numpy as np
import pytest
from children import child
from onnx_models import floats, parsed, same

import dynq_numba as dq
from dynq_numba.files.weight_cache import BEGIN, WeightCache, digest, packing
from dynq_numba.onnx import InferenceSession, quantize
from dynq_numba.runtime import isa

FEEDS = {"ids": np.arange(5)}
EVERY_ROW = {"ids": np.arange(999)}
COUNT = 3 << 18


@pytest.fixture
def artifact(tmp_path) -> Path:
    body = "h = Gather (words, ids) a = MatMul (h, w0) b = Relu (a) y = MatMul (b, w1)"
    weights = {"words": floats(999, 640), "w0": floats(640, 800), "w1": floats(800, 701)}
    quantize(parsed("int64[n] ids", "float[n, 701] y", body, **weights), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def run(artifact: Path, folder: Path | None = None) -> np.ndarray:
    return InferenceSession(artifact, weight_cache=folder).run(None, FEEDS)[0]


def mapped(folder: Path) -> dict[str, dict[str, int]]:
    """What the system says of the maps of this process that lie in the folder, by path; in kB."""
    found: dict[str, dict[str, int]] = {}
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            path = rest[-1] if len(rest) > 4 else ""
        elif path.startswith(str(folder)) and rest[-1] == "kB":
            found.setdefault(path, {})[name[:-1]] = int(rest[0])
    return found


def fill(room: np.ndarray) -> None:
    assert not room.any()
    room[:] = np.arange(room.size) % 251


def test_a_session_maps_what_another_has_packed(artifact, tmp_path):
    want, folder = run(artifact), tmp_path / "new" / "cache"
    assert same(run(artifact, folder), want)
    files = {path: path.read_bytes() for path in folder.iterdir()}
    assert sorted(path.suffix for path in files) == [".weights"] * 3
    session = InferenceSession(artifact, weight_cache=folder)
    assert same(session.run(None, FEEDS)[0], want)
    opened = [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()]
    assert not any(each.startswith(str(folder)) for each in opened)  # a process may have only some hundreds open
    maps = mapped(folder)
    assert set(maps) == set(map(str, files))
    # Only the page with the descriptor is copied; a room may end on the next one.
    assert all(0 < each["Private_Dirty"] <= 2 * resource.getpagesize() // 1024 for each in maps.values())
    assert {path: path.read_bytes() for path in folder.iterdir()} == files
    del session
    assert not mapped(folder)


def test_processes_share_pages(artifact, tmp_path):
    folder = tmp_path / "cache"
    session = InferenceSession(artifact, weight_cache=folder)
    session.run(None, EVERY_ROW)
    code = f"""
import sys
from pathlib import Path
sys.path.append({str(Path(__file__).parent)!r})
from test_weight_cache import EVERY_ROW, mapped
from dynq_numba.onnx import InferenceSession
session = InferenceSession({str(artifact)!r}, weight_cache={str(folder)!r})
session.run(None, EVERY_ROW)
for each in mapped(Path({str(folder)!r})).values():
    print(each["Size"], each["Shared_Clean"])
"""
    result = child("-c", code)
    assert result.returncode == 0, result.stderr
    found = [tuple(map(int, line.split())) for line in result.stdout.splitlines()]
    assert len(found) == 3
    for size, shared in found:
        assert size > 400 and shared > size - 32, found  # but for the page of the descriptor


def test_what_is_not_whole_is_written_again(artifact, tmp_path):
    folder, want = tmp_path / "cache", run(artifact)
    run(artifact, folder)
    whole = {path: path.read_bytes() for path in folder.iterdir()}
    bad = [lambda data: data[:-1], lambda data: b"", lambda data: b"X" + data[1:], lambda data: data + b"\0"]
    for damage in bad:
        for path, data in whole.items():
            path.unlink()  # a file that processes have mapped is never changed
            path.write_bytes(damage(data))
        assert same(run(artifact, folder), want)
        assert {path: path.read_bytes() for path in folder.iterdir()} == whole


def test_what_others_may_write_is_not_read(artifact, tmp_path):
    folder, want = tmp_path / "cache", run(artifact)
    run(artifact, folder)
    for path in folder.iterdir():
        path.chmod(0o666)
    with pytest.warns(RuntimeWarning, match="is not used: others may write to"):
        assert same(run(artifact, folder), want)
    folder.chmod(0o777)
    for path in folder.iterdir():
        path.unlink()
    with pytest.warns(RuntimeWarning, match="others may write to"):
        assert same(run(artifact, folder), want)
    assert not list(folder.iterdir())


def test_a_link_is_not_followed(tmp_path):
    cache = WeightCache(tmp_path)
    cache.room(b"key", COUNT, fill)
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.warns(RuntimeWarning, match="is not used"):
        cache.room(b"key", COUNT, fill)


def test_a_pipe_is_not_waited_for(tmp_path):
    cache = WeightCache(tmp_path)
    cache.room(b"key", COUNT, fill)
    (path,) = tmp_path.iterdir()
    path.unlink()
    os.mkfifo(path)
    assert (cache.room(b"key", COUNT, fill) == np.arange(COUNT) % 251).all()
    assert path.is_file()


def test_without_a_place_weights_are_packed_in_memory(artifact):
    want = run(artifact)
    with pytest.warns(RuntimeWarning, match="the weight cache /proc/none is not used"):
        assert same(run(artifact, Path("/proc/none")), want)


def full_disk(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (COUNT // 2, COUNT // 2))
    with pytest.warns(RuntimeWarning, match="File too large"):
        room = WeightCache(folder).room(b"key", COUNT, fill)
    assert (room == np.arange(COUNT) % 251).all() and not list(folder.iterdir())


def test_a_full_disk(tmp_path):
    forked(1, full_disk, tmp_path)


def one_of_many(folder: Path, barrier) -> None:
    def slowly(room: np.ndarray) -> None:
        (folder.parent / f"filled.{os.getpid()}").touch()
        time.sleep(0.05)
        fill(room)

    barrier.wait()
    room = WeightCache(folder).room(b"key", COUNT, slowly)
    assert (room == np.arange(COUNT) % 251).all()
    barrier.wait()
    assert list(mapped(folder))


def test_of_many_processes_one_packs(tmp_path):
    folder, barrier = tmp_path / "cache", multiprocessing.get_context("fork").Barrier(6)
    forked(6, one_of_many, folder, barrier)
    assert len(list(tmp_path.glob("filled.*"))) == 1
    assert [path.suffix for path in folder.iterdir()] == [".weights"]


def killed(folder: Path) -> None:
    def end(room: np.ndarray) -> None:
        (part,) = folder.iterdir()
        part.write_bytes(b"X" * (BEGIN + 2 * COUNT))
        os._exit(0)

    WeightCache(folder).room(b"key", COUNT, end)


def test_what_a_process_leaves_that_was_ended(tmp_path):
    forked(1, killed, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    room = WeightCache(tmp_path).room(b"key", COUNT, fill)
    assert (room == np.arange(COUNT) % 251).all()
    (path,) = tmp_path.iterdir()
    assert path.suffix == ".weights" and path.stat().st_size == BEGIN + COUNT


def forked(count: int, task, *arguments) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=task, args=arguments) for _ in range(count)]
    for each in workers:
        each.start()
    for each in workers:
        each.join(60)
    assert [each.exitcode for each in workers] == [0] * count


def test_other_weights_sets_and_ways_have_other_files(artifact, tmp_path):
    folder, sets = tmp_path / "cache", dq.available_isas()
    for name in sets:
        with dq.force_isa(name):
            want = run(artifact)
            assert same(run(artifact, folder), want)
    a, b = floats(800, 500), floats(800, 500, seed=1)
    for i, (kind, weight) in enumerate([("x", a), ("x", a), ("x", b), ("y", b)]):
        with packing(WeightCache(tmp_path / "other"), kind, (weight, None)):
            dq.pack_linear(weight)
        assert len(list((tmp_path / "other").iterdir())) == (1, 1, 2, 3)[i]
    assert isa.active().name in sets


def test_a_digest_is_of_values_type_and_shape():
    a = floats(3000, 1000)
    changed = a.copy()
    changed[-1, -1] += 1
    all_of_them = [a, a.T, a.view(np.int32), a.reshape(1000, 3000), changed, a[:1], a[0]]
    assert len(set(map(digest, all_of_them))) == len(all_of_them)
    assert digest(a) == digest(a.copy()) == digest(np.asfortranarray(a))


@pytest.mark.parametrize("folder, error", [(3, TypeError), (__file__, ValueError)])
def test_bad_folders(folder, error):
    with pytest.raises(error, match="weight_cache must be a"):
        InferenceSession(parsed("float[n] x", "float[n] y", "y = Relu (x)"), weight_cache=folder)
