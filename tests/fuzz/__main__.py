"""Fuzz the readers of pictures, labels, templates and heads.

PYTHONPATH=tests python -m fuzz [--seconds S] [--engine atheris|mutants] [TARGET ...]
PYTHONPATH=tests python -m fuzz --replay FILE ...
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import secrets
import sys
import time
from pathlib import Path

FOLDER = Path(".fuzz")
NAMES = ("pictures", "labels", "templates", "heads")


def main() -> int:
    """Exit code 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--engine", choices=("atheris", "mutants"), default=None)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--replay", action="store_true", help="try the files named instead")
    parser.add_argument("--time-limit", type=float, default=10, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.seed = secrets.randbelow(1 << 31) if options.seed is None else options.seed
    options.engine = options.engine or best_engine()
    if options.child:
        return be_child(options)
    if options.replay:
        return replay([Path(name) for name in options.targets])
    return fuzz_all(options)


def best_engine() -> str:
    """Atheris where it is installed."""
    return "mutants" if importlib.util.find_spec("atheris") is None else "atheris"


def be_child(options: argparse.Namespace) -> int:
    """Fuzz one target in this process."""
    instrumented = contextlib.nullcontext()
    if options.engine == "atheris":
        import atheris

        instrumented = atheris.instrument_imports(include=["zsclip", "PIL", "yaml"])
    with instrumented:
        from PIL import Image

        from fuzz import campaign

        Image.init()  # all formats, which are otherwise imported at the first need
    campaign.fuzz(
        target_of(options.targets[0]),
        options.folder,
        scratch=options.scratch,
        engine=options.engine,
        seconds=options.seconds,
        seed=options.seed,
        time_limit_s=options.time_limit,
    )
    return 0


def target_of(name: str):
    """A target by its name, also one of those that only tests know."""
    from fuzz.canaries import CANARIES
    from fuzz.targets import TARGETS

    return {**TARGETS, **CANARIES}[name]


def fuzz_all(options: argparse.Namespace) -> int:
    """A line for each target, and one for each finding."""
    from fuzz import campaign

    found = 0
    for name in options.targets or NAMES:
        started = time.monotonic()
        report = campaign.run(
            name,
            target_of(name),
            options.folder / name,
            engine=options.engine,
            seconds=options.seconds,
            seed=options.seed,
            time_limit_s=options.time_limit,
        )
        seconds = time.monotonic() - started
        print(
            f"{name}: {report.executions:,} executions in {seconds:.0f} s "
            f"({options.engine}, seed {options.seed}), {len(report.findings)} findings",
            flush=True,
        )
        for path in sorted(report.findings):
            print(f"  PYTHONPATH=tests {sys.executable} -m fuzz --replay {path}", flush=True)
        found += len(report.findings)
    return 1 if found else 0


def replay(paths: list[Path]) -> int:
    """Try files as they are; the folder of each is named as its target."""
    from fuzz.attempts import scratch_folder

    for path in paths:
        with scratch_folder() as folder:
            outcome = target_of(path.parent.name).run(path.read_bytes(), Path(folder))
        print(f"{path}: {outcome}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
