"""How many processors this process may use: its affinity, and the CPU quota of its control groups (Linux)."""

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Processors:
    """`count` threads are worth having; `why` says what set the number."""

    count: int
    why: str


def usable_processors(root: Path = Path("/")) -> Processors:
    """CPUs this process may run on, or fewer if its control group has a smaller quota.

    A quota is rounded up: a part of a CPU is still worth a thread.

    Args:
        root: where proc/ and sys/ are found.
    """
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    quota = cpu_quota(root)
    if quota is not None and math.ceil(quota) < allowed:
        return Processors(max(1, math.ceil(quota)), f"the control group's quota is {quota:g} CPUs")
    return Processors(allowed, "CPUs this process may run on")


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The smallest CPU quota, in CPUs, of this process's control groups and those above them; None: no limit.

    Both versions are read, at their usual places below sys/fs/cgroup. Inside a container the path in
    proc/self/cgroup may not exist there; then only the root of the mount counts: the container's group.
    """
    quotas = [quota for folder in _control_groups(root) if (quota := _quota_of(folder)) is not None]
    return min(quotas, default=None)


def _control_groups(root: Path) -> Iterator[Path]:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return  # no control groups on this system
    mounts = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            bases = [mounts, mounts / "unified"]
        elif "cpu" in controllers.split(","):
            bases = [mounts / "cpu", mounts / controllers]
        else:
            continue
        parts = [part for part in path.split("/") if part]
        if ".." in parts:  # a group outside the namespace
            parts = []
        for base in bases:
            for depth in range(len(parts) + 1):
                yield base.joinpath(*parts[:depth])


def _quota_of(folder: Path) -> float | None:
    """CPUs: microseconds of running time per period, over the period."""
    version_2 = _words(folder / "cpu.max")
    quota = version_2[:1] or _words(folder / "cpu.cfs_quota_us")
    period = version_2[1:2] or _words(folder / "cpu.cfs_period_us")
    if not quota or not period or quota[0] in ("max", "-1"):
        return None
    return int(quota[0]) / int(period[0])


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []  # this group does not limit CPUs
