"""Write docs/reliability.md from a run of the tests: python docs/make_reliability.py.

The sweeps that take long come from `make soak`, whose last figures stay as they are in the page.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- written by make_reliability.py -->", "<!-- end -->"
HEADER = "| | tried | must get | cases | |\n|---|---|---|---|---|"
GROUPS = {
    "A": "Pictures",
    "B": "Labels and templates",
    "C": "Cache",
    "D": "Weights",
    "E": "Pipelines",
    "F": "Numbers",
}

sys.path.insert(0, str(ROOT / "tests"))

from acceptance import read_table  # noqa: E402


def run_tests() -> dict[str, dict[str, int]]:
    """What each id was tried with, by the tests that are marked."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "acceptance.json"
        command = [sys.executable, "-m", "pytest", "-m", "accepts"]
        environment = {**os.environ, "ZSCLIP_ACCEPTANCE": str(path)}
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        found: dict[str, dict[str, int]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def result_of(tried: dict[str, int] | None) -> str:
    """Cases and outcome of an id, as two cells."""
    if tried is None or tried["cases"] == 0:
        return "0 | not tried here"
    held = "holds" if not tried["failed"] else f"{tried['failed']} failed"
    return f"{tried['cases']:,} | {held}"


def render(found: dict[str, dict[str, int]]) -> str:
    """The tables, a group each."""
    table = read_table()
    lines = []
    for letter, title in GROUPS.items():
        lines += ["", f"### {title}", "", HEADER]
        lines += [
            f"| {name} | {what} | {expected} | {result_of(found.get(name))} |"
            for name, (what, expected) in table.items()
            if name[0] == letter
        ]
    total = sum(tried["cases"] for tried in found.values())
    return f"{len(table)} rows, {total:,} cases.\n" + "\n".join(lines)


def main() -> None:
    """Run the tests and put the tables into the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    text = f"{before}{BEGIN}\n\n{render(run_tests())}\n\n{END}{after}"
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
