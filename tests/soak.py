"""Run any folder of odd files through `zsclip classify`: python tests/soak.py [DIR].

Every file, whatever it is called, is an input. Promised are as many rows as inputs, in order, codes
of the closed list, a line on stderr for each failure and no other, bounded memory, and no file over
the time-out. Prints a table of verdicts; exit code 1 where a promise is broken. Without DIR it
makes mutants of its own (tests/mutants.py).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mutants import SEED, write_corpus

from zsclip.errors import PICTURE_ERROR_CODES

MOST_MEMORY_MB = 1500
_MUTANTS = 10_000
_LABELS = "cat,dog,pizza,tree,key"


@dataclass
class Verdict:
    """What came of a folder.

    Attributes:
        codes: how many files ended with each code; `ok` is a picture.
        broken: promises that were not kept, a sentence each.
    """

    files: int
    codes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    peak_mb: int = 0
    broken: list[str] = field(default_factory=list)


def files_below(folder: Path) -> Iterator[str]:
    """All that is in a folder and those below but folders: hidden ones, links and pipes, too."""
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (os.path.join(root, name) for name in sorted(names))


def classify(paths: Sequence[str], *, model: str, timeout_s: float) -> Verdict:
    """Classify all files in one process and hold its output against what is promised."""
    command = [sys.executable, "-m", "zsclip", "classify", "--files0-from", "-", "--json"]
    command += ["--labels", _LABELS, "--model", model, "--timeout", str(timeout_s)]
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as rows,
        tempfile.TemporaryFile() as told,
    ):
        given.write(b"".join(os.fsencode(path) + b"\0" for path in paths))
        given.seek(0)
        start = time.monotonic()
        process = subprocess.Popen(command, stdin=given, stdout=rows, stderr=told)
        _, status, used = os.wait4(process.pid, 0)  # which knows this child's memory alone
        process.returncode = os.waitstatus_to_exitcode(status)
        verdict = Verdict(len(paths), seconds=time.monotonic() - start, peak_mb=_mb(used))
        rows.seek(0)
        told.seek(0)
        ran = subprocess.CompletedProcess(command, process.returncode, rows.read(), told.read())
    judge(verdict, paths, ran)
    return verdict


def judge(verdict: Verdict, paths: Sequence[str], ran: subprocess.CompletedProcess[bytes]) -> None:
    """Count the rows by code and note every promise that is broken."""
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    for path, row in zip(paths, rows, strict=False):
        code = row["error"]["code"] if row["status"] == "error" else "ok"
        verdict.codes[code] += 1
        verdict.examples.setdefault(code, path)
    failed = len(rows) - verdict.codes["ok"]
    lines = ran.stderr.decode("utf-8", "replace").splitlines()
    told = [line for line in lines if line.startswith("zsclip: ")]
    strange = sorted(set(verdict.codes) - {"ok", *PICTURE_ERROR_CODES})
    promises = {
        f"{len(rows):,} rows for {len(paths):,} inputs": len(rows) == len(paths),
        "rows are not in the order of the inputs": _in_order(paths, rows),
        f"codes that are not in the list: {', '.join(strange)}": not strange,
        f"exit code {ran.returncode}": ran.returncode == _code(verdict.codes["ok"], failed),
        f"{len(told):,} lines on stderr for {failed:,} failures": len(told) == failed,
        f"stderr says more: {_others(lines)[:3]}": not _others(lines),
        f"{verdict.peak_mb:,} MB of memory": verdict.peak_mb < MOST_MEMORY_MB,
        f"over the time-out: {verdict.examples.get('timeout')}": not verdict.codes["timeout"],
    }
    verdict.broken += [name for name, kept in promises.items() if not kept]


def _in_order(paths: Sequence[str], rows: Sequence[dict[str, object]]) -> bool:
    shown = (os.fsencode(path).decode("utf-8", "backslashreplace") for path in paths)
    return all(row["path"] == path for path, row in zip(shown, rows, strict=False))


def _code(ok: int, failed: int) -> int:
    if not failed:
        return 0
    return 3 if ok else 1


def _others(lines: Sequence[str]) -> list[str]:
    """What stderr holds but failures and the summary, which is the last line."""
    return [
        line
        for line in lines
        if not line.startswith(("zsclip: ", "compiling "))
        and not (line is lines[-1] and " ok, " in line)
    ]


def _mb(used: resource.struct_rusage) -> int:
    return used.ru_maxrss >> (20 if sys.platform == "darwin" else 10)


def report(verdict: Verdict) -> str:
    """A line for each code, then the totals, then what was broken."""
    lines = [f"{'verdict':20} {'files':>9}  for example"]
    lines += [
        f"{code:20} {count:9,}  {ascii(verdict.examples[code])[1:-1]}"
        for code, count in verdict.codes.most_common()
    ]
    each_ms = 1000 * verdict.seconds / max(1, verdict.files)
    lines.append(
        f"{verdict.files:,} files in {verdict.seconds:.0f} s ({each_ms:.1f} ms each), "
        f"at most {verdict.peak_mb:,} MB"
    )
    return "\n".join(lines + [f"BROKEN: {promise}" for promise in verdict.broken])


def main() -> int:
    """Soak a folder, or mutants."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("folder", type=Path, nargs="?", metavar="DIR")
    parser.add_argument("--mutants", type=int, default=_MUTANTS, help="how many, without DIR")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--timeout", type=float, default=20, metavar="SECONDS")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if chosen.folder is None:
            write_corpus(Path(folder), chosen.mutants, seed=chosen.seed)
        paths = list(files_below(chosen.folder or Path(folder)))
        if not paths:
            parser.error(f"no files in {chosen.folder}")
        # the first use of a model compiles it, in memory that no picture is to blame for
        classify(paths[:1], model=chosen.model, timeout_s=chosen.timeout)
        verdict = classify(paths, model=chosen.model, timeout_s=chosen.timeout)
    print(report(verdict))
    return 1 if verdict.broken else 0


if __name__ == "__main__":
    sys.exit(main())
