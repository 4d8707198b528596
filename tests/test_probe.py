"""Heads from labelled features: what they are, what they remember, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from zsclip import linear_probe
from zsclip.errors import HeadError, UsageError
from zsclip.head_builder import build_head
from zsclip.heads import load_head
from zsclip.labelled_features import LabelledFeatures
from zsclip.probe import FEATURES, fit_few_shot, fit_linear
from zsclip.scoring import normalize

NAMES = ("cat", "dog", "owl")


def gathered(seed=0, *, each=10, names=NAMES, dimension=64):
    """Pictures around a centre for each class."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((len(names), dimension))
    labels = np.repeat(np.arange(len(names)), each)
    features = normalize(centres[labels] + generator.standard_normal((len(labels), dimension)))
    return LabelledFeatures("photos/pets", tuple((n,) for n in names), features, labels)


@pytest.fixture
def prior(fake_model):
    return build_head(list(NAMES), model=fake_model, templates=["{}"])


def answers(head, pictures):
    logits = head.scale * pictures.features @ head.weight.T + head.bias
    return logits.argmax(axis=1)


def test_a_linear_probe_answers_new_pictures(fake_model):
    probe = fit_linear(gathered(), model=fake_model)

    new = gathered(1)
    assert (answers(probe.head, new) == new.labels).mean() > 0.9


def test_a_few_shot_head_answers_new_pictures(prior):
    probe = fit_few_shot(gathered(), prior=prior)

    new = gathered(1)
    assert (answers(prior, new) == new.labels).mean() < 0.7
    assert (answers(probe.head, new) == new.labels).mean() > 0.9


def test_heads_are_of_pictures_and_say_how_they_were_fitted(fake_model, prior):
    linear = fit_linear(gathered(), model=fake_model).head
    few_shot = fit_few_shot(gathered(), prior=prior, shots=2, seed=7).head

    for head in (linear, few_shot):
        assert (head.kind, head.score_kind, head.scale) == ("pictures", "softmax", 1.0)
        assert head.class_names == NAMES
        assert head.fitted.features == FEATURES
        assert head.fitted.source == "pets"
        head.check_fits(fake_model)
    assert (linear.fitted.method, linear.fitted.pictures) == ("linear", 30)
    assert (few_shot.fitted.method, few_shot.fitted.pictures) == ("few-shot", 6)
    assert (few_shot.fitted.shots, few_shot.fitted.seed) == (2, 7)
    assert linear.provenance.templates == ()
    assert few_shot.provenance.templates == prior.provenance.templates


@pytest.mark.parametrize("method", ["linear", "few-shot"])
def test_a_saved_head_is_loaded_as_it_was(fake_model, prior, tmp_path, method):
    if method == "linear":
        head = fit_linear(gathered(), model=fake_model).head
    else:
        head = fit_few_shot(gathered(), prior=prior).head

    head.save(tmp_path / "head.safetensors")
    loaded = load_head(tmp_path / "head.safetensors")

    assert loaded.fitted == head.fitted
    assert loaded.digest == head.digest
    np.testing.assert_array_equal(loaded.weight, head.weight)


@pytest.mark.parametrize("fitted", [[1], {"method": 1}, "linear", {"method": "linear", "x": 1}])
def test_a_file_with_a_strange_fitting_is_refused(prior, tmp_path, fitted):
    head = fit_few_shot(gathered(), prior=prior).head
    header = json.loads(head._header()) | {"fitted": fitted}
    path = tmp_path / "head.safetensors"
    save_file(
        {"weight": head.weight, "bias": head.bias},
        path,
        metadata={"zsclip-head": json.dumps(header)},
    )

    with pytest.raises(HeadError):
        load_head(path)


def test_no_shots_give_the_zero_shot_head_back(prior):
    assert fit_few_shot(gathered(), prior=prior, shots=0).head is prior


def test_the_strength_is_chosen_by_a_fifth_of_each_class_and_all_are_fitted_to(fake_model):
    probe = fit_linear(gathered(each=10), model=fake_model, seed=3)

    assert probe.validation_pictures == 6
    assert probe.fitted.pictures == 30
    assert probe.validation.strength == probe.fitted.strength
    assert probe.validation.rank == max(trial.rank for trial in probe.trials)


def test_given_validation_pictures_choose_the_strength_and_are_fitted_to(fake_model):
    train, validation = gathered(each=4), gathered(5, each=6)

    probe = fit_linear(train, model=fake_model, validation=validation)

    assert probe.validation_pictures == 18
    assert probe.fitted.pictures == 12 + 18
    both = np.concatenate([train.features, validation.features])
    labels = np.concatenate([train.labels, validation.labels])
    again = linear_probe.fit(both, labels, classes=3, strength=probe.fitted.strength)
    np.testing.assert_allclose(probe.head.weight, again.weight, atol=1e-6)


def test_one_picture_a_class_leaves_the_strength_unchosen(fake_model):
    probe = fit_linear(gathered(each=1), model=fake_model)

    assert probe.validation is None
    assert probe.fitted.strength == 1.0


def test_equal_seeds_give_equal_heads_and_others_other_ones(prior):
    digests = [
        fit_few_shot(gathered(), prior=prior, shots=2, seed=seed).head.digest for seed in (0, 0, 1)
    ]

    assert digests[0] == digests[1] != digests[2]


def test_a_class_without_pictures_is_refused_by_name(fake_model, prior):
    pictures = gathered().take(np.arange(20))  # no owls

    for fit in (
        lambda: fit_linear(pictures, model=fake_model),
        lambda: fit_few_shot(pictures, prior=prior),
    ):
        with pytest.raises(UsageError, match="no training pictures of class 'owl'"):
            fit()


def test_one_class_is_refused(fake_model):
    with pytest.raises(UsageError, match="needs two classes"):
        fit_linear(gathered(names=("cat",)), model=fake_model)


def test_a_zero_shot_head_of_other_classes_is_refused(prior):
    pictures = gathered(names=("dog", "cat", "owl"))

    with pytest.raises(UsageError, match="other classes"):
        fit_few_shot(pictures, prior=prior)
