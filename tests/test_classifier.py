"""Classifying: in order, streaming, bounded, equal to open_clip's own loop."""

from __future__ import annotations

import dataclasses
import io
import threading
from math import nan

import numpy as np
import pytest
from conftest import with_compiled
from PIL import AvifImagePlugin, Image

from zsclip import cpus, images, pixels, read_ahead
from zsclip.cache import TextCache
from zsclip.classifier import Classifier
from zsclip.encoders import BATCH_SIZE, Model
from zsclip.engines.fake import FakeEngine
from zsclip.errors import HeadError, LabelError, UsageError, ZsclipWarning
from zsclip.head_builder import build, build_head
from zsclip.inputs import Input
from zsclip.loading import load_model
from zsclip.prompts import load_templates
from zsclip.results import Failure

LABELS = ["cat", "dog", "hot dog", "crane", "tree", "car", "chair"]


def make(model, labels=LABELS, **options):
    return Classifier(labels, model=model, templates="none", **options)


def colour(number):
    return Image.new("RGB", (12, 12), (number * 37 % 256, number * 91 % 256, number * 53 % 256))


@pytest.fixture
def pictures(tmp_path):
    """Forty small pictures as files."""
    paths = [tmp_path / f"{n:02}.png" for n in range(40)]
    for number, path in enumerate(paths):
        colour(number).save(path)
    return paths


@pytest.fixture(scope="module")
def small(small_clip_folder, compiled_small, tmp_path_factory):
    cache = with_compiled(compiled_small, tmp_path_factory.mktemp("cache"))
    return load_model(str(small_clip_folder), engine="onnx", cache_dir=cache)


def noises(count):
    generator = np.random.default_rng(3)
    return [
        Image.fromarray(generator.integers(0, 256, (20 + 3 * n, 90 - 2 * n, 3), dtype=np.uint8))
        for n in range(count)
    ]


# right


def test_scores_equal_a_plain_open_clip_loop(small, small_clip_folder):
    import open_clip
    import torch

    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{small_clip_folder}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{small_clip_folder}")
    templates = [
        lambda name, t=t: t.replace("{}", name) for t in load_templates("imagenet7").templates
    ]
    pictures = noises(9)
    with torch.inference_mode():
        weight = open_clip.build_zero_shot_classifier(model, tokenizer, LABELS, templates)
        features = model.encode_image(torch.stack([preprocess(p) for p in pictures]), True)
        logits = model.logit_scale.exp() * features @ weight
        theirs = logits.softmax(dim=-1).numpy()

    classifier = Classifier(LABELS, model=small, templates="imagenet7", top_k=0)
    ours = np.zeros_like(theirs)
    for row, result in enumerate(classifier.classify(pictures)):
        for score in result.scores:
            ours[row, LABELS.index(score.label)] = score.score

    difference = np.abs(ours - theirs).max()
    assert difference < 1e-4, difference


def test_cosines_equal_open_clips(small):
    (picture,) = noises(1)
    expected = (
        small.encode_image([picture])[0]
        @ build_head(LABELS, model=small, templates="none").weight.T
    )

    (result,) = make(small, top_k=0).classify(picture)

    cosines = {score.label: score.cosine for score in result.scores}
    difference = max(abs(cosines[n] - c) for n, c in zip(LABELS, expected, strict=True))
    assert difference < 1e-5, difference


def test_batch_sizes_do_not_change_the_answers(small):
    pictures = noises(20)
    answers = [
        list(make(small, top_k=0, batch_size=size).classify(pictures)) for size in (1, 7, 64, None)
    ]

    for other in answers[1:]:
        for one, another in zip(answers[0], other, strict=True):
            assert one.label == another.label
            scores = {score.label: score.score for score in another.scores}
            apart = max(abs(score.score - scores[score.label]) for score in one.scores)
            assert apart < 1e-4, apart


def test_equal_calls_give_equal_results(small):
    pictures = noises(12)

    one, other = (list(make(small).classify(pictures)) for _ in range(2))

    assert one == other


