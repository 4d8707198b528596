"""The command line that every subject has, and what it hands back to `run.py`.

A subject prints its section as Markdown, and then as one line of JSON. It runs in a process of its
own, so that its memory and threads are not the next one's.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from report import Section, markdown
from workload import Workload, prepare

DEFAULT_FOLDER = Path(tempfile.gettempdir()) / "zsclip-benchmarks"


@dataclass(frozen=True, slots=True)
class Options:
    """What a subject is told.

    Attributes:
        cache: a folder for what zsclip keeps: prepared engines and text embeddings.
    """

    quick: bool
    workload: Workload
    cache: Path

    def rounds(self, full: int, quick: int) -> int:
        """How many rounds to measure."""
        return quick if self.quick else full


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of a subject and of `run.py`."""
    parser.add_argument("--quick", action="store_true", help="fewer rounds, less work")
    parser.add_argument(
        "--folder",
        type=Path,
        default=DEFAULT_FOLDER,
        help="where model and pictures are kept between runs (default: a temporary folder)",
    )


def main(measure: Callable[[Options], Section], description: str | None) -> None:
    """Measure one subject."""
    parser = argparse.ArgumentParser(description=str(description).splitlines()[0])
    add_options(parser)
    parser.add_argument("--cache", type=Path, help="zsclip's cache folder (default: a new one)")
    given = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "ZSCLIP_DEVICE": "cpu"}
    os.environ.pop("ZSCLIP_MODEL", None)
    with tempfile.TemporaryDirectory(prefix="zsclip-benchmarks-") as new:
        cache = given.cache or Path(new)
        os.environ["ZSCLIP_CACHE_DIR"] = str(cache)
        section = measure(Options(given.quick, prepare(given.folder), cache))
    print(markdown(section))
    print()
    print(json.dumps(asdict(section), ensure_ascii=False), flush=True)
