"""`zsclip embed` through `main([...])`, with the fake engine."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import Ran

from zsclip.data_files import TINY_FOLDER
from zsclip.encoders import Model

Run = Callable[..., Ran]
Make = Callable[..., Path]

FORMATS = ["jsonl", "npz", "parquet"]


@pytest.fixture
def run(zsclip: Run, fake_model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`zsclip embed` in an empty folder, with the fake engine as its model."""
    monkeypatch.setattr("zsclip.cli.request.load_model", lambda *args, **kwargs: fake_model)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: zsclip("embed", *arguments)


@pytest.fixture
def photos(picture: Make) -> Path:
    """A folder with two pictures, one that is none, and another file."""
    picture("photos/red.png", "red")
    picture("photos/white.png", "white")
    Path("photos/broken.jpg").write_bytes(b"<html>")
    Path("photos/notes.txt").touch()
    return Path("photos")


def paths_in(path: Path) -> list[str]:
    """Paths of all that was encoded."""
    if path.suffix == ".npz":
        return [str(name) for name in np.load(path, allow_pickle=False)["paths"]]
    if path.suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
    else:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row["path"] for row in rows if row["status"] == "ok"]


def test_rows_go_to_stdout(run: Run, photos: Path) -> None:
    ran = run(photos)

    assert [row["path"] for row in ran.rows] == [
        "photos/broken.jpg", "photos/red.png", "photos/white.png",
    ]  # fmt: skip
    features = np.array(ran.rows[1]["features"], np.float32)
    assert features.shape == (64,) and abs(np.linalg.norm(features) - 1) < 1e-6
    assert (ran.rows[0]["status"], ran.rows[0]["model"]) == ("error", "ViT-B/32@ffffff")


@pytest.mark.parametrize("ending", FORMATS)
def test_what_failed_is_said_and_counted(run: Run, photos: Path, ending: str) -> None:
    ran = run(photos, "-o", f"f.{ending}", "--errors", "failed")

    assert (ran.code, ran.stdout) == (3, "")
    assert ran.stderr == (
        "zsclip: photos/broken.jpg: not a supported image (looks like HTML) [unrecognized]\n"
        "2 ok, 1 failed (1 unrecognized), 1 other file skipped\n"
    )
    assert paths_in(Path(f"f.{ending}")) == ["photos/red.png", "photos/white.png"]
    assert Path("failed").read_bytes() == b"photos/broken.jpg\0"


def test_exit_codes_are_those_of_classify(run: Run, photos: Path) -> None:
    codes = [
        run("photos/red.png").code,
        run("photos/broken.jpg").code,
        run().code,
        run("photos", "--strict").code,
    ]

    assert codes == [0, 1, 2, 3]


def test_inputs_come_from_lists_and_globs_and_stdin(
    run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("list").write_text("photos/red.png\n\nphotos/white.png\n")
    Path("list0").write_bytes(b"photos/white.png\0")
    content = (photos / "red.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    ran = run("photos/r*.png", "-", "--files-from", "list", "--files0-from", "list0")

    names = ["photos/red.png", "-", "photos/red.png", "photos/white.png", "photos/white.png"]
    assert [row["path"] for row in ran.rows] == names


def test_nobody_named_is_told_how(run: Run) -> None:
    ran = run()

    assert ran.stderr.splitlines() == [
        "error: no pictures named",
        "tip: zsclip embed photos/ -o features.npz (or - for stdin)",
    ]


def test_an_ending_of_no_format_is_refused(run: Run, photos: Path) -> None:
    ran = run(photos, "-o", "f.csv")

    assert (ran.code, ran.stderr) == (
        2, "error: --output f.csv: its ending is not .jsonl, .npz or .parquet\n",
    )  # fmt: skip


def test_a_list_is_not_written_over(run: Run, photos: Path) -> None:
    Path("list.jsonl").write_text("photos/red.png\n")

    ran = run("--files-from", "list.jsonl", "-o", "list.jsonl")

    assert ran.code == 2 and Path("list.jsonl").read_text() == "photos/red.png\n"


@pytest.mark.accepts("E6")
@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_a_file_that_was_there_stays_until_the_new_one_is_whole(
    run: Run, photos: Path, fake_model: Model, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    target = Path(f"f.{ending}")
    target.write_bytes(b"old")
    monkeypatch.setattr(fake_model.engine, "encode_images", lambda *args, **kwargs: 1 / 0)

    ran = run(photos, "-o", target)

    assert ran.code == 70 and target.read_bytes() == b"old"
    assert not [name for name in os.listdir() if name.startswith(".f")]


@pytest.mark.accepts("E5")
@pytest.mark.parametrize("ending", FORMATS)
def test_a_file_that_cannot_be_written_is_one_line(run: Run, photos: Path, ending: str) -> None:
    ran = run("photos/red.png", "-o", f"none/f.{ending}")

    assert (ran.code, ran.stderr) == (
        5, f"error: cannot write none/f.{ending}: No such file or directory\n",
    )  # fmt: skip


@pytest.mark.parametrize("ending", FORMATS)
def test_the_same_from_the_image_cache(
    run: Run, photos: Path, fake_model: Model, ending: str
) -> None:
    files = [Path(f"{number}.{ending}") for number in range(3)]

    run(photos, "-o", files[0])
    run(photos, "-o", files[1], "--cache-images")
    ran = run(photos, "-o", files[2], "--cache-images")

    assert ran.code == 3 and fake_model.engine.image_calls == 4  # type: ignore[attr-defined]
    assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()


def test_other_ways_to_decode_have_another_fingerprint(run: Run, photos: Path) -> None:
    rows = [run("photos/red.png", *options).rows[0] for options in ((), ("--exact",))]

    assert rows[0]["fingerprint"] != rows[1]["fingerprint"]


def test_limits_hold(run: Run, photos: Path) -> None:
    ran = run("photos/red.png", "--max-bytes", "10")

    assert ran.rows[0]["error"]["code"] == "too_large_file"  # type: ignore[index]


@pytest.mark.slow
def test_features_are_those_of_the_model(zsclip: Run, picture: Make, tmp_path: Path) -> None:
    from zsclip.loading import load_model

    path = picture("red.png", "red")

    ran = zsclip("embed", path, "--model", "tiny", "--engine", "torch")

    expected = load_model(TINY_FOLDER, engine="torch").encode_image(str(path))[0]
    found = np.array(ran.rows[0]["features"], np.float32)
    assert np.abs(found - expected).max() < 1e-6
