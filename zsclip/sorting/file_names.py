"""Names that every file system takes: of folders for labels, and of a second file of one name.

Pure text; opens nothing.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence

from zsclip.plain_text import BLANKS

MOST_BYTES = 255
_MOST_ENDING_BYTES = 32
_REFUSED = re.compile(r'[/\\:*?"<>|]')
"""What Linux, macOS or the file systems of memory cards refuse in a name."""
_INVISIBLE = ("Cc", "Cs", "Zl", "Zp")
_AT_THE_ENDS = f".{BLANKS}"
"""Leading dots hide a folder; memory cards drop dots and blanks at the end."""


def of_labels(labels: Iterable[str], *, reserved: Sequence[str]) -> dict[str, str]:
    """The folder of each label; no two are the same where upper and lower case are.

    What a name cannot have becomes `_`, dots and blanks at its ends are dropped, and a long one is
    cut. Of labels that would share a folder the first has it, the next one's is `cat (2)`.

    Args:
        reserved: names of folders that are for something else.
    """
    taken = {_folded(name) for name in reserved}
    folders: dict[str, str] = {}
    for label in labels:
        if label in folders:  # data sets may name a class twice
            continue
        name, number = _safe(label), 1
        while _folded(numbered(name, number)) in taken:
            number += 1
        folders[label] = numbered(name, number)
        taken.add(_folded(folders[label]))
    return folders


def numbered(name: str, number: int) -> str:
    """The name itself for 1, else with a number, and cut before it where it would be too long."""
    return _joined(name, number, "")


def numbered_file(name: str, number: int) -> str:
    """The same for a file: `a (2).jpg`."""
    stem, ending = os.path.splitext(name)
    if len(os.fsencode(ending)) > _MOST_ENDING_BYTES:
        stem, ending = name, ""
    return _joined(stem, number, ending)


def _joined(stem: str, number: int, ending: str) -> str:
    tail = f" ({number}){ending}" if number > 1 else ending
    return _cut(stem, MOST_BYTES - len(os.fsencode(tail))) + tail


def _safe(label: str) -> str:
    visible = (
        "_" if unicodedata.category(c) in _INVISIBLE else c
        for c in unicodedata.normalize("NFC", label)
    )
    name = _REFUSED.sub("_", "".join(visible)).strip(_AT_THE_ENDS)
    return _cut(name, MOST_BYTES).rstrip(_AT_THE_ENDS) or "_"


def _cut(name: str, most_bytes: int) -> str:
    """The name without as many of its last characters as are too many."""
    name = name[: max(most_bytes, 0)]
    while name and len(os.fsencode(name)) > most_bytes:
        name = name[:-1]
    return name


def _folded(name: str) -> str:
    """The same for names that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
