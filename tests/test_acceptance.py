"""Every row of the acceptance table is tried by a test, and no test tries another."""

from __future__ import annotations

import re
from pathlib import Path

from acceptance import read_table

MARK = re.compile(r"\baccepts\(([^)]*)\)")


def marked() -> set[str]:
    return {
        name
        for path in Path(__file__).parent.glob("test_*.py")
        for arguments in MARK.findall(path.read_text(encoding="utf-8"))
        for name in re.findall(r'"([A-F]\d+)"', arguments)
    }


def test_every_row_has_a_test():
    assert set(read_table()) - marked() == set()


def test_every_mark_is_a_row():
    assert marked() - set(read_table()) == set()
