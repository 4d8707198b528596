"""`zsclip probe`, with the embedded model on shapes of many colours."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from zsclip.heads import load_head

SHAPES = ("circle", "square", "triangle")

pytestmark = pytest.mark.usefixtures("fast_tiny")


def draw(shape, number):
    """A shape on white; the number decides colour and size."""
    picture = Image.new("RGB", (64, 64), "white")
    pen, edge = ImageDraw.Draw(picture), 6 + number
    colour = (37 * number % 200, 91 * number % 200, 53 * number % 200)
    box = (edge, edge, 63 - edge, 63 - edge)
    if shape == "circle":
        pen.ellipse(box, fill=colour)
    elif shape == "square":
        pen.rectangle(box, fill=colour)
    else:
        pen.polygon([(32, edge), (63 - edge, 63 - edge), (edge, 63 - edge)], fill=colour)
    return picture


@pytest.fixture
def folders(tmp_path) -> Path:
    """Six pictures of each shape to fit to, and four others for the test."""
    for part, numbers in (("train", range(6)), ("test", range(6, 10))):
        for shape in SHAPES:
            folder = tmp_path / part / shape
            folder.mkdir(parents=True)
            for number in numbers:
                draw(shape, number).save(folder / f"{number}.png")
    return tmp_path


@pytest.fixture
def probe(zsclip, folders, monkeypatch):
    """Run `zsclip probe` on the shapes to fit to."""
    monkeypatch.chdir(folders)

    def run(*arguments):
        return zsclip("probe", "--folder", "train", "--model", "tiny", *arguments)

    return run


def test_a_report_shows_the_curve(probe, tmp_path):
    page = tmp_path / "report.html"

    ran = probe("--test-folder", "test", "--shots", "1,2", "--seeds", "1", "--report", page)

    assert ran.code == 0, ran.stderr
    assert "Is zero-shot enough?" in page.read_text()


def test_a_report_is_of_a_curve_only(probe, tmp_path):
    ran = probe("-o", "head.safetensors", "--report", tmp_path / "report.html")

    assert ran.code == 2
    assert "--report shows a curve" in ran.stderr


@pytest.mark.parametrize("method", ["linear", "few-shot"])
def test_a_head_runs_without_scikit_learn(probe, zsclip, monkeypatch, method):
    ran = probe("-o", "head.safetensors", "--method", method)
    assert (ran.code, ran.stdout) == (0, "head.safetensors\n"), ran.stderr
    assert f"{method}: 18 pictures of 3 classes" in ran.stderr
    assert "features: projected, of unit length" in ran.stderr

    monkeypatch.setitem(sys.modules, "sklearn", None)
    classified = zsclip("classify", "test", "--head", "head.safetensors", "--json")

    assert classified.code == 0, classified.stderr
    right = [row["label"] == Path(row["path"]).parent.name for row in classified.rows]
    assert len(right) == 12
    assert sum(right) >= 10
    assert all(row["cosine"] is None for row in classified.rows)
    assert all(row["score_kind"] == "softmax" for row in classified.rows)


def test_a_head_as_json_has_its_figures(probe):
    ran = probe("-o", "h.safetensors", "--test-folder", "test", "--method", "linear", "--json")

    assert ran.code == 0, ran.stderr
    (row,) = ran.rows
    head = load_head("h.safetensors")
    assert (row["path"], row["method"]) == ("h.safetensors", "linear")
    assert (row["head"], row["classes"]) == (head.digest[:12], 3)
    assert row["strength"] == pytest.approx(head.fitted.strength, rel=1e-5)
    assert row["validation"]["pictures"] == 3
    assert len(row["validation"]["trials"]) >= 11
    assert row["test"]["pictures"] == 12
    assert row["test"]["value"] >= 10 / 12
    assert (row["failed"], row["left_out"], row["notes"]) == ({}, 0, [])


def test_shots_of_one_number_are_drawn_and_remembered(probe):
    ran = probe("-o", "head.safetensors", "--shots", 2, "--seed", 5)

    assert ran.code == 0, ran.stderr
    fitted = load_head("head.safetensors").fitted
    assert (fitted.pictures, fitted.shots, fitted.seed) == (6, 2, 5)
    assert "6 pictures of 3 classes, 2 each at most, seed 5" in ran.stderr


def test_a_curve_in_a_pipe_is_one_json_object(probe):
    ran = probe("--test-folder", "test", "--shots", "4,1,2")

    assert ran.code == 0, ran.stderr
    (row,) = ran.rows
    assert [one["shots"] for one in row["shots"]] == [1, 2, 4]
    assert all(len(one["values"]) == 5 for one in row["shots"])
    assert row["seeds"] == [0, 1, 2, 3, 4]
    assert (row["train_pictures"], row["test_pictures"]) == (18, 12)
    assert [one["method"] for one in row["full"]] == ["few-shot", "linear"]
    for one in row["shots"]:
        assert one["low"] <= one["mean"] <= one["high"]


def test_equal_commands_give_equal_bytes(probe):
    first, second = (probe("--test-folder", "test", "--shots", "1,2").stdout for _ in range(2))

    assert first == second


def test_a_terminal_gets_a_table(probe, monkeypatch):
    monkeypatch.setattr("zsclip.console.stdout_is_terminal", lambda: True)

    ran = probe("--test-folder", "test", "--shots", "1,2")

    assert ran.code == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert [line.split()[0] for line in lines[3:8]] == ["0", "1", "2", "all", "all"]
    assert "zero-shot, imagenet80" in lines[3]
    assert "over 5 draws" in ran.stdout


def test_test_pictures_that_lie_among_the_others_are_not_fitted_to(probe):
    shutil.copy("test/circle/7.png", "train/circle/copy.png")

    ran = probe("--test-folder", "test", "--shots", "1")

    assert ran.code == 0, ran.stderr
    assert ran.rows[0]["left_out"] == 1
    assert ran.rows[0]["train_pictures"] == 18
    assert "1 pictures are among the test pictures, too: not fitted to" in ran.stderr


def test_a_share_can_be_set_aside_for_the_test(probe):
    ran = probe("--test-fraction", 0.5, "--shots", "1")

    assert ran.code == 0, ran.stderr
    assert (ran.rows[0]["train_pictures"], ran.rows[0]["test_pictures"]) == (9, 9)
    assert "9 test pictures set aside (--test-fraction, --seed 0), 9 left" in ran.stderr


def test_classes_with_fewer_pictures_than_shots_are_named(probe):
    for number in range(3):
        Path(f"train/square/{number}.png").unlink()

    ran = probe("--test-folder", "test", "--shots", "2,6")

    assert ran.code == 0, ran.stderr
    assert (
        "1 of 3 classes have fewer than 6 training pictures (square 3): all of theirs are taken"
    ) in ran.stderr
    assert ran.rows[0]["fewer"] == {"square": 3}
    assert [one["pictures"] for one in ran.rows[0]["shots"]] == [6, 15]


def test_a_manifest_can_name_the_test(probe):
    lines = ["path,label", *(f"test/{shape}/7.png,{shape}" for shape in reversed(SHAPES))]
    Path("test.csv").write_text("\n".join(lines))

    by_manifest = probe("--test-manifest", "test.csv", "--shots", "1")

    assert by_manifest.code == 0, by_manifest.stderr
    assert by_manifest.rows[0]["test_pictures"] == 3
    assert by_manifest.rows[0]["zero_shot"] >= 2 / 3


def test_given_validation_pictures_are_used(probe):
    ran = probe(
        "-o", "h.safetensors", "--method", "linear", "--validation-folder", "test", "--json"
    )  # fmt: skip

    assert ran.code == 0, ran.stderr
    assert ran.rows[0]["validation"]["pictures"] == 12
    assert ran.rows[0]["pictures"] == 18 + 12


def test_broken_pictures_end_the_run_unless_skipped(probe):
    Path("train/circle/broken.png").write_bytes(b"")

    failed = probe("-o", "h.safetensors")
    skipped = probe("-o", "h.safetensors", "--on-error", "skip")

    assert (failed.code, failed.stdout) == (3, "")
    assert "1 of 19 pictures cannot be read, the first is train/circle/broken.png" in failed.stderr
    assert skipped.code == 3
    assert "18 ok, 1 failed (1 empty)" in skipped.stderr
    assert Path("h.safetensors").exists()


def test_pictures_are_loaded_as_classify_loads_them(probe, zsclip):
    Image.new("RGBA", (64, 64)).save("train/circle/clear.png")  # over white unless exact

    upright, exact = (
        probe("-o", "h.safetensors", "--json", *more).rows[0] for more in ([], ["--exact"])
    )

    assert upright["head"] != exact["head"]


@pytest.mark.parametrize("made", ["crop", "views"])
@pytest.mark.parametrize("used", ["crop", "views"])
def test_a_head_is_not_used_silently_on_pictures_loaded_otherwise(probe, zsclip, made, used):
    probe("-o", "h.safetensors", "--fit", made)

    ran = zsclip("classify", "test/circle", "--head", "h.safetensors", "--fit", used)

    assert ran.code == 0
    assert ("warning" in ran.stderr) == (made != used)
    assert (f"loaded with fit '{made}', and these are loaded with '{used}'" in ran.stderr) == (
        made != used
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to do"),
        (["--shots", "1,2"], "a curve needs test pictures"),
        (["--shots", "1,2", "-o", "h.safetensors"], "-o FILE writes one head"),
        (["--shots", "0"], "not a list of numbers from 1 on"),
        (["--shots", "1,two"], "not a list of numbers from 1 on"),
        (["--shots", "1,,2"], "not a list of numbers from 1 on"),
        (["--method", "knn", "-o", "h"], "--method 'knn' is not one of few-shot, linear"),
        (["--on-error", "wrong", "-o", "h"], "--on-error 'wrong' is not one of fail, skip"),
        (["--test-fraction", "1", "--shots", "1"], "is not between 0 and 1"),
        (["--test-split", "test", "--shots", "1"], "--test-split goes with --dataset"),
        (["--validation-split", "v", "-o", "h"], "--validation-split goes with --dataset"),
        (
            ["--test-folder", "test", "--test-fraction", "0.5", "--shots", "1"],
            "--test-folder and --test-fraction contradict each other",
        ),
        (["--validation-folder", "test", "-o", "h"], "needs no validation pictures"),
        (["--test-folder", "gone", "--shots", "1"], "gone: no such folder"),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_line(probe, arguments, message):
    ran = probe(*arguments)

    assert ran.code == 2
    assert ran.stdout == ""
    error, *tip = ran.stderr.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert len(tip) <= 1


def test_a_folder_that_is_not_there_is_found_out_before_the_work(probe):
    ran = probe("-o", "gone/head.safetensors")

    assert ran.code == 5
    assert ran.stderr == "error: cannot write gone/head.safetensors: no such folder\n"


def test_one_class_is_refused(probe):
    for shape in SHAPES[1:]:
        shutil.rmtree(f"train/{shape}")

    ran = probe("-o", "h.safetensors")

    assert ran.code == 2
    assert "train: a probe needs two classes, and there is one" in ran.stderr


def test_a_class_whose_pictures_are_all_in_the_test_is_refused(probe):
    shutil.rmtree("train/square")
    shutil.copytree("test/square", "train/square")

    ran = probe("--test-folder", "test", "--shots", "1")

    assert ran.code == 2
    assert "train: no training pictures of class 'square'" in ran.stderr


def test_a_linear_probe_names_the_extra_that_is_missing(probe, monkeypatch):
    monkeypatch.setattr("zsclip.linear_probe.is_installed", lambda: False)

    ran = probe("-o", "h.safetensors", "--method", "linear")

    assert ran.code == 2
    assert "a linear probe needs scikit-learn, which is not installed" in ran.stderr
    assert "pip install 'zsclip[probe]'" in ran.stderr
