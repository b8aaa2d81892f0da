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
#: Mounts, as (folder, root, kind, options of the file system).
TWO, ONE = ("", "/", "cgroup2", "rw"), ("cpu,cpuacct", "/", "cgroup", "rw,cpu,cpuacct")


def cfs(folder, quota, period="100000\n"):
    return {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": period}


@pytest.mark.parametrize(
    ("own", "mounts", "files", "cores"),
    [
        ("0::/\n", [TWO], {"cpu.max": HALF}, 0.5),
        ("0::/\n", [TWO], {"cpu.max": NONE}, math.inf),
        ("0::/\n", [TWO], {}, math.inf),
        # on the host: the least of the group's and of all above it
        ("0::/a/b.scope\n", [TWO], {"cpu.max": NONE, "a/cpu.max": HALF, "a/b.scope/cpu.max": "3 1\n"}, 0.5),
        ("0::/a/b.scope\n", [TWO], {"a/b.scope/cpu.max": "150000 100000\n", "c/cpu.max": HALF}, 1.5),
        # the container's own group is mounted as the root, its path is the host's; it may have groups below
        ("0::/docker/123\n", [("", "/docker/123", "cgroup2", "rw")], {"cpu.max": HALF}, 0.5),
        ("0::/docker/123/sub\n", [("", "/docker/123", "cgroup2", "rw")], {"sub/cpu.max": HALF}, 0.5),
        ("0::/docker/123/sub\n", [("", "/docker/123", "cgroup2", "rw")], {"123/sub/cpu.max": HALF}, math.inf),
        ("0::../other\n", [TWO], {"cpu.max": HALF}, 0.5),
        ("0::/../other\n", [TWO], {"cpu.max": HALF}, 0.5),
        ("0::/elsewhere\n", [("", "/docker/123", "cgroup2", "rw")], {"cpu.max": HALF}, 0.5),
        ("4:cpu:/\n3:memory:/x\n", [("cpu", "/", "cgroup", "rw,cpu")], cfs("cpu", "25000\n", "50000\n"), 0.5),
        ("4:cpu:/\n", [("cpu", "/", "cgroup", "rw,cpu")], cfs("cpu", "-1\n"), math.inf),
        ("4:cpu:/\n", [("cpuset", "/", "cgroup", "rw,cpuset")], cfs("cpuset", "25000\n"), math.inf),
        ("4:cpu,cpuacct:/docker/123\n", [ONE], cfs("cpu,cpuacct", "300000\n"), 3.0),
        ("4:cpu,cpuacct:/a/b:c\n0::/\n", [ONE], cfs("cpu,cpuacct/a/b:c", "70000\n"), 0.7),
        # the kernel's order of controllers is not the folder's name
        ("4:cpuacct,cpu:/a\n", [ONE], cfs("cpu,cpuacct/a", "70000\n"), 0.7),
        # both versions at once, version 2 elsewhere
        ("4:cpuset:/\n0::/a\n", [("unified", "/", "cgroup2", "rw")], {"unified/a/cpu.max": HALF}, 0.5),
        # nothing that is not understood is a limit, hides another or stops the import
        ("0::/\n", [TWO], {"cpu.max": "many\n"}, math.inf),
        ("0::/\n", [TWO], {"cpu.max": "0 0\n"}, math.inf),
        ("0::/\n", [TWO], {"cpu.max": f"{10**400} 1\n"}, math.inf),
        ("nonsense\n", [TWO], {"cpu.max": HALF}, 0.5),
        ("nonsense\n0::/a\n", [TWO], {"a/cpu.max": HALF}, 0.5),
        ("4:cpu:/\n", [("cpu", "/", "cgroup", "rw,cpu")], {"cpu/cpu.cfs_quota_us": "25000\n"}, math.inf),
        (None, [TWO], {"cpu.max": HALF}, 0.5),
        (None, [], {"cpu.max": HALF}, math.inf),
    ],
)
def test_the_least_limit_counts(tmp_path, own, mounts, files, cores):
    groups, lines = tmp_path / "groups", ["nonsense", "21 1 0:5 / /proc rw - proc proc rw"]
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text)
    for folder, root, kind, options in mounts:
        lines.append(f"30 21 0:26 {root} {groups / folder} rw,nosuid shared:9 - {kind} {kind} {options}")
    (tmp_path / "mountinfo").write_text("\n".join(lines) + "\n")
    if own is not None:
        (tmp_path / "cgroup").write_text(own)
    assert quota.cores(tmp_path) == cores


THREADS = """
import os, pathlib, sys
pathlib.Path(sys.argv[1], "tasks").write_text(str(os.getpid()))
import dynq_numba as dq
print(dq.get_num_threads(), len(os.sched_getaffinity(0)))
"""


def threads(group: Path) -> list[int]:
    dropped = ("DYNQ_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    done = subprocess.run(
        [sys.executable, "-c", THREADS, str(group)],
        env=environment, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return [int(word) for word in done.stdout.split()]


@pytest.mark.skipif(not os.access(V1, os.W_OK), reason="needs root, and control groups of version 1")
def test_half_a_core_of_a_real_group_is_one_thread():
    group = V1 / f"dynq-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no group can be made here: {error}")
    try:
        (group / "cpu.cfs_quota_us").write_text("50000")
        assert threads(group)[0] == 1
        (group / "cpu.cfs_quota_us").write_text("-1")
        found, cores = threads(group)
        assert found == min(cores, math.ceil(min(quota.cores(), cores)))
    finally:
        group.rmdir()
