"""The public names, their version and their types."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import zsclip

PUBLIC = [
    "ClassLabel",
    "Classifier",
    "Failure",
    "Head",
    "LabelScore",
    "Model",
    "PictureError",
    "Result",
    "TextError",
    "ZsclipError",
    "ZsclipWarning",
    "__version__",
    "build_head",
    "load_head",
    "load_model",
]


def test_the_public_names_are_these():
    assert sorted(zsclip.__all__) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_can_be_used(name):
    assert getattr(zsclip, name) is not None


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_every_public_name_has_a_docstring(name):
    assert getattr(zsclip, name).__doc__


def test_type_checkers_see_the_same_names_in_the_same_homes():
    tree = ast.parse(Path(zsclip.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.asname: node.module
        for block in ast.walk(tree)
        if isinstance(block, ast.If)
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert {name: vars(zsclip)["_HOMES"][name] for name in seen} == seen
    assert sorted([*seen, "__version__"]) == sorted(PUBLIC)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'none_such'"):
        zsclip.none_such  # noqa: B018


def test_dir_lists_the_public_names():
    assert set(PUBLIC) <= set(dir(zsclip))


def test_the_version_is_the_distributions():
    from importlib.metadata import version

    assert zsclip.__version__ == version("zsclip")


def test_the_package_is_typed():
    assert (Path(zsclip.__file__).parent / "py.typed").is_file()


def test_it_runs_as_a_module():
    ran = subprocess.run(
        [sys.executable, "-m", "zsclip", "--version"], capture_output=True, text=True
    )

    assert (ran.returncode, ran.stdout) == (0, f"zsclip {zsclip.__version__}\n")


def test_a_star_import_brings_the_public_names():
    names: dict[str, object] = {}

    exec("from zsclip import *", names)

    assert set(PUBLIC) <= set(names)
