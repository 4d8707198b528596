"""Names of other things: the list, what is left out beside labels, the cache, answers with them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from zsclip import background, scoring
from zsclip.background import Name, apart, means_a_label, open_background, read_names
from zsclip.cache import TextCache
from zsclip.classifier import Classifier
from zsclip.encoders import Model
from zsclip.engines.fake import FakeEngine
from zsclip.errors import LabelError, UsageError
from zsclip.head_builder import build_head
from zsclip.heads import Fitting, Head
from zsclip.labels import ClassLabel
from zsclip.results import Result

LABELS = ["cat", "dog", "hot dog"]
FEW = ("tree", "car", "house", "sun", "boat", "bread")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of six names, of which all may stay."""
    monkeypatch.setattr(background, "read_names", lambda: tuple(Name(text, ()) for text in FEW))


def make(model: Model, labels: list[str] | None = None, **options: object) -> Classifier:
    return Classifier(labels or LABELS, model=model, templates="none", **options)  # type: ignore[arg-type]


def pictures(count: int = 12) -> list[Image.Image]:
    return [Image.new("RGB", (9, 9), (n * 37 % 256, n * 91 % 256, n * 53)) for n in range(count)]


def answers(classifier: Classifier) -> list[Result]:
    return list(classifier.classify(pictures()))


def meaning(*labels: str, names: dict[str, tuple[str, ...]] | None = None) -> set[str]:
    """Which names of a list mean one of the labels."""
    listed = read_names() if names is None else [Name(*item) for item in names.items()]
    found = means_a_label(listed, labels)
    return {name.text for name, is_taken in zip(listed, found, strict=True) if is_taken}


# the list


def test_the_list_is_long_and_names_nothing_twice():
    texts = [name.text for name in read_names()]

    assert 1000 <= len(texts) <= 2000
    assert len(set(texts)) == len(texts)


def test_every_name_is_plain_and_has_a_kind():
    for name in read_names():
        assert name.text == " ".join(name.text.lower().split()) and name.text.isascii()
        assert name.kinds and all(kind == kind.strip() and kind for kind in name.kinds)


# what words say


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("cat", "cat"),
        ("Cats", "cat"),
        ("a photo of a cat", "cat"),
        ("hot dog", "dog"),
        ("dog", "hot dog"),
        ("traffic_light", "traffic light"),
        ("boxes", "box"),
        ("berries", "berry"),
        ("glasses", "glass"),
    ],
)
def test_a_name_that_has_a_labels_words_or_whose_words_a_label_has_is_left_out(label, name):
    assert meaning(label, names={name: ()}) == {name}


@pytest.mark.parametrize(
    ("label", "name"),
    [("cat", "caterpillar"), ("light traffic", "traffic light"), ("cat", "cap"), ("?!", "cat")],
)
def test_other_words_and_another_order_are_another_thing(label, name):
    assert meaning(label, names={name: ()}) == set()


def test_a_label_that_is_a_kind_leaves_out_all_that_falls_under_it():
    assert {"zebra", "sparrow", "shark", "snail"} <= meaning("animals")
    assert {"zebra", "sparrow"}.isdisjoint(meaning("vehicle", "food"))


def test_a_label_of_a_kind_does_not_leave_out_its_neighbours():
    assert "lion" not in meaning("zebra")
    assert {"bus", "motorcycle"}.isdisjoint(meaning("car"))


# what the model says


def unit(*rows: list[float]) -> np.ndarray:
    return scoring.normalize(np.float32(rows))


def test_names_nearer_to_a_label_than_names_are_to_each_other_are_left_out(monkeypatch):
    monkeypatch.setattr(background, "FEWEST_NAMES", 0)
    names = unit([1, 0, 0], [0, 1, 0], [0, 0, 1], [0.9, 0.1, 0], [-1, 0, 0])
    label = unit([1, 0.02, 0])

    kept = apart(names, label, free=np.ones(5, bool))

    assert kept.tolist() == [False, True, True, False, True]


def test_names_that_the_model_cannot_tell_apart_count_once():
    names = unit([1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1])

    kept = apart(names, unit([-1, -1, -1]), free=np.ones(4, bool))

    assert kept.tolist() == [True, True, False, True]


def test_the_farthest_names_stay_however_near_all_of_them_are(monkeypatch):
    monkeypatch.setattr(background, "FEWEST_NAMES", 2)
    angles = np.linspace(0, 0.3, 8)
    names = unit(*np.stack([np.cos(angles), np.sin(angles)], axis=1).tolist())

    kept = apart(names, names, free=np.arange(8) < 6)

    assert 2 <= kept.sum() < 8 and not kept[6:].any()


