"""Tables: columns that stay, nothing that a terminal obeys."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from zsclip import console, tables
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
    writer = tables.TableWriter(stream, one_picture=one_picture, score_kind=score_kind)
    for each in results:
        writer.write(each)
    writer.close()
    return stream.getvalue().decode("utf-8")


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
    writer = tables.TableWriter(stream, one_picture=False, score_kind="softmax")

    writer.write(result("a.jpg"))

    assert stream.getvalue().count(b"\n") == 2


def test_a_head_without_cosines_shows_none():
    scores = (LabelScore("cat", 0.9, None),)

    assert "cosine" not in table(
        result(cosine=None, scores=scores), one_picture=True
    ) and "None" not in table(result(cosine=None, scores=scores))


@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"])), width=st.integers(1, 60))
def test_fitted_text_has_exactly_the_width(text, width):
    assert cell_len(tables.fit(text, width)) == width


def test_long_text_is_cut_in_the_middle():
    shown = tables.fit("the quick brown fox jumps.jpg", 15)

    assert shown.startswith("the qui") and shown.endswith("mps.jpg") and "…" in shown


@given(score=st.floats(-1, 2), width=st.integers(1, 40))
def test_a_bar_has_exactly_its_width(score, width):
    assert len(tables.bar(score, width)) == width


@pytest.mark.parametrize(
    ("score", "shown"), [(0, "    "), (0.5, "██  "), (1, "████"), (1 / 32, "▏   ")]
)
def test_a_bar_is_as_long_as_its_score(score, shown):
    assert tables.bar(score, 4) == shown


def test_a_list_is_aligned_and_escaped(capfd):
    tables.plain_table([("a\x1b", "[/x]"), ("long name", "y")], ("name", "what"))

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
