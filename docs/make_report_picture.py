"""Photograph reports for docs/report.md: `python docs/make_report_picture.py [FOLDER]`.

Makes docs/report.webp from the example pictures and, where a folder of class folders is named, as
examples/pretrain_tiny/make_folders.py writes it, docs/report-evaluation.webp. Needs chromium and
playwright.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parent.parent
CLASSIFY = (
    "classify examples/images/ README.md --labels-file examples/labels.txt --model tiny --quiet"
)
EVALUATE = "evaluate --folder nouns --model tiny -t imagenet80 -t imagenet7 -t photo -t none"
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
DESK, PHONE, HEIGHT = 1180, 390, 1180
MARGIN, ROUND = 28, 14
BEHIND = (214, 217, 222)
_ALL_FAILED_OR_SOME = (0, 3)


def report_of(command: str, folder: Path) -> str:
    """The report that a command of zsclip writes."""
    with tempfile.TemporaryDirectory() as cache:
        report = Path(cache) / "report.html"
        ran = subprocess.run(
            [sys.executable, "-m", "zsclip", *command.split(), "--report", report, "--json"],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        if ran.returncode not in _ALL_FAILED_OR_SOME:
            raise SystemExit(f"zsclip {command}: exit code {ran.returncode}\n{ran.stderr}")
        return report.read_text(encoding="utf-8")


def photograph(browser: Any, html: str, *, width: int, scheme: str, scroll_to: str) -> Image.Image:
    """What a window of this width shows, with an element at its top."""
    page = browser.new_page(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
    page.set_content(html)
    page.locator(scroll_to).first.evaluate("element => element.scrollIntoView()")
    taken = Image.open(io.BytesIO(page.screenshot()))
    page.close()
    return taken.convert("RGB")


def side_by_side(windows: Sequence[Image.Image]) -> Image.Image:
    """Windows with round corners beside each other."""
    width = sum(one.width for one in windows) + MARGIN * (len(windows) + 1)
    picture = Image.new("RGB", (width, HEIGHT + 2 * MARGIN), BEHIND)
    left = MARGIN
    for one in windows:
        corners = Image.new("L", one.size, 0)
        ImageDraw.Draw(corners).rounded_rectangle((0, 0, *one.size), ROUND, fill=255)
        picture.paste(one, (left, MARGIN), corners)
        left += one.width + MARGIN
    return picture


def make(browser: Any, html: str, path: Path, *, phone_at: str) -> None:
    """A desk in the light, and a phone in the dark, further down."""
    desk = photograph(browser, html, width=DESK, scheme="light", scroll_to="body")
    phone = photograph(browser, html, width=PHONE, scheme="dark", scroll_to=phone_at)
    side_by_side([desk, phone]).save(path, quality=80, method=6)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")


def main(arguments: Sequence[str]) -> None:
    """Make the pictures."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=SWITCHES
        )
        html = report_of(CLASSIFY, ROOT)
        make(browser, html, ROOT / "docs" / "report.webp", phone_at="#pictures-title")
        for folder in arguments:
            html = report_of(EVALUATE, Path(folder))
            path = ROOT / "docs" / "report-evaluation.webp"
            make(browser, html, path, phone_at="#mistakes-title")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