def test_scores_are_best_first_and_sum_to_one(fake_model):
    (result,) = make(fake_model, top_k=0).classify(colour(1))

    values = [score.score for score in result.scores]
    assert values == sorted(values, reverse=True) and abs(sum(values) - 1) < 1e-5
    assert (result.label, result.score) == (result.scores[0].label, values[0])


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (3, 3), (0, 7), (99, 7)])
def test_top_k_says_how_many_labels_come(fake_model, top_k, count):
    (result,) = make(fake_model, top_k=top_k).classify(colour(1))

    assert len(result.scores) == count


def test_fewer_labels_do_not_change_their_scores(fake_model):
    (whole,) = make(fake_model, top_k=0).classify(colour(1))

    (part,) = make(fake_model, top_k=2).classify(colour(1))

    assert part.scores == whole.scores[:2]


@pytest.mark.parametrize("classes", [2, 5, 9, 100])
def test_equal_classes_tie_in_the_order_of_labels(fake_model, classes):
    head = build([("crane",)] * classes, model=fake_model, templates=load_templates("none")).head
    names = tuple(f"crane {n}" for n in range(classes))
    classifier = Classifier(dataclasses.replace(head, class_names=names), model=fake_model, top_k=0)

    for result in classifier.classify([colour(n) for n in range(9)]):
        assert [score.label for score in result.scores] == list(names)


def test_a_sigmoid_model_scores_each_label_on_its_own(fake_model):
    engine = FakeEngine(logit_scale=10.0, logit_bias=-1.0)
    model = Model(fake_model.local, cache=TextCache(None), engine=engine)

    (result,) = make(model, top_k=0).classify(colour(1))

    apart = [
        abs(score.score - 1 / (1 + np.exp(1.0 - 10.0 * score.cosine))) for score in result.scores
    ]
    assert result.score_kind == "sigmoid" and max(apart) < 1e-5, apart


@pytest.fixture
def sigmoid_model(fake_model):
    """A model with a logit bias, as SigLIP has."""
    engine = FakeEngine(logit_scale=10.0, logit_bias=-1.0)
    return Model(fake_model.local, cache=TextCache(None), engine=engine)


def test_a_softmax_over_the_logits_of_a_sigmoid_model_can_be_asked_for(sigmoid_model):
    (result,) = make(sigmoid_model, top_k=0, scores="softmax").classify(colour(1))

    logits = np.array([10.0 * score.cosine - 1.0 for score in result.scores])
    expected = np.exp(logits) / np.exp(logits).sum()
    apart = np.abs(expected - [score.score for score in result.scores]).max()
    assert result.score_kind == "softmax" and apart < 1e-5, apart


@pytest.mark.parametrize("which", ["fake_model", "sigmoid_model"])
def test_cosines_can_be_the_scores_of_any_model(which, request):
    model = request.getfixturevalue(which)

    (result,) = make(model, top_k=0, scores="cosine").classify(colour(1))

    values = [score.score for score in result.scores]
    assert result.score_kind == "cosine" and values == sorted(values, reverse=True)
    assert values == [score.cosine for score in result.scores] and min(values) < 0


def test_every_kind_of_score_has_the_same_cosines_and_order(sigmoid_model):
    answers = [
        next(make(sigmoid_model, top_k=0, scores=kind).classify(colour(1))).scores
        for kind in ("softmax", "sigmoid", "cosine")
    ]

    labels_and_cosines = {tuple((s.label, s.cosine) for s in answer) for answer in answers}
    assert len(labels_and_cosines) == 1


def test_a_sigmoid_of_a_softmax_model_is_refused_before_anything_is_encoded(fake_model):
    with pytest.raises(UsageError, match="has no logit bias"):
        make(fake_model, scores="sigmoid")

    assert fake_model.engine.text_calls == 0


@pytest.mark.parametrize("scores", ["softmax", "sigmoid", "cosine"])
def test_a_head_gives_any_kind_of_score_that_its_model_can(sigmoid_model, scores):
    head = build_head(LABELS, model=sigmoid_model, templates="none")

    by_head = list(Classifier(head, model=sigmoid_model, scores=scores).classify(colour(1)))

    assert by_head == list(make(sigmoid_model, scores=scores).classify(colour(1)))
    assert head.score_kind == "sigmoid" and by_head[0].score_kind == scores


