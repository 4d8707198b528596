"""Machine formats, byte for byte."""

from __future__ import annotations

import base64
import csv
import io
import json

import pytest

from zsclip import writers
from zsclip.results import Failure, LabelScore, Result

OK = Result(
    path="img.jpg",
    status="ok",
    label="cat",
    score=0.9312345678,
    cosine=0.2618,
    scores=(LabelScore("cat", 0.9312345678, 0.2618), LabelScore("dog", 0.0687654322, 0.236)),
    score_kind="softmax",
    model="tiny@3f2a9c",
    head="8b1c00112233",
)
BAD = Result(
    path="bad.jpg",
    status="error",
    error=Failure("truncated", "the picture ends early"),
    model="tiny@3f2a9c",
    head="8b1c00112233",
)


def replace(result, **changes):
    import dataclasses

    return dataclasses.replace(result, **changes)


def written(kind, *results):
    stream = io.BytesIO()
    writer = {
        "jsonl": writers.JsonLinesWriter,
        "json": writers.JsonWriter,
        "csv": lambda s: writers.DelimitedWriter(s, delimiter=","),
        "tsv": lambda s: writers.DelimitedWriter(s, delimiter="\t"),
        "safe csv": lambda s: writers.DelimitedWriter(s, delimiter=",", safe=True),
        "safe tsv": lambda s: writers.DelimitedWriter(s, delimiter="\t", safe=True),
    }[kind](stream)
    for result in results:
        writer.write(result)
    writer.close()
    return stream.getvalue().decode("utf-8")


OK_LINE = (
    '{"path":"img.jpg","status":"ok","label":"cat","score":0.931235,"cosine":0.2618,'
    '"scores":[{"label":"cat","score":0.931235,"cosine":0.2618},'
    '{"label":"dog","score":0.068765,"cosine":0.236}],'
    '"score_kind":"softmax","model":"tiny@3f2a9c","head":"8b1c00112233"}'
)
BAD_LINE = (
    '{"path":"bad.jpg","status":"error",'
    '"error":{"code":"truncated","message":"the picture ends early"},'
    '"model":"tiny@3f2a9c","head":"8b1c00112233"}'
)


def test_json_lines_have_a_row_a_line():
    assert written("jsonl", OK, BAD) == f"{OK_LINE}\n{BAD_LINE}\n"


def test_json_is_one_array_with_a_row_a_line():
    assert written("json", OK, BAD) == f"[\n{OK_LINE},\n{BAD_LINE}\n]\n"


def test_json_of_nothing_is_an_empty_array():
    assert written("json") == "[]\n"


def test_csv_has_a_header_and_the_best_label():
    assert written("csv", OK, BAD) == (
        "path,status,label,score,cosine,error_code,error_message,score_kind\n"
        "img.jpg,ok,cat,0.931235,0.261800,,,softmax\n"
        "bad.jpg,error,,,,truncated,the picture ends early,\n"
    )


def test_tsv_is_the_same_with_tabs():
    assert written("tsv", OK, BAD) == written("csv", OK, BAD).replace(",", "\t")


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_table_of_nothing_has_its_header(kind):
    assert written(kind).startswith("path") and written(kind).count("\n") == 1


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=cmd|' /C calc'!A0"]


def cells(kind, *results):
    text = io.StringIO(written(kind, *results), newline="")
    return list(csv.reader(text, delimiter="," if kind.endswith("csv") else "\t"))[1:]


@pytest.mark.parametrize("text", FORMULAS)
@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_table_is_lossless_unless_it_is_to_be_safe(kind, text):
    failed = replace(BAD, path=text, error=Failure("read_error", text))

    lossless = cells(kind, replace(OK, path=text, label=text), failed)
    safe = cells(f"safe {kind}", replace(OK, path=text, label=text), failed)

    assert (lossless[0][0], lossless[0][2], lossless[1][6]) == (text,) * 3
    assert (safe[0][0], safe[0][2], safe[1][0], safe[1][6]) == (f"'{text}",) * 4


@pytest.mark.parametrize("text", ["a=1", "1-2", "'=1", " =1", "", "a@b", "\u2212"])
def test_a_safe_table_leaves_other_text_and_all_numbers_as_they_are(text):
    result = replace(OK, path=text, label=text, score=-0.5, cosine=-0.5, score_kind="cosine")

    assert cells("safe csv", result) == cells("csv", result)
    assert cells("safe csv", result)[0][3:5] == ["-0.500000", "-0.500000"]


