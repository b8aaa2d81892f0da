"""The kernel cache on disk: whatever happens to it, results are right, and code that others could have put there never
runs. Every trial is a process of its own."""

import hashlib
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_import import FIRST_IN_NJIT, UNPRIVILEGED

import dynq_numba as dq

TIMEOUT = 240  # seconds until a child counts as hung
# Calls one function; reports how many functions were compiled, the keys of cached code, and the result.
CHILD = """
import hashlib, json, os, resource, shutil, sys
import numpy as np
from numba.core import event

compiled, keys, options = [], {}, json.loads(sys.argv[1])

class Listener(event.Listener):
    def on_start(self, event): compiled.append(event.data["dispatcher"].py_func.__name__)
    def on_end(self, event): pass

event.register("numba:compile", Listener())
import dynq_numba as dq
from dynq_numba.kernels.base import cache

find = cache.KernelCache._file
def found(self, sig, codegen):
    name, key = find(self, sig, codegen)
    keys[name] = key.hex()
    return name, key
cache.KernelCache._file = found

if "bytes" in options:
    resource.setrlimit(resource.RLIMIT_FSIZE, (options["bytes"],) * 2)
if "delete" in options:
    dq.softmax(np.ones((1, 3), np.float32))
    shutil.rmtree(options["delete"])
result = hashlib.sha256(dq.gelu(np.linspace(-3, 5, 700, dtype=np.float32)).tobytes()).hexdigest()
writable = [os.access(folder, os.W_OK) for folder in cache.places()]
print(json.dumps({"compiled": compiled, "keys": keys, "result": result, "writable": writable}))
"""
on_posix = pytest.mark.skipif(os.name != "posix", reason="there is no cache on this system")
pytestmark = on_posix