def test_a_head_of_a_softmax_model_refuses_a_sigmoid(fake_model):
    head = build_head(LABELS, model=fake_model, templates="none")

    with pytest.raises(UsageError, match="ViT-B/32 has no logit bias"):
        Classifier(head, model=fake_model, scores="sigmoid")


def test_a_head_from_pictures_has_no_cosines_for_scores(fake_model):
    head = build_head(LABELS, model=fake_model, templates="none")

    with pytest.raises(UsageError, match="no cosines"):
        Classifier(dataclasses.replace(head, kind="pictures"), model=fake_model, scores="cosine")


@pytest.mark.parametrize("scores", ["softmax", "sigmoid", "cosine"])
def test_min_score_is_compared_with_the_score_that_is_shown(sigmoid_model, scores):
    (plain,) = make(sigmoid_model, scores=scores).classify(colour(1))

    at, above = (
        next(make(sigmoid_model, scores=scores, min_score=limit).classify(colour(1)))
        for limit in (plain.score, np.nextafter(plain.score, 2))
    )

    assert (at.label, above.label) == (plain.label, None)


def test_results_name_model_and_head(fake_model):
    classifier = make(fake_model)

    (result,) = classifier.classify(colour(1))

    assert result.model == "ViT-B/32@ffffff" and result.head == classifier.head.digest[:12]


def test_frames_of_an_animation_are_in_the_result(fake_model, tmp_path):
    path = tmp_path / "a.gif"
    colour(1).save(path, save_all=True, append_images=[colour(2), colour(3)])

    (result,) = make(fake_model).classify(path)

    assert result.frames == 3


# thresholds


def test_a_best_score_below_the_threshold_gives_no_label(fake_model):
    (result,) = make(fake_model, min_score=1.1).classify(colour(1))

    assert (result.status, result.label) == ("ok", None) and result.scores[0].score == result.score


def test_a_best_cosine_below_the_threshold_gives_no_label(fake_model):
    (result,) = make(fake_model, min_cosine=1.0).classify(colour(1))

    assert (result.status, result.label) == ("ok", None)


@pytest.mark.parametrize("name", ["min_score", "min_cosine"])
def test_a_value_at_the_threshold_is_accepted(fake_model, name):
    (plain,) = make(fake_model).classify(colour(1))
    value = plain.score if name == "min_score" else plain.cosine

    (result,) = make(fake_model, **{name: value}).classify(colour(1))

    assert result.label == plain.label


# failures


def test_order_is_kept_when_some_inputs_fail(fake_model, pictures, tmp_path):
    bad = [tmp_path / f"bad{n}.png" for n in range(13)]
    mixed = [path for pair in zip(pictures, bad * 4, strict=False) for path in pair]

    results = list(make(fake_model).classify(mixed))

    assert [result.path for result in results] == [str(path) for path in mixed]
    assert [r.status for r in results] == ["ok", "error"] * 40


def test_order_is_kept_when_some_pictures_decode_slowly(fake_model, pictures, monkeypatch):
    others_done = threading.Event()
    done = []
    load = images.load

    def slow_first(source, *arguments, **options):
        if source == str(pictures[0]):
            others_done.wait(60)
        else:
            done.append(source)
            if len(done) >= 3:
                others_done.set()
        return load(source, *arguments, **options)

    monkeypatch.setattr(images, "load", slow_first)

    results = list(make(fake_model).classify(pictures))

    assert [result.path for result in results] == [str(path) for path in pictures]


def test_a_failed_input_does_not_change_the_others(fake_model, pictures, tmp_path):
    alone = {r.path: r for r in make(fake_model).classify(pictures)}

    mixed = list(make(fake_model).classify([tmp_path / "none.png", *pictures, tmp_path]))

    assert [r.error and r.error.code for r in (mixed[0], mixed[-1])] == [
        "not_found",
        "is_directory",
    ]
    assert all(alone[r.path] == r for r in mixed[1:-1])


