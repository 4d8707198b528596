"""Templates and values -> one HTML file that needs no server.

Style and script are in the page, named by their digests in its policy, which forbids all else. Text
reaches it escaped, with control characters and turns of direction made visible. How it looks is in
`_data/report`. Knows nothing about what is shown.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from zsclip.data_files import DATA, replacing
from zsclip.errors import OutputError
from zsclip.intervals import Interval
from zsclip.plain_text import printable

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

FOLDER = DATA / "report"
_UNDEFINED = "–"
_MINUS = "−"


@contextlib.contextmanager
def writing(path: Path | str = "the report") -> Iterator[None]:
    """Turn what the system says against writing into an OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def open_report(path: Path) -> Iterator[BinaryIO]:
    """A file for a report: it appears whole at the end, and one that cannot be is refused now.

    Raises:
        OutputError: it cannot be written.
    """
    with contextlib.ExitStack() as files:
        with writing(path):
            if path.exists() and not path.is_file():
                raise OutputError(f"cannot write {path}: is not a regular file")
            stream = files.enter_context(replacing(path))
        yield stream
        with writing(path):
            files.close()


def render(template: str, **values: object) -> str:
    """A part of a page."""
    return _environment().get_template(template).render(values)


def write(stream: BinaryIO, template: str, **values: object) -> None:
    """Write a page, piece by piece: an iterator among the values is not held in memory.

    Raises:
        OutputError: it cannot be written.
    """
    with writing():
        for piece in _environment().get_template(template).generate(values):
            stream.write(piece.encode())


def ready(html: str) -> Markup:
    """A part that `render` made, for a page: it is not escaped once more."""
    from markupsafe import Markup

    return Markup(html)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "between": _between,
        "count": _count,
        "decimals": _decimals,
        "percent": _percent,
        "points": _points,
        "tick": _tick,
        "webp": _webp,
        "width": _width,
    }
    environment.tests["finite"] = math.isfinite
    style = (FOLDER / "report.css").read_text(encoding="utf-8")
    script = (FOLDER / "report.js").read_text(encoding="utf-8")
    environment.globals |= {
        "style": ready(style),
        "script": ready(script),
        "policy": "; ".join(
            (
                "default-src 'none'",
                "img-src data:",
                f"style-src '{_digest(style)}'",
                f"script-src '{_digest(script)}'",
                "base-uri 'none'",
                "form-action 'none'",
            )
        ),
    }
    return environment


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _visible(value: object) -> object:
    return printable(value) if type(value) is str else value


def _count(number: int, one: str = "", many: str = "") -> str:
    """`1,234`, or with its noun: `1 picture`, `2 pictures`."""
    noun = one if number == 1 else many or f"{one}s"
    return f"{number:,} {noun}" if one else f"{number:,}"


def _decimals(value: float, places: int = 3) -> str:
    return f"{value:.{places}f}" if math.isfinite(value) else _UNDEFINED


def _percent(share: float, places: int = 1) -> str:
    """`93.0%`."""
    return f"{100 * share:.{places}f}%" if math.isfinite(share) else _UNDEFINED


def _points(share: float, sign: bool = False, places: int = 1) -> str:
    """`93.0`, in per cent; `+2.1` for a difference."""
    if not math.isfinite(share):
        return _UNDEFINED
    return f"{100 * share:{'+' if sign else ''}.{places}f}".replace("-", _MINUS)


def _tick(share: float, sign: bool = False) -> str:
    """The same on an axis, as short as can be."""
    return f"{round(100 * share, 6):{'+' if sign and share else ''}g}".replace("-", _MINUS)


def _between(interval: Interval, sign: bool = False) -> str:
    """`(91.8 to 94.1)`, in per cent; nothing where it is not defined."""
    if not math.isfinite(interval.low):
        return ""
    return f"({_points(interval.low, sign)} to {_points(interval.high, sign)})"


def _width(share: float) -> str:
    """A length in a drawing, as a share of all there is; what lies beyond is cut off."""
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%" if math.isfinite(share) else "0%"


def _webp(content: bytes) -> Markup:
    """A data URI."""
    return ready(f"data:image/webp;base64,{base64.b64encode(content).decode('ascii')}")
