"""`zsclip calibrate`, and `classify` with what it made, with the embedded model on drawings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from zsclip.heads import Fitting, load_head

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "examples" / "images"
RECIPE = ROOT / "examples" / "pretrain_tiny"
DRAWINGS = {
    "cat": "cat.png",
    "dog": "dog.png",
    "rocket": "rocket.png",
    "key": "key.png",
    "tree": "tree.png",
    "hammer": "butterfly.png",  # filed wrong, so that not all is right
}
TURNS = range(-60, 61, 10)

pytestmark = pytest.mark.usefixtures("fast_tiny")


@pytest.fixture(scope="module")
def drawings(tmp_path_factory) -> Path:
    """A folder of class folders: six drawings, each turned thirteen ways."""
    root = tmp_path_factory.mktemp("drawings")
    for label, name in DRAWINGS.items():
        (root / label).mkdir()
        with Image.open(IMAGES / name) as picture:
            small = picture.convert("RGB").resize((64, 64))
        for turn in TURNS:
            small.rotate(turn, fillcolor="white").save(root / label / f"{turn:+03}.png")
    return root


@pytest.fixture
def calibrate(zsclip, drawings):
    """Run `zsclip calibrate` on the drawings; figures need few draws here."""

    def run(*arguments, folder=drawings):
        named = () if "--head" in arguments else ("--model", "tiny", "-t", "photo")
        return zsclip("calibrate", "--folder", folder, "--draws", 100, *named, *arguments)

    return run


@pytest.fixture
def calibrated(calibrate, tmp_path) -> Path:
    """A calibrated head."""
    path = tmp_path / "calibrated.safetensors"
    assert calibrate("-o", path, "-q").code == 0
    return path


def test_a_pipe_gets_one_json_object(calibrate):
    ran = calibrate()

    assert ran.code == 0, ran.stderr
    (row,) = ran.rows
    assert row["pictures"] == {"fitted": 26, "thresholds": 26, "held_out": 26}
    assert (row["path"], row["classes"]) == (None, 6)
    assert row["temperature"] > 0
    for when in ("before", "after"):
        assert set(row[when]) == {"confidence", "nll", "brier", "error", "bins"}
        assert sum(one["pictures"] for one in row[when]["bins"]) == 26
    assert row["change"]["nll"]["value"] == pytest.approx(
        row["after"]["nll"]["value"] - row["before"]["nll"]["value"], abs=2e-6
    )
    (sets,) = row["label_sets"]
    assert sets["coverage"] == 0.9
    assert 0 < sets["reached"]["low"] <= sets["reached"]["value"] <= 1
    assert 0 < sets["size"]["value"] <= 6


def test_a_terminal_gets_tables(calibrate, monkeypatch, tmp_path):
    monkeypatch.setattr("zsclip.console.stdout_is_terminal", lambda: True)

    ran = calibrate("--coverage", 0.8, "--coverage", 0.9, "-o", tmp_path / "a.safetensors")

    assert ran.code == 0, ran.stderr
    assert "26 pictures to fit, 26 for thresholds, 26 held out" in ran.stdout
    assert "temperature" in ran.stdout and "before" in ran.stdout
    first, second = (
        next(line for line in ran.stdout.splitlines() if line.startswith(share))
        for share in ("0.8", "0.9")
    )
    assert float(first.split()[1]) >= float(second.split()[1])
    assert "a.safetensors" in ran.stdout


def test_the_head_has_what_was_said(calibrate, tmp_path):
    path = tmp_path / "a.safetensors"

    (row,) = calibrate("-o", path, "--coverage", 0.8).rows

    head = load_head(path)
    assert head.digest.startswith(row["head"]) and row["path"] == str(path)
    assert head.temperature == pytest.approx(row["temperature"], abs=1e-6)
    assert head.coverage == ((0.8, row["label_sets"][0]["threshold"]),)


def test_equal_commands_write_equal_heads_and_another_seed_another(calibrate, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        calibrate("-o", tmp_path / name, "--seed", seed)

    first, second, third = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == second != third


def test_classify_gives_scores_of_the_temperature_and_sets(zsclip, calibrated, drawings):
    (row,) = zsclip(
        "classify", drawings / "cat" / "+00.png", "--head", calibrated, "--coverage", 0.9,
        "--top-k", 0, "--json",
    ).rows  # fmt: skip

    head = load_head(calibrated)
    ((_, threshold),) = head.coverage
    first, second = row["scores"][:2]
    odds = (first["cosine"] - second["cosine"]) * head.scale / head.temperature
    schema = json.loads((ROOT / "docs" / "row.schema.json").read_text())
    assert first["score"] / (first["score"] + second["score"]) == pytest.approx(
        1 / (1 + 2.718281828**-odds), abs=1e-3
    )
    assert row["label_set"] == [s["label"] for s in row["scores"] if s["score"] >= threshold]
    assert not list(Draft202012Validator(schema).iter_errors(row))


def test_a_temperature_of_other_pictures_is_not_used_silently(
    zsclip, calibrate, drawings, tmp_path
):
    head = tmp_path / "views.safetensors"
    assert calibrate("--fit", "views", "-o", head).code == 0
    picture = drawings / "key" / "+00.png"

    crop = zsclip("classify", picture, "--head", head)
    views = zsclip("classify", picture, "--head", head, "--fit", "views")

    assert "loaded with fit 'views', and these are loaded with 'crop'" in crop.stderr
    assert "warning" not in views.stderr


def test_a_head_brings_its_own_model_whatever_the_environment_says(
    zsclip, calibrated, drawings, monkeypatch
):
    monkeypatch.setenv("ZSCLIP_MODEL", "ViT-B/32")

    ran = zsclip("calibrate", "--folder", drawings, "--head", calibrated, "--draws", 100)

    assert ran.code == 0, ran.stderr
    assert ran.rows[0]["model"].startswith("tiny@")


def test_rows_without_coverage_have_no_set(zsclip, calibrated, drawings):
    (row,) = zsclip("classify", drawings / "key" / "+00.png", "--head", calibrated, "--json").rows

    assert "label_set" not in row and row["score_kind"] == "softmax"


def test_csv_has_a_column_of_sets(zsclip, calibrated, drawings):
    arguments = (drawings / "cat", "--head", calibrated, "--coverage", 0.9)

    lines = zsclip("classify", *arguments, "--format", "csv").stdout.splitlines()

    rows = zsclip("classify", *arguments, "--json").rows
    assert lines[0].endswith(",label_set")
    assert [ln.split(",")[-1] for ln in lines[1:]] == [";".join(r["label_set"]) for r in rows]


def test_a_table_shows_the_set(zsclip, calibrated, drawings):
    arguments = ("--head", calibrated, "--coverage", 0.9, "--format", "table")

    one = zsclip("classify", drawings / "key" / "+00.png", *arguments)
    many = zsclip("classify", drawings / "key", *arguments)

    assert "label set: " in one.stdout
    assert many.stdout.count("set: ") == len(TURNS)


def test_a_head_that_was_made_before_is_calibrated_by_the_names_of_its_labels(
    calibrate, zsclip, tmp_path
):
    head = tmp_path / "head.safetensors"
    zsclip("build-head", "--labels", "pizza,tree,key,rocket,hammer,dog,cat", "--model", "tiny",
           "-o", head)  # fmt: skip

    ran = calibrate("--head", head, "-o", tmp_path / "calibrated.safetensors")

    (row,) = ran.rows
    made = load_head(tmp_path / "calibrated.safetensors")
    assert row["classes"] == 7 and "1 of 7 classes have no picture" in row["notes"]
    assert made.class_names == load_head(head).class_names


def test_evaluate_measures_the_calibrated_head(zsclip, calibrated, drawings):
    (row,) = zsclip("evaluate", "--folder", drawings, "--head", calibrated, "--draws", 100).rows

    assert row["score_kind"] == "softmax" and row["figures"][0]["calibration"]["nll"] > 0


def test_a_broken_picture_ends_the_run_or_is_left_out(calibrate, tmp_path, drawings):
    folder = tmp_path / "some"
    for path in drawings.glob("*/*.png"):
        copy = folder / path.relative_to(drawings)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (folder / "cat" / "a.png").write_bytes(b"")

    failed, skipped = calibrate(folder=folder), calibrate("--on-error", "skip", folder=folder)

    assert failed.code == 3 and "a.png" in failed.stderr and failed.stdout == ""
    assert skipped.code == 3 and skipped.rows[0]["failed"] == {"empty": 1}
    assert "78 ok, 1 failed (1 empty)" in skipped.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--coverage", "1.0"], 2, "--coverage 1.0 is not between 0 and 1"),
        (["--coverage", "nan"], 2, "--coverage nan is not between 0 and 1"),
        (["--coverage", "0.99"], 2, "coverage 0.99 need 297 pictures, and there are 78"),
        (["--on-error", "wrong"], 2, "--on-error 'wrong' is not one of fail, skip"),
        (["-o", "none/such/a"], 5, "no such folder"),
        (["-t", "dataset"], 2, "--templates dataset needs --dataset NAME"),
    ],
)
def test_what_cannot_be_done_is_one_line(calibrate, arguments, code, message):
    ran = calibrate(*arguments)

    assert ran.code == code and message in ran.stderr and ran.stdout == ""


def test_coverage_without_a_calibrated_head_says_how_to_get_one(zsclip, drawings):
    plain = zsclip("classify", drawings, "--labels", "cat,dog", "--coverage", 0.9)

    assert plain.code == 2
    assert "--coverage needs a head that was calibrated" in plain.stderr
    assert "zsclip calibrate" in plain.stderr


def test_a_coverage_that_the_head_does_not_have_is_named(zsclip, calibrated, drawings):
    ran = zsclip("classify", drawings, "--head", calibrated, "--coverage", 0.95)

    assert ran.code == 2 and "no label sets of coverage 0.95; it has 0.9" in ran.stderr


def test_a_head_that_was_fitted_to_pictures_can_be_calibrated_and_that_is_noted(
    calibrate, calibrated, tmp_path
):
    fitting = Fitting("few-shot", "image_features", "pets", 40)
    made = replace(load_head(calibrated), kind="pictures", fitted=fitting)
    made.save(tmp_path / "probe.safetensors")

    ran = calibrate("--head", tmp_path / "probe.safetensors")

    assert ran.code == 0, ran.stderr
    assert any("the head was fitted to pets" in note for note in ran.rows[0]["notes"])


def test_pictures_with_several_labels_are_refused(zsclip, drawings, tmp_path):
    rows = [{"path": str(path), "label": ["cat", "dog"]} for path in drawings.glob("*/*.png")]
    manifest = tmp_path / "list.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))

    ran = zsclip("calibrate", "--manifest", manifest, "--model", "tiny")

    assert ran.code == 2 and "needs pictures with one class each" in ran.stderr


@pytest.mark.skipif(not RECIPE.is_dir(), reason="examples are not in the wheel")
def test_the_script_of_the_figures_agrees_with_the_command(
    calibrate, drawings, tmp_path, monkeypatch, capfd
):
    monkeypatch.syspath_prepend(str(RECIPE))
    import score_calibration

    monkeypatch.setattr(score_calibration, "SEEDS", range(2))
    for name in ("openmoji/train", "openmoji/nouns", "openmoji/test", "noto/train", "noto/nouns"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(drawings)
    rows = [
        calibrate("--seed", seed, "-t", "imagenet80", "--coverage", 0.9).rows[0] for seed in (0, 1)
    ]
    capfd.readouterr()

    score_calibration.main([str(tmp_path / "openmoji"), str(tmp_path / "noto")])

    table = {line.split(" | ")[0][2:]: line for line in capfd.readouterr().out.splitlines()}
    low, high = sorted(row["temperature"] for row in rows)
    assert f"{(low + high) / 2:.2f} ({low:.2f} to {high:.2f})" in table["temperature"]
    before = sum(row["before"]["error"] for row in rows) / 2
    assert f"| {100 * before:.1f}" in table["calibration error before, %"]
    held = sum(row["label_sets"][0]["reached"]["value"] for row in rows) / 2
    assert f"| {100 * held:.1f}" in table["sets of 0.9 hold the truth, %"]
