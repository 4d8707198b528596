"""Inputs: folders, globs, lists, standard input; in a fixed order, and lazily."""

from __future__ import annotations

import inspect
import io
import os
import sys
import threading

import pytest

from zsclip import inputs
from zsclip.errors import InputError
from zsclip.inputs import Skipped
from zsclip.results import Failure


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Make files below the working directory: `tree("a.jpg", "b/c.png")`."""
    monkeypatch.chdir(tmp_path)

    def make(*names):
        for name in names:
            path = tmp_path / os.fsdecode(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def expand(*paths, stdin=b"", skipped=None):
    found = inputs.expand(paths, stdin=io.BytesIO(stdin), skipped=skipped or Skipped())
    return [item.path for item in found]


def listed(content, *, separator=b"\n", skipped=None):
    stream = io.BytesIO(content)
    found = inputs.from_list(stream, separator=separator, skipped=skipped or Skipped())
    return [item.path for item in found]


# folders


def test_a_folder_is_walked_in_byte_order(tree):
    tree("d/b.jpg", "d/B.jpg", "d/a/z.jpg", "d/é.jpg", "d/Z.jpg", "d/10.jpg", "d/9.jpg")

    assert expand("d") == [
        "d/10.jpg", "d/9.jpg", "d/B.jpg", "d/Z.jpg", "d/a/z.jpg", "d/b.jpg", "d/é.jpg",
    ]  # fmt: skip


def test_names_that_are_not_utf8_are_walked_in_byte_order(tree):
    tree(b"d/\xff.jpg", b"d/\xc3\xa9.jpg", b"d/\x80.jpg")

    assert [os.fsencode(path or "") for path in expand("d")] == [
        b"d/\x80.jpg",
        b"d/\xc3\xa9.jpg",
        b"d/\xff.jpg",
    ]


def test_endings_are_read_whatever_their_case(tree):
    tree("d/a.JPG", "d/b.Jpeg", "d/c.webp")

    assert expand("d") == ["d/a.JPG", "d/b.Jpeg", "d/c.webp"]


def test_other_files_are_skipped_and_counted(tree):
    tree("d/a.jpg", "d/notes.txt", "d/b/c.py", "d/jpg")
    skipped = Skipped()

    found = expand("d", skipped=skipped)

    assert found == ["d/a.jpg"] and skipped.files == 3


def test_hidden_files_and_folders_are_skipped(tree):
    tree("d/a.jpg", "d/.b.jpg", "d/.git/c.jpg")

    assert expand("d") == ["d/a.jpg"]


def test_a_hidden_file_that_is_named_is_an_input(tree):
    tree("d/.b.jpg")

    assert expand("d/.b.jpg") == ["d/.b.jpg"]


def test_linked_folders_are_skipped_and_circles_end(tree):
    root = tree("d/a.jpg", "e/b.jpg")
    (root / "d" / "link").symlink_to(root / "e")
    (root / "d" / "loop").symlink_to(root / "d")

    assert expand("d") == ["d/a.jpg"]


def test_a_linked_folder_that_is_named_is_walked(tree):
    root = tree("e/b.jpg")
    (root / "link").symlink_to(root / "e")

    assert expand("link") == ["link/b.jpg"]


@pytest.mark.accepts("A19")
@pytest.mark.parametrize("named", ["d", "**/a.jpg"])
def test_folders_may_be_deeper_than_python_recurses(tree, named):
    depth = 400
    tree("d/" * depth + "a.jpg")
    limit = sys.getrecursionlimit()

    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        found = expand(named)
    finally:
        sys.setrecursionlimit(limit)

    assert found == ["d/" * depth + "a.jpg"]


@pytest.mark.accepts("A19", "A21")
def test_a_folder_whose_path_is_too_long_is_an_input_that_failed(tree, monkeypatch):
    root = tree()
    for _ in range(25):  # step by step, or no call would take the path
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    monkeypatch.chdir(root)

    (item,) = inputs.expand(["d" * 200], stdin=io.BytesIO(), skipped=Skipped())

    assert isinstance(item.source, Failure) and item.source.code == "read_error"


def test_linked_files_are_inputs(tree):
    root = tree("e/b.jpg", "d/a.jpg")
    (root / "d" / "c.jpg").symlink_to(root / "e" / "b.jpg")

    assert expand("d") == ["d/a.jpg", "d/c.jpg"]


def test_a_folder_that_may_not_be_read_is_a_row_and_the_walk_goes_on(tree):
    root = tree("d/a/x.jpg", "d/b.jpg")
    root.chmod(0o755)
    (root / "d" / "a").chmod(0)
    is_root = os.geteuid() == 0
    for parent in (root, *root.parents):
        if is_root and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)  # pytest's own folders

    if is_root:
        os.seteuid(65534)
    try:
        found = list(inputs.expand(["d"], stdin=io.BytesIO(), skipped=Skipped()))
    finally:
        if is_root:
            os.seteuid(0)
        (root / "d" / "a").chmod(0o755)

    assert [(item.path, getattr(item.source, "code", None)) for item in found] == [
        ("d/a", "permission"),
        ("d/b.jpg", None),
    ]


def test_an_empty_folder_has_no_inputs(tree):
    (tree() / "d").mkdir()

    assert expand("d") == []


# paths and globs


def test_inputs_keep_the_order_of_the_command_line(tree):
    tree("b.jpg", "a.jpg", "d/c.jpg")

    assert expand("b.jpg", "d", "a.jpg", "b.jpg") == ["b.jpg", "d/c.jpg", "a.jpg", "b.jpg"]


def test_a_missing_path_is_an_input(tree):
    tree()

    assert expand("none.jpg") == ["none.jpg"]


def test_a_file_that_is_named_needs_no_ending(tree):
    tree("picture", "notes.txt")

    assert expand("picture", "notes.txt") == ["picture", "notes.txt"]


def test_a_glob_is_expanded_in_byte_order(tree):
    tree("b.jpg", "a.jpg", "C.jpg", "x.png")

    assert expand("*.jpg") == ["C.jpg", "a.jpg", "b.jpg"]


def test_two_stars_go_through_folders(tree):
    tree("a.jpg", "d/b.jpg", "d/e/c.jpg")

    assert expand("**/*.jpg") == ["a.jpg", "d/b.jpg", "d/e/c.jpg"]


def test_an_existing_path_beats_a_glob(tree):
    tree("[a].jpg", "a.jpg", "*.png", "b.png")

    assert expand("[a].jpg", "*.png") == ["[a].jpg", "*.png"]


def test_a_dangling_link_beats_a_glob(tree):
    (tree("a.jpg") / "[a].jpg").symlink_to("none")

    assert expand("[a].jpg") == ["[a].jpg"]


def test_an_unmatched_glob_is_a_not_found_row(tree):
    tree()

    (item,) = inputs.expand(["*.tif"], stdin=io.BytesIO(), skipped=Skipped())

    assert item.path == "*.tif"
    assert isinstance(item.source, Failure) and item.source.code == "not_found"


def test_a_folder_that_a_glob_matches_is_walked(tree):
    tree("d1/a.jpg", "d2/b.jpg")

    assert expand("d?") == ["d1/a.jpg", "d2/b.jpg"]


def test_a_dash_is_the_picture_on_stdin(tree):
    tree()

    (item,) = inputs.expand(["-"], stdin=io.BytesIO(b"picture"), skipped=Skipped())

    assert (item.path, item.source) == ("-", b"picture")


def test_a_file_called_dash_can_be_named(tree):
    tree("-")

    assert expand("./-") == ["./-"]


# lists


def test_entries_of_a_list_are_literal(tree):
    tree("a.jpg", "[a].jpg", "*.jpg")

    assert listed(b"*.jpg\n-\n # a\n[a].jpg\n") == ["*.jpg", "-", " # a", "[a].jpg"]


def test_a_folder_in_a_list_is_walked(tree):
    tree("d/b.jpg", "d/a.jpg", "c.jpg")

    assert listed(b"c.jpg\nd\n") == ["c.jpg", "d/a.jpg", "d/b.jpg"]


@pytest.mark.parametrize("content", [b"a.jpg\nb.jpg\n", b"a.jpg\nb.jpg", b"a.jpg\r\nb.jpg\r\n"])
def test_lines_end_in_any_way(content):
    assert listed(content) == ["a.jpg", "b.jpg"]


def test_blank_entries_are_skipped():
    assert listed(b"\n\na.jpg\n  \n\r\nb.jpg\n\n") == ["a.jpg", "b.jpg"]


def test_blank_entries_between_nuls_are_skipped():
    assert listed(b"\0a.jpg\0\0b.jpg\0", separator=b"\0") == ["a.jpg", "b.jpg"]


def test_nul_lists_keep_newlines_and_blanks_in_names():
    names = listed(b"a\nb.jpg\0 c.jpg \0d.jpg\r\0", separator=b"\0")

    assert names == ["a\nb.jpg", " c.jpg ", "d.jpg\r"]


@pytest.mark.parametrize("separator", [b"\n", b"\0"])
def test_names_that_are_not_utf8_survive(separator):
    (name,) = listed(b"caf\xe9.jpg" + separator, separator=separator)

    assert os.fsencode(name or "") == b"caf\xe9.jpg"


def test_entries_across_blocks_are_whole():
    names = [f"{'x' * 200}{i}.jpg" for i in range(2000)]  # some 400 kB: several blocks

    assert listed("\n".join(names).encode()) == names


def test_the_first_input_is_out_before_the_list_ends():
    reader, writer = os.pipe()
    stream = os.fdopen(reader, "rb")
    found = inputs.from_list(stream, separator=b"\n", skipped=Skipped())
    os.write(writer, b"a.jpg\nb.j")
    first = []

    thread = threading.Thread(target=lambda: first.append(next(found).path), daemon=True)
    thread.start()
    thread.join(60)
    os.write(writer, b"pg\n")
    os.close(writer)

    assert first == ["a.jpg"]
    assert [item.path for item in found] == ["b.jpg"]
    stream.close()


# none at all


def test_no_inputs_are_refused():
    with pytest.raises(InputError, match="no pictures among the inputs"):
        next(inputs.at_least_one(iter(()), Skipped()))


def test_the_refusal_says_how_many_files_were_skipped(tree):
    tree("d/a.txt", "d/b.txt")
    skipped = Skipped()
    found = inputs.expand(["d"], stdin=io.BytesIO(), skipped=skipped)

    with pytest.raises(InputError, match="other files: 2"):
        next(inputs.at_least_one(found, skipped))


def test_at_least_one_hands_on_every_input_without_reading_ahead():
    read = []

    def source():
        for name in "abc":
            read.append(name)
            yield inputs.Input(name, name)

    found = inputs.at_least_one(source(), Skipped())
    first = next(found).path

    assert (first, read) == ("a", ["a"])
    assert [item.path for item in found] == ["b", "c"]
