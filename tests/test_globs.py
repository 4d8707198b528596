"""Patterns find what Python's glob finds, and come to an end."""

from __future__ import annotations

import glob
import os

import pytest

from zsclip import globs

FILES = [
    "a.png", "b.PNG", "[x].png", "x.png", ".hidden.png", "d/a.png", "d/e/a.png", "d/e/f/g.png",
    "d/.git/a.png", "e/a.jpg", "e/é.png", "e/-.png", "f/line\nbreak.png", "d.png/a.png",
]  # fmt: skip


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [*FILES, os.fsdecode(b"f/\xff.png")]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    "pattern",
    [
        "*.png", "*", "*/*", "*/*.png", "**/*.png", "**/a.*", "d/**/*.png", "**/e/*", "[!a]*",
        "?.png", "[[]x].png", ".*", "d/.*/*", "**/.hidden.png", "./*.png", "../*/a.png", "d//*.png",
        "*/", "d*/", "[", "[a-", "none/*", "a.png/*", "*/e/../*.png", "**/e/**/*.png", "f/*",
        "**/**/g.png",
    ],
)  # fmt: skip
def test_patterns_find_what_pythons_glob_finds(tree, pattern):
    expected = sorted(set(glob.glob(pattern, recursive=True)), key=os.fsencode)

    assert globs.find(pattern) == [path for path in expected if os.path.lexists(path)]


def test_absolute_patterns_give_absolute_paths(tree):
    assert globs.find(f"{tree}/**/g.png") == [f"{tree}/d/e/f/g.png"]


def test_two_stars_at_the_end_are_the_folder_itself(tree):
    assert globs.find("d/**") == ["d"] and globs.find("**") == ["."]


@pytest.mark.accepts("A21")
def test_two_stars_end_where_links_lead_upwards(tree):
    for name in ("one", "two", "d/three"):
        (tree / name).symlink_to(tree)

    assert globs.find("**/g.png") == ["d/e/f/g.png"]


def test_a_linked_folder_that_a_pattern_names_is_gone_into(tree):
    (tree / "link").symlink_to(tree / "d")

    assert globs.find("l*/a.png") == globs.find("link/a.*") == ["link/a.png"]