# with a head


def test_the_background_is_in_the_cache_from_the_second_time_on(fake_model):
    head = build_head(LABELS, model=fake_model, templates="none")
    first = open_background(head, model=fake_model)
    calls = fake_model.engine.text_calls
    seen: list[tuple[int, int]] = []

    second = open_background(head, model=fake_model, on_progress=lambda *at: seen.append(at))

    assert fake_model.engine.text_calls == calls and not seen
    assert second.digest == first.digest and second.names == first.names


def test_labels_of_another_head_need_no_name_encoded_again(fake_model):
    open_background(build_head(LABELS, model=fake_model, templates="none"), model=fake_model)
    head = build_head(["zebra"], model=fake_model, templates="none")
    calls = fake_model.engine.text_calls

    names = open_background(head, model=fake_model).names

    assert fake_model.engine.text_calls == calls
    assert "cat" in names and "zebra" not in names


@pytest.mark.parametrize(("templates", "prompts"), [("none", 1), ("imagenet7", 7), (None, 8)])
def test_at_most_eight_templates_of_the_head_are_used(fake_model, few, templates, prompts):
    head = build_head(LABELS, model=fake_model, templates=templates or "imagenet80")
    before = fake_model.engine.text_calls

    open_background(head, model=fake_model)

    assert fake_model.engine.text_calls - before == prompts * len(FEW) + 1  # the cache's probe


def test_progress_counts_the_names(fake_model, few):
    head = build_head(LABELS, model=fake_model, templates="none")
    seen: list[tuple[int, int]] = []

    open_background(head, model=fake_model, on_progress=lambda *at: seen.append(at))

    assert seen == [(0, len(FEW)), (len(FEW), len(FEW))]


def test_a_head_that_names_no_templates_has_names_as_they_are(fake_model, few):
    head = build_head(LABELS, model=fake_model, templates="none")
    bare = dataclasses.replace(head.provenance, templates=())

    found = open_background(dataclasses.replace(head, provenance=bare), model=fake_model)

    assert found.digest == open_background(head, model=fake_model).digest


def test_labels_that_leave_no_name_are_refused(fake_model, few):
    with pytest.raises(UsageError, match="the labels leave no other names"):
        make(fake_model, list(FEW), other=True)


def from_pictures(head: Head) -> Head:
    fitting = Fitting(method="linear", features="raw", source="p", pictures=3)
    return dataclasses.replace(head, kind="pictures", fitted=fitting)


@pytest.mark.parametrize("options", [{"other": True}, {"multi_label": True}])
def test_a_head_from_labelled_pictures_is_refused(fake_model, options):
    head = from_pictures(build_head(LABELS, model=fake_model, templates="none"))

    with pytest.raises(UsageError, match="has no words that other names could compete with"):
        Classifier(head, model=fake_model, **options)


# other


def test_other_is_answered_where_the_labels_share_is_too_small(fake_model, few):
    results = answers(make(fake_model, other=True))
    plain = answers(make(fake_model))

    assert {r.label == "other" for r in results} == {True, False}
    for result, without in zip(results, plain, strict=True):
        assert result.label == ("other" if result.share < 0.5 else without.label)
        assert (result.scores, result.score) == (without.scores, without.score)
        assert without.share is None


def test_the_share_weighs_the_labels_mean_against_the_names(fake_model, few):
    classifier = make(fake_model, other=True)
    names = classifier.background.weight

    for picture, result in zip(pictures(), classifier.classify(pictures()), strict=True):
        features = fake_model.encode_image(picture)[0].astype(np.float64)
        mine, others = (
            np.exp(5.0 * weight @ features).mean() for weight in (classifier.head.weight, names)
        )
        assert abs(result.share - mine / (mine + others)) < 1e-6


def test_the_limit_and_the_name_can_be_given(fake_model, few):
    never = answers(make(fake_model, other="nothing", other_below=0.0))
    always = answers(make(fake_model, other="nothing", other_below=1.0))

    assert {r.label for r in never} <= set(LABELS)
    assert {r.label for r in always} == {"nothing"}


def test_a_threshold_rejects_what_is_not_other(fake_model, few):
    results = answers(make(fake_model, other=True, min_score=0.99))

    assert {r.label for r in results} == {"other", None}


