"""What people see: whole lines on stderr, a table on stdout, nothing that a terminal obeys."""

from __future__ import annotations

import io
import re
import sys
import warnings
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from zsclip import console
from zsclip.errors import ModelError, ZsclipWarning
from zsclip.results import Failure, LabelScore, Result


def result(path="img.jpg", label="cat", **changes):
    fields = {
        "path": path,
        "status": "ok",
        "label": label,
        "score": 0.93,
        "cosine": 0.262,
        "scores": (LabelScore(label or "cat", 0.93, 0.262), LabelScore("dog", 0.07, 0.236)),
        "score_kind": "softmax",
        "model": "tiny@3f2a9c",
        "head": "8b1c",
    }
    return Result(**{**fields, **changes})


def failed(path="bad.jpg", code="truncated", message="the picture ends early"):
    return Result(path=path, status="error", model="m", head="h", error=Failure(code, message))


def table(*results, one_picture=False, score_kind="softmax"):
    stream = io.BytesIO()
    writer = console.TableWriter(stream, one_picture=one_picture, score_kind=score_kind)
    for each in results:
        writer.write(each)
    writer.close()
    return stream.getvalue().decode("utf-8")


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


# the table


def test_several_pictures_have_a_line_each_below_a_header():
    lines = table(result("a.jpg"), result("b.jpg"), failed()).splitlines()

    assert len(lines) == 4 and lines[0].split()[:3] == ["picture", "label", "softmax"]
    assert [line.split()[0] for line in lines[1:]] == ["a.jpg", "b.jpg", "bad.jpg"]


def test_numbers_have_three_decimals():
    assert "0.930" in table(result()) and "0.262" in table(result())


def test_a_failed_picture_shows_code_and_message():
    assert "truncated: the picture ends early" in table(failed())


def test_one_picture_has_a_line_per_label():
    lines = table(result(), one_picture=True).splitlines()

    assert len(lines) == 3 and lines[0] == "img.jpg  softmax"
    assert [line.split()[0] for line in lines[1:]] == ["cat", "dog"]


def test_one_picture_that_was_rejected_says_so():
    assert "no label reaches the threshold" in table(result(label=None), one_picture=True)


def test_a_rejected_picture_has_no_label_in_the_table():
    assert "(none)" in table(result(label=None))


def test_off_a_terminal_there_are_no_escape_bytes():
    assert "\x1b" not in table(result(), failed(), result(label=None))


@pytest.mark.parametrize("columns", ["20", "40", "80", "300"])
def test_off_a_terminal_no_path_is_cut(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    path = "a/very/long/path/" * 20 + "img.jpg"

    assert path in table(result(path), failed(path))


@pytest.mark.parametrize("name", ["[/x].jpg", "[bold]a[/bold].jpg", "a\x1b[31m.jpg", "a\nb.jpg"])
def test_names_are_text_and_not_markup(name):
    lines = table(result(name, label=name)).splitlines()

    assert len(lines) == 2 and console.printable(name) in lines[1] and "\x1b" not in lines[1]


def test_a_path_that_is_not_utf8_is_shown_escaped():
    assert "caf\\udce9.jpg" in table(result("caf\udce9.jpg"))


def test_columns_are_fixed_whatever_the_label():
    lines = table(result(label="x"), result(label="a" * 99), result(label="猫" * 30)).splitlines()

    places = {cell_len(line[: line.index("0.930")]) for line in lines[1:]}
    assert len(places) == 1, places


def test_a_row_is_written_before_the_next_result():
    stream = io.BytesIO()
    writer = console.TableWriter(stream, one_picture=False, score_kind="softmax")

    writer.write(result("a.jpg"))

    assert stream.getvalue().count(b"\n") == 2


def test_a_head_without_cosines_shows_none():
    scores = (LabelScore("cat", 0.9, None),)

    assert "cosine" not in table(
        result(cosine=None, scores=scores), one_picture=True
    ) and "None" not in table(result(cosine=None, scores=scores))


@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"])), width=st.integers(1, 60))
def test_fitted_text_has_exactly_the_width(text, width):
    assert cell_len(console.fit(text, width)) == width


def test_long_text_is_cut_in_the_middle():
    shown = console.fit("the quick brown fox jumps.jpg", 15)

    assert shown.startswith("the qui") and shown.endswith("mps.jpg") and "…" in shown


@given(score=st.floats(-1, 2), width=st.integers(1, 40))
def test_a_bar_has_exactly_its_width(score, width):
    assert len(console.bar(score, width)) == width


@pytest.mark.parametrize(
    ("score", "shown"), [(0, "    "), (0.5, "██  "), (1, "████"), (1 / 32, "▏   ")]
)
def test_a_bar_is_as_long_as_its_score(score, shown):
    assert console.bar(score, 4) == shown


def test_a_list_is_aligned_and_escaped(capfd):
    console.plain_table([("a\x1b", "[/x]"), ("long name", "y")], ("name", "what"))

    lines = capfd.readouterr().out.splitlines()
    assert lines[1].startswith("a\\x1b") and "[/x]" in lines[1]
    assert lines[1].index("[/x]") == lines[2].index("y")


@pytest.mark.parametrize("one_picture", [True, False])
def test_a_cosine_below_zero_keeps_the_columns(one_picture):
    rows = [
        result(score=score, cosine=score, scores=scores, score_kind="cosine")
        for score, scores in (
            (0.25, (LabelScore("cat", 0.25, 0.25), LabelScore("dog", -0.125, -0.125))),
            (-0.125, (LabelScore("dog", -0.125, -0.125),)),
        )
    ]

    shown = table(*rows[: 1 if one_picture else 2], one_picture=one_picture, score_kind="cosine")

    lines = [line for line in shown.splitlines() if "0.250" in line or "-0.125" in line]
    ends = {re.search(r"-?0\.\d{3}", line).end() for line in lines}
    assert len(lines) == 2 and len(ends) == 1
    assert all(len(re.findall(r"\d\.\d{3}", line)) == 1 for line in lines)  # not a second time
