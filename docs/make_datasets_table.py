"""Write the table in docs/datasets.md from prompts/datasets: `python docs/make_datasets_table.py`.

With --check it writes nothing and says whether the table is current.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from zsclip.datasets import dataset_names, load_dataset

PAGE = Path(__file__).with_name("datasets.md")
START = "<!-- made by docs/make_datasets_table.py: start -->"
END = "<!-- made by docs/make_datasets_table.py: end -->"
HEADER = ("data set", "classes", "templates", "metric", "split", "licence", "where")


def row(name: str) -> tuple[str, ...]:
    """What the table says of one data set."""
    known = load_dataset(name)
    split = known.facts["split"]
    return (
        f"`{name}`",
        f"{len(known.class_names):,}",
        str(len(known.templates.templates)),
        f"`{known.facts['metric']}`",
        f"{split['name']}, {int(split['size']):,}",
        known.facts["licence"],
        f"[{known.title}]({known.facts['homepage']})",
    )


def page() -> str:
    """The whole page, with the table as it should be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    rows = [HEADER, ("---",) * len(HEADER), *map(row, dataset_names())]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    return f"{before}{START}\n{table}\n{END}{rest.partition(END)[2]}"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, or with --check compare it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if outdated")
    wanted = page()
    if not parser.parse_args(argv).check:
        PAGE.write_text(wanted, encoding="utf-8")
    elif wanted != PAGE.read_text(encoding="utf-8"):
        print("docs/datasets.md: run python docs/make_datasets_table.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