def test_when_every_input_fails_each_has_its_row(fake_model, tmp_path):
    missing = [tmp_path / f"{n}.png" for n in range(600)]

    results = list(make(fake_model).classify(missing))

    assert [r.path for r in results] == [str(path) for path in missing]
    assert {r.error.code for r in results if r.error} == {"not_found"}
    assert fake_model.engine.image_calls == 0


def test_an_input_that_failed_before_decoding_keeps_its_reason(fake_model):
    item = Input("d", Failure("permission", "permission denied"))

    (result,) = make(fake_model).classify_inputs([item])

    assert result.error == Failure("permission", "permission denied")


def test_features_that_are_not_finite_fail_their_own_picture_only(fake_model):
    class Broken(FakeEngine):
        def encode_images(self, pixels, *, full_precision=False):
            features = super().encode_images(pixels)
            features[pixels.mean(axis=(1, 2, 3)) > 1] = np.nan  # white pictures
            return features

    model = Model(fake_model.local, cache=TextCache(None), engine=Broken())
    white, black = Image.new("RGB", (9, 9), "white"), Image.new("RGB", (9, 9), "black")

    results = list(make(model, batch_size=3).classify([black, white, black]))

    assert [r.error and r.error.code for r in results] == [None, "non_finite", None]


@pytest.mark.accepts("F1")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("scores", ["softmax", "sigmoid", "cosine"])
def test_one_value_that_is_not_finite_fails_a_picture_for_every_kind_of_score(
    sigmoid_model, value, scores
):
    class Broken(FakeEngine):
        def encode_images(self, pixels, *, full_precision=False):
            features = super().encode_images(pixels)
            features[0, 0] = value
            return features

    # a sigmoid of an infinite logit is finite, its cosine is not
    engine = Broken(logit_scale=10.0, logit_bias=-1.0)
    model = Model(sigmoid_model.local, cache=TextCache(None), engine=engine)

    first, second = make(model, batch_size=2, scores=scores).classify([colour(1), colour(2)])

    assert first.error and first.error.code == "non_finite" and second.error is None


def test_a_picture_that_overflows_in_a_smaller_precision_is_classified_in_fp32(fake_model):
    class Overflowing(FakeEngine):
        def encode_images(self, pixels, *, full_precision=False):
            features = super().encode_images(pixels)
            return features if full_precision else np.full_like(features, np.inf)

    model = Model(fake_model.local, cache=TextCache(None), engine=Overflowing(logit_scale=5.0))

    assert list(make(model).classify(colour(1))) == list(make(fake_model).classify(colour(1)))


def test_a_batch_that_does_not_fit_gives_the_rows_of_one_that_does(fake_model, pictures):
    engine = FakeEngine(logit_scale=5.0, fits=5)
    scarce = Model(fake_model.local, cache=TextCache(None), engine=engine)

    with pytest.warns(ZsclipWarning, match="not enough memory for 8 .* going on with 4"):
        results = list(make(scarce).classify(pictures))

    assert results == list(make(fake_model).classify(pictures))


def test_a_picture_that_the_engine_has_no_memory_for_is_a_row_and_the_run_goes_on(fake_model):
    class Shy(FakeEngine):
        def encode_images(self, pixels, *, full_precision=False):
            if (pixels.mean(axis=(1, 2, 3)) > 1).any():  # white pictures
                raise MemoryError
            return super().encode_images(pixels)

    model = Model(fake_model.local, cache=TextCache(None), engine=Shy())
    white, black = Image.new("RGB", (9, 9), "white"), Image.new("RGB", (9, 9), "black")

    with pytest.warns(ZsclipWarning, match="going on with 1"):
        results = list(make(model, batch_size=3).classify([black, white, black, black]))

    assert [r.error and r.error.code for r in results] == [None, "out_of_memory", None, None]


