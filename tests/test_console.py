"""What people see on stderr: whole lines, nothing that a terminal obeys."""

from __future__ import annotations

import io
import sys
import warnings
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsclip import console
from zsclip.errors import ModelError, ZsclipWarning
from zsclip.results import Failure, Result


def failed(path="bad.jpg", code="truncated", message="the picture ends early"):
    return Result(path=path, status="error", model="m", head="h", error=Failure(code, message))


# text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\x00b\x7f\x9b", "a\\x00b\\x7f\\x9b"),
        ("caf\udce9", "caf\\udce9"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("naïve 猫 [/x]", "naïve 猫 [/x]"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text, shown):
    assert console.printable(text) == shown


@given(st.text(st.characters()))
def test_printable_text_is_one_line_that_can_be_encoded(text):
    shown = console.printable(text)

    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1 and "\x1b" not in shown


def test_text_that_reverses_its_direction_is_escaped():
    assert "\u202e" not in console.printable("a\u202egpj.exe")


# lines on stderr


def test_an_error_has_its_tip_below_it(capsys):
    console.error(ModelError("no weights\nhere", tip="put some there"))

    assert capsys.readouterr().err == "error: no weights\\nhere\ntip: put some there\n"


def test_an_error_without_a_tip_is_one_line(capsys):
    console.error(ModelError("no weights"))

    assert capsys.readouterr().err == "error: no weights\n"


def test_a_failed_input_is_one_line_with_its_code(capsys):
    console.failure(failed(path="a\nb.jpg"))

    assert capsys.readouterr().err == "zsclip: a\\nb.jpg: the picture ends early [truncated]\n"


def test_a_closed_stderr_is_no_fault(monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)

    assert console.say("nobody hears this") is None


def test_no_stderr_at_all_is_no_fault(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)

    console.say("nobody hears this")

    assert not console.stderr_is_terminal()


@pytest.mark.parametrize(
    ("ok", "failures", "skipped", "line"),
    [
        (3, {}, 0, "3 ok"),
        (
            9997,
            {"truncated": 2, "empty": 1},
            0,
            "9,997 ok, 3 failed (2 truncated, 1 empty)",
        ),
        (1, {}, 12, "1 ok, 12 other files skipped"),
        (0, {"empty": 1000}, 1, "0 ok, 1,000 failed (1,000 empty), 1 other file skipped"),
    ],
)
def test_the_summary_is_one_line(capsys, ok, failures, skipped, line):
    console.summary(ok, Counter(failures), skipped)

    assert capsys.readouterr().err == f"{line}\n"


def test_our_warnings_are_lines(capsys):
    with console.warnings_as_lines():
        warnings.warn("look\nout", ZsclipWarning, stacklevel=1)

    assert capsys.readouterr().err == "warning: look\\nout\n"


def test_every_one_of_our_warnings_is_shown(capsys):
    with console.warnings_as_lines():
        for _ in range(3):
            warnings.warn("again", ZsclipWarning, stacklevel=1)

    assert capsys.readouterr().err == "warning: again\n" * 3


def test_quiet_shows_no_warnings(capsys):
    with console.warnings_as_lines(quiet=True):
        warnings.warn("look out", ZsclipWarning, stacklevel=1)

    assert capsys.readouterr().err == ""


def test_warnings_of_other_packages_are_not_shown(capsys):
    with console.warnings_as_lines():
        warnings.warn("theirs", UserWarning, stacklevel=1)
        warnings.warn("theirs", DeprecationWarning, stacklevel=1)

    assert capsys.readouterr().err == ""


def test_a_bar_that_is_not_shown_writes_nothing(capsys):
    with console.progress("classifying", shown=False) as show:
        show(1, 2)

    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_data_is_utf8_whatever_the_locale(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))

    console.line("naïve 猫")

    assert raw.getvalue().decode("utf-8") == "naïve 猫\n"
