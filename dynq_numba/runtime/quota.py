"""Cores that control groups allow this process: Linux's cpu.max (version 2), cfs quotas (version 1)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def _limit(folder: Path) -> float:
    """The limit that one group sets."""
    try:
        if (folder / "cpu.max").exists():
            most, period = (folder / "cpu.max").read_text().split()
        else:
            most, period = ((folder / f"cpu.cfs_{what}_us").read_text() for what in ("quota", "period"))
        cores = math.inf if most == "max" else int(most) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
    return cores if cores > 0 else math.inf  # a quota of -1: none


def _folders(groups: Path, own: Path) -> Iterator[Path]:
    """Where this process's groups for CPU time, and all above them, may be seen.

    A line of `own` is number:controllers:path; number 0 without controllers is version 2. A container often sees its
    own group as the root, whatever the path says.
    """
    yield from (groups, groups / "cpu", groups / "cpu,cpuacct")
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):
            inside = PurePosixPath(path).relative_to("/")
            for part in (inside, *inside.parents):
                yield groups / controllers / part


def cores(groups: Path = GROUPS, own: Path = OWN) -> float:
    """The least of all limits, a fraction often; infinity where there is none."""
    try:
        return min(map(_limit, _folders(groups, own)))
    except ValueError:  # /proc of some other kind
        return _limit(groups)