@pytest.mark.parametrize("kind", ["jsonl", "json"])
def test_rows_of_json_name_their_run_behind_the_head(kind):
    stream = io.BytesIO()
    writer = {"jsonl": writers.JsonLinesWriter, "json": writers.JsonWriter}[kind]
    for result in (OK, BAD):
        writer(stream, run="0123456789ab").write(result)

    assert stream.getvalue().count(b'"head":"8b1c00112233","run":"0123456789ab"}') == 2


def test_a_rejected_picture_has_a_null_label_and_keeps_its_scores():
    row = json.loads(written("jsonl", replace(OK, label=None)))

    assert row["status"] == "ok" and row["label"] is None and len(row["scores"]) == 2


@pytest.mark.accepts("A4")
def test_a_cut_picture_says_so_in_json_and_no_other_does():
    assert written("jsonl", replace(OK, truncated=True)).endswith(',"truncated":true}\n')
    assert "truncated" not in written("jsonl", OK)


def test_frames_are_written_where_there_are_any():
    assert json.loads(written("jsonl", replace(OK, frames=42)))["frames"] == 42
    assert "frames" not in json.loads(written("jsonl", OK))


@pytest.mark.accepts("D12")
def test_the_commit_of_the_hub_is_written_behind_the_model():
    commit = "c0ffee" + "0" * 34
    keys = list(json.loads(written("jsonl", replace(OK, revision=commit))))

    assert keys[keys.index("model") + 1] == "revision"
    assert json.loads(written("jsonl", replace(OK, revision=commit)))["revision"] == commit
    assert "revision" not in json.loads(written("jsonl", OK))


def test_a_picture_from_memory_has_a_null_path():
    assert json.loads(written("jsonl", replace(OK, path=None)))["path"] is None


def test_a_head_without_cosines_writes_null():
    result = replace(OK, cosine=None, scores=(LabelScore("cat", 1.0, None),))

    row = json.loads(written("jsonl", result))

    assert row["cosine"] is None and row["scores"][0]["cosine"] is None


def test_a_path_that_is_not_utf8_survives():
    raw = b"caf\xe9 \xff.jpg"
    path = raw.decode("utf-8", "surrogateescape")

    row = json.loads(written("jsonl", replace(OK, path=path)))

    assert base64.b64decode(row["path_b64"]) == raw and row["path"] == "caf\\xe9 \\xff.jpg"


@pytest.mark.parametrize("path", ["é.jpg", "猫.jpg", "a\nb.jpg", "\x1b[31m.jpg", '"q".jpg'])
def test_a_path_that_is_utf8_needs_no_base64(path):
    row = json.loads(written("jsonl", replace(OK, path=path)))

    assert row["path"] == path and "path_b64" not in row


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv"])
def test_every_format_writes_paths_that_are_not_utf8(kind):
    path = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")

    assert "caf" in written(kind, replace(OK, path=path), replace(BAD, path=path))


@pytest.mark.parametrize(
    "name", ["a\nb", "a\r\nb", "a\rb", "a\r", 'a"b', "a,b", "a\tb", " a ", "naïve"]
)
@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_names_with_delimiters_survive_a_table(kind, name):
    text = written(kind, replace(OK, path=name, label=name))

    delimiter = "," if kind == "csv" else "\t"
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    assert len(rows) == 2 and rows[1][2] == name


@pytest.mark.parametrize("name", ["a\nb", "\u2028", "\u0085", "\x00"])
def test_a_row_of_json_lines_is_one_line(name):
    text = written("jsonl", replace(OK, path=name, label=name))

    assert text.count("\n") == 1 and json.loads(text)["label"] == name


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", ["jsonl", "json"])
def test_numbers_that_are_not_finite_are_refused(kind, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        written(kind, replace(OK, score=value))


def test_json_lines_are_flushed_one_by_one():
    class Stream(io.BytesIO):
        flushed = b""

        def flush(self):
            self.flushed = self.getvalue()

    stream = Stream()
    writers.JsonLinesWriter(stream).write(OK)

    assert stream.flushed.decode() == f"{OK_LINE}\n"


def test_a_row_of_json_keeps_the_order_of_its_keys():
    assert list(writers.as_row(OK)) == [
        "path", "status", "label", "score", "cosine", "scores", "score_kind", "model", "head",
    ]  # fmt: skip


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1234565, 1e-7, 0.9999999])
def test_numbers_have_at_most_six_decimals(value):
    row = json.loads(written("jsonl", replace(OK, score=value)))

    assert row["score"] == round(value, 6)
    assert written("csv", replace(OK, score=value)).split(",")[-5] == f"{value:.6f}"
