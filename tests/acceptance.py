"""What bad input and faults must get: the ids of acceptance.tsv, and which tests try them.

`@pytest.mark.accepts("A1")` says that a test tries an id. A test that tries many cases at once says
how many with the fixture `tried`. ZSCLIP_ACCEPTANCE=FILE writes what the run found, as JSON, from
which docs/make_reliability.py makes docs/reliability.md.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

TABLE = Path(__file__).with_name("acceptance.tsv")


@dataclass
class Tried:
    """Of one id: tests, cases and failures."""

    tests: int = 0
    cases: int = 0
    failed: int = 0
    skipped: int = 0


def read_table() -> dict[str, tuple[str, str]]:
    """id -> (what is tried, what it must get)."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {row["id"]: (row["tried"], row["must get"]) for row in rows}


def ids_of(item: pytest.Item) -> list[str]:
    """The ids that a test is marked with."""
    return [name for mark in item.iter_markers("accepts") for name in mark.args]


class Recorder:
    """A pytest plugin: counts what each id was tried with."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, Tried] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        """Count a test when it has run, or could not."""
        report = yield
        if report.when == "call" or (report.when == "setup" and not report.passed):
            cases = dict(item.user_properties).get("tried", 1)
            for name in ids_of(item):
                known = self._found.setdefault(name, Tried())
                known.tests += 1
                known.cases += 0 if report.skipped else cases
                known.failed += report.failed
                known.skipped += report.skipped
        return report

    def pytest_sessionfinish(self) -> None:
        """Write the counts."""
        found = {name: asdict(tried) for name, tried in sorted(self._found.items())}
        self._path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def configure(config: pytest.Config) -> None:
    """Know the mark; record where that is wanted."""
    config.addinivalue_line("markers", "accepts(*ids): tries these rows of tests/acceptance.tsv")
    if path := os.environ.get("ZSCLIP_ACCEPTANCE"):
        config.pluginmanager.register(Recorder(Path(path).resolve()))


@pytest.fixture
def tried(record_property: Callable[[str, object], None]) -> Callable[[int], None]:
    """Say how many cases a test tries."""
    return lambda cases: record_property("tried", cases)
