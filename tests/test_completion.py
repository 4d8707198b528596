"""The shell completes names of models, template sets and data sets, without loading torch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from zsclip.datasets import dataset_names

_HEAVY = ("torch", "open_clip", "numpy", "PIL", "huggingface_hub")


def _complete(words: str) -> tuple[list[str], set[str]]:
    """What bash is offered for the last of the words, and which modules were imported for it."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "zsclip"],
        env={
            **os.environ,
            "_ZSCLIP_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    return done.stdout.split(), imported


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("zsclip classify --model Vi", {"ViT-B/32", "ViT-B-32:openai"}),
        ("zsclip classify --model ti", {"tiny"}),
        ("zsclip build-head --templates ima", {"imagenet7", "imagenet80"}),
        ("zsclip classify --templates d", {"dataset"}),
        ("zsclip classify --dataset cifar", {"cifar10", "cifar100"}),
        ("zsclip classify --format j", {"jsonl", "json"}),
        ("zsclip classify --device c", {"cpu", "cuda"}),
        ("zsclip b", {"build-head"}),
        ("zsclip cache ver", {"verify"}),
        ("zsclip models p", {"pull"}),
        ("zsclip models show ViT-B/", {"ViT-B/32", "ViT-B/16"}),
        ("zsclip classify --top", {"--top-k"}),
    ],
)
def test_the_shell_completes(words: str, expected: set[str]) -> None:
    offered, imported = _complete(words)

    assert expected <= set(offered)
    assert all(name.startswith(words.split(" ")[-1]) for name in offered)
    assert not imported & set(_HEAVY)


def test_all_data_sets_are_offered() -> None:
    offered, _ = _complete("zsclip classify --dataset ")

    assert offered == dataset_names()