def test_groups_do_not_change_the_share(fake_model, few):
    labels = [ClassLabel("cat", group="pet"), ClassLabel("dog", group="pet"), ClassLabel("sun")]
    head = build_head(labels, model=fake_model, templates="none")
    shares = [
        [r.share for r in answers(Classifier(head, model=fake_model, other=True, group=grouped))]
        for grouped in (False, True)
    ]

    assert shares[0] == shares[1]


def test_other_works_beside_a_sigmoid(fake_model, few):
    engine = FakeEngine(logit_scale=5.0, logit_bias=-3.0)
    model = Model(fake_model.local, cache=TextCache(None), engine=engine)

    result = answers(make(model, other=True))[0]

    assert result.score_kind == "sigmoid" and 0 < result.share < 1


# several


def test_each_label_is_weighed_against_the_names_alone(fake_model, few):
    together = answers(make(fake_model, multi_label=True, top_k=0))
    alone = {
        label: answers(make(fake_model, [label], other=True, other_below=0.0)) for label in LABELS
    }

    for at, result in enumerate(together):
        assert result.score_kind == "vs_background"
        for one in result.scores:
            assert abs(one.score - alone[one.label][at].share) < 1e-6


def test_labels_are_those_from_half_on_best_first(fake_model, few):
    results = answers(make(fake_model, multi_label=True, top_k=0))

    assert {len(r.labels) for r in results} > {0, 1}
    for result in results:
        assert result.labels == tuple(s.label for s in result.scores if s.score >= 0.5)
        assert result.label == (result.labels[0] if result.labels else None)


def test_all_labels_that_fit_are_given_whatever_top_k_is(fake_model, few):
    results = answers(make(fake_model, multi_label=True, top_k=1, min_score=0.0))

    assert all(set(r.labels) == set(LABELS) and len(r.scores) == 1 for r in results)


def test_min_score_and_min_cosine_both_count(fake_model, few):
    results = answers(make(fake_model, multi_label=True, top_k=0, min_score=0.4, min_cosine=0.05))

    for result in results:
        assert result.labels == tuple(
            s.label for s in result.scores if s.score >= 0.4 and s.cosine >= 0.05
        )


def test_a_labels_own_threshold_takes_the_place_of_a_half(fake_model, few):
    labels = [ClassLabel("cat", threshold=0.0), ClassLabel("dog", threshold=1.0), ClassLabel("sun")]
    head = build_head(labels, model=fake_model, templates="none")

    results = answers(Classifier(head, model=fake_model, multi_label=True, top_k=0))

    for result in results:
        sun = next(s.score for s in result.scores if s.label == "sun")
        assert set(result.labels) == {"cat"} | ({"sun"} if sun >= 0.5 else set())
        assert result.score == next(s.score for s in result.scores if s.label == result.label)


def test_a_model_with_a_bias_judges_by_its_own_sigmoid_and_needs_no_names(fake_model):
    engine = FakeEngine(logit_scale=5.0, logit_bias=-0.5)
    model = Model(fake_model.local, cache=TextCache(None), engine=engine)

    results = answers(make(model, multi_label=True, top_k=0))

    assert engine.text_calls < 2 * len(LABELS)
    assert results[0].score_kind == "sigmoid"
    for result in results:
        assert result.labels == tuple(s.label for s in result.scores if s.score >= 0.5)


# refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"other": True, "scores": "cosine"}, "--scores cosine weighs nothing"),
        ({"other": True, "multi_label": True}, "leave out --other"),
        ({"multi_label": True, "group": True}, "leave out --group"),
        ({"multi_label": True, "scores": "softmax"}, "leave out --scores softmax"),
        ({"multi_label": True, "scores": "cosine"}, "leave out --scores cosine"),
        ({"multi_label": True, "scores": "sigmoid"}, "has no logit bias"),
        ({"other": True, "other_below": 1.5}, "--other-below 1.5 is not between 0 and 1"),
        ({"other": True, "other_below": float("nan")}, "--other-below nan is not between"),
        ({"other": "dog"}, "a label is called 'dog', too"),
        ({"other": " "}, "--other-name: an empty label"),
        ({"other": "a\nb"}, "--other-name: control character"),
    ],
)
def test_what_contradicts_is_refused_before_names_are_encoded(fake_model, options, said):
    with pytest.raises((UsageError, LabelError), match=said):
        make(fake_model, **options)

    assert fake_model.engine.text_calls < 2 * len(LABELS)
