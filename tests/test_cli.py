"""The error boundary, and the commands that list things."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Ran

from zsclip import __version__, cli
from zsclip.cli import main
from zsclip.encoders import Model

Run = Callable[..., Ran]


def test_version(zsclip: Run) -> None:
    assert zsclip("--version").stdout == f"zsclip {__version__}\n"


def test_no_command_shows_help_and_exits_2(zsclip: Run) -> None:
    ran = zsclip()

    assert ran.code == 2
    assert "classify" in ran.stdout + ran.stderr


def test_every_command_has_help_with_an_example(zsclip: Run) -> None:
    for command in ("classify", "build-head", "models", "templates", "datasets"):
        ran = zsclip(command, "--help")
        assert ran.code == 0
        assert "Example: zsclip" in ran.stdout


def test_an_unknown_command_is_one_line_and_a_tip(zsclip: Run) -> None:
    ran = zsclip("clasify")

    assert ran.code == 2
    assert ran.stderr.splitlines()[0].startswith("error: no such command 'clasify'")


def test_a_bug_is_one_line_and_exit_70(zsclip: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("something impossible")

    monkeypatch.setattr("zsclip.prompts.load_templates", broken)

    ran = zsclip("templates", "photo")
    with_traceback = zsclip("--debug", "templates", "photo")

    assert ran.code == 70
    assert ran.stderr.splitlines()[0] == (
        "error: a bug in zsclip: RuntimeError: something impossible"
    )
    assert "Traceback" not in ran.stderr
    assert "Traceback" in with_traceback.stderr


@pytest.mark.parametrize(("raised", "code"), [(KeyboardInterrupt, 130), (cli.Terminated, 143)])
def test_signals_have_their_exit_codes(
    raised: type[BaseException], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(name: str) -> None:
        raise raised

    monkeypatch.setattr("zsclip.prompts.load_templates", interrupted)

    assert main(["templates", "photo"]) == code


def test_a_model_that_is_not_here_ends_with_a_command_to_paste(zsclip: Run, tmp_path: Path) -> None:
    ran = zsclip("classify", "my img.jpg", tmp_path, "--labels", "cat,dog", "--model=ViT-L/14")

    # the picture list is read first, then the model is looked for; the hub is off in tests
    assert ran.code == 4
    assert "ViT-L/14" in ran.stderr
    assert "HF_HUB_OFFLINE" in ran.stderr
    # by this name a local file keeps the activation that OpenAI's weights were trained with
    assert "--model ViT-L/14 --weights FILE" in ran.stderr
    assert ran.stderr.splitlines()[-1] == (
        f"  zsclip classify 'my img.jpg' {tmp_path} --labels cat,dog --model tiny"
    )


def test_no_command_to_paste_where_another_model_cannot_do_the_work(
    zsclip: Run, tmp_path: Path
) -> None:
    model = ("--model", "ViT-L/14")
    with_head = zsclip("classify", "a.jpg", tmp_path, f"--head={tmp_path}/head", *model)
    verify = zsclip("cache", "verify", *model)
    label = zsclip("classify", "a.jpg", tmp_path, "--label", "models", *model)

    assert "try the small model" not in with_head.stderr + verify.stderr
    assert verify.code == 4
    assert label.stderr.endswith("--label models --model tiny\n")


def test_models_are_listed_with_published_facts(zsclip: Run) -> None:
    rows = {row["name"]: row for row in zsclip("models", "--json").rows}

    assert rows["tiny"]["local"] is True
    assert rows["default"]["imagenet_top1"] == 72.8
    assert rows["ViT-L/14@336px"]["open_clip"] == "ViT-L-14-336:openai"
    assert len([row for row in zsclip("models", "--all", "--json").rows]) == 196 + len(rows)


def test_templates_and_datasets_are_printed_one_a_line(zsclip: Run) -> None:
    assert len(zsclip("templates", "imagenet80").stdout.splitlines()) == 80
    assert zsclip("datasets", "cifar10").stdout.splitlines()[:2] == ["airplane", "automobile"]
    assert "imagenet7" in zsclip("templates").stdout
    assert "cifar100" in zsclip("datasets").stdout
    assert zsclip("datasets", "cifar10", "--json").rows[0]["metric"] == "accuracy"


def test_build_head_says_what_came_from_the_cache(
    zsclip: Run, fake_model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("zsclip.cli.request.load_model", lambda *args, **kwargs: fake_model)
    output = tmp_path / "pets.safetensors"

    first = zsclip("build-head", "--labels", "cat,dog", "-t", "photo")
    second = zsclip("build-head", "--labels", "dog,bird,cat", "-t", "photo", "-o", output)
    third = zsclip("build-head", "--labels", "dog", "-t", "photo", "--json")

    assert (first.stdout, first.stderr) == (
        "",
        "templates: photo (1); 2 classes, 0 from the cache\n",
    )
    assert (second.stdout, second.stderr) == (
        f"{output}\n",
        "templates: photo (1); 3 classes, 2 from the cache\n",
    )
    assert json.loads(third.stdout)["from_cache"] == 1


def test_cache_commands(
    zsclip: Run, fake_model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("zsclip.cli.request.load_model", lambda *args, **kwargs: fake_model)
    zsclip("build-head", "--labels", "cat,dog", "-t", "photo")

    path = zsclip("cache", "path").stdout.strip()
    info = zsclip("cache", "info", "--json").rows[0]
    verified = zsclip("cache", "verify")
    pruned = zsclip("cache", "prune", "--older-than", "0")
    cleared = zsclip("cache", "clear")

    assert path == str(tmp_path / "cache" / "text.sqlite3")
    assert info["classes"] == {"ViT-B/32@ffffff": 2}
    assert (verified.code, verified.stderr) == (0, "0 broken rows\n")
    assert pruned.stderr == "2 rows deleted\n"
    assert cleared.code == 0
    assert not Path(path).exists()


def test_cache_verify_lists_broken_rows_and_exits_1(
    zsclip: Run, fake_model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sqlite3

    monkeypatch.setattr("zsclip.cli.request.load_model", lambda *args, **kwargs: fake_model)
    zsclip("build-head", "--labels", "cat,dog", "-t", "photo")
    with sqlite3.connect(tmp_path / "cache" / "text.sqlite3") as db:
        db.execute("UPDATE classes SET vector = zeroblob(length(vector)) WHERE class_name = 'dog'")

    ran = zsclip("cache", "verify")

    assert ran.code == 1
    assert ran.stdout == "ViT-B/32@ffffff: dog\n"