def start(folder, *, unprivileged=False, environment=(), **options):
    dropped = ("NUMBA_DISABLE_JIT", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "DYNQ_ISA")
    inherited = {name: value for name, value in os.environ.items() if name not in dropped}
    command = [sys.executable, "-c", CHILD, json.dumps(options)]
    if unprivileged and os.geteuid() == 0:
        command = [sys.executable, "-c", UNPRIVILEGED, *command]
    return subprocess.Popen(
        command, env=inherited | {"NUMBA_CACHE_DIR": str(folder)} | dict(environment), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def end(process):
    """The child's report and what it said on stderr; its result must be right."""
    out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, err
    report = json.loads(out)
    assert report["result"] == expected()
    return report, err


def run(folder, **options):
    return end(start(folder, **options))


def expected():
    return hashlib.sha256(dq.gelu(np.linspace(-3, 5, 700, dtype=np.float32)).tobytes()).hexdigest()


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache that one process has filled, and the keys of its files."""
    folder = tmp_path_factory.mktemp("filled")
    report, err = run(folder)
    assert report["compiled"] and err == ""
    return folder, report["keys"]


@pytest.fixture
def warm(filled, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(filled[0], tmp_path / "cache"))


def files(folder):
    return sorted(folder.rglob("*.*"))


def test_what_one_process_compiles_the_next_one_loads(filled, warm):
    assert set(filled[1]) == {path.name for path in files(warm)}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in files(warm))
    assert run(warm)[0]["compiled"] == []


def test_functions_of_users_link_what_another_process_has_compiled(tmp_path):
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", FIRST_IN_NJIT], env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True, text=True, timeout=TIMEOUT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_eight_processes_start_at_once_on_an_empty_cache(filled, tmp_path):
    for process in [start(tmp_path) for _ in range(8)]:
        assert end(process)[1] == ""
    assert {path.name for path in files(tmp_path)} == set(filled[1])
    assert run(tmp_path)[0]["compiled"] == []


def truncate(paths):
    for path in paths:
        path.write_bytes(path.read_bytes()[:-7])


def empty(paths):
    for path in paths:
        path.write_bytes(b"")


def flip_a_bit(paths):
    for path in paths:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)


def swap(paths):
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)


def foreign(paths):
    for path in paths:
        path.write_bytes(pickle.dumps({"another": "program's"}) * 50)


def folders(paths):
    for path in paths:
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit, swap, foreign, folders])
def test_damaged_files_cost_a_compilation_and_no_more(warm, damage):
    damage(files(warm))
    report, err = run(warm)
    assert report["compiled"] and err == ""
    if damage is not folders:  # those stay in the way
        assert run(warm)[0]["compiled"] == []


def test_a_cache_for_another_cpu_is_left_alone(warm):
    before = files(warm)
    assert run(warm, environment={"NUMBA_CPU_NAME": "generic"}.items())[0]["compiled"]
    assert set(before) < set(files(warm))
    assert run(warm)[0]["compiled"] == []


@pytest.mark.skipif("avx2" not in dq.available_isas(), reason="runs code for x86-64-v3")
def test_one_cache_for_cpus_that_are_told_to_be_alike(tmp_path):
    """As an image for several CPU types is built and run: where both are set, no key holds the CPU's own name."""
    alike = {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": "+avx2,+fma", "DYNQ_ISA": "portable"}.items()
    assert run(tmp_path, environment=alike)[0]["compiled"]
    other = tmp_path / "sitecustomize.py"
    other.write_text("import llvmlite.binding as b\nb.get_host_cpu_name = lambda: 'znver9'\n")
    report, _ = run(tmp_path, environment=[*alike, ("PYTHONPATH", str(tmp_path))])
    assert report["compiled"] == []
    assert run(tmp_path, environment={"PYTHONPATH": str(tmp_path)}.items())[0]["compiled"]


def test_a_read_only_cache_is_read(warm):
    for path in (warm / "dynq_numba", warm):
        path.chmod(0o555)
    report, err = run(warm, unprivileged=True)
    if report["writable"] == [True]:
        pytest.skip("root cannot give up its right to write everywhere on this system")
    assert report["compiled"] == [] and err == ""


def test_where_nothing_can_be_written_kernels_are_compiled(tmp_path):
    tmp_path.chmod(0o555)
    report, err = run(tmp_path, unprivileged=True)
    if files(tmp_path):
        pytest.skip("root cannot give up its right to write everywhere on this system")
    assert report["compiled"] and err == ""


def test_on_a_full_disk_kernels_are_compiled_and_nothing_is_left_half_written(tmp_path):
    report, err = run(tmp_path, bytes=1000)
    assert report["compiled"] and err == "" and files(tmp_path) == []


def test_on_a_disk_without_room_kernels_are_compiled(small_disk):
    report, err = run(small_disk)
    stored = files(small_disk)
    assert report["compiled"] and err == "" and {path.suffix for path in stored} == {".nbc"}
    assert len(stored) < len(report["keys"])
    again, err = run(small_disk)  # what found room is whole, the rest compiled anew
    assert set(again["compiled"]) < set(report["compiled"]) and again["compiled"] and err == ""
    assert files(small_disk) == stored


def test_a_cache_deleted_while_running_is_made_again(tmp_path):
    report, err = run(tmp_path / "cache", delete=str(tmp_path / "cache"))
    assert err == "" and report["compiled"] and files(tmp_path / "cache")


class Planted:
    """What runs when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def plant(folder, keys, marker):
    """Put code into every file that will be looked for, as somebody would who knows how they are made."""
    code = pickle.dumps(Planted(marker))
    for name, key in keys.items():
        path = folder / "dynq_numba" / name
        path.write_bytes(hashlib.sha256(bytes.fromhex(key) + b"\0" + code).digest() + code)
        path.chmod(0o644)


def nothing(folder):
    pass


def open_folder(folder):
    (folder / "dynq_numba").chmod(0o777)


def open_folder_to_a_group(folder):
    (folder / "dynq_numba").chmod(0o775)


def open_files(folder):
    for path in files(folder):
        path.chmod(0o666)


def folder_of_another(folder):
    os.chown(folder / "dynq_numba", 12345, 12345)


def files_of_another(folder):
    for path in files(folder):
        os.chown(path, 12345, 12345)


def link_to_another(folder):
    (folder / "dynq_numba").rename(folder / "elsewhere")
    (folder / "dynq_numba").symlink_to("elsewhere")


OPENINGS = [open_folder, open_folder_to_a_group, open_files, folder_of_another, files_of_another, link_to_another]


@pytest.mark.parametrize("opening", [nothing, *OPENINGS])
def test_code_that_others_could_have_written_never_runs(filled, warm, tmp_path, opening):
    marker = tmp_path / "marker"
    plant(warm, filled[1], marker)
    if opening in (folder_of_another, files_of_another) and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    opening(warm)
    report, err = run(warm)
    assert report["compiled"]
    # Where only this user writes it does run: what is refused above would have worked.
    assert marker.exists() == (opening is nothing)
    if opening not in (nothing, link_to_another):
        assert err.count("RuntimeWarning") == 1
        assert "is not used, since" in err and ("others may write to it" in err or "belongs to user 12345" in err)


ELSEWHERE = """
import os, sys
import numpy as np
import dynq_numba as dq
os.chdir(sys.argv[1])
dq.gelu(np.ones(3, np.float32))
print(dq.kernels.base.cache.cache_directory())
"""


@pytest.mark.parametrize("variable", ["NUMBA_CACHE_DIR", "XDG_CACHE_HOME"])
def test_a_relative_folder_does_not_follow_the_process(tmp_path, variable):
    """NUMBA_CACHE_DIR is one of the folder that it was started in; XDG_CACHE_HOME, as its standard says, is none."""
    start, later = tmp_path / "start", tmp_path / "later"
    start.mkdir(), later.mkdir()
    environment = {**os.environ, "HOME": str(start), variable: "kept"}
    if variable != "NUMBA_CACHE_DIR":
        environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(later)],
        env=environment, cwd=start, capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(later.iterdir()) == []
    if variable == "NUMBA_CACHE_DIR":
        assert done.stdout.strip() == str(start / "kept" / "dynq_numba") and list((start / "kept").rglob("*.nbc"))


def test_a_process_whose_folder_is_gone_still_computes(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os; os.rmdir({str(gone)!r}); from dynq_numba.kernels.base import cache; print(len(cache.places()))"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment, cwd=gone, capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
