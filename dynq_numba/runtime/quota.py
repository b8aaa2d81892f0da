"""Cores that control groups allow this process: Linux's cpu.max (version 2), cfs quotas (version 1)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PROCESS = Path("/proc/self")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _limit(folder: Path) -> float:
    """The limit that one group sets."""
    try:
        if (folder / "cpu.max").exists():
            most, period = (folder / "cpu.max").read_text().split()
        else:
            most, period = ((folder / f"cpu.cfs_{what}_us").read_text() for what in ("quota", "period"))
        cores = math.inf if most == "max" else int(most) / int(period)
    except (OSError, ValueError, ArithmeticError):
        return math.inf
    return cores if cores > 0 else math.inf  # a quota of -1: none


def _own(process: Path) -> dict[str, str]:
    """The group of each version, from lines number:controllers:path; version 2 names no controllers."""
    found = {}
    for line in _lines(process / "cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            found["cgroup2"] = path
        elif "cpu" in controllers.split(","):
            found["cgroup"] = path
    return found


def _folders(process: Path) -> Iterator[Path]:
    """This process's groups for CPU time, and all groups above them, as far as they are mounted.

    A line of mountinfo is number, parent, device, root, place, options …, "-", kind, source, the file system's options
    (proc(5)). A mount shows the part of the hierarchy below `root`: in a container often only its own group.
    """
    own = _own(process)
    for line in _lines(process / "mountinfo"):
        mount, _, system = line.partition(" - ")
        fields, kind = mount.split(" "), system.split(" ")
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] != "cgroup2" and not (kind[0] == "cgroup" and "cpu" in kind[2].split(",")):
            continue
        root = PurePosixPath(fields[3])
        group = PurePosixPath(own.get(kind[0], root))
        inside = group.relative_to(root) if group.is_relative_to(root) else PurePosixPath()
        for part in (inside, *inside.parents):
            yield Path(fields[4]) / part


def cores(process: Path = PROCESS) -> float:
    """The smallest of all limits, often a fraction; infinity if there is none."""
    return min(map(_limit, _folders(process)), default=math.inf)
