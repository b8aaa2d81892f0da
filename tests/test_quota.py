"""Cores that control groups allow: versions 1 and 2, as a container sees them and as its host does."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dynq_numba.runtime import quota

V1 = Path("/sys/fs/cgroup/cpu")
HALF, NONE = "50000 100000\n", "max 100000\n"


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": HALF}, 0.5),
        ("0::/\n", {"cpu.max": NONE}, math.inf),
        ("0::/\n", {}, math.inf),
        (None, {"cpu.max": HALF}, 0.5),
        # on the host: the least of the group's and of all above it
        ("0::/a.slice/b.scope\n", {"cpu.max": NONE, "a.slice/cpu.max": HALF, "a.slice/b.scope/cpu.max": "3 1\n"}, 0.5),
        ("0::/a.slice/b.scope\n", {"a.slice/b.scope/cpu.max": "150000 100000\n", "c.slice/cpu.max": HALF}, 1.5),
        # the container's own group is mounted as the root, its path is the host's
        ("0::/docker/123\n", {"cpu.max": HALF}, 0.5),
        ("4:cpu:/\n3:memory:/x\n", {"cpu/cpu.cfs_quota_us": "25000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 0.5),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        (
            "4:cpu,cpuacct:/docker/123\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "300000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            3.0,
        ),
        (
            "4:cpu,cpuacct:/a/b:c\n0::/\n",
            {"cpu,cpuacct/a/b:c/cpu.cfs_quota_us": "70000\n", "cpu,cpuacct/a/b:c/cpu.cfs_period_us": "100000\n"},
            0.7,
        ),
        # nothing that is not understood is a limit, nor stops the import
        ("0::/\n", {"cpu.max": "many\n"}, math.inf),
        ("0::/\n", {"cpu.max": "0 0\n"}, math.inf),
        ("nonsense\n", {"cpu.max": HALF}, 0.5),
        ("0::../other\n", {"cpu.max": HALF}, 0.5),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "25000\n"}, math.inf),
    ],
)
def test_the_least_limit_counts(tmp_path, own, files, cores):
    groups = tmp_path / "groups"
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text)
    if own is not None:
        (tmp_path / "own").write_text(own)
    assert quota.cores(groups, tmp_path / "own") == cores


THREADS = """
import os, pathlib, sys
if sys.argv[1:]:
    pathlib.Path(sys.argv[1], "tasks").write_text(str(os.getpid()))
import dynq_numba as dq
print(dq.get_num_threads(), len(os.sched_getaffinity(0)))
"""


def threads(*arguments: str) -> list[int]:
    environment = {name: value for name, value in os.environ.items() if name != "DYNQ_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", THREADS, *arguments],
        env=environment, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return [int(word) for word in done.stdout.split()]


@pytest.mark.skipif(not os.access(V1, os.W_OK), reason="needs root, and control groups of version 1")
def test_half_a_core_of_a_real_group_is_one_thread():
    group = V1 / f"dynq-{os.getpid()}"
    try:
        group.mkdir()
        (group / "cpu.cfs_quota_us").write_text("50000")
    except OSError as error:
        pytest.skip(f"no group can be made here: {error}")
    try:
        assert threads(str(group))[0] == 1
        (group / "cpu.cfs_quota_us").write_text("-1")
        found, cores = threads(str(group))
        assert found == min(cores, math.ceil(quota.cores()) if quota.cores() < cores else cores)
    finally:
        group.rmdir()
