"""Processes that fuzz one target for some time, started anew when an input ends one.

`run` is the parent; `fuzz_with_mutants` and `fuzz_with_atheris` are what the child does.
"""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.attempts import TIME_LIMIT_S, Attempts, Diary, keep, scratch_folder
from fuzz.mutator import Mutator
from fuzz.targets import Target

TESTS = Path(__file__).resolve().parents[1]
MOST_DEATHS = 5
_ADDRESS_SPACE_BYTES = 8 << 30
_QUIET = (
    "-timeout=0", "-rss_limit_mb=0", "-malloc_limit_mb=0", "-detect_leaks=0", "-verbosity=0",
    *(f"-handle_{name}=0" for name in ("segv", "bus", "abrt", "ill", "fpe", "int", "term")),
)  # fmt: skip
"""What libFuzzer would watch is watched by `attempts`, the same for both engines."""


@dataclass
class Report:
    """What a campaign did."""

    executions: int = 0
    findings: set[Path] = field(default_factory=set)


def run(
    name: str,
    target: Target,
    folder: Path,
    *,
    engine: str,
    seconds: float,
    seed: int,
    time_limit_s: float = TIME_LIMIT_S,
) -> Report:
    """Fuzz a target in processes of its own.

    Args:
        folder: for findings, libFuzzer's corpus, and `log.txt` with what the process said.

    Raises:
        RuntimeError: the fuzzer itself failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "diary").unlink(missing_ok=True)
    diary = Diary(folder / "diary", target.largest_bytes)
    report = Report()
    end = time.monotonic() + seconds
    for death in range(MOST_DEATHS):
        left = end - time.monotonic()
        if left <= 0:
            break
        options = ["--engine", engine, "--seed", str(seed + death), "--seconds", str(left)]
        options += ["--time-limit", str(time_limit_s), "--folder", str(folder), "--child", name]
        with scratch_folder() as scratch:  # ours, because the process may be killed
            code, found = _child([*options, "--scratch", scratch], folder / "log.txt")
        report.findings |= found
        if code >= 0:
            break
        report.findings.add(_death(folder, diary.last, signal.Signals(-code)))
    report.executions = diary.count
    return report


def _child(options: list[str], log: Path) -> tuple[int, set[Path]]:
    """Exit code and findings of one process."""
    with log.open("wb") as errors:
        ran = subprocess.run(
            [sys.executable, "-m", "fuzz", *options],
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    if ran.returncode > 0:
        raise RuntimeError(f"the fuzzer ended with code {ran.returncode}: see {log}")
    return ran.returncode, {Path(line) for line in ran.stdout.splitlines()}


def _death(folder: Path, content: bytes, cause: signal.Signals) -> Path:
    kind = "hang" if cause == signal.SIGALRM else cause.name
    return keep(folder, content, kind, hashlib.sha256(content).hexdigest())


def fuzz(
    target: Target,
    folder: Path,
    *,
    scratch: Path,
    engine: str,
    seconds: float,
    seed: int,
    time_limit_s: float = TIME_LIMIT_S,
) -> None:
    """Fuzz in this process, which may not live to the end."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    diary = Diary(folder / "diary", target.largest_bytes)
    attempts = Attempts(target, folder, diary, scratch=scratch, time_limit_s=time_limit_s)
    if engine == "atheris":
        fuzz_with_atheris(target, attempts, folder, seconds=seconds, seed=seed)
    else:
        fuzz_with_mutants(target, attempts, seconds=seconds, seed=seed)


def fuzz_with_mutants(target: Target, attempts: Attempts, *, seconds: float, seed: int) -> None:
    """Try the seeds, then mutants until the time is over."""
    end = time.monotonic() + seconds
    known = target.seeds()
    outcomes = {attempts(content) for content in known}
    mutator = Mutator(known, target.words, largest_bytes=target.largest_bytes, seed=seed)
    while time.monotonic() < end:
        mutant = mutator.mutant()
        outcome = attempts(mutant)
        if outcome not in outcomes:
            outcomes.add(outcome)
            mutator.keep(mutant)


def fuzz_with_atheris(
    target: Target, attempts: Attempts, folder: Path, *, seconds: float, seed: int
) -> None:
    """Let libFuzzer choose inputs by the lines that they reach; does not return."""
    import atheris

    for kind, contents in (("corpus", ()), ("seeds", target.seeds())):
        (folder / kind).mkdir(exist_ok=True)
        for number, content in enumerate(contents):
            (folder / kind / f"{number:02}").write_bytes(content)
    words = ("".join(f"\\x{byte:02X}" for byte in word) for word in target.words)
    (folder / "words").write_text("".join(f'"{word}"\n' for word in words))
    options = (
        *_QUIET, f"-max_total_time={max(1, int(seconds))}", f"-seed={seed + 1}",
        f"-max_len={target.largest_bytes}", f"-dict={folder / 'words'}",
    )  # fmt: skip
    arguments = [sys.argv[0], *options, str(folder / "corpus"), str(folder / "seeds")]

    def try_one(content: bytes) -> None:
        attempts(content)

    atheris.Setup(arguments, try_one)
    atheris.Fuzz()
