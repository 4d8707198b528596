"""Class names from options and files."""

from __future__ import annotations

import pytest

from zsclip import labels
from zsclip.errors import LabelError, ZsclipWarning
from zsclip.labels import Label


def names(found):
    return [label.name for label in found]


@pytest.fixture
def labels_file(tmp_path):
    def make(content: bytes):
        path = tmp_path / "labels.txt"
        path.write_bytes(content)
        return path

    return make


@pytest.mark.accepts("B7")
def test_options_split_at_commas_and_strip():
    assert names(labels.from_option(" cat, hot dog ,,dog ")) == ["cat", "hot dog", "dog"]


@pytest.mark.accepts("B7")
def test_a_verbatim_label_keeps_its_commas():
    assert names(labels.verbatim("salt, pepper")) == ["salt, pepper"]


@pytest.mark.accepts("B3")
@pytest.mark.parametrize(
    "content",
    [
        b"cat\nhot dog\n",
        b"cat\nhot dog",
        b"\xef\xbb\xbfcat\nhot dog\n",
        b"cat\r\nhot dog\r\n",
        b"  cat\t\n\n   \nhot dog   \n\n",
        "\u3000cat\xa0\nhot dog\u2028\n".encode(),
    ],
    ids=["clean", "no last newline", "bom", "crlf", "blanks", "odd blanks"],
)
def test_a_file_gives_the_same_labels_however_it_was_saved(labels_file, content):
    assert names(labels.from_file(labels_file(content))) == ["cat", "hot dog"]


@pytest.mark.accepts("B7")
@pytest.mark.parametrize("line", ["# not a comment", "salt, pepper", '"quoted"', "a: b", "{}", "-"])
def test_a_line_of_a_file_is_verbatim(labels_file, line):
    assert names(labels.from_file(labels_file(line.encode()))) == [line]


def test_labels_of_a_file_know_their_line(labels_file):
    found = labels.from_file(labels_file(b"cat\n\ndog\n"))

    assert found[1].where.endswith("labels.txt: line 3")


@pytest.mark.accepts("B1")
@pytest.mark.parametrize("content", [b"", b"\n\n", b"  \r\n\t\n", b"\xef\xbb\xbf"])
def test_a_file_without_labels_is_refused(labels_file, content):
    with pytest.raises(LabelError, match=r"labels\.txt: no labels"):
        labels.from_file(labels_file(content))


@pytest.mark.accepts("B4")
@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"cat\ndog\ncaf\xe9\n", r"line 3: not UTF-8 \(byte 0xE9\)"),
        ("cat\ndog".encode("utf-16"), r"line 1: not UTF-8 \(byte 0xFF\)"),
    ],
)
def test_a_file_that_is_not_utf8_is_refused_with_line_and_byte(labels_file, content, place):
    with pytest.raises(LabelError, match=place):
        labels.from_file(labels_file(content))


@pytest.mark.accepts("B4")
@pytest.mark.parametrize(
    "encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "UTF-8"]
)
def test_a_file_is_read_in_the_encoding_that_is_named(labels_file, encoding):
    content = "café\r\n\nhot dog\n".encode(encoding)

    found = labels.from_file(labels_file(content), encoding=encoding)

    assert [(label.name, label.where[-6:]) for label in found] == [
        ("café", "line 1"),
        ("hot dog", "line 3"),
    ]


@pytest.mark.accepts("B15")
def test_a_missing_file_is_refused_with_its_name(tmp_path):
    with pytest.raises(LabelError, match=r"none\.txt: cannot be read"):
        labels.from_file(tmp_path / "none.txt")


@pytest.mark.accepts("B15")
def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(LabelError, match="cannot be read"):
        labels.from_file(tmp_path)


def test_order_is_kept():
    assert labels.unique([Label(n, "x") for n in ("b", "a", "c")]) == ["b", "a", "c"]


@pytest.mark.accepts("B2")
def test_exact_duplicates_are_dropped_with_one_warning_that_names_their_lines():
    typed = [Label("cat", "f: line 1"), Label("dog", "f: line 2"), Label("cat", "f: line 3")]

    with pytest.warns(ZsclipWarning, match=r"'cat' \(f: line 3\)") as caught:
        kept = labels.unique(typed)

    assert kept == ["cat", "dog"] and len(caught) == 1


def test_many_duplicates_are_still_one_short_warning():
    typed = [Label("cat", f"f: line {i}") for i in range(1, 1001)]

    with pytest.warns(ZsclipWarning, match="994 more") as caught:
        labels.unique(typed)

    assert len(str(caught[0].message)) < 300


def test_a_message_about_a_long_label_is_short():
    with pytest.raises(LabelError) as caught:
        labels.unique([Label("\x00" * 5_000, "f: line 1")])

    assert len(caught.value.message) < 500


@pytest.mark.accepts("B6")
def test_a_label_that_a_tokenizer_would_take_minutes_for_is_refused_at_once():
    with pytest.raises(LabelError, match=r"^f: line 2: label .* has 5,001 characters, more than"):
        labels.unique([Label("a" * 5_000, "f: line 1"), Label("b" * 5_001, "f: line 2")])


@pytest.mark.accepts("B5")
def test_every_control_character_is_refused_wherever_it_is_in_a_label(labels_file, tried):
    contents = [
        f"cat\n\n{before}{chr(code)}{after}\n".encode()
        for code in (*range(32), *range(127, 160))
        for before, after in (("a", "b"), ("", "b"), ("a", ""))
        if chr(code) != "\n" and (chr(code) not in "\r\t" or (before and after))
    ]

    tried(len(contents))
    for content in contents:
        with pytest.raises(LabelError, match=r"labels\.txt: line 3: control character"):
            labels.unique(labels.from_file(labels_file(content)))


def test_labels_that_differ_in_case_are_both_kept():
    assert labels.unique([Label("Turkey", "x"), Label("turkey", "x")]) == ["Turkey", "turkey"]


@pytest.mark.accepts("B5")
@pytest.mark.parametrize(
    "name", ["a\x00b", "a\x1bb", "a\tb", "a\x7fb", "a\x9bb", "a\udcffb", "\x1ca"]
)
def test_control_characters_and_surrogates_are_refused_with_their_place(name):
    with pytest.raises(LabelError, match="f: line 7: "):
        labels.unique([Label("cat", "f: line 1"), Label(name, "f: line 7")])


@pytest.mark.accepts("B5")
@pytest.mark.parametrize("line", [b"\x0ccat", b"cat\x1c", b"\xc2\x85", b"\x0b", b"cat\rdog"])
def test_control_characters_at_the_ends_of_a_line_are_not_taken_for_blanks(labels_file, line):
    with pytest.raises(LabelError, match="line 2: control character"):
        labels.unique(labels.from_file(labels_file(b"cat\n" + line + b"\n")))


@pytest.mark.parametrize("name", ["", "  ", "\u3000"])
def test_an_empty_label_is_refused(name):
    with pytest.raises(LabelError, match="an empty label"):
        labels.unique([Label(name, "--label")])


@pytest.mark.parametrize("name", ["{}", "{0.__class__}", "猫", "🐈‍⬛", "O'Neill", "[/x]", "=1+1"])
def test_odd_but_honest_labels_are_kept_as_they_are(name):
    assert labels.unique([Label(name, "x")]) == [name]
