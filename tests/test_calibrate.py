"""A head is calibrated by labelled features: measured on others, kept in its file, and used."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from zsclip import calibrate as calibrating
from zsclip import scoring
from zsclip.calibrate import calibrate, check_count, check_head
from zsclip.classifier import Classifier
from zsclip.errors import HeadError, UsageError
from zsclip.heads import Fitting, load_head
from zsclip.labelled_features import LabelledFeatures
from zsclip.resuming import Run

NAMES = ("cat", "dog", "fox", "hen")


@pytest.fixture
def classifier(fake_model):
    """Of a head that is far too sure: its scale is three times what pictures are drawn with."""
    made = Classifier(list(NAMES), model=fake_model, templates="none")
    head = dataclasses.replace(made.head, scale=30.0)
    return Classifier(head, model=fake_model)


def drawn(classifier, count, *, seed=0, scale=10.0):
    """Features of random pictures, and classes drawn from the softmax at this scale."""
    rng = np.random.default_rng(seed)
    weight = classifier.head.weight
    mixed = rng.normal(0, 0.5, (count, len(weight))) @ weight
    features = scoring.normalize(mixed + rng.normal(0, 0.05, (count, weight.shape[1])))
    logits = scale * (features @ weight.T)
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return LabelledFeatures("pictures", tuple((n,) for n in NAMES), features, labels)


def test_a_head_that_is_too_sure_is_cooled(classifier):
    found = calibrate(drawn(classifier, 3000), classifier, coverages=(0.9,), draws=100)

    assert found.temperature == pytest.approx(3.0, rel=0.1)
    assert found.after.calibration.error < 0.05 < found.before.calibration.error
    assert found.nll_change.high < 0 and found.brier_change.high < 0
    assert found.before.confidence.low > found.accuracy.high
    assert found.after.confidence.value == pytest.approx(found.accuracy.value, abs=0.04)


def test_held_out_pictures_are_in_the_sets_as_often_as_asked(classifier):
    reached = [
        calibrate(
            drawn(classifier, 300, seed=seed), classifier, coverages=(0.8,), seed=seed, draws=1
        ).label_sets[0].reached.value
        for seed in range(60)
    ]  # fmt: skip

    error = 4 * np.std(reached) / np.sqrt(len(reached))
    assert 0.8 - error <= np.mean(reached) <= 0.8 + 1 / 101 + error


def test_figures_are_of_what_the_head_answers(classifier):
    pictures = drawn(classifier, 600)

    found = calibrate(pictures, classifier, coverages=(0.9,), draws=100)

    held_out = pictures.take(calibrating.deal(pictures.labels, 3, seed=0)[2])
    scores, cosines = Classifier(found.head, model=classifier.model).score(held_out.features)
    assert np.allclose(
        scores, scoring.softmax(30 * cosines / np.float32(found.temperature)), atol=1e-6
    )
    own = scores[np.arange(len(scores)), held_out.labels]
    one = found.label_sets[0]
    assert found.pictures == (200, 200, 200)
    assert found.after.confidence.value == pytest.approx(scores.max(axis=1).mean(), abs=1e-6)
    assert found.after.nll.value == pytest.approx(-np.log(own).mean(), abs=1e-6)
    assert one.reached.value == pytest.approx((own >= one.threshold).mean())
    assert one.size.value == pytest.approx((scores >= one.threshold).sum(axis=1).mean())


def test_the_order_of_labels_and_the_cosines_stay(classifier):
    pictures = drawn(classifier, 300)

    found = calibrate(pictures, classifier, coverages=(0.9,), draws=100)

    after = Classifier(found.head, model=classifier.model)
    scores, cosines = after.score(pictures.features)
    before, same = classifier.score(pictures.features)
    assert np.array_equal(scores.argsort(axis=1), before.argsort(axis=1))
    assert np.array_equal(cosines, same)


def test_an_old_calibration_is_forgotten(classifier):
    pictures = drawn(classifier, 300)
    first = calibrate(pictures, classifier, coverages=(0.9, 0.95), draws=100)
    again = Classifier(first.head, model=classifier.model)

    second = calibrate(pictures, again, coverages=(0.9,), draws=100)

    assert second.temperature == first.temperature and second.before == first.before
    assert [share for share, _ in second.head.coverage] == [0.9]


def test_answers_that_are_all_right_leave_the_temperature_and_say_so(classifier):
    labels = np.arange(90) % 4
    pictures = dataclasses.replace(
        drawn(classifier, 90), features=classifier.head.weight[labels], labels=labels
    )

    found = calibrate(pictures, classifier, coverages=(0.9,), draws=100)

    assert found.temperature == 1 and found.at_limit
    assert any("all answered right" in note for note in found.notes)


def test_answers_by_chance_are_flattened_and_say_so(classifier):
    pictures = drawn(classifier, 300, scale=-3.0)

    found = calibrate(pictures, classifier, coverages=(0.9,), draws=100)

    assert found.temperature == 20 and found.at_limit
    assert any("better than by chance" in note for note in found.notes)


def test_notes_say_what_is_missing(classifier):
    pictures = drawn(classifier, 300)
    kept = pictures.take(np.flatnonzero(pictures.labels != 3))
    fitting = Fitting("few-shot", "image_features", "pets", 40)
    head = dataclasses.replace(classifier.head, fitted=fitting)

    found = calibrate(kept, Classifier(head, model=classifier.model), coverages=(0.9,), draws=100)

    assert any("1 of 4 classes have no picture" in note for note in found.notes)
    assert any("was fitted to pets" in note for note in found.notes)


# refused


def test_a_head_fitted_to_pictures_loaded_otherwise_is_refused(classifier):
    head = dataclasses.replace(classifier.head, kind="pictures", fit="views")
    model = classifier.model
    model.decoding = model.decoding.but(fit="views")
    pictures = drawn(classifier, 300)

    with pytest.raises(UsageError, match="fitted to pictures loaded with fit 'views'"):
        calibrate(pictures, Classifier(head, model=model), coverages=(0.9,), draws=10)

    same = dataclasses.replace(pictures, fit="views")
    found = calibrate(same, Classifier(head, model=model), coverages=(0.9,), draws=10)
    assert found.head.fit == "views"


@pytest.mark.parametrize(
    ("count", "coverages", "message"),
    [
        (59, (), "needs 60 pictures at least, and there are 59"),
        (60, (0.99,), "coverage 0.99 need 297 pictures, and there are 60"),
    ],
)
def test_too_few_pictures_are_refused(count, coverages, message):
    with pytest.raises(UsageError, match=message):
        check_count("pets", count, coverages)


def test_pictures_of_one_class_are_refused(classifier):
    pictures = drawn(classifier, 300)

    with pytest.raises(UsageError, match="all pictures are of one class"):
        calibrate(
            pictures.take(np.flatnonzero(pictures.labels == 1)), classifier, coverages=(), draws=1
        )


def test_sigmoids_are_refused(classifier):
    with pytest.raises(UsageError, match="scores each label by itself"):
        check_head(dataclasses.replace(classifier.head, score_kind="sigmoid"), fit="crop")


def test_one_label_is_refused(classifier):
    head = classifier.head
    one = dataclasses.replace(head, weight=head.weight[:1], bias=head.bias[:1], class_names=("a",))

    with pytest.raises(UsageError, match="a softmax over one label is always 1"):
        check_head(one, fit="crop")


# in a head's file


def test_a_head_without_a_calibration_has_the_bytes_that_it_had(classifier, tmp_path):
    head = classifier.head

    header = json.loads(head._header())

    assert header.keys() == {
        "class_names", "kind", "scale", "score_kind", "provenance", "version"
    }  # fmt: skip


def test_a_calibration_survives_saving_and_loading_to_the_bit(classifier, tmp_path):
    found = calibrate(drawn(classifier, 300), classifier, coverages=(0.8, 0.9), draws=100)
    found.head.save(tmp_path / "a.safetensors")

    loaded = load_head(tmp_path / "a.safetensors")

    assert (loaded.temperature, loaded.coverage) == (found.head.temperature, found.head.coverage)
    assert loaded.digest == found.head.digest != classifier.head.digest


@pytest.mark.parametrize(
    "extra",
    [
        {"temperature": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": 10**400},
        {"temperature": "warm"},
        {"temperature": None},
        {"coverage": 0.9},
        {"coverage": [0.9, 0.1]},
        {"coverage": [[0.9]]},
        {"coverage": [[0.9, 1.5]]},
        {"coverage": [[0.9, None]]},
        {"temperature": 1.0, "score_kind": "sigmoid"},
    ],
    ids=lambda extra: ascii(extra)[:40],
)
def test_a_calibration_of_another_form_is_refused(classifier, tmp_path, extra):
    head, path = classifier.head, tmp_path / "a.safetensors"
    header = json.dumps({**json.loads(head._header()), **extra})
    save_file({"weight": head.weight, "bias": head.bias}, path, metadata={"zsclip-head": header})

    with pytest.raises(HeadError):
        load_head(path)


# in answers


@pytest.fixture
def calibrated(classifier):
    """A head whose temperature and threshold are known."""
    return dataclasses.replace(classifier.head, temperature=3.0, coverage=((0.9, 0.2),))


def test_a_classifier_divides_logits_by_the_temperature(classifier, calibrated):
    picture = Image.new("RGB", (9, 9), "red")

    (before,) = classifier.classify(picture)
    (after,) = Classifier(calibrated, model=classifier.model).classify(picture)

    logits = np.array([30 * one.cosine / 3 for one in after.scores], dtype=np.float32)
    assert [one.score for one in after.scores] == pytest.approx(
        scoring.softmax(logits).tolist(), abs=1e-6
    )
    assert [one.cosine for one in after.scores] == [one.cosine for one in before.scores]
    assert after.score_kind == "softmax" and after.label_set is None


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.24, 1.0])
def test_the_set_has_the_labels_that_reach_the_threshold_best_first(
    classifier, calibrated, threshold
):
    head = dataclasses.replace(calibrated, coverage=((0.9, threshold),))
    used = Classifier(head, model=classifier.model, coverage=0.9, top_k=0)

    (result,) = used.classify(Image.new("RGB", (9, 9), "red"))

    assert result.label_set == tuple(one.label for one in result.scores if one.score >= threshold)


def test_sets_do_not_depend_on_how_many_labels_are_shown(classifier, calibrated):
    head = dataclasses.replace(calibrated, coverage=((0.9, 0.0),))

    (result,) = Classifier(head, model=classifier.model, coverage=0.9, top_k=1).classify(
        Image.new("RGB", (9, 9), "red")
    )

    assert len(result.scores) == 1 and set(result.label_set) == set(NAMES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coverage": 0.95}, "no label sets of coverage 0.95; it has 0.9"),
        ({"coverage": 0.9, "scores": "cosine"}, "made of softmax scores, not of cosine"),
    ],
)
def test_sets_that_the_head_does_not_have_are_refused(classifier, calibrated, options, message):
    with pytest.raises(UsageError, match=message):
        Classifier(calibrated, model=classifier.model, **options)


def test_sets_of_groups_are_refused(classifier, calibrated):
    head = dataclasses.replace(calibrated, groups=("pet", "pet", "wild", None))

    with pytest.raises(UsageError, match="not of their groups"):
        Classifier(head, model=classifier.model, coverage=0.9, group=True)


def test_rows_with_sets_are_of_another_run(classifier, calibrated):
    runs = [
        Run.of(Classifier(calibrated, model=classifier.model, coverage=coverage))
        for coverage in (None, 0.9)
    ]

    assert runs[0].digest != runs[1].digest
