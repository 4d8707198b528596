"""`zsclip models`: list, show, pull, where, rm; what is compiled is in test_compile_cli."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pty
import shutil
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL_CLIP, hub_environment
from loopback_hub import COMMIT, Repository
from safetensors.numpy import save

from zsclip import console, hf_tokenizer, hub
from zsclip.cache import TextCache, default_folder
from zsclip.data_files import TINY_FOLDER
from zsclip.encoders import Model
from zsclip.engines import torch_model
from zsclip.engines.fake import FakeEngine
from zsclip.models import catalogue, open_clip_tags, resolve
from zsclip.weights import PICKLE_NAME, locate

WEIGHTS = save({"a": np.arange(1000, dtype=np.float32)})
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
SAFE, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
DEFAULT = resolve("default").repo
FAST = resolve("fast").repo


@pytest.fixture
def shelf(loopback):
    """The repositories of `default`, `fast` and hf-hub:acme/small, with weights that are whole."""
    for name in (DEFAULT, FAST):
        loopback.repositories[name] = Repository(
            {SAFE: WEIGHTS}, commit=hashlib.sha1(name.encode()).hexdigest()
        )
    loopback.repositories["acme/small"] = Repository(
        {SAFE: WEIGHTS, CONFIG: json.dumps(SMALL_CLIP).encode()}
    )
    return loopback


# list


@pytest.mark.parametrize("words", [("models",), ("models", "list")])
def test_models_are_listed_with_figures(zsclip, loopback, words):
    rows = {row["name"]: row for row in zsclip(*words, "--json").rows}

    assert rows.keys() == {n for group in catalogue().values() for n in group}
    assert rows["tiny"]["local"] is True and rows["default"]["local"] is False
    assert rows["ViT-B/32"]["imagenet_top1"] == 63.3
    assert loopback.requests == []


@pytest.mark.parametrize("words", [("models",), ("models", "list")])
def test_all_names_of_open_clip_are_listed(zsclip, loopback, words):
    names = [row["name"] for row in zsclip(*words, "--all", "--json").rows]

    assert set(open_clip_tags()) <= set(names)


def test_what_is_cached_is_listed_with_its_names(zsclip, shelf, tmp_path):
    zsclip("models", "pull", "default", "hf-hub:acme/small")

    rows = {row["repository"]: row for row in zsclip("models", "list", "--cached", "--json").rows}

    assert rows.keys() == {DEFAULT, "acme/small"}
    assert rows[DEFAULT]["names"] == ["default", "ViT-B-32-256:datacomp_s34b_b86k"]
    assert rows["acme/small"]["names"] == ["hf-hub:acme/small"]
    assert rows[DEFAULT]["size_bytes"] == len(WEIGHTS)
    assert rows["acme/small"]["revisions"] == [COMMIT]
    assert Path(rows["acme/small"]["folder"]).is_dir()


def test_the_table_of_what_is_cached(zsclip, shelf):
    zsclip("models", "pull", "default")

    header, row = zsclip("models", "list", "--cached").stdout.splitlines()

    commit = hashlib.sha1(DEFAULT.encode()).hexdigest()
    assert header.split() == ["name", "repository", "size", "revision"]
    assert row.split() == ["default", DEFAULT, "0.0", "MB", commit[:12]]


def test_other_repositories_of_the_cache_are_not_models(zsclip, shelf, tmp_path):
    shelf.repositories["acme/text"] = Repository({"x.txt": b"x"}, commit="1" * 40)
    hub.fetch("acme/text", "x.txt")

    ran = zsclip("models", "list", "--cached")

    assert (ran.code, ran.stdout) == (0, "")
    assert ran.stderr == "no models are in the hub's cache\n"


def test_a_repository_of_which_only_the_configuration_is_cached_is_not_listed(zsclip, shelf):
    hub.fetch("acme/small", CONFIG)

    assert zsclip("models", "list", "--cached").stdout == ""


def test_options_before_a_command_are_not_ignored(zsclip):
    ran = zsclip("models", "--json", "show", "tiny")

    assert ran.code == 2 and "options of 'show' go behind it" in ran.stderr


# show


def test_a_tag_is_shown_with_all_that_goes_into_its_results(zsclip, loopback):
    [facts] = zsclip("models", "show", "ViT-B/32", "--json").rows

    expected = {
        "name": "ViT-B/32",
        "architecture": "ViT-B-32",
        "tag": "openai",
        "repository": "timm/vit_base_patch32_clip_224.openai",
        "revision": None,
        "weights": None,
        "file": SAFE,
        "size_bytes": None,
        "sha256": None,
        "image_size": 224,
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "quick_gelu": True,
        "embed_dim": 512,
        "context_length": 77,
        "tokenizer": "clip-bpe",
        "text_encoding": "token tree",
        "score_kind": "softmax",
        "imagenet_top1": 63.3,
        "licence": "MIT",
    }
    assert {key: facts[key] for key in expected} == expected
    assert loopback.requests == []


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("ViT-B/32", None),
        ("ViT-B-16-SigLIP:webli", "siglip"),
        ("xlm-roberta-base-ViT-B-32:laion5b_s13b_b90k", "hf"),
    ],
)
def test_the_needed_extra_is_shown(zsclip, loopback, name, extra):
    assert zsclip("models", "show", name, "--json").rows[0]["extra"] == extra


def test_a_model_with_a_bias_is_shown_with_its_kind_of_score_and_extra(zsclip, loopback):
    [facts] = zsclip("models", "show", "multilingual", "--json").rows

    assert (facts["score_kind"], facts["extra"]) == ("sigmoid", "siglip")
    assert facts["resize_mode"] == "squash" and facts["tokenizer"].startswith("timm/")


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("best", "token tree"),
        ("multilingual", "padded: tokens see those after them"),
        ("coca_ViT-B-32:laion2b_s13b_b90k", "padded: read at a class token"),
        ("nllb-clip-base:v1", "padded: a text tower of transformers"),
    ],
)
def test_whether_prompts_share_tokens_is_shown(zsclip, loopback, name, encoding):
    assert zsclip("models", "show", name, "--json").rows[0]["text_encoding"] == encoding


def test_a_preset_and_its_tag_have_the_same_figures(zsclip, loopback):
    [preset] = zsclip("models", "show", "default", "--json").rows
    [tag] = zsclip("models", "show", "ViT-B-32-256:datacomp_s34b_b86k", "--json").rows

    assert {k: v for k, v in preset.items() if k != "name"} == {
        k: v for k, v in tag.items() if k != "name"
    }


def test_weights_that_are_here_are_shown_with_path_and_hash(zsclip):
    [facts] = zsclip("models", "show", "tiny", "--json").rows

    path = TINY_FOLDER / SAFE
    assert facts["weights"] == str(path) and facts["size_bytes"] == path.stat().st_size
    assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_weights_of_the_hub_are_shown_with_commit_and_hash(zsclip, shelf):
    zsclip("models", "pull", "hf-hub:acme/small")

    [facts] = zsclip("models", "show", "hf-hub:acme/small", "--json").rows

    assert (facts["revision"], facts["sha256"]) == (COMMIT, SHA256)
    assert facts["context_length"] == 24 and facts["quick_gelu"] is True


def test_what_changes_scores_and_tokens_is_shown(zsclip, loopback):
    siglip, tower = (
        zsclip("models", "show", name, "--json").rows[0]
        for name in ("ViT-B-16-SigLIP:webli", "xlm-roberta-base-ViT-B-32:laion5b_s13b_b90k")
    )

    assert siglip["tokenizer_kwargs"] == {"clean": "canonicalize"}
    assert siglip["text_tower"] is None and siglip["fill_color"] == 0
    assert tower["text_tower"] == "xlm-roberta-base"


def test_scale_and_bias_are_shown_once_they_are_known(zsclip):
    engine = FakeEngine(logit_scale=5.0)
    model = Model(locate(resolve("tiny")), cache=TextCache(default_folder()), engine=engine)

    [before] = zsclip("models", "show", "tiny", "--json").rows
    assert model.logit_scale == 5.0
    [after] = zsclip("models", "show", "tiny", "--json").rows

    assert (before["logit_scale"], after["logit_scale"]) == (None, 5.0)
    assert after["logit_bias"] is None


def test_a_bias_of_null_is_none(zsclip, tmp_path):
    config = {**SMALL_CLIP, "model_cfg": {**SMALL_CLIP["model_cfg"], "init_logit_bias": None}}
    (tmp_path / CONFIG).write_text(json.dumps(config))
    (tmp_path / SAFE).write_bytes(WEIGHTS)

    assert zsclip("models", "show", tmp_path, "--json").rows[0]["score_kind"] == "softmax"


def test_weights_tag_and_revision_are_shown_as_they_are_run(zsclip, shelf, tmp_path):
    (tmp_path / SAFE).write_bytes(WEIGHTS)
    zsclip("models", "pull", "default")

    [own] = zsclip(
        "models", "show", "ViT-B-32", "--weights", tmp_path / SAFE, "--tag", "openai", "--json"
    ).rows
    [other] = zsclip("models", "show", "default", "--revision", "v9", "--json").rows

    assert (own["tag"], own["quick_gelu"], own["sha256"]) == ("openai", True, SHA256)
    assert other["weights"] is None


def test_facts_are_shown_a_line_each(zsclip, loopback):
    lines = zsclip("models", "show", "ViT-B/32").stdout.splitlines()

    assert "quick_gelu        True" in lines
    assert "mean              0.48145466 0.4578275 0.40821073" in lines
    assert not any(line.startswith("sha256") for line in lines)  # not known here


# pull and where


def test_pull_prints_where_the_weights_are(zsclip, shelf):
    ran = zsclip("models", "pull", "default", "hf-hub:acme/small")

    paths = [Path(line) for line in ran.stdout.splitlines()]
    assert (ran.code, ran.stderr) == (0, "")
    assert [path.read_bytes() for path in paths] == [WEIGHTS, WEIGHTS]
    assert zsclip("models", "where", "default").stdout == f"{paths[0]}\n"
    assert zsclip("models", "pull", "default").stdout == f"{paths[0]}\n"


def test_a_model_that_cannot_be_pulled_does_not_stop_the_others(zsclip, shelf):
    ran = zsclip("models", "pull", "hf-hub:acme/none", "default")

    assert ran.code == 4 and Path(ran.stdout.strip()).read_bytes() == WEIGHTS
    assert ran.stderr.startswith("error: model hf-hub:acme/none is not on this machine: the hub")
    assert "--model tiny" not in ran.stderr


def test_an_unknown_name_is_found_before_any_download(zsclip, shelf):
    ran = zsclip("models", "pull", "default", "defualt")

    assert ran.code == 2 and "did you mean 'default'" in ran.stderr
    assert shelf.requests == []


@pytest.mark.parametrize("option", [("--revision", "main"), ("--sha256", SHA256)])
def test_a_pin_goes_with_one_model(zsclip, shelf, option):
    assert zsclip("models", "pull", "default", "fast", *option).code == 2
    assert zsclip("models", "pull", "default", *option).code == 0


def test_other_weights_than_pinned_are_exit_4(zsclip, shelf):
    ran = zsclip("models", "pull", "default", "--sha256", "0" * 64)

    assert ran.code == 4 and ran.stdout == "" and SHA256 in ran.stderr


def test_where_is_exit_4_for_what_is_not_here(zsclip, shelf):
    ran = zsclip("models", "where", "default")

    assert (ran.code, ran.stdout, shelf.requests) == (4, "", [])
    assert ran.stderr.splitlines() == [
        "error: model default is not on this machine",
        "tip: zsclip models pull default",
    ]


def test_where_of_tiny_is_in_the_package(zsclip):
    assert zsclip("models", "where", "tiny").stdout == f"{TINY_FOLDER / SAFE}\n"
    assert zsclip("models", "where", "tiny", "--revision", "main").code == 2


def test_a_pickle_is_here_only_where_it_is_allowed(zsclip, shelf):
    shelf.repositories[DEFAULT].files = {PICKLE_NAME: WEIGHTS}
    path = hub.fetch(DEFAULT, PICKLE_NAME)

    assert zsclip("models", "where", "default").code == 4
    assert zsclip("models", "where", "default", "--allow-pickle").stdout == f"{path}\n"
    rows = {row["name"]: row for row in zsclip("models", "--json").rows}
    assert rows["default"]["local"] is False


@pytest.mark.accepts("D8")
def test_pull_fetches_all_that_a_model_needs_and_builds_nothing(zsclip, shelf, monkeypatch):
    text_cfg = {"hf_model_name": "acme/tower", "hf_tokenizer_name": "acme/words"}
    config = {**SMALL_CLIP, "model_cfg": {**SMALL_CLIP["model_cfg"], "text_cfg": text_cfg}}
    shelf.repositories["acme/small"].files[CONFIG] = json.dumps(config).encode()
    shelf.repositories["acme/tower"] = Repository({"config.json": b"{}"}, commit="1" * 40)
    shelf.repositories["acme/words"] = Repository({"tokenizer.json": b"{}"}, commit="2" * 40)
    monkeypatch.setitem(sys.modules, "tokenizers", None)  # it cannot be imported

    ran = zsclip("models", "pull", "hf-hub:acme/small")
    shelf.requests.clear()
    local = locate(resolve("hf-hub:acme/small"), offline=True)

    assert ran.code == 0, ran.stderr
    assert hf_tokenizer.find(local).read_bytes() == b"{}"
    assert (Path(torch_model.text_tower_folder(local)) / "config.json").is_file()
    assert shelf.requests == []


def on_a_terminal(*arguments: str, env: dict[str, str]) -> tuple[int, bytes, str]:
    """Run zsclip with a terminal on stderr; return exit code, stdout, and what is seen."""
    master, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    process = subprocess.Popen(
        [sys.executable, "-m", "zsclip", *arguments],
        stdout=subprocess.PIPE, stderr=terminal, env=env | {"TERM": "xterm", "NO_COLOR": "1"},
    )  # fmt: skip
    os.close(terminal)
    seen = b""
    with contextlib.suppress(OSError):  # Linux ends a terminal with EIO
        while part := os.read(master, 1 << 16):
            seen += part
    os.close(master)
    assert process.stdout is not None
    return process.wait(60), process.stdout.read(), seen.decode()


def test_a_terminal_shows_a_bar(shelf, tmp_path):
    env = hub_environment(shelf.address, tmp_path) | {"ZSCLIP_ENGINE": "torch"}

    code, stdout, seen = on_a_terminal("models", "pull", "default", env=env)

    assert code == 0 and Path(stdout.decode().strip()).read_bytes() == WEIGHTS
    assert "100%" in seen and "4.07k" in seen


# rm


def folder_of(tmp_path, repo=DEFAULT):
    return tmp_path / "hf" / "hub" / f"models--{repo.replace('/', '--')}"


def test_rm_deletes_one_repository_and_says_what_was_freed(zsclip, shelf, tmp_path):
    zsclip("models", "pull", "default", "fast")

    ran = zsclip("models", "rm", "default", "--yes")

    assert (ran.code, ran.stdout) == (0, "")
    assert ran.stderr == f"deleted hf-hub:{DEFAULT} (0.0 MB, {folder_of(tmp_path)})\n"
    assert not folder_of(tmp_path).exists() and folder_of(tmp_path, FAST).is_dir()
    assert zsclip("models", "where", "default").code == 4


def test_rm_deletes_what_a_broken_download_left(zsclip, shelf, tmp_path):
    zsclip("models", "pull", "default")
    [snapshot] = (folder_of(tmp_path) / "snapshots").iterdir()
    shutil.rmtree(snapshot)
    (folder_of(tmp_path) / "refs" / "main").unlink()

    ran = zsclip("models", "rm", "default", "--yes")

    assert ran.code == 0 and not folder_of(tmp_path).exists()


def test_rm_guesses_nothing_where_nobody_can_be_asked(zsclip, shelf, tmp_path):
    zsclip("models", "pull", "default")

    ran = zsclip("models", "rm", "default")

    assert ran.code == 2 and "--yes" in ran.stderr
    assert folder_of(tmp_path).is_dir()


@pytest.mark.parametrize(("answer", "stays"), [("y\n", False), ("n\n", True), ("\n", True)])
def test_rm_asks_on_a_terminal(zsclip, shelf, tmp_path, monkeypatch, answer, stays):
    zsclip("models", "pull", "default")
    monkeypatch.setattr(console, "stdin_is_terminal", lambda: True)
    monkeypatch.setattr(console, "stderr_is_terminal", lambda: True)
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))

    ran = zsclip("models", "rm", "default")

    assert ran.code == 0 and f"delete hf-hub:{DEFAULT} (" in ran.stderr
    assert folder_of(tmp_path).is_dir() is stays


@pytest.mark.parametrize("name", ["tiny", TINY_FOLDER])
def test_rm_never_touches_the_package_or_a_folder(zsclip, loopback, name):
    ran = zsclip("models", "rm", name, "--yes")

    assert ran.code == 2 and "nothing else is ever deleted" in ran.stderr
    assert (TINY_FOLDER / SAFE).is_file()


def test_rm_of_what_is_not_here_is_exit_4(zsclip, loopback):
    ran = zsclip("models", "rm", "default", "--yes")

    assert ran.code == 4 and f"hf-hub:{DEFAULT} is not in the hub's cache" in ran.stderr
