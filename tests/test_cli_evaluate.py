"""`zsclip evaluate`, with the embedded model on the example drawings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from zsclip.writers import dumps

IMAGES = Path(__file__).parent.parent / "examples" / "images"
DRAWINGS = {
    "cat": ["cat.png", "cat-black.png", "cat-smile.jpg"],
    "dog": ["dog.png", "dog-poodle.jpg"],
    "rocket": ["rocket.png", "butterfly.png"],  # one is filed wrong
}

pytestmark = pytest.mark.usefixtures("fast_tiny")


@pytest.fixture
def drawings(tmp_path) -> Path:
    """A folder of class folders with seven drawings."""
    root = tmp_path / "drawings"
    for label, names in DRAWINGS.items():
        (root / label).mkdir(parents=True)
        for name in names:
            shutil.copy(IMAGES / name, root / label / name)
    return root


@pytest.fixture
def evaluate(zsclip, drawings):
    """Run `zsclip evaluate` on the drawings; figures need few draws here."""

    def run(*arguments, folder=drawings):
        return zsclip("evaluate", "--folder", folder, "--model", "tiny", "--draws", 100, *arguments)

    return run


def test_a_pipe_gets_one_json_object(evaluate):
    ran = evaluate()

    assert ran.code == 0, ran.stderr
    (row,) = ran.rows
    assert row["name"].endswith("drawings")
    assert (row["metric"], row["pictures"], row["classes"]) == ("acc1", 7, 3)
    assert row["figures"][0]["values"]["acc1"]["value"] == pytest.approx(6 / 7, abs=1e-6)
    assert {one["label"]: one["pictures"] for one in row["per_class"]} == {
        "cat": 3, "dog": 2, "rocket": 2,
    }  # fmt: skip
    assert [one["truth"] for one in row["confused"]] == ["rocket"]


def test_a_terminal_gets_tables(evaluate, monkeypatch):
    monkeypatch.setattr("zsclip.console.stdout_is_terminal", lambda: True)

    ran = evaluate("-t", "photo", "-t", "none")

    assert ran.code == 0, ran.stderr
    assert "drawings: 7 pictures, tiny@" in ran.stdout
    assert "85.7 [" in ran.stdout
    assert "gain" in ran.stdout
    assert "rocket as" in ran.stdout


def test_template_sets_are_compared_on_the_same_pictures(evaluate):
    ran = evaluate("-t", "photo", "-t", "none", "-t", "imagenet7")

    (row,) = ran.rows
    assert [one["templates"] for one in row["figures"]] == ["photo", "none", "imagenet7"]
    assert "gain" not in row["figures"][0]
    assert row["figures"][1]["gain"]["low"] <= row["figures"][1]["gain"]["value"]
    assert any("tunes on these pictures" in note for note in row["notes"])


def test_a_head_is_evaluated_by_the_names_of_its_labels(evaluate, zsclip, tmp_path):
    head = tmp_path / "head.safetensors"
    zsclip("build-head", "--labels", "rocket,dog,cat,pizza", "--model", "tiny", "-o", head)

    ran = evaluate("--head", head)

    (row,) = ran.rows
    assert row["classes"] == 4
    assert row["figures"][0]["values"]["acc1"]["value"] == pytest.approx(6 / 7, abs=1e-6)


def test_a_head_brings_its_own_model_whatever_the_environment_says(
    zsclip, drawings, tmp_path, monkeypatch
):
    head = tmp_path / "head.safetensors"
    zsclip("build-head", "--labels", "rocket,dog,cat", "--model", "tiny", "-o", head)
    monkeypatch.setenv("ZSCLIP_MODEL", "ViT-B/32")

    ran = zsclip("evaluate", "--folder", drawings, "--head", head)

    assert ran.code == 0, ran.stderr
    assert ran.rows[0]["model"].startswith("tiny@")


def test_predictions_have_a_row_for_each_picture(evaluate, tmp_path):
    file = tmp_path / "predictions.jsonl"

    ran = evaluate("--predictions", file)

    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert ran.code == 0
    assert len(rows) == 7
    right = [row["truth"][0] == row["predictions"][0]["label"] for row in rows]
    assert sum(right) == 6


def answers(content):
    """Paths and answers of rows; scores depend on batches in their last digits."""
    rows = map(json.loads, content.splitlines())
    return [(row["path"], row["predictions"][0]["label"]) for row in rows]


@pytest.mark.parametrize("cut", [1, 200, 900])
def test_a_run_that_was_cut_off_ends_with_the_same_figures(evaluate, tmp_path, cut):
    file = tmp_path / "predictions.jsonl"
    whole = evaluate("--predictions", file)
    content = file.read_bytes()
    file.write_bytes(content[:-cut])

    ran = evaluate("--resume", file)

    assert answers(file.read_bytes()) == answers(content)
    (again,), (before,) = ran.rows, whole.rows
    assert again["figures"][0]["values"] == before["figures"][0]["values"]
    assert "rows are done" in ran.stderr


def test_another_evaluation_is_not_gone_on_with(evaluate, tmp_path):
    file = tmp_path / "predictions.jsonl"
    evaluate("--predictions", file)
    before = file.read_bytes()

    ran = evaluate("--resume", file, "-t", "photo")

    assert ran.code == 2
    assert "is of another evaluation" in ran.stderr
    assert file.read_bytes() == before


def test_a_broken_picture_ends_the_run_with_one_line(evaluate, drawings):
    (drawings / "cat" / "a.png").write_bytes(b"")

    ran = evaluate()

    assert ran.code == 3
    assert ran.stdout == ""
    assert "a.png: file is empty [empty]" in ran.stderr
    assert "tip: --on-error skip" in ran.stderr


@pytest.mark.parametrize(("word", "pictures", "right"), [("skip", 7, 6 / 7), ("wrong", 8, 6 / 8)])
def test_broken_pictures_are_counted(evaluate, drawings, word, pictures, right):
    (drawings / "cat" / "a.png").write_bytes(b"")

    ran = evaluate("--on-error", word)

    (row,) = ran.rows
    assert ran.code == 3
    assert (row["pictures"], row["failed"]) == (pictures, {"empty": 1})
    assert row["figures"][0]["values"]["acc1"]["value"] == pytest.approx(right, abs=1e-6)
    assert "7 ok, 1 failed (1 empty)" in ran.stderr


def test_a_report_is_one_file(evaluate, tmp_path):
    page = tmp_path / "report.html"

    ran = evaluate("--report", page, "-t", "photo", "-t", "none")

    assert ran.code == 0, ran.stderr
    html = page.read_text()
    assert "rocket" in html
    assert "data:image/" in html  # of the butterfly


def test_cached_pictures_give_the_same_figures(evaluate):
    first = evaluate("--cache-images")
    second = evaluate("--cache-images")

    assert second.stdout == first.stdout
    assert first.rows[0]["figures"] == evaluate().rows[0]["figures"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--on-error", "ignore"], "--on-error 'ignore' is not one of fail, skip, wrong"),
        (["--predictions", "a", "--resume", "a"], "leave out --predictions"),
        (["--head", "a", "-t", "photo"], "--head brings its own templates"),
        (["-t", "dataset"], "--templates dataset needs --dataset NAME"),
        (["-t", "fotos"], "unknown template set 'fotos'"),
        (["--scores", "sigmoid"], "scores 'sigmoid' needs a model that was trained with it"),
        (["--cache-images", "--no-cache"], "--no-cache"),
    ],
)
def test_what_cannot_be_understood_gets_one_line(evaluate, arguments, message):
    ran = evaluate(*arguments)

    assert ran.code == 2
    assert message in ran.stderr
    assert ran.stderr.count("\n") <= 2


def test_an_unwritable_report_is_said_before_the_work(evaluate, tmp_path):
    ran = evaluate("--report", tmp_path / "nowhere" / "report.html")

    assert ran.code == 5
    assert "cannot write" in ran.stderr


def test_unwritable_predictions_are_an_output_error(evaluate, tmp_path):
    ran = evaluate("--predictions", tmp_path / "nowhere" / "predictions.jsonl")

    assert ran.code == 5
    assert "cannot write" in ran.stderr


def test_json_has_no_nan(evaluate, drawings):
    for path in (drawings / "dog").iterdir():
        path.rename(drawings / "cat" / path.name)
    (drawings / "dog").rmdir()

    ran = evaluate()

    assert json.loads(dumps(ran.rows[0])) == ran.rows[0]
