"""Text from people: files in any encoding, control characters, quotation."""

from __future__ import annotations

from pathlib import Path

import pytest

from zsclip import plain_text
from zsclip.errors import LabelError, UsageError


@pytest.fixture
def file(tmp_path):
    def make(content: bytes) -> Path:
        path = tmp_path / "mine.txt"
        path.write_bytes(content)
        return path

    return make


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-32"])
def test_a_byte_order_mark_is_dropped(file, encoding):
    path = file("\ufeffcat\n".encode(encoding))

    assert plain_text.read(path, encoding=encoding) == "cat\n"


def test_line_breaks_are_kept_as_they_are(file):
    assert plain_text.read(file(b"a\r\nb\rc\n")) == "a\r\nb\rc\n"


@pytest.mark.parametrize(
    ("content", "encoding", "place"),
    [
        (b"a\nb\nc\xe9", "UTF-8", r"line 3: not UTF-8 \(byte 0xE9\)"),
        (b"\xff\xfea\x00", "UTF-8", r"line 1: not UTF-8 \(byte 0xFF\)"),
        (b"a\n\xed\xa0\x80", "UTF-8", r"line 2: not UTF-8 \(byte 0xED\)"),
        (b"a\n\xe2\x82", "UTF-8", r"line 2: not UTF-8 \(byte 0xE2\)"),
        ("a\nb\n".encode("utf-16") + b"c", "utf-16", r"line 3: not utf-16 \(byte 0x63\)"),
        (b"a\nb\x81\n", "cp1252", r"line 2: not cp1252 \(byte 0x81\)"),
        (b"a\n\xe9", "ascii", r"line 2: not ascii \(byte 0xE9\)"),
    ],
)
def test_what_is_not_in_the_encoding_is_named_with_line_and_byte(file, content, encoding, place):
    with pytest.raises(LabelError, match=rf"mine\.txt: {place}") as caught:
        plain_text.read(file(content), encoding=encoding, kind=LabelError, tip="use --encoding")

    assert caught.value.tip == "use --encoding"


@pytest.mark.accepts("B4")
@pytest.mark.parametrize(
    "encoding",
    ["klingon", "", "hex", "rot13", "undefined", "a\x00b", "caf\udce9", "../os", "mbcs2"],
)
def test_an_unknown_encoding_is_refused(file, encoding):
    with pytest.raises(UsageError, match="is not an encoding of text"):
        plain_text.read(file(b"cat"), encoding=encoding)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs a file without an end")
def test_a_file_without_an_end_is_not_read_to_it():
    with pytest.raises(UsageError, match=r"/dev/zero: larger than 1,000 bytes"):
        plain_text.read(Path("/dev/zero"), max_size_bytes=1000)


def test_a_file_of_just_the_largest_size_is_read(file):
    assert plain_text.read(file(b"x" * 1000), max_size_bytes=1000) == "x" * 1000


@pytest.mark.accepts("B15")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none.txt", "no such file or directory"),
        (".", "is a directory"),
        ("x" * 300, "file name too long"),
        ("a\x00b", "embedded null byte"),
        ("mine.txt/x", "not a directory"),
    ],
)
def test_a_file_that_cannot_be_opened_is_one_line_with_the_reason(file, name, reason):
    path = file(b"cat").parent / name

    with pytest.raises(LabelError) as caught:
        plain_text.read(path, kind=LabelError)

    assert caught.value.message == f"{path}: cannot be read: {reason}"


@pytest.mark.parametrize(
    "character", ["\x00", "\t", "\n", "\x1f", "\x7f", "\x80", "\x9f", "\udc80"]
)
def test_a_control_character_is_found(character):
    assert plain_text.control_character(f"cat{character}dog\x00") == character


@pytest.mark.parametrize(
    "text", ["", "cat dog", "\xa0~", "\u200b\u202e\u2028\ufeff", "\ue000", "🐈‍⬛"]
)
def test_other_characters_are_no_control_characters(text):
    assert plain_text.control_character(text) is None


@pytest.mark.parametrize("text", ["", "cat", "O'Neill", "\x1b[31m", "x" * 80])
def test_short_text_is_quoted_whole(text):
    assert plain_text.quoted(text) == repr(text)


@pytest.mark.parametrize("text", ["ab" * 5000, "\U000e0001" * 5000])
def test_long_text_is_quoted_by_its_ends(text):
    quoted = plain_text.quoted(text)

    assert quoted == repr(f"{text[:40]}…{text[-40:]}") and len(quoted) < 1000
