"""Results are frozen and plain."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from zsclip.results import Failure, LabelScore, Result


def test_a_result_cannot_be_changed():
    result = Result(path="a.jpg", status="ok", model="m@1", head="h", label="cat")

    with pytest.raises(dataclasses.FrozenInstanceError):
        result.label = "dog"


def test_equal_fields_make_equal_results():
    one, other = (
        Result(
            path="a.jpg",
            status="ok",
            model="m@1",
            head="h",
            label="cat",
            scores=(LabelScore("cat", 0.9, 0.3),),
        )
        for _ in range(2)
    )

    assert one == other and hash(one) == hash(other)


def test_a_failed_result_has_no_label_and_no_scores():
    result = Result(
        path="a.jpg", status="error", model="m@1", head="h", error=Failure("empty", "file is empty")
    )

    assert (result.label, result.score, result.cosine, result.scores) == (None, None, None, ())


def test_results_become_plain_dictionaries():
    result = Result(path=None, status="ok", model="m", head="h", scores=(LabelScore("a", 1.0, 0),))

    assert dataclasses.asdict(result)["scores"] == ({"label": "a", "score": 1.0, "cosine": 0},)


def test_results_travel_between_processes():
    result = Result(path="a", status="error", model="m", head="h", error=Failure("empty", "e"))

    assert pickle.loads(pickle.dumps(result)) == result
