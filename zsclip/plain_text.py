"""Text from people: read from a file, searched for control characters, made fit to be shown.

Knows nothing about what the text is for.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from zsclip.errors import UsageError

MAX_SIZE_BYTES = 64 << 20
MAX_CHARACTERS = 5_000
"""Of a label or a template: more than any model reads, and few enough for a tokenizer, whose time
for a word grows faster than its length."""
BLANKS = (
    " \t\r\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""What is stripped from a line: white space, but of control characters only tab and return."""
_DIRECTIONS = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SHOWN = 80


def read(
    path: Path,
    *,
    encoding: str = "UTF-8",
    max_size_bytes: int = MAX_SIZE_BYTES,
    kind: type[UsageError] = UsageError,
    tip: str = "re-save it as UTF-8",
) -> str:
    """The text of a file, without a byte order mark.

    Args:
        kind: of the error for a file that is not as it should be.
        tip: of that error, where the encoding is wrong.

    Raises:
        kind: the file cannot be read, is too large, or does not have this encoding; the message
            names the file, and the line and byte where there is one.
        UsageError: no such encoding.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_size_bytes + 1)
    except (OSError, ValueError) as error:  # the latter: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise kind(f"{path}: cannot be read: {reason.lower()}") from error
    if len(content) > max_size_bytes:
        raise kind(f"{path}: larger than {max_size_bytes:,} bytes")
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before, wrong = error.object[: error.start], error.object[error.start]
        line = before.decode(encoding, "ignore").count("\n") + 1
        message = f"{path}: line {line}: not {encoding} (byte 0x{wrong:02X})"
        raise kind(message, tip=tip) from error
    except (LookupError, ValueError) as error:
        raise UsageError(
            f"{encoding!r} is not an encoding of text that is known here",
            tip="such as latin-1, cp1252, utf-16",
        ) from error


def control_character(text: str) -> str | None:
    """The first control character or lone surrogate of a text; None if it has neither."""
    found = _CONTROL.search(text)
    return None if found is None else found[0]


def printable(text: str) -> str:
    """Text with control characters, surrogates, line breaks and turns of direction escaped."""
    return "".join(
        ascii(c)[1:-1]
        if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _DIRECTIONS
        else c
        for c in text
    )


def quoted(text: str) -> str:
    """A text in quotation marks on one line; of a long one its beginning and end."""
    if len(text) > _SHOWN:
        text = f"{text[: _SHOWN // 2]}…{text[-_SHOWN // 2 :]}"
    return repr(text)
