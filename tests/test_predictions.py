"""What heads say of labelled pictures: outcomes, rows, and going on behind them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import COLOURS, classifier_of, labelled

from zsclip import predictions
from zsclip.errors import UsageError
from zsclip.predictions import outcome
from zsclip.results import Failure

RUN = "0123456789ab"


def score_of(*values):
    return np.array(values, dtype=np.float32)


def line_of(scored, *, run=RUN):
    return predictions.as_line(scored, class_names=COLOURS, templates=["words"], run=run)


def scored_rows(model, pictures, *, ranks_pictures=False):
    classifiers = [classifier_of(model)]
    return list(predictions.score(pictures.read(), classifiers, ranks_pictures=ranks_pictures))


def test_an_outcome_says_how_many_classes_are_before_the_true_one():
    found = outcome(score_of(0.1, 0.6, 0.3), [2])

    assert (found.predicted, found.rank) == (1, 1)
    assert found.score == pytest.approx(0.6)
    assert found.truth_score == pytest.approx(0.3)
    assert found.squared == pytest.approx(0.1**2 + 0.6**2 + 0.7**2)


def test_ties_go_to_the_lower_index_as_in_classify():
    scores = score_of(0.4, 0.4, 0.2)

    assert outcome(scores, [0]).rank == 0
    assert outcome(scores, [1]).rank == 1
    assert outcome(scores, [1]).predicted == 0


def test_of_several_true_classes_the_best_one_counts():
    found = outcome(score_of(0.1, 0.6, 0.3), [0, 2])

    assert found.rank == 1
    assert found.truth_score == pytest.approx(0.3)


def test_a_picture_of_no_class_is_answered_right_by_none():
    assert outcome(score_of(0.1, 0.9), []).rank == 2


@given(
    st.lists(st.floats(0, 1, width=32), min_size=2, max_size=8),
    st.data(),
)
def test_the_rank_is_the_place_in_the_order_that_classify_gives(values, data):
    scores = score_of(*values)
    label = data.draw(st.integers(0, len(values) - 1))

    order = np.argsort(-scores, kind="stable").tolist()

    assert outcome(scores, [label]).rank == order.index(label)


def test_each_picture_is_encoded_once_for_all_heads(fake_model, picture):
    pictures = labelled({"red": [picture("a.png", "red")], "lime": [picture("b.png", "lime")]})
    classifiers = [classifier_of(fake_model), classifier_of(fake_model, flipped=True)]
    before = fake_model.engine.image_calls

    found = list(predictions.score(pictures.read(), classifiers, ranks_pictures=False))

    assert fake_model.engine.image_calls - before == 2
    assert [[one.rank for one in row.outcomes] for row in found] == [[0, 2], [0, 0]]


def test_a_broken_picture_keeps_its_labels_and_has_no_outcome(fake_model, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    pictures = labelled({"lime": [broken]})

    (row,) = scored_rows(fake_model, pictures)

    assert row.labels == (1,)
    assert row.outcomes == ()
    assert row.error == Failure("empty", "file is empty")


@pytest.mark.parametrize("ranks_pictures", [False, True])
def test_a_row_comes_back_to_the_bit(fake_model, picture, tmp_path, ranks_pictures):
    paths = [picture(f"{i}.png", (25 * i, 255 - 25 * i, 80)) for i in range(6)]
    rows = scored_rows(fake_model, labelled({"red": paths}), ranks_pictures=ranks_pictures)
    file = tmp_path / "predictions.jsonl"
    file.write_bytes(b"".join(map(line_of, rows)))

    found, end = predictions.read(file, run=RUN)

    assert found == rows
    assert end == file.stat().st_size
    assert bool(found[0].outcomes[0].logits) == ranks_pictures


def test_a_row_names_classes_for_people(fake_model, picture):
    (row,) = scored_rows(fake_model, labelled({"red": [picture("a.png", "lime")]}))

    line = json.loads(line_of(row))

    assert line["truth"] == ["red"]
    assert line["predictions"][0]["label"] == "lime"
    assert line["predictions"][0]["templates"] == "words"


def test_a_row_of_a_broken_picture_comes_back(tmp_path):
    file = tmp_path / "predictions.jsonl"
    row = predictions.Scored("a.png", (1,), (2,), error=Failure("empty", "file is empty"))
    file.write_bytes(line_of(row))

    assert predictions.read(file, run=RUN)[0] == [row]


def test_a_last_line_that_was_cut_is_left_out(fake_model, picture, tmp_path):
    rows = scored_rows(fake_model, labelled({"red": [picture("a.png"), picture("b.png")]}))
    file = tmp_path / "predictions.jsonl"
    first, second = map(line_of, rows)
    file.write_bytes(first + second[:-5])

    found, end = predictions.read(file, run=RUN)

    assert found == rows[:1]
    assert end == len(first)


def test_a_file_that_is_not_there_has_no_rows(tmp_path):
    assert predictions.read(tmp_path / "none.jsonl", run=RUN) == ([], 0)


@pytest.mark.parametrize("content", [b"no JSON\n", b"[1]\n", b'{"run":"0123456789ab"}\n'])
def test_another_file_is_refused_with_the_line(tmp_path, content):
    file = tmp_path / "notes.txt"
    file.write_bytes(content)

    with pytest.raises(UsageError, match=r"notes.txt: line 1: is not a prediction of zsclip"):
        predictions.read(file, run=RUN)


def test_rows_of_another_evaluation_are_refused(fake_model, picture, tmp_path):
    (row,) = scored_rows(fake_model, labelled({"red": [picture("a.png")]}))
    file = tmp_path / "predictions.jsonl"
    file.write_bytes(line_of(row, run="another"))

    with pytest.raises(UsageError, match="line 1: is of another evaluation"):
        predictions.read(file, run=RUN)


def test_what_remains_are_the_samples_behind_those_that_are_done(fake_model, picture):
    pictures = labelled({"red": [picture("a.png"), picture("b.png")]})
    rows = scored_rows(fake_model, pictures)

    rest = list(predictions.remaining(pictures.read(), rows[:1]))

    assert [sample.path for sample in rest] == [rows[1].path]


@pytest.mark.parametrize("change", [{"path": "other.png"}, {"labels": (1,)}])
def test_a_data_set_that_has_changed_is_refused(fake_model, picture, change):
    pictures = labelled({"red": [picture("a.png")]})
    (row,) = scored_rows(fake_model, pictures)

    with pytest.raises(UsageError, match="row 1 of the predictions"):
        predictions.remaining(pictures.read(), [replace(row, **change)])


def test_the_digest_of_a_run_changes_with_what_changes_its_rows(fake_model, picture):
    pictures = labelled({"red": [picture("a.png")]})
    one, other = classifier_of(fake_model), classifier_of(fake_model, flipped=True)

    digests = {
        predictions.run_digest(pictures, [one], split=None),
        predictions.run_digest(pictures, [one, other], split=None),
        predictions.run_digest(pictures, [other], split=None),
        predictions.run_digest(pictures, [one], split="train"),
        predictions.run_digest(replace(pictures, name="b"), [one], split=None),
    }

    assert len(digests) == 5
