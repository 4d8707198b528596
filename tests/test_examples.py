"""The example scripts and pictures do what they say, with the embedded model."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

import zsclip

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
IMAGES = EXAMPLES / "images"


def run(monkeypatch: pytest.MonkeyPatch, script: str, *arguments: object) -> None:
    """Run an example as `python examples/SCRIPT ARGUMENTS`."""
    monkeypatch.setattr("sys.argv", [script, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / script), run_name="__main__")


def test_sort_into_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run(monkeypatch, "sort_into_folders.py", IMAGES, tmp_path, "cat", "dog", "pizza")

    cats = {path.name for path in IMAGES.glob("cat*")}
    assert cats
    assert cats <= {path.name for path in (tmp_path / "cat").iterdir()}


def test_compare_templates(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    run(monkeypatch, "compare_templates.py", IMAGES / "cat.png", "cat", "dog")

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["none", "cat"],
        ["photo", "cat"],
        ["imagenet80", "cat"],
    ]


def test_pictures_are_named_by_what_they_show_except_those_the_readme_names() -> None:
    labels = (EXAMPLES / "labels.txt").read_text().split("\n")
    classifier = zsclip.Classifier([label for label in labels if label], model="tiny")
    pictures = sorted(path for path in IMAGES.iterdir() if path.suffix != ".md")

    results = list(classifier.classify(pictures))

    wrong = {
        path.name
        for path, result in zip(pictures, results, strict=True)
        if not path.stem.startswith((result.label or "?").replace(" ", "-"))
    }
    section = (IMAGES / "README.md").read_text().partition("## Wrong")[2]
    assert len(pictures) >= 16
    assert 1 <= len(wrong) <= 2
    assert all(name in section for name in wrong), wrong
    assert not any(name.startswith(("cat", "dog")) for name in wrong)