@pytest.mark.accepts("F7")
def test_no_memory_for_one_picture_is_its_own_row(fake_model, pictures, monkeypatch):
    views = pixels.views

    def scarce(image, preprocess, **options):
        if image.getpixel((0, 0)) == colour(3).getpixel((0, 0)):
            raise MemoryError
        return views(image, preprocess, **options)

    monkeypatch.setattr(pixels, "views", scarce)

    codes = [r.error and r.error.code for r in make(fake_model).classify(pictures[:6])]

    assert codes == [None, None, None, "out_of_memory", None, None]


def test_an_exception_of_the_inputs_reaches_the_caller(fake_model, pictures):
    def inputs():
        yield pictures[0]
        raise ValueError("the list broke")

    with pytest.raises(ValueError, match="the list broke"):
        list(make(fake_model).classify(inputs()))


def test_what_came_before_an_exception_of_the_inputs_is_not_lost(fake_model, pictures):
    def inputs():
        yield from pictures[:6]
        raise ValueError("the list broke")

    seen = []
    with pytest.raises(ValueError, match="the list broke"):
        for result in make(fake_model).classify(inputs()):
            seen.append(result.path)

    assert seen == [str(path) for path in pictures[:6]]


# streaming


class Counted:
    """An endless list of inputs that notes how far it was read."""

    def __init__(self, picture, limit=None):
        self.picture, self.limit, self.read = picture, limit, 0

    def __iter__(self):
        while self.limit is None or self.read < self.limit:
            self.read += 1
            yield self.picture


def test_the_first_result_is_out_before_the_inputs_end(fake_model):
    endless = Counted(colour(1))
    results = make(fake_model).classify(endless)

    first = next(results)
    results.close()

    assert first.status == "ok"


def test_inputs_are_read_only_so_far_ahead(fake_model):
    endless = Counted(colour(1))
    results = make(fake_model).classify(endless)
    ahead = []

    for taken in range(1, 400):
        next(results)
        ahead.append(endless.read - taken)
    results.close()

    assert max(ahead) <= 4 * BATCH_SIZE, max(ahead)


def test_a_first_result_does_not_wait_for_a_second_input(fake_model, pictures):
    wanted, came_in_time = threading.Event(), []

    def inputs():
        yield pictures[0]
        came_in_time.append(wanted.wait(60))  # as a pipe that nobody writes to
        yield pictures[1]

    results = make(fake_model).classify(inputs())
    first = next(results)
    wanted.set()

    assert first.path == str(pictures[0])
    assert [r.path for r in results] == [str(pictures[1])]
    assert came_in_time == [True]


def test_a_batch_goes_out_when_the_inputs_pause(fake_model, pictures):
    wanted, came_in_time = threading.Event(), []

    def inputs():
        yield from pictures[:5]
        came_in_time.append(wanted.wait(60))

    results = make(fake_model, batch_size=64).classify(inputs())
    seen = [next(results).path for _ in range(5)]
    wanted.set()

    assert seen == [str(path) for path in pictures[:5]]
    assert list(results) == [] and came_in_time == [True]


class SlowPicture:
    """One path decodes only when `go` is set, or gives up; others are noted in `loaded`."""

    def __init__(self, path):
        self.path, self.go, self.loaded = str(path), threading.Event(), []
        self.many_loaded, self.gave_up = threading.Event(), False
        self._load = images.load

    def load(self, source, *arguments, **options):
        if source == self.path:
            self.gave_up = not self.go.wait(60)
        else:
            self.loaded.append(source)
            if len(self.loaded) >= 20:
                self.many_loaded.set()
        return self._load(source, *arguments, **options)


@pytest.fixture
def slow(pictures, monkeypatch):
    """The fourth picture is slow."""
    slow = SlowPicture(pictures[3])
    monkeypatch.setattr(images, "load", slow.load)
    monkeypatch.setattr(read_ahead, "SLOW_S", 0.01)
    yield slow
    slow.go.set()


def test_a_slow_picture_does_not_hold_back_those_before_it(fake_model, pictures, slow):
    results = make(fake_model, batch_size=64).classify(pictures)

    seen = [next(results).path for _ in range(3)]
    slow.go.set()

    assert seen == [str(path) for path in pictures[:3]]
    assert [r.path for r in results] == [str(path) for path in pictures[3:]]
    assert not slow.gave_up


