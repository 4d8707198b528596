"""Labels as names of folders, and numbers in names."""

from __future__ import annotations

import os

import pytest

from zsclip.sorting import file_names
from zsclip.sorting.file_names import MOST_BYTES, numbered_file, of_labels

RESERVED = ("other", "unreadable")


def folder_of(label: str) -> str:
    return of_labels([label], reserved=RESERVED)[label]


@pytest.mark.parametrize(
    "label", ["cat", "golden retriever", "Müsli", "猫", "👩‍👩‍👧", "a.b", "Cat"]
)
def test_a_plain_label_is_its_folder(label: str) -> None:
    assert folder_of(label) == label


@pytest.mark.parametrize(
    ("label", "folder"),
    [
        ("AC/DC", "AC_DC"),
        ("../../etc", "_.._etc"),
        ("..", "_"),
        (".", "_"),
        ("", "_"),
        ("   ", "_"),
        (".hidden", "hidden"),
        ("etc.", "etc"),
        (" cat ", "cat"),
        ('a\\b:c*d?e"f<g>h|i', "a_b_c_d_e_f_g_h_i"),
        ("nul\0byte", "nul_byte"),
        ("new\nline\x7f\x85\u2028", "new_line___"),
        ("lone \udc80 surrogate", "lone _ surrogate"),
        ("e\u0301", "é"),
    ],
)
def test_what_a_name_cannot_have_is_replaced(label: str, folder: str) -> None:
    assert folder_of(label) == folder


@pytest.mark.parametrize("label", ["x" * 300, "é" * 200, "猫" * 100, "👩" * 70, "x" * 254 + ". y"])
def test_a_long_label_is_cut_between_characters(label: str) -> None:
    folder = folder_of(label)

    assert MOST_BYTES - 4 < len(os.fsencode(folder)) <= MOST_BYTES
    assert label.startswith(folder)


def test_labels_that_would_share_a_folder_get_numbers_in_order() -> None:
    folders = of_labels(["cat", "Cat", "CAT", "cat.", "Straße", "strasse"], reserved=RESERVED)

    assert list(folders.values()) == [
        "cat", "Cat (2)", "CAT (3)", "cat (4)", "Straße", "strasse (2)",
    ]  # fmt: skip


def test_a_number_that_another_label_has_is_not_used() -> None:
    folders = of_labels(["cat (2)", "cat", "Cat"], reserved=RESERVED)

    assert folders["Cat"] == "Cat (3)"


def test_labels_cannot_have_reserved_folders() -> None:
    folders = of_labels(["other", "Unreadable"], reserved=RESERVED)

    assert folders == {"other": "other (2)", "Unreadable": "Unreadable (2)"}


def test_two_long_labels_with_one_beginning_stay_apart() -> None:
    one, other = of_labels(["x" * 300, "x" * 301], reserved=RESERVED).values()

    assert one == "x" * 255
    assert other == "x" * 251 + " (2)"


def test_a_label_that_is_named_twice_has_one_folder() -> None:
    assert of_labels(["crane", "crane"], reserved=RESERVED) == {"crane": "crane"}


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("a.jpg", "a (2).jpg"),
        ("a.b.jpg", "a.b (2).jpg"),
        ("a", "a (2)"),
        (".jpg", ".jpg (2)"),
        ("a (2).jpg", "a (2) (2).jpg"),
        ("x" * 251 + ".jpg", "x" * 247 + " (2).jpg"),
        ("é" * 125 + ".jpg", "é" * 123 + " (2).jpg"),
        ("a." + "x" * 250, "a." + "x" * 249 + " (2)"),
        (os.fsdecode(b"\xff" * 251 + b".jpg"), os.fsdecode(b"\xff" * 247 + b" (2).jpg")),
    ],
)
def test_the_number_of_a_file_goes_before_its_ending(name: str, second: str) -> None:
    assert numbered_file(name, 1) == name
    assert numbered_file(name, 2) == second
    assert len(os.fsencode(second)) <= MOST_BYTES


def test_numbers_grow_as_long_as_names_are_taken() -> None:
    assert file_names.numbered("cat", 12) == "cat (12)"
