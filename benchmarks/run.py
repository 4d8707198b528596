"""zsclip beside what people would run instead: `python benchmarks/run.py`.

Runs each subject in a process of its own, prints tables and a table of aims, and ends with one line
of JSON. A subject that fails is named with its reason, and the others go on.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aims
import machine
from report import Section, markdown
from subject import add_options
from workload import prepare

HERE = Path(__file__).resolve().parent
LOG = HERE / "log.md"
DOCS = HERE.parent / "docs" / "performance.md"
BEGIN, END = "<!-- written by benchmarks/run.py --docs -->", "<!-- end -->"
SUBJECTS = ("cold", "heads", "throughput", "decode", "load", "gpu")


@dataclass(frozen=True, slots=True)
class Run:
    """What one run found.

    Attributes:
        sections: by subject, as JSON has them.
        failures: by subject, the reason in one line.
    """

    about: Mapping[str, Any]
    sections: Mapping[str, Mapping[str, Any]]
    failures: Mapping[str, str]

    def markdown(self) -> str:
        """Everything for people."""
        about = self.about
        parts = [
            f"{about['date']}, {'a quick run' if about['quick'] else 'a full run'} of "
            f"{about['minutes']} minutes on {machine.in_words(about)}. Load before: "
            f"{about['load_before']}; hardware threads that other programs took meanwhile: "
            f"{about['cpus_of_other_programs']}.",
            aims.markdown(self.sections),
            *(markdown(Section(**section)) for section in self.sections.values()),
            *(f"**{subject} failed**: {reason}" for subject, reason in self.failures.items()),
        ]
        return "\n\n".join(parts)

    def json(self) -> str:
        """Everything for programs, in one line."""
        everything = {
            **self.about,
            "aims": aims.as_json(self.sections),
            "subjects": self.sections,
            "failures": self.failures,
        }
        return json.dumps(_rounded(everything), ensure_ascii=False)


def _rounded(value: Any) -> Any:
    """With four digits in every figure."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


def run_subject(subject: str, *, options: Sequence[str]) -> tuple[str, str]:
    """Output of a subject, and its last line of error, which is empty if it succeeded."""
    command = [sys.executable, str(HERE / f"{subject}.py"), *options]
    last = ""
    with tempfile.TemporaryFile("w+") as stdout:
        with subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True) as child:
            for line in child.stderr or ():
                sys.stderr.write(line)
                last = line.strip() or last
        stdout.seek(0)
        if child.returncode:
            return "", last or f"exit code {child.returncode}"
        return stdout.read(), ""


def measure(subjects: Sequence[str], given: argparse.Namespace) -> Run:
    """Run the subjects one after another."""
    about = {"date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}", **machine.describe()}
    prepare(given.folder)
    sections: dict[str, Any] = {}
    failures = {}
    start, others = time.monotonic(), machine.OtherPrograms()
    with tempfile.TemporaryDirectory(prefix="zsclip-benchmarks-") as cache:
        options = ["--folder", str(given.folder), "--cache", cache]
        options += ["--quick"] if given.quick else []
        for subject in subjects:
            print(f"{subject}:", file=sys.stderr)
            printed, reason = run_subject(subject, options=options)
            if reason:
                failures[subject] = reason.replace(str(given.folder), "FOLDER")
            else:
                sections[subject] = json.loads(printed.splitlines()[-1])
    about |= {
        "quick": given.quick,
        "minutes": round((time.monotonic() - start) / 60, 1),
        "cpus_of_other_programs": others.cpus(),
    }
    return Run(about, sections, failures)


def write_log(run: Run) -> None:
    """Append a run, failures included."""
    entry = run.markdown().replace("\n### ", "\n#### ")
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"\n## {run.about['date']}\n\n{entry}\n\n```json\n{run.json()}\n```\n")


def write_docs(run: Run) -> None:
    """Put the tables between the two marks of docs/performance.md."""
    before, _, rest = DOCS.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    DOCS.write_text(f"{before}{BEGIN}\n\n{run.markdown()}\n\n{END}{after}", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 if a subject failed."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    add_options(parser)
    parser.add_argument("--only", metavar="A,B", help=f"some of {', '.join(SUBJECTS)}")
    parser.add_argument("--log", action="store_true", help="append the run to benchmarks/log.md")
    parser.add_argument(
        "--docs", action="store_true", help="write the tables into docs/performance.md"
    )
    given = parser.parse_args(argv)
    subjects = given.only.split(",") if given.only else SUBJECTS
    if unknown := [subject for subject in subjects if subject not in SUBJECTS]:
        parser.error(f"no subject {unknown[0]!r}; there are {', '.join(SUBJECTS)}")
    if given.docs and given.only:
        parser.error("--docs writes all tables; leave out --only")
    run = measure(subjects, given)
    if given.log:
        write_log(run)
    if given.docs and not run.failures:
        write_docs(run)
    print(run.markdown())
    print()
    print(run.json())
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