def test_pictures_after_a_slow_one_are_decoded_while_it_is_waited_for(fake_model, pictures, slow):
    results = make(fake_model, batch_size=20).classify(pictures)

    next(results)
    were_loaded = slow.many_loaded.wait(60)
    slow.go.set()
    results.close()

    assert were_loaded and not slow.gave_up


@pytest.mark.accepts("F8")
@pytest.mark.parametrize("usable", [1, 2, 3, 64])
def test_pictures_are_decoded_by_as_many_threads_as_there_are_processors(monkeypatch, usable):
    monkeypatch.setattr(cpus, "usable", lambda: usable)

    expected = {1: 2, 2: 2, 3: 3, 64: 4}  # a slow picture must leave one for the others
    assert read_ahead._workers() == expected[usable]


@pytest.mark.accepts("A10", "F8")
@pytest.mark.parametrize(("tuned", "expected"), [(0, 1), (3, 3)])
def test_an_avif_has_no_threads_of_its_own_unless_the_user_wants_them(
    fake_model, monkeypatch, tuned, expected
):
    # where there are no more threads for them, libavif calls a whole picture corrupt
    file, threads = io.BytesIO(), []
    colour(1).save(file, "AVIF", max_threads=1)
    decoder = AvifImagePlugin._avif.AvifDecoder
    monkeypatch.setattr(AvifImagePlugin, "DEFAULT_MAX_THREADS", tuned)
    monkeypatch.setattr(
        AvifImagePlugin._avif,
        "AvifDecoder",
        lambda content, codec, n: threads.append(n) or decoder(content, codec, n),
    )

    results = list(make(fake_model).classify([file.getvalue()] * 3))

    assert [result.status for result in results] == ["ok"] * 3
    assert threads == [expected] * 3


def test_closing_early_stops_the_threads(fake_model):
    before = set(threading.enumerate())
    results = make(fake_model).classify(Counted(colour(1)))
    next(results)

    results.close()
    started = [t for t in threading.enumerate() if t not in before]
    for thread in started:
        thread.join(60)

    assert [thread.name for thread in started if thread.is_alive()] == []


def test_nothing_starts_before_the_first_result_is_asked_for(fake_model):
    endless = Counted(colour(1))

    make(fake_model).classify(endless)

    assert endless.read == 0


def test_batches_are_never_larger_than_asked_for(fake_model, pictures):
    sizes = []

    class Noting(FakeEngine):
        def encode_images(self, pixels, *, full_precision=False):
            sizes.append(len(pixels))
            return super().encode_images(pixels)

    model = Model(fake_model.local, cache=TextCache(None), engine=Noting())

    list(make(model, batch_size=7).classify(pictures))

    assert max(sizes) <= 7 and sum(sizes) == 40


def test_batches_grow_from_one(fake_model, pictures, unhurried):
    sizes = []

    class Noting(FakeEngine):
        def encode_images(self, pixels, *, full_precision=False):
            sizes.append(len(pixels))
            return super().encode_images(pixels)

    model = Model(fake_model.local, cache=TextCache(None), engine=Noting())

    list(make(model).classify(pictures * 3))

    assert sizes == [1, 2, 4, 8, 16, 32, 32, 25]


# inputs


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "pillow", "array"])
def test_one_picture_of_any_kind_is_classified(fake_model, pictures, kind):
    source = {
        "path": pictures[5],
        "text": str(pictures[5]),
        "bytes": pictures[5].read_bytes(),
        "pillow": colour(5),
        "array": np.asarray(colour(5)),
    }[kind]

    (result,) = make(fake_model).classify(source)

    expected = next(make(fake_model).classify(pictures[5]))
    assert (result.label, result.scores) == (expected.label, expected.scores)
    assert result.path == (str(pictures[5]) if kind in ("path", "text") else None)


def test_an_array_of_pictures_is_as_many(fake_model):
    pictures = np.stack([np.asarray(colour(n)) for n in (1, 2, 3)])  # (B, H, W, 3)

    stacked = list(make(fake_model).classify(pictures))

    assert stacked == list(make(fake_model).classify(list(pictures)))
    assert [result.status for result in stacked] == ["ok"] * 3


