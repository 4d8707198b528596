"""What figures depend on, apart from what is measured: the machine, the packages, other programs.

Nothing that tells whose machine it is.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from zsclip import cpus

PACKAGES = (
    "zsclip", "torch", "open_clip_torch", "transformers", "onnxruntime",
    "numpy", "pillow", "typer",
)  # fmt: skip
_STAT = Path("/proc/stat")
_CPUINFO = Path("/proc/cpuinfo")


def describe() -> dict[str, Any]:
    """The machine as it is now."""
    return {
        "cpus": cpus.usable(),
        "cpu": _cpu_name(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "load_before": round(os.getloadavg()[0], 1),
    }


def in_words(about: Mapping[str, Any]) -> str:
    """The machine in one sentence."""
    packages = ", ".join(f"{name} {found}" for name, found in about["packages"].items())
    return (
        f"{about['cpus']} hardware threads of {about['cpu']}, {about['memory_gb']} GB, "
        f"{about['system']}, Python {about['python']}, {packages}"
    )


class OtherPrograms:
    """How many hardware threads programs that are not ours take, from when this is made."""

    def __init__(self) -> None:
        self._start_s, self._others_s = time.monotonic(), _others_s()

    def cpus(self) -> float | None:
        """On average until now; None where the system does not say it."""
        others_s = _others_s()
        if others_s is None or self._others_s is None:
            return None
        return round((others_s - self._others_s) / (time.monotonic() - self._start_s), 2)


def _others_s() -> float | None:
    """Processor time since the start of the machine, less that of this process and its children."""
    if not _STAT.exists():
        return None
    user, nice, system = map(int, _STAT.read_text().split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def _cpu_name() -> str:
    if _CPUINFO.exists():
        for line in _CPUINFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
