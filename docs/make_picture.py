"""Record docs/zsclip.svg, the picture in the README: `python docs/make_picture.py`.

Runs the real command in a pseudo-terminal and draws what it writes to stdout. Equal output gives
equal bytes. stderr (the note about `tiny`, the bar) is left out.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "zsclip.svg"
COMMAND = "zsclip classify examples/images/ --labels-file examples/labels.txt --model tiny"
WIDTH = 96
_WEB_FONT = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_CELL = 12.2  # the width of a character in rich's pictures
_BAR = re.compile(r'<text( class="[^"]*") x="([^"]*)" y="([^"]*)"[^>]*>([▏▎▍▌▋▊▉█]+)[^<]*</text>')


def record(command: str) -> bytes:
    """What a command of zsclip writes to a terminal of WIDTH columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, WIDTH, 0, 0))
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", *command.split()],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=errors,
            env={
                **{k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "ZSCLIP_MODEL")},
                "COLUMNS": str(WIDTH),
                "TERM": "xterm-256color",
                "ZSCLIP_CACHE_DIR": cache,
            },
        )
        os.close(theirs)
        written = _read_all(ours)
        if process.wait() != 0:
            errors.seek(0)
            raise SystemExit(f"{command}: exit code {process.returncode}\n{errors.read().decode()}")
    return written


def _read_all(terminal: int) -> bytes:
    parts: list[bytes] = []
    while True:
        try:
            part = os.read(terminal, 1 << 16)
        except OSError:  # Linux: EIO once the other side is closed
            part = b""
        if not part:
            os.close(terminal)
            return b"".join(parts)
        parts.append(part)


def draw(command: str, written: bytes) -> str:
    """An SVG of a terminal with the command and what it wrote."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), color_system="truecolor")
    console.print(Text.assemble(("$ ", "bold green"), command))
    lines = written.decode().replace("\r\n", "\n")  # a terminal adds the \r, rich trips over it
    console.print(Text.from_ansi(lines.rstrip()))
    svg = console.export_svg(title="zsclip", unique_id="zsclip")
    # rich asks a web server for its font, which a picture in a README must not
    return _BAR.sub(_rectangle, _WEB_FONT.sub("", svg))


def _rectangle(bar: re.Match[str]) -> str:
    """A bar as a shape: as text it has gaps, or another length, in fonts other than rich's."""
    attributes, x, y, blocks = bar.groups()
    cells = sum(_EIGHTHS.index(block) / 8 for block in blocks)
    width = cells * _CELL
    return f'<rect{attributes} x="{x}" y="{float(y) - 16:g}" width="{width:g}" height="19"/>'


def main() -> None:
    """Record and write the picture."""
    PICTURE.write_text(draw(COMMAND, record(COMMAND)), encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