@pytest.mark.parametrize("exact", [False, True])
def test_an_opened_picture_that_ends_early_is_a_row(fake_model, exact):
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "JPEG")
    opened = Image.open(io.BytesIO(file.getvalue()[:-400]))

    (result,) = make(fake_model, exact=exact).classify(opened)

    assert result.error and result.error.code == "truncated"


def test_kinds_of_input_can_be_mixed(fake_model, pictures):
    mixed = [pictures[0], colour(1), pictures[2].read_bytes(), b"", np.zeros((3, 3), np.uint8)]

    statuses = [r.status for r in make(fake_model).classify(mixed)]

    assert statuses == ["ok", "ok", "ok", "error", "ok"]


def test_no_inputs_give_no_results(fake_model):
    assert list(make(fake_model).classify([])) == []


def test_a_path_that_is_not_utf8_is_kept(fake_model, tmp_path):
    path = bytes(tmp_path) + b"/caf\xe9.png"
    with open(path, "wb") as file:
        colour(1).save(file, "PNG")
    text = path.decode("utf-8", "surrogateescape")

    (result,) = make(fake_model).classify(text)

    assert (result.status, result.path) == ("ok", text)


def test_a_picture_without_pixels_is_a_row(fake_model):
    (result,) = make(fake_model).classify(Image.new("RGB", (0, 5)))

    assert result.error and result.error.code == "zero_size"


# heads


def test_a_head_can_take_the_place_of_labels(fake_model):
    head = build_head(LABELS, model=fake_model, templates="none")

    classifier = Classifier(head, model=fake_model)

    assert list(classifier.classify(colour(1))) == list(make(fake_model).classify(colour(1)))


def test_a_head_of_another_model_is_refused(fake_model, small):
    head = build_head(LABELS, model=fake_model, templates="none")

    with pytest.raises(HeadError, match="not for small-clip"):
        Classifier(head, model=small)


def test_a_head_from_pictures_has_no_cosines(fake_model):
    head = dataclasses.replace(
        build_head(LABELS, model=fake_model, templates="none"), kind="pictures"
    )

    (result,) = Classifier(head, model=fake_model).classify(colour(1))

    assert result.cosine is None and result.label is not None
    with pytest.raises(UsageError, match="no cosines"):
        Classifier(head, model=fake_model, min_cosine=0.9)


def test_labels_that_are_too_long_can_be_cut(fake_model):
    labels = ["dog", "cat " * 80]

    with pytest.raises(LabelError, match="> 77 tokens"):
        make(fake_model, labels)
    with pytest.warns(ZsclipWarning, match="cut"):
        head = make(fake_model, labels, truncate=True).head

    assert head.class_names == tuple(labels)


def test_no_labels_are_refused(fake_model):
    with pytest.raises(LabelError):
        Classifier([], model=fake_model)


@pytest.mark.parametrize("choice", [{"top_k": -1}, {"min_score": nan}, {"min_cosine": nan}])
def test_numbers_that_mean_nothing_are_refused(fake_model, choice):
    with pytest.raises(UsageError):
        Classifier(["cat", "dog"], model=fake_model, **choice)


@pytest.mark.parametrize("precision", ["fp32", None])
def test_a_loaded_model_keeps_its_precision(fake_model, precision):
    assert make(fake_model, precision=precision).model.choice.precision == "fp32"


def test_another_precision_than_that_of_a_loaded_model_is_refused(fake_model):
    with pytest.raises(UsageError, match="loaded for fp32, not bf16"):
        make(fake_model, precision="bf16")


def test_the_precision_reaches_a_model_that_is_loaded_by_name(small_clip_folder, monkeypatch):
    monkeypatch.setattr(cpus, "multiplies_bf16", lambda: True)
    classifier = Classifier(
        LABELS, model=str(small_clip_folder), templates="none", precision="bf16", device="cpu"
    )

    assert classifier.model.choice.precision == "bf16"
