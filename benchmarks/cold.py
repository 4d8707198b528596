"""Time and memory of one cold process, beside plain alternatives: `python benchmarks/cold.py`.

Each measurement is a process of its own. The alternatives run in turn, so that a busy machine slows
all of them alike; medians are printed, and one line of JSON at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = "examples/images/cat.png"
LABELS = "cat,dog"
TINY = "zsclip/_data/tiny"
TOLERANCE = 1e-4

_PYTHON = sys.executable
_ZSCLIP = str(Path(sys.executable).parent / "zsclip")
_CLASSIFY = [_ZSCLIP, "classify", PICTURE, "--labels", LABELS, "--model", "tiny", "--json"]
_ONE_COMMAND = "import typer; app = typer.Typer(); app.command()(lambda: None); app()"
COMMANDS: dict[str, Sequence[str]] = {
    "classify, no cache": [*_CLASSIFY, "--no-cache"],
    "classify, classes cached": _CLASSIFY,
    "plain open_clip script": [_PYTHON, "benchmarks/plain_open_clip.py", TINY, PICTURE, LABELS],
    "import open_clip": [_PYTHON, "-c", "import open_clip"],
    "import torch": [_PYTHON, "-c", "import torch"],
    "zsclip --help": [_ZSCLIP, "--help"],
    "typer, one command, --help": [_PYTHON, "-c", _ONE_COMMAND, "--help"],
    "import typer": [_PYTHON, "-c", "import typer"],
    "python": [_PYTHON, "-c", "pass"],
}
RATIOS = (
    ("classify, no cache", "plain open_clip script"),
    ("classify, classes cached", "plain open_clip script"),
    ("classify, classes cached", "import open_clip"),
    ("zsclip --help", "typer, one command, --help"),
    ("zsclip --help", "import typer"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One process from start to end."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    stdout: str


def measure(command: Sequence[str], environment: Mapping[str, str]) -> Measured:
    """Run a command once."""
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, env=dict(environment), stdout=stdout, stderr=stderr
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        stdout.seek(0)
        stderr.seek(0)
        if process.returncode:
            raise SystemExit(f"{command}: exit code {process.returncode}\n{stderr.read()}")
        # ru_maxrss: kibibytes on Linux, bytes on macOS
        unit = 1 if sys.platform == "darwin" else 1024
        cpu_s = usage.ru_utime + usage.ru_stime
        return Measured(wall_s, cpu_s, usage.ru_maxrss * unit / 1e6, stdout.read())


def check_same_answer(zsclip: str, plain: str) -> None:
    """Both must have done the same work, or their times say nothing."""
    row = json.loads(zsclip)
    label, score = plain.split()
    if row["label"] != label or abs(row["score"] - float(score)) > TOLERANCE:
        raise SystemExit(f"different answers: {row['label']} {row['score']} and {label} {score}")


def run(rounds: int) -> dict[str, list[Measured]]:
    """Every command once in each round, after one round that is not counted."""
    measured: dict[str, list[Measured]] = {name: [] for name in COMMANDS}
    cache = tempfile.mkdtemp(prefix="zsclip-bench-")
    environment = {**os.environ, "ZSCLIP_CACHE_DIR": cache, "HF_HUB_OFFLINE": "1"}
    environment.pop("ZSCLIP_MODEL", None)
    try:
        for number in range(rounds + 1):
            print(f"round {number} of {rounds}", file=sys.stderr)
            for name, command in COMMANDS.items():
                once = measure(command, environment)
                if number:
                    measured[name].append(once)
    finally:
        shutil.rmtree(cache)
    return measured


def medians_of(measured: Mapping[str, Sequence[Measured]]) -> dict[str, dict[str, float]]:
    """Median times and memory, and the least wall time, of each process."""
    return {
        name: {
            "wall_s": round(statistics.median(m.wall_s for m in runs), 3),
            "least_wall_s": round(min(m.wall_s for m in runs), 3),
            "cpu_s": round(statistics.median(m.cpu_s for m in runs), 3),
            "peak_mb": round(statistics.median(m.peak_mb for m in runs)),
        }
        for name, runs in measured.items()
    }


def ratios_of(measured: Mapping[str, Sequence[Measured]]) -> dict[str, dict[str, float]]:
    """Medians of the ratios within a round, for RATIOS."""
    found = {}
    for a, b in RATIOS:
        pairs = list(zip(measured[a], measured[b], strict=True))
        found[f"{a} / {b}"] = {
            "wall": round(statistics.median(x.wall_s / y.wall_s for x, y in pairs), 2),
            "cpu": round(statistics.median(x.cpu_s / y.cpu_s for x, y in pairs), 2),
        }
    return found


def print_tables(
    medians: Mapping[str, Mapping[str, float]], ratios: Mapping[str, Mapping[str, float]]
) -> None:
    """The figures as benchmarks/README.md has them."""
    print("| process | wall s | least wall s | CPU s | peak MB |\n|---|---|---|---|---|")
    for name, m in medians.items():
        figures = [f"{m[key]:.2f}" for key in ("wall_s", "least_wall_s", "cpu_s")]
        print(f"| {' | '.join([name, *figures])} | {m['peak_mb']:.0f} |")
    print("\n| ratio | wall | CPU |\n|---|---|---|")
    for name, ratio in ratios.items():
        print(f"| {name} | {ratio['wall']:.2f} | {ratio['cpu']:.2f} |")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print Markdown tables and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=7, help="rounds (default: 7)")
    measured = run(parser.parse_args(argv).n)
    for zsclip in ("classify, no cache", "classify, classes cached"):
        check_same_answer(measured[zsclip][0].stdout, measured["plain open_clip script"][0].stdout)
    medians = medians_of(measured)
    ratios = ratios_of(measured)
    print_tables(medians, ratios)
    packages = ("zsclip", "torch", "open_clip_torch", "typer")
    about = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "rounds": len(measured["python"]),
    }
    print()
    print(json.dumps({**about, "processes": medians, "ratios": ratios}))


if __name__ == "__main__":
    main()
