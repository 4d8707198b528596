"""Measure pieces of work in turn, so that a busy machine slows all of them alike.

A piece of work is a process or a call. Each runs once in a round; medians are over the rounds, and
a ratio is the median of the ratios within a round. Knows nothing about what is measured, and
imports nothing heavy: a process that is started from here cannot peak below this one's memory.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Measured:
    """One piece of work, done once.

    Attributes:
        cpu_s: of the processor, user and system, in all threads.
        peak_mb: greatest resident memory; of processes alone.
        answer: what a process printed, or what a call returned.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float = float("nan")
    answer: Any = None

    def times(self, factor: float) -> Measured:
        """As much work again and again, or a part of it."""
        return replace(self, wall_s=self.wall_s * factor, cpu_s=self.cpu_s * factor)


Work = Callable[[int], Measured]
"""One piece of work; called with the number of the round."""
Column = Callable[[Measured], float]
TIMES: Mapping[str, Column] = {"wall": lambda m: m.wall_s, "CPU": lambda m: m.cpu_s}


def process(command: Sequence[str], environment: Mapping[str, str]) -> Measured:
    """Run a process from its start to its end.

    Raises:
        SystemExit: it fails.
    """
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        start = time.perf_counter()
        child = subprocess.Popen(command, env=dict(environment), stdout=stdout, stderr=stderr)
        _, status, usage = os.wait4(child.pid, 0)
        wall_s = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        stdout.seek(0)
        stderr.seek(0)
        if child.returncode:
            errors = stderr.read().strip()
            print(errors, file=sys.stderr)
            raise SystemExit(f"exit code {child.returncode}: {errors.rpartition(chr(10))[2]}")
        # ru_maxrss: kibibytes on Linux, bytes on macOS
        unit = 1 if sys.platform == "darwin" else 1024
        cpu_s = usage.ru_utime + usage.ru_stime
        return Measured(wall_s, cpu_s, usage.ru_maxrss * unit / 1e6, stdout.read())


def call(work: Callable[[], Any]) -> Measured:
    """Run a piece of work in this process."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    answer = work()
    return Measured(time.perf_counter() - wall_s, time.process_time() - cpu_s, answer=answer)


class OwnProcess:
    """A process that stays, for a program whose threads and memory are not to be this one's.

    What a function should keep between calls, it has to keep itself.
    """

    def __init__(self) -> None:
        start_anew = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(max_workers=1, mp_context=start_anew)

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """What a function of a module returns there."""
        return self._pool.submit(function, *args).result()


def in_turn(
    works: Mapping[str, Work], rounds: int, *, warm_up: bool = True
) -> dict[str, list[Measured]]:
    """Every piece of work once in each round.

    Args:
        warm_up: begin with a round, number 0, that is not counted.
    """
    measured: dict[str, list[Measured]] = {name: [] for name in works}
    for number in range(0 if warm_up else 1, rounds + 1):
        for name, work in works.items():
            once = work(number)
            print(f"round {number} of {rounds}: {name}: {once.wall_s:.2f} s", file=sys.stderr)
            if number:
                measured[name].append(once)
    return measured


def medians(
    measured: Mapping[str, Sequence[Measured]], columns: Mapping[str, Column]
) -> dict[str, dict[str, float]]:
    """Per piece of work, the median of each column."""
    return {
        name: {column: statistics.median(map(of, runs)) for column, of in columns.items()}
        for name, runs in measured.items()
    }


def ratios(
    measured: Mapping[str, Sequence[Measured]], pairs: Sequence[tuple[str, str]]
) -> dict[str, dict[str, float]]:
    """Per pair `a / b`, the medians of the ratios of times within a round."""
    return {
        f"{a} / {b}": {
            column: statistics.median(
                of(x) / of(y) for x, y in zip(measured[a], measured[b], strict=True)
            )
            for column, of in TIMES.items()
        }
        for a, b in pairs
    }


def check_close(ours: Any, theirs: Any, *, tolerance: float, what: str) -> None:
    """Both sides must have done the same work, or their times say nothing.

    Args:
        ours: a list of numbers, as `theirs`.

    Raises:
        SystemExit: they have not.
    """
    apart = [abs(float(a) - float(b)) for a, b in zip(ours, theirs, strict=True)]
    if not all(difference <= tolerance for difference in apart):  # NaN is no small difference
        raise SystemExit(f"different answers: {what} are {max(apart):.2g} apart, not {tolerance:g}")
