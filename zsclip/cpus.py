"""How many processors this process may really use.

The smallest of what the scheduler allows, the quota of the control groups that the process is in,
and OMP_NUM_THREADS. Also whether bf16 is worth it here. What
cannot be read does not limit. Knows nothing about torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


def usable(*, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """The number of processors for threads that compute, at least 1.

    Args:
        proc: where the kernel's `proc` is mounted.
        cgroups: where its control groups are mounted, of version 1 or 2.
    """
    return max(1, min(limits(proc=proc, cgroups=cgroups).values()))


def limits(*, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> dict[str, int]:
    """What limits it, and to how many: `scheduler`, `quota`, `OMP_NUM_THREADS`; as `usable`."""
    found = {"scheduler": _scheduled()}
    if quotas := list(_quotas(proc, cgroups)):
        found["quota"] = min(quotas)
    if asked := _asked_for():
        found["OMP_NUM_THREADS"] = asked
    return found


def multiplies_bf16(*, proc: Path = _PROC) -> bool:
    """Whether the processor multiplies bf16 faster than fp32, as far as its flags tell.

    AMX on x86, BFMMLA on Arm, and AVX-512's bf16 on AMD; Intel's runs at half the speed.
    """
    lines = (line.partition(":") for line in _read(proc / "cpuinfo").splitlines())
    facts = {name.strip(): value.split() for name, _, value in lines}
    flags = {*facts.get("flags", ()), *facts.get("Features", ())}
    is_amd = facts.get("vendor_id") == ["AuthenticAMD"]
    return not flags.isdisjoint({"amx_bf16", "bf16"}) or (is_amd and "avx512_bf16" in flags)


def _scheduled() -> int:
    """What the scheduler allows: taskset, cpusets, and `-X cpu_count` since Python 3.13."""
    count = getattr(os, "process_cpu_count", None)
    if count is not None:
        return count() or 1
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not on macOS and Windows
        return os.cpu_count() or 1


def _asked_for() -> int | None:
    """OMP_NUM_THREADS, or its first level where it is a list; None unless it is a number."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isascii() and first.isdigit() and int(first) else None


def _quotas(proc: Path, cgroups: Path) -> Iterator[int]:
    """Whole processors of each quota on the way from the process's groups up to the root."""
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:  # version 2
            for folder in _upwards(cgroups, group):
                yield from _whole(_read(folder / "cpu.max").split())
        elif "cpu" in controllers.split(","):
            for mount in {"cpu", controllers}:
                for folder in _upwards(cgroups / mount, group):
                    quota, period = (_read(folder / f"cpu.cfs_{k}_us") for k in ("quota", "period"))
                    yield from _whole([quota, period])


def _upwards(root: Path, group: str) -> Iterator[Path]:
    """The folders of a group and of those that it is in, down to the root.

    In a container the group may be named as the host sees it: folders that are missing are passed.
    """
    path = PurePosixPath(group.strip().lstrip("/"))
    if ".." in path.parts:  # the process lives outside what it sees
        path = PurePosixPath()
    yield root / path
    yield from (root / parent for parent in path.parents)


def _whole(quota_and_period: list[str]) -> Iterator[int]:
    """The quota in whole processors; nothing where there is none (`max`, -1)."""
    try:
        quota, period = map(int, quota_and_period)
    except ValueError:
        return
    if quota > 0 and period > 0:
        yield max(1, quota // period)


def _read(path: Path) -> str:
    """Text of a small file, empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return ""
