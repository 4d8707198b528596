"""Heads from words: built as open_clip builds them, cached class by class."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from conftest import with_compiled

from zsclip import head_builder, scoring
from zsclip.cache import TextCache
from zsclip.class_tokens import ClassTokens
from zsclip.datasets import load_dataset
from zsclip.encoders import Model
from zsclip.engines.fake import FakeEngine
from zsclip.errors import (
    LabelError,
    ModelError,
    TemplateError,
    UnknownNameError,
    ZsclipWarning,
)
from zsclip.head_builder import build, build_head
from zsclip.loading import load_model
from zsclip.prompts import TemplateSet, load_templates

TWO = TemplateSet("two", ("a photo of a {}.", "the {}"))


def classes(*names):
    return [(name,) for name in names]


def reopened(model, engine=None):
    """The same model and cache, as another run would see them."""
    cache = TextCache(model.cache.path.parent)
    return Model(model.local, cache=cache, engine=engine or FakeEngine())


@pytest.fixture(scope="module")
def small(small_clip_folder, compiled_small, tmp_path_factory):
    cache = with_compiled(compiled_small, tmp_path_factory.mktemp("cache"))
    return load_model(str(small_clip_folder), engine="onnx", cache_dir=cache)


# right


@pytest.mark.accepts("F9")
@pytest.mark.parametrize("templates", ["imagenet80", "imagenet7", "none"])
def test_a_head_equals_open_clips_zero_shot_classifier(small, small_clip_folder, templates):
    import open_clip

    names = ["cat", "hot dog", "T-shirt", "O'Neill", "naïve café"]
    texts = load_templates(templates).templates
    oracle = open_clip.create_model(f"local-dir:{small_clip_folder}").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{small_clip_folder}")
    theirs = open_clip.build_zero_shot_classifier(
        oracle, tokenizer, names, [lambda name, t=t: t.replace("{}", name) for t in texts]
    ).T.numpy()

    ours = build_head(names, model=small, templates=templates).weight

    difference = np.abs(ours - theirs).max()
    cosine = (ours * theirs).sum(axis=1)
    assert difference < 1e-5, difference
    assert cosine.min() > 0.99999, cosine


def test_several_names_of_a_class_are_averaged_with_all_their_prompts(fake_model):
    prompts = [t.replace("{}", name) for name in ("cat", "kitty") for t in TWO.templates]
    expected = scoring.average(fake_model.encode_text(prompts))

    head = build([("cat", "kitty")], model=fake_model, templates=TWO).head

    assert np.array_equal(head.weight[0], expected) and head.class_names == ("cat",)


def test_rows_have_unit_length_and_the_bias_is_zero(fake_model):
    head = build(classes("cat", "dog", "naïve 猫"), model=fake_model, templates=TWO).head

    lengths = np.linalg.norm(head.weight, axis=1)

    assert np.abs(lengths - 1).max() < 1e-6, lengths
    assert head.bias.tolist() == [0, 0, 0] and head.score_kind == "softmax"


def test_the_scale_is_the_models(fake_model):
    fake_model.engine = FakeEngine(logit_scale=57.5)

    assert build(classes("cat"), model=fake_model, templates=TWO).head.scale == 57.5


def test_a_model_with_a_bias_gives_a_sigmoid_head_with_that_bias(fake_model):
    fake_model.engine = FakeEngine(logit_bias=-12.5)

    head = build(classes("cat", "dog"), model=fake_model, templates=TWO).head

    assert head.score_kind == "sigmoid" and head.bias.tolist() == [-12.5, -12.5]


@pytest.mark.accepts("B2")
def test_data_sets_keep_every_row_they_have(fake_model):
    head = build(classes("crane", "dog", "crane"), model=fake_model, templates=TWO).head

    assert head.class_names == ("crane", "dog", "crane")
    assert np.array_equal(head.weight[0], head.weight[2])


def test_chunks_do_not_change_a_head(fake_model, monkeypatch):
    names = classes(*(f"class {n}" for n in range(40)))
    whole = build(names, model=fake_model, templates=TWO).head
    monkeypatch.setattr(head_builder, "CHUNK_PROMPTS", 7)
    other = Model(fake_model.local, cache=TextCache(None), engine=FakeEngine())

    chunked = build(names, model=other, templates=TWO).head

    assert np.array_equal(chunked.weight, whole.weight)


@pytest.mark.accepts("B14")
def test_no_more_prompts_than_a_chunk_are_in_memory_at_once(fake_model, monkeypatch):
    monkeypatch.setattr(head_builder, "CHUNK_PROMPTS", 7)
    expanded, encoded = [], []
    read, encode = ClassTokens.read, fake_model.engine.encode_texts
    monkeypatch.setattr(
        ClassTokens, "read", lambda self, some: expanded.append(len(some)) or read(self, some)
    )
    fake_model.engine.encode_texts = lambda tokens: encoded.append(len(tokens)) or encode(tokens)

    build(classes(*(f"class {n}" for n in range(40))), model=fake_model, templates=TWO)

    assert max(expanded) == 3 and max(encoded) == 6 and sum(encoded) == 80 + 1


def test_progress_counts_the_classes_to_encode(fake_model, monkeypatch):
    monkeypatch.setattr(head_builder, "CHUNK_PROMPTS", 4)
    build(classes("a"), model=fake_model, templates=TWO)
    seen = []

    build(
        classes("a", "b", "c", "d"),
        model=fake_model,
        templates=TWO,
        on_progress=lambda done, total: seen.append((done, total)),
    )

    assert seen == [(0, 3), (2, 3), (3, 3)]


# cached


def test_a_second_build_encodes_nothing(fake_model):
    build(classes("cat", "dog"), model=fake_model, templates=TWO)
    again = reopened(fake_model)

    built = build(classes("cat", "dog"), model=again, templates=TWO)

    assert (again.engine.text_calls, built.cached) == (0, 2)


def test_a_second_build_does_not_even_open_the_engine(fake_model):
    first = build(classes("cat", "dog"), model=fake_model, templates=TWO)
    again = Model(fake_model.local, cache=TextCache(fake_model.cache.path.parent))

    second = build(classes("cat", "dog"), model=again, templates=TWO)

    assert "engine" not in vars(again) and second.head.digest == first.head.digest


def test_a_new_label_encodes_one_class_and_the_probe(fake_model):
    build(classes("cat", "dog"), model=fake_model, templates=TWO)
    again = reopened(fake_model)

    built = build(classes("cat", "bird", "dog"), model=again, templates=TWO)

    assert (again.engine.text_calls, built.cached) == (len(TWO.templates) + 1, 2)


def test_the_order_of_labels_does_not_matter_to_the_cache(fake_model):
    first = build(classes("cat", "dog"), model=fake_model, templates=TWO).head
    again = reopened(fake_model)

    second = build(classes("dog", "cat"), model=again, templates=TWO).head

    assert again.engine.text_calls == 0 and np.array_equal(second.weight, first.weight[::-1])


def test_another_order_of_templates_is_a_miss(fake_model):
    build(classes("cat"), model=fake_model, templates=TWO)

    built = build(classes("cat"), model=fake_model, templates=TemplateSet("x", TWO.templates[::-1]))

    assert built.cached == 0


def test_the_name_of_the_template_set_is_not_in_the_key(fake_model):
    build(classes("cat"), model=fake_model, templates=TWO)

    built = build(classes("cat"), model=fake_model, templates=TemplateSet("x", TWO.templates))

    assert built.cached == 1


@pytest.mark.parametrize("change", ["digest", "activation", "tokenizer"])
def test_another_model_is_a_miss(fake_model, change):
    build(classes("cat"), model=fake_model, templates=TWO)
    local = fake_model.local
    if change == "digest":
        local = dataclasses.replace(local, digest="e" * 64)
    elif change == "activation":
        cfg = {**local.config.model_cfg, "quick_gelu": False}
        local = dataclasses.replace(local, config=dataclasses.replace(local.config, model_cfg=cfg))
    other = Model(local, cache=fake_model.cache, engine=FakeEngine())
    if change == "tokenizer":
        config = dataclasses.replace(local.config, tokenizer="other")
        other = Model(
            dataclasses.replace(local, config=config), cache=fake_model.cache, engine=FakeEngine()
        )
        vars(other).update(tokenizer=fake_model.tokenizer, text_files_id="other")  # it has no files

    assert build(classes("cat"), model=other, templates=TWO).cached == 0


def test_preprocessing_is_not_in_the_key(fake_model):
    build(classes("cat"), model=fake_model, templates=TWO)
    config = fake_model.local.config
    preprocess = dataclasses.replace(config.preprocess, interpolation="bilinear")
    local = dataclasses.replace(
        fake_model.local, config=dataclasses.replace(config, preprocess=preprocess)
    )

    built = build(
        classes("cat"),
        model=Model(local, cache=fake_model.cache, engine=FakeEngine()),
        templates=TWO,
    )

    assert built.cached == 1


def test_duplicates_are_encoded_once(fake_model):
    build(classes("crane", "crane"), model=fake_model, templates=TWO)

    assert fake_model.engine.text_calls == len(TWO.templates) + 1


class Drifted(FakeEngine):
    """A text encoder that answers differently, as after a change of torch or of the machine."""

    def encode_texts(self, tokens):
        return -super().encode_texts(tokens)


def test_after_a_drift_no_old_row_of_any_head_is_trusted(fake_model):
    build(classes("cat", "dog"), model=fake_model, templates=TWO)
    with pytest.warns(ZsclipWarning, match="encodes text differently"):
        build(classes("bird"), model=reopened(fake_model, Drifted()), templates=TWO)

    later = build(classes("cat", "bird"), model=reopened(fake_model, Drifted()), templates=TWO)

    fresh = Model(fake_model.local, cache=TextCache(None), engine=Drifted())
    expected = build(classes("cat", "bird"), model=fresh, templates=TWO)
    assert later.cached == 1
    np.testing.assert_array_equal(later.head.weight, expected.head.weight)


def test_asking_whether_the_encoder_drifted_changes_nothing(fake_model):
    build(classes("cat"), model=fake_model, templates=TWO)
    drifted = reopened(fake_model, Drifted())

    assert [head_builder.probe_agrees(drifted) for _ in range(2)] == [False, False]
    assert head_builder.probe_agrees(reopened(fake_model))


def test_another_text_encoder_rebuilds_with_a_warning(fake_model):
    build(classes("cat"), model=fake_model, templates=TWO)

    again = reopened(fake_model, Drifted())
    with pytest.warns(ZsclipWarning, match="encodes text differently"):
        built = build(classes("cat", "dog"), model=again, templates=TWO)

    fresh = Model(again.local, cache=TextCache(None), engine=Drifted())
    expected = build(classes("cat", "dog"), model=fresh, templates=TWO).head
    assert built.cached == 0 and np.array_equal(built.head.weight, expected.weight)


def test_after_a_rebuild_there_is_no_second_warning(fake_model):
    class Drifted(FakeEngine):
        def encode_texts(self, tokens):
            return -super().encode_texts(tokens)

    build(classes("cat"), model=fake_model, templates=TWO)
    with pytest.warns(ZsclipWarning):
        build(classes("cat", "dog"), model=reopened(fake_model, Drifted()), templates=TWO)

    built = build(
        classes("cat", "dog", "bird"), model=reopened(fake_model, Drifted()), templates=TWO
    )

    assert built.cached == 2


@pytest.mark.accepts("B14")
def test_classes_encoded_before_a_failure_stay_in_the_cache(fake_model, monkeypatch):
    monkeypatch.setattr(head_builder, "CHUNK_PROMPTS", 2)
    with pytest.raises(LabelError):
        build(classes("cat", "dog", "too long " * 50), model=fake_model, templates=TWO)

    built = build(classes("cat", "dog"), model=reopened(fake_model), templates=TWO)

    assert built.cached == 2


# refused


def test_no_labels_are_refused(fake_model):
    with pytest.raises(LabelError, match="no labels"):
        build_head([], model=fake_model)


def test_a_text_in_place_of_a_list_is_refused(fake_model):
    with pytest.raises(LabelError, match="labels is one text"):
        build_head("cat", model=fake_model)


@pytest.mark.parametrize("label", ["", " ", "a\x00b", [], ["cat", ""]])
def test_bad_labels_are_refused(fake_model, label):
    with pytest.raises(LabelError):
        build_head(["dog", label], model=fake_model)


@pytest.mark.accepts("B6")
def test_an_overlong_label_names_label_template_and_token_count(fake_model):
    label = "cat " * 80

    with pytest.raises(LabelError) as caught:
        build(classes("dog", label), model=fake_model, templates=TWO)

    assert caught.value.message.startswith("label 'cat cat cat ")
    assert caught.value.message.endswith("in template 'a photo of a {}.' has 87 > 77 tokens")
    assert len(caught.value.message) < 300


@pytest.mark.accepts("B6")
def test_an_overlong_label_can_be_cut_with_a_warning(fake_model):
    with pytest.warns(ZsclipWarning, match="has 87 > 77 tokens; cut$"):
        built = build(classes("cat " * 80), model=fake_model, templates=TWO, truncate=True)

    assert built.head.weight.shape == (1, 64)


def test_a_cut_label_is_another_row_of_the_cache(fake_model):
    build(classes("cat"), model=fake_model, templates=TWO)

    built = build(classes("cat"), model=fake_model, templates=TWO, truncate=True)

    assert built.cached == 0


def test_a_model_may_read_fewer_tokens_than_the_probe_has(fake_model):
    config = dataclasses.replace(fake_model.local.config, context_length=4)
    local = dataclasses.replace(fake_model.local, config=config)
    short = Model(local, cache=fake_model.cache, engine=FakeEngine())

    head = build(classes("cat"), model=short, templates=load_templates("none")).head

    assert head.weight.shape == (1, 64)
    with pytest.raises(LabelError, match="> 4 tokens"):
        build(classes("a hot dog"), model=short, templates=load_templates("none"))


@pytest.mark.accepts("B16")
@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize("label", ["<end_of_text>", "x &lt;end_of_text&gt; b", "<Start_Of_Text>"])
def test_special_tokens_in_a_label_are_refused(fake_model, label, truncate):
    with pytest.raises(LabelError, match="special tokens") as caught:
        build_head(["dog", label], model=fake_model, truncate=truncate)

    assert repr(label) in caught.value.message


def test_an_unknown_template_set_is_refused(fake_model):
    with pytest.raises(UnknownNameError):
        build_head(["cat"], model=fake_model, templates="imagenet81")


def test_templates_can_be_given_as_texts(fake_model):
    head = build_head(["cat"], model=fake_model, templates=["a {}", "the {label}"])

    assert head.provenance.templates == ("a {}", "the {}")


def test_a_bad_template_text_is_refused(fake_model):
    with pytest.raises(TemplateError):
        build_head(["cat"], model=fake_model, templates=["a cat"])


def test_damaged_weights_are_refused(fake_model):
    fake_model.engine.encode_texts = lambda tokens: np.full((len(tokens), 8), np.nan, np.float32)

    with pytest.raises(ModelError, match="not finite"):
        build(classes("cat"), model=fake_model, templates=TWO)


@pytest.mark.parametrize("label", ["&nbsp;", ["cat", "&nbsp;"]])
def test_a_label_that_the_model_reads_as_nothing_is_refused_with_its_place(fake_model, label):
    with pytest.raises(LabelError, match=r"^labels\[1\]: label '&nbsp;' is empty"):
        build_head(["dog", label], model=fake_model)


# equal tokens


@pytest.mark.accepts("B2")
def test_labels_with_equal_tokens_are_kept_and_warned_about(fake_model):
    with pytest.warns(ZsclipWarning, match=r"'TRUE' \(labels\[0\]\) and 'true' \(labels\[2\]\)$"):
        head = build_head(["TRUE", "cat", "true"], model=fake_model)

    assert head.class_names == ("TRUE", "cat", "true")


@pytest.mark.accepts("B2")
def test_the_warning_comes_from_the_cache_and_across_chunks_too(fake_model, monkeypatch):
    class Rounding(FakeEngine):
        """Answers a little differently at each call."""

        def encode_texts(self, tokens):
            features = super().encode_texts(tokens)
            features[:, 0] += 1e-7 * self.text_calls
            return features

    monkeypatch.setattr(head_builder, "CHUNK_PROMPTS", 2)
    names = ["TRUE", "cat", "dog", "true"]
    model = reopened(fake_model, Rounding())

    for _ in range(2):
        with pytest.warns(ZsclipWarning, match="'TRUE' .* and 'true'"):
            head = build_head(names, model=model, templates=TWO)

    assert not np.array_equal(head.weight[0], head.weight[3]), "the test tests nothing"


@pytest.mark.accepts("B2")
def test_classes_without_places_may_have_equal_tokens(fake_model):
    head = build(classes("TRUE", "true", "crane", "crane"), model=fake_model, templates=TWO).head

    assert head.class_names == ("TRUE", "true", "crane", "crane")


def test_indices_of_a_list_stay_where_a_name_is_there_twice(fake_model):
    assert build_head(["crane", "dog", "crane"], model=fake_model).class_names == (
        "crane",
        "dog",
        "crane",
    )


@pytest.mark.parametrize("classes", [1, 2, 3000])
def test_rows_that_differ_by_rounding_are_found(classes):
    random = np.random.default_rng(0)
    weight = scoring.normalize(random.standard_normal((classes, 8), dtype=np.float32))
    twins = random.permutation(classes)[: classes // 2 * 2].reshape(-1, 2)[:20]
    noise = random.uniform(-1e-6, 1e-6, (len(twins), 8))
    weight[twins[:, 0]] = weight[twins[:, 1]] + noise.astype(np.float32)

    assert head_builder._twins(weight) == sorted(twins.ravel().tolist())


def test_rows_that_differ_in_one_feature_are_no_twins():
    weight = np.zeros((4, 8), dtype=np.float32)
    weight[[1, 2, 3], [0, 3, 7]] = 1e-3

    assert head_builder._twins(weight) == []


def test_more_equal_rows_than_neighbours_are_compared_are_all_found(monkeypatch):
    monkeypatch.setattr(head_builder, "_MOST_NEIGHBOURS", 3)
    weight = np.ones((50, 8), dtype=np.float32)

    assert head_builder._twins(weight) == list(range(50))


# large


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_whole_data_set_builds_in_its_own_order(fake_model, name):
    known = load_dataset(name)

    head = build(known.class_names, model=fake_model, templates=known.templates).head

    assert head.class_names == tuple(names[0] for names in known.class_names)
