"""Figures of labelled pictures, checked against counting by hand and scikit-learn."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from labelled import COLOURS, classifier_of, colour_head, labelled, of_samples
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from zsclip import predictions
from zsclip.classifier import Classifier
from zsclip.errors import InputError, PictureError, UsageError
from zsclip.evaluate import Tally, matched, summarise
from zsclip.predictions import Outcome, Scored
from zsclip.readers.base import Sample
from zsclip.results import Failure


def evaluated(model, pictures, *, flipped=(False,), on_error="fail"):
    classifiers = [classifier_of(model, flipped=one) for one in flipped]
    tally = Tally(pictures, heads=len(classifiers), on_error=on_error)
    ranks = pictures.multi_label or pictures.metric == "roc_auc"
    for scored in predictions.score(pictures.read(), classifiers, ranks_pictures=ranks):
        tally.add(scored)
    return summarise(tally, classifiers, draws=200)


@pytest.fixture
def mixed(picture):
    """Nine pictures, of which one red and both blue ones are filed wrong."""
    files = {
        "red": [picture(f"r{i}.png", "red") for i in range(4)] + [picture("r4.png", "lime")],
        "lime": [picture(f"l{i}.png", "lime") for i in range(2)],
        "blue": [picture(f"b{i}.png", "red") for i in range(2)],
    }
    return labelled(files)


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"")
    return path


def test_accuracy_is_the_share_of_pictures_answered_right(fake_model, mixed):
    found = evaluated(fake_model, mixed)

    assert found.metric == "acc1"
    assert found.count == 9
    assert found.figures[0].values["acc1"].value == pytest.approx(6 / 9)


def test_an_interval_holds_its_figure(fake_model, mixed):
    interval = evaluated(fake_model, mixed).figures[0].values["acc1"]

    assert 0 < interval.low < interval.value < interval.high < 1


def test_mean_per_class_is_scikit_learns_balanced_accuracy(fake_model, mixed):
    found = evaluated(fake_model, replace(mixed, metric="mean_per_class"))

    truth, answers = [0] * 5 + [1] * 2 + [2] * 2, [0] * 4 + [1] * 3 + [0] * 2
    assert found.metric == "mean_per_class"
    assert next(iter(found.figures[0].values)) == "mean_per_class"
    assert found.figures[0].values["mean_per_class"].value == pytest.approx(
        balanced_accuracy_score(truth, answers)
    )


def test_confusion_has_the_truth_in_rows(fake_model, mixed):
    found = evaluated(fake_model, mixed)

    assert found.confusion.tolist() == [[4, 1, 0], [0, 2, 0], [2, 0, 0]]


def test_each_class_has_its_own_figure(fake_model, mixed):
    found = evaluated(fake_model, mixed)

    assert [(one.name, one.count, one.value) for one in found.per_class] == [
        ("red", 5, 0.8),
        ("lime", 2, 1.0),
        ("blue", 2, 0.0),
    ]


def test_mistakes_come_with_the_most_confident_first(fake_model, mixed):
    found = evaluated(fake_model, mixed)

    assert {(one.truth, one.predicted) for one in found.mistakes} == {
        (("red",), "lime"),
        (("blue",), "red"),
    }
    assert [one.score for one in found.mistakes] == sorted(
        (one.score for one in found.mistakes), reverse=True
    )


def test_calibration_is_of_softmax_scores(fake_model, mixed):
    found = evaluated(fake_model, mixed)

    assert sum(one.count for one in found.figures[0].calibration.bins) == 9
    assert found.figures[0].calibration.nll > 0


def test_a_gain_is_paired_and_against_the_first_head(fake_model, mixed):
    found = evaluated(fake_model, mixed, flipped=(False, False, True))

    assert found.figures[0].gain is None
    same = found.figures[1].gain
    assert (same.value, same.low, same.high) == (0, 0, 0)
    values = [one.values["acc1"].value for one in found.figures]
    assert found.figures[2].gain.value == pytest.approx(values[2] - values[0])
    assert found.figures[2].gain.low < found.figures[2].gain.value


def test_a_broken_picture_ends_the_evaluation_unless_told(fake_model, picture, broken):
    pictures = labelled({"red": [picture("a.png"), broken]})

    with pytest.raises(PictureError, match=r"broken.png: file is empty \[empty\]") as caught:
        evaluated(fake_model, pictures)

    assert "--on-error skip" in caught.value.tip


def test_skipped_pictures_are_counted_and_left_out(fake_model, picture, broken):
    pictures = labelled({"red": [picture("a.png"), broken]})

    found = evaluated(fake_model, pictures, on_error="skip")

    assert found.failed == {"empty": 1}
    assert found.count == 1
    assert found.figures[0].values["acc1"].value == 1


def test_wrong_pictures_count_as_answered_wrong(fake_model, picture, broken):
    pictures = labelled({"red": [picture("a.png"), broken]})

    found = evaluated(fake_model, pictures, on_error="wrong")

    assert found.failed == {"empty": 1}
    assert found.count == 2
    assert found.figures[0].values["acc1"].value == 0.5
    assert found.confusion.sum() == 1
    assert found.mistakes == ()
    assert sum(one.count for one in found.figures[0].calibration.bins) == 1


def test_without_a_picture_there_are_no_figures(fake_model, broken):
    with pytest.raises(InputError, match="no picture could be read"):
        evaluated(fake_model, labelled({"red": [broken]}), on_error="skip")


def of_logits(logits, labels, **about):
    """A tally of two classes with these logits (N, 2)."""
    samples = [Sample(str(i), b"", (label,)) for i, label in enumerate(labels)]
    pictures = of_samples(samples, classes=("no", "yes"), **about)
    tally = Tally(pictures, heads=1, on_error="wrong")
    for sample, row in zip(samples, logits, strict=True):
        outcome = Outcome(int(np.argmax(row)), int(np.argmax(row) != sample.labels[0]), 0.5, 0.5,
                          0.5, tuple(row))  # fmt: skip
        tally.add(Scored(sample.path, sample.labels, (), (outcome,)))
    return tally


def test_roc_auc_is_scikit_learns(fake_model):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 60)
    logits = generator.normal(size=(60, 2)) + np.eye(2)[labels]
    tally = of_logits(logits, labels.tolist(), metric="roc_auc")

    found = summarise(tally, [classifier_of(fake_model)], draws=200)

    assert found.metric == "roc_auc"
    expected = roc_auc_score(labels, logits[:, 1] - logits[:, 0])
    assert found.figures[0].values["roc_auc"].value == pytest.approx(expected)


def test_a_broken_picture_is_as_wrong_as_can_be_for_roc_auc(fake_model):
    tally = of_logits([(0, 1), (1, 0)], [1, 0], metric="roc_auc")
    tally.add(Scored("broken", (1,), error=Failure("empty", "file is empty")))

    found = summarise(tally, [classifier_of(fake_model)], draws=200)

    assert found.figures[0].values["roc_auc"].value == pytest.approx(0.5)


def test_roc_auc_needs_both_classes(fake_model):
    tally = of_logits([(0, 1)], [1], metric="roc_auc")

    with pytest.raises(UsageError, match="pictures of both classes"):
        summarise(tally, [classifier_of(fake_model)], draws=200)


def test_pictures_with_several_labels_get_11_point_map(fake_model, picture):
    red, lime = (str(picture(f"{colour}.png", colour)) for colour in ("red", "lime"))
    samples = [Sample(red, red, (0, 2)), Sample(lime, lime, (1,), ignored=(0,))]

    found = evaluated(fake_model, of_samples(samples, multi_label=True))

    assert list(found.figures[0].values) == ["map11"]
    assert found.confusion is None
    assert found.figures[0].calibration is None
    red, lime, _ = found.per_class
    assert (red.count, red.value) == (1, 1.0)  # the only other picture does not count for it
    assert (lime.count, lime.value) == (1, 1.0)
    assert all(0 <= one.value <= 1 for one in found.per_class)


def test_sigmoid_scores_have_no_calibration(fake_model, mixed):
    head = replace(colour_head(fake_model), score_kind="sigmoid")
    classifiers = [Classifier(head, model=fake_model)]
    tally = Tally(mixed, heads=1, on_error="fail")
    for scored in predictions.score(mixed.read(), classifiers, ranks_pictures=False):
        tally.add(scored)

    assert summarise(tally, classifiers, draws=200).figures[0].calibration is None


def test_the_same_pictures_give_the_same_intervals(fake_model, mixed):
    assert evaluated(fake_model, mixed).figures == evaluated(fake_model, mixed).figures


def test_classes_without_pictures_have_no_figure(fake_model, picture):
    found = evaluated(fake_model, labelled({"red": [picture("a.png")]}))

    assert [one.count for one in found.per_class] == [1, 0, 0]
    assert math.isnan(found.per_class[1].value)
    assert found.figures[0].values["mean_per_class"].value == 1


def test_labels_are_matched_with_a_heads_classes_by_name(fake_model, picture):
    order = ("blue", "red")
    path = str(picture("a.png", "blue"))
    pictures = of_samples([Sample(path, path, (0,), (1,))], classes=order)

    found = matched(pictures, colour_head(fake_model))

    assert found.class_names == tuple((name,) for name in COLOURS)
    (sample,) = found.read()
    assert (sample.labels, sample.ignored) == ((2,), (0,))


def test_a_head_that_lacks_a_class_is_refused(fake_model, picture):
    pictures = of_samples([], classes=("red", "mauve"))

    with pytest.raises(UsageError, match="no class 'mauve', which pictures has"):
        matched(pictures, colour_head(fake_model))
