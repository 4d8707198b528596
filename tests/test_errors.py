"""The error tree: exit codes, tips, near matches."""

from __future__ import annotations

import inspect

import pytest

from zsclip import errors
from zsclip.errors import UnknownNameError, ZsclipError


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.UsageError, 2),
        (errors.LabelError, 2),
        (errors.TemplateError, 2),
        (errors.InputError, 2),
        (errors.TextError, 2),
        (errors.UnknownNameError, 2),
        (errors.ModelError, 4),
        (errors.NotFetchedError, 4),
        (errors.HeadError, 4),
        (errors.OutputError, 5),
        (errors.PictureError, 3),
        (errors.ZsclipError, 70),
    ],
)
def test_each_kind_has_its_exit_code(kind, code):
    assert kind.exit_code == code


def test_every_error_is_a_zsclip_error():
    classes = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == errors.__name__ and issubclass(kind, Exception)
    ]

    strangers = [k for k in classes if not issubclass(k, (ZsclipError, errors.ZsclipWarning))]

    assert strangers == []


def test_the_tree_in_the_docstring_names_every_error():
    kinds = [name for name in vars(errors) if name.endswith("Error")]

    assert [name for name in kinds if name not in (errors.__doc__ or "")] == []


def test_an_error_carries_its_message_and_tip():
    error = errors.ModelError("no weights", tip="put some there")

    assert (str(error), error.message, error.tip) == ("no weights", "no weights", "put some there")


def test_an_unknown_name_brings_near_matches_whatever_their_case():
    error = UnknownNameError("model", "vit-b/32", ["ViT-B/32", "RN50", "ViT-B/16"], tip="list")

    assert "'ViT-B/32'" in error.message


def test_an_unknown_name_that_is_like_nothing_brings_no_guess():
    error = UnknownNameError("model", "zzzzzz", ["ViT-B/32", "RN50"], tip="list")

    assert error.message == "unknown model 'zzzzzz'"


def test_a_picture_error_has_a_code_of_the_closed_list():
    error = errors.PictureError("truncated", "the picture ends early")

    assert error.code in errors.PICTURE_ERROR_CODES


def test_the_closed_list_of_picture_codes_has_no_duplicates():
    codes = errors.PICTURE_ERROR_CODES

    assert len(codes) == len(set(codes)) == 18
