"""Targets that break each promise: what a fuzzer must see."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from fuzz.targets import Target

MEMORY_BYTES = 400 << 20


def _raise(content: bytes, folder: Path) -> str:
    raise KeyError("canary")


def _kill(content: bytes, folder: Path) -> str:
    os.kill(os.getpid(), signal.SIGSEGV)
    return "alive"


def _hang(content: bytes, folder: Path) -> str:
    while True:
        pass


def _hoard(content: bytes, folder: Path) -> str:
    return str(len(b"x" * MEMORY_BYTES))


def _seeds() -> list[bytes]:
    return [b"canary"]


CANARIES = {
    name: Target(run, _seeds, (b"canary",), 10)
    for name, run in {"raise": _raise, "kill": _kill, "hang": _hang, "hoard": _hoard}.items()
}
