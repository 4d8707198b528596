"""`zsclip classify` through `main([...])`, with the fake engine."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Ran
from PIL import Image

from zsclip.cli import main
from zsclip.encoders import Model
from zsclip.engines.base import Floats
from zsclip.engines.fake import FakeEngine
from zsclip.head_builder import build_head

Run = Callable[..., Ran]
Make = Callable[..., Path]


@pytest.fixture
def run(zsclip: Run, fake_model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`zsclip classify` in an empty folder, with the fake engine as its model."""
    monkeypatch.setattr("zsclip.cli.request.load_model", lambda *args, **kwargs: fake_model)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: zsclip("classify", *arguments)


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Put bytes on stdin."""

    def put(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return put


@pytest.mark.parametrize("output_format", ["jsonl", "json", "csv", "tsv", "table"])
def test_output_is_as_published(
    run: Run, picture: Make, golden: Callable[[str, str], None], output_format: str
) -> None:
    picture("photos/red.png", "red")
    picture("photos/weiß.png", "white")
    Path("photos/broken.jpg").write_bytes(b"<html>")

    ran = run("photos", "--labels", "cat,dog,salt", "-k", "2", "--format", output_format)

    # the last bit of a float, and so the digest of a head, differs between kinds of CPU
    stable = re.sub(r'"(head|run)":"[0-9a-f]{12}"', r'"\1":"<12 digits>"', ran.stdout)
    golden(f"classify.{output_format}", stable)
    assert ran.code == 3
    assert ran.stderr == (
        "zsclip: photos/broken.jpg: not a supported image (looks like HTML) [unrecognized]\n"
        "2 ok, 1 failed (1 unrecognized)\n"
    )


def test_one_picture_in_a_table_shows_a_bar_for_each_label(run: Run, picture: Make) -> None:
    picture("red.png", "red")

    ran = run("red.png", "--labels", "cat,dog", "--format", "table")

    lines = ran.stdout.splitlines()
    assert lines[0] == "red.png  softmax"
    assert [line.split()[0] for line in lines[1:]] in (["cat", "dog"], ["dog", "cat"])
    assert "█" in lines[1]
    assert "cosine" in lines[1]


def test_rows_come_in_input_order(run: Run, picture: Make) -> None:
    names = [f"p{i}.png" for i in range(70)]
    for i, name in enumerate(names):
        picture(name, (i, 0, 0))

    ran = run(*reversed(names), "--labels", "a,b")

    assert [row["path"] for row in ran.rows] == list(reversed(names))


def test_no_folder_is_entered_twice_and_text_files_are_counted(run: Run, picture: Make) -> None:
    picture("photos/b/1.png")
    picture("photos/a.png")
    Path("photos/notes.txt").write_text("x")

    ran = run("photos", "--labels", "a,b")

    assert [row["path"] for row in ran.rows] == ["photos/a.png", "photos/b/1.png"]
    assert ran.stderr == "2 ok, 1 other file skipped\n"


def test_a_picture_on_stdin(run: Run, picture: Make, stdin: Callable[[bytes], None]) -> None:
    stdin(picture("red.png").read_bytes())

    ran = run("-", "--labels", "a,b")

    assert ran.rows[0]["path"] == "-"
    assert ran.code == 0


def test_a_list_on_stdin(run: Run, picture: Make, stdin: Callable[[bytes], None]) -> None:
    picture("with\nnewline.png")
    picture("plain.png")
    stdin(b"with\nnewline.png\0plain.png\0")

    ran = run("--files0-from", "-", "--labels", "a,b")

    assert [row["path"] for row in ran.rows] == ["with\nnewline.png", "plain.png"]


def test_stdin_can_be_read_once_only(run: Run) -> None:
    ran = run("-", "--files-from", "-", "--labels", "a,b")

    assert ran.code == 2
    assert "stdin can be read once" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["red.png"], "error: no labels"),
        (["red.png", "--labels", " , "], "error: no labels"),
        (["red.png", "--labels-file", "empty.txt"], "error: empty.txt: no labels"),
        (["red.png", "--labels-file", "none.txt"], "error: none.txt: cannot be read"),
        (["--labels", "a,b"], "error: no pictures named"),
        (["empty", "--labels", "a,b"], "error: no pictures among the inputs"),
        (["red.png", "--labels", "a", "--dataset", "cifar10"], "--dataset brings its own labels"),
        (["red.png", "--labels", "a", "--head", "x"], "--head brings its own labels"),
        (["red.png", "--head", "x", "--kind", "pet"], "--head brings its own templates"),
        (["red.png", "--labels", "a", "--template", "{} {}"], "needs exactly one {}"),
        (["red.png", "--labels", "a", "--templates", "imagenet8"], "did you mean 'imagenet80'"),
        (["red.png", "--labels", "a", "--templates", "dataset"], "needs --dataset NAME"),
        (["red.png", "--dataset", "cifar11"], "did you mean 'cifar10'"),
        (["red.png", "--labels", "a", "--format", "xml"], "--format 'xml' is not one of"),
        (["red.png", "--labels", "a", "--device", "tpu"], "--device 'tpu' is not one of"),
        (["red.png", "--labels", "a", "--scores", "logit"], "--scores 'logit' is not one of"),
        (["red.png", "--labels", "a,b", "--scores", "sigmoid"], "has no logit bias"),
        (["red.png", "--labels", "a", "--files-from", "none.txt"], "none.txt: cannot be read"),
        (["red.png", "--labels", "a", "--nonsense"], "no such option: --nonsense"),
        (["red.png", "--labels", "a", "--top-k", "-1"], "--top-k"),
    ],
)
def test_what_cannot_be_understood_is_one_line_and_exit_2(
    run: Run, picture: Make, arguments: list[str], message: str
) -> None:
    picture("red.png")
    Path("empty.txt").write_text("\n \n")
    Path("empty").mkdir()

    ran = run(*arguments)

    errors = [line for line in ran.stderr.splitlines() if not line.startswith("tip: ")]
    assert ran.code == 2
    assert ran.stdout == ""
    assert len(errors) == 1, ran.stderr
    assert message in errors[0]


def test_labels_add_up_in_the_order_of_the_command_line(run: Run, picture: Make) -> None:
    picture("red.png")
    Path("animals.txt").write_bytes(b"\xef\xbb\xbfcat\r\n\r\n dog \r\n")

    ran = run(
        "red.png", "--label", "salt, pepper", "--labels-file", "animals.txt", "--labels", "x,y",
        "--label", "z", "-k", "0", "-v",
    )  # fmt: skip

    shown = {score["label"] for score in ran.rows[0]["scores"]}  # type: ignore[attr-defined]
    assert shown == {"salt, pepper", "cat", "dog", "x", "y", "z"}
    assert "6 classes" in ran.stderr


def test_order_of_labels_decides_ties(run: Run, picture: Make) -> None:
    picture("red.png")

    # the tokenizer lowers case, so both labels have the same embedding
    first = run("red.png", "--label", "Cat", "--labels", "cat")
    second = run("red.png", "--labels", "cat", "--label", "Cat")

    assert (first.rows[0]["label"], second.rows[0]["label"]) == ("Cat", "cat")


def test_duplicates_are_dropped_with_one_warning(run: Run, picture: Make) -> None:
    picture("red.png")
    Path("animals.txt").write_text("cat\ndog\ncat\n")

    ran = run("red.png", "--labels-file", "animals.txt", "-k", "0")

    assert len(ran.rows[0]["scores"]) == 2  # type: ignore[arg-type]
    assert ran.stderr == "warning: duplicate labels dropped: 'cat' (animals.txt: line 3)\n"


def test_one_label_is_warned_about(run: Run, picture: Make) -> None:
    picture("red.png")

    ran = run("red.png", "--labels", "cat")

    assert ran.rows[0]["score"] == 1.0
    assert ran.stderr.startswith("warning: one label only")


def test_quiet_silences_warnings_and_summary_but_not_failures(run: Run, picture: Make) -> None:
    picture("red.png")

    ran = run("red.png", "none.png", "--labels", "cat,cat", "-q")

    assert ran.stderr == "zsclip: none.png: no such file [not_found]\n"


def test_a_threshold_that_rejects_makes_the_label_null(run: Run, picture: Make) -> None:
    picture("red.png")

    ran = run("red.png", "--labels", "cat,dog", "--min-cosine", "0.99")

    assert ran.rows[0]["label"] is None
    assert ran.rows[0]["status"] == "ok"
    assert ran.code == 0


def test_cosines_as_scores_are_named_in_every_format(run: Run, picture: Make) -> None:
    picture("red.png")

    ran = {
        name: run("red.png", "--labels", "cat,dog", "--scores", "cosine", "--format", name)
        for name in ("jsonl", "csv", "table")
    }

    row = ran["jsonl"].rows[0]
    assert row["score_kind"] == "cosine" and row["score"] == row["cosine"]
    assert ran["csv"].stdout.splitlines()[1].endswith(",cosine")
    assert ran["table"].stdout.startswith("red.png  cosine\n")
    assert {answer.code for answer in ran.values()} == {0}


def test_a_sigmoid_head_keeps_its_kind_and_gives_the_others(
    run: Run, picture: Make, fake_model: Model
) -> None:
    picture("red.png")
    fake_model.engine = FakeEngine(logit_scale=10.0, logit_bias=-1.0)
    build_head(["cat", "dog"], model=fake_model).save(Path("pets.safetensors"))

    kinds = [
        run("red.png", "--head", "pets.safetensors", *options).rows[0]["score_kind"]
        for options in ([], ["--scores", "softmax"], ["--scores", "cosine"])
    ]

    assert kinds == ["sigmoid", "softmax", "cosine"]


def test_one_label_is_not_warned_about_where_its_score_says_something(
    run: Run, picture: Make
) -> None:
    picture("red.png")

    assert run("red.png", "--labels", "cat", "--scores", "cosine").stderr == ""


def test_scores_that_are_not_finite_are_a_row_and_exit_3(
    run: Run, picture: Make, fake_model: Model
) -> None:
    class Broken(FakeEngine):
        def encode_images(self, pixels: Floats, *, full_precision: bool = False) -> Floats:
            features = super().encode_images(pixels)
            features[pixels.mean(axis=(1, 2, 3)) > 1] = float("nan")  # white pictures
            return features

    fake_model.engine = Broken()
    picture("black.png", "black")
    picture("white.png", "white")

    ran = run("black.png", "white.png", "--labels", "a,b")

    assert [row["status"] for row in ran.rows] == ["ok", "error"]
    assert ran.rows[1]["error"]["code"] == "non_finite"  # type: ignore[index]
    assert "NaN" not in ran.stdout and ran.code == 3


def test_every_input_failed_is_exit_1(run: Run) -> None:
    ran = run("none.png", "*.gif", "--labels", "a,b")

    assert ran.code == 1
    assert [row["error"]["code"] for row in ran.rows] == ["not_found", "not_found"]  # type: ignore[index]


def test_strict_stops_at_the_first_failure_with_exit_3(run: Run, picture: Make) -> None:
    picture("a.png")
    picture("c.png")

    ran = run("a.png", "b.png", "c.png", "--labels", "a,b", "--strict")

    assert [row["path"] for row in ran.rows] == ["a.png", "b.png"]
    assert ran.code == 3


def test_a_head_file_gives_the_same_rows(run: Run, picture: Make, fake_model: Model) -> None:
    picture("red.png")
    build_head(["cat", "dog"], model=fake_model).save(Path("pets.safetensors"))

    by_words = run("red.png", "--labels", "cat,dog")
    by_head = run("red.png", "--head", "pets.safetensors")

    assert by_words.stdout == by_head.stdout


def test_an_output_file_takes_its_format_from_its_ending(run: Run, picture: Make) -> None:
    picture("red.png")

    ran = run("red.png", "--labels", "a,b", "-o", "out.csv")

    assert ran.stdout == ""
    assert Path("out.csv").read_text().startswith("path,status,label")


def test_an_output_that_fails_half_way_leaves_the_old_file(run: Run, picture: Make) -> None:
    picture("red.png")
    Path("out.json").write_text("old")

    ran = run("red.png", "--labels", "a,b", "-o", "missing/out.json")
    code_of_full_disk = main(
        ["classify", "red.png", "--labels", "a,b", "-o", "/dev/full", "--json"]
    )

    assert ran.code == 5
    assert code_of_full_disk == 5
    assert Path("out.json").read_text() == "old"


def test_equal_commands_give_equal_bytes(run: Run, picture: Make) -> None:
    for i in range(9):
        picture(f"{i}.png", (i * 20, 0, 0))

    first = run(".", "--labels", "a,b,c", "--json")
    second = run(".", "--labels", "a,b,c", "--json")

    assert first.stdout == second.stdout


def test_names_cannot_write_to_the_terminal(run: Run, picture: Make) -> None:
    picture("\x1b[31mred[/x].png")

    ran = run(".", "none\x1b.png", "--labels", "[bold]cat,dog", "--format", "table")

    assert "\x1b" not in ran.stdout + ran.stderr
    assert "\\x1b[31mred[/x].png" in ran.stdout
    assert "[bold]cat" in ran.stdout


def test_a_path_that_is_not_utf8_survives(run: Run, tmp_path: Path) -> None:
    name = b"caf\xe9.png"
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / name.decode("utf-8", "surrogateescape"))

    ran = run(".", "--labels", "a,b")

    row = json.loads(ran.stdout)
    assert row["path"] == "./caf\\xe9.png"
    assert row["path_b64"] == "Li9jYWbpLnBuZw=="


def test_a_head_alone_takes_its_own_model_whatever_the_environment_says(
    zsclip: Callable[..., Ran], picture: Callable[..., str], tmp_path: Path, monkeypatch
) -> None:
    head = tmp_path / "head.safetensors"
    zsclip("build-head", "--labels", "cat,dog", "--model", "tiny", "-o", head)
    monkeypatch.setenv("ZSCLIP_MODEL", "ViT-B/32")

    ran = zsclip("classify", picture("a.png"), "--head", head, "--json")

    assert ran.code == 0 and ran.rows[0]["model"].startswith("tiny@")


def test_weights_alone_do_not_take_the_default_architecture(
    zsclip: Callable[..., Ran], picture: Callable[..., str], tmp_path: Path
) -> None:
    ran = zsclip(
        "classify", picture("a.png"), "--labels", "a,b", "--weights", tmp_path / "w.safetensors"
    )

    assert ran.code == 2 and "--model ARCH --weights FILE" in ran.stderr
