"""Classes as tokens: what a model cannot read whole is refused, with its place."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from zsclip.class_tokens import ClassTokens
from zsclip.errors import LabelError, ZsclipWarning
from zsclip.labels import class_label
from zsclip.prompts import TemplateSet
from zsclip.tokenizer import ClipTokenizer

TWO = TemplateSet("two", ("a photo of a {}.", "the {}"))


@pytest.fixture
def reader(fake_model):
    """Make a reader of classes that were typed in a file, a line each."""

    def make(*names, templates=TWO, truncate=False, clean="lower", places=True):
        vars(fake_model)["tokenizer"] = ClipTokenizer(77, clean=clean)
        return ClassTokens(
            [class_label(name) for name in names],
            model=fake_model,
            templates=templates,
            places=[f"f: line {i}" for i in range(1, len(names) + 1)] if places else None,
            truncate=truncate,
        )

    return make


def warned(work, *arguments):
    """What a call warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        work(*arguments)
    return [str(warning.message) for warning in caught]


def test_tokens_are_those_of_all_prompts_class_by_class(reader, fake_model):
    tokens = reader("cat", ("dog", "puppy")).read([1, 0])

    prompts = ["a photo of a dog.", "the dog", "a photo of a puppy.", "the puppy"]
    expected = fake_model.tokenize([*prompts, "a photo of a cat.", "the cat"])
    assert np.array_equal(tokens, expected)


@pytest.mark.accepts("B6")
def test_the_class_whose_prompt_is_too_long_is_named(reader):
    names = ["cat", ("dog", "word " * 75), "word " * 90]

    with pytest.raises(LabelError) as caught:
        reader(*names).read([0, 1, 2])

    assert caught.value.message.startswith("f: line 2: label 'word word ")
    assert caught.value.message.endswith("in template 'a photo of a {}.' has 82 > 77 tokens")
    assert "--truncate" in caught.value.tip


@pytest.mark.accepts("B6")
def test_a_template_that_fits_is_not_blamed_for_one_that_does_not(reader):
    templates = TemplateSet("t", ("{}", "a photo of a {}."))

    with pytest.raises(LabelError, match=r"in template 'a photo of a {}\.' has 80 > 77"):
        reader("word " * 73, templates=templates).read([0])


@pytest.mark.accepts("B6")
def test_cut_labels_are_counted_in_one_warning(reader):
    classes = reader("word " * 80, "cat", "other " * 80, ("dog", "x " * 99), truncate=True)
    tokens = classes.read([0, 1, 2, 3])

    assert tokens.shape == (10, 77)
    assert warned(classes.warn_about_cuts) == [
        f"f: line 1: label '{('word ' * 8)}…{('word ' * 8)}' in template 'a photo of a {{}}.' "
        "has 87 > 77 tokens; cut; so are 2 more labels"
    ]


def test_nothing_cut_is_no_warning(reader):
    classes = reader("cat", truncate=True)
    classes.read([0])

    assert warned(classes.warn_about_cuts) == []


@pytest.mark.accepts("B13")
@pytest.mark.parametrize("label", ["&nbsp;", "\ufeff", "&#7;", "\u206a", "&nbsp; &#9;"])
def test_a_label_of_which_clips_cleaning_leaves_nothing_is_refused(reader, label):
    with pytest.raises(LabelError, match=r"f: line 2: label .* is empty once the model"):
        reader("cat", label).read([0, 1])


@pytest.mark.accepts("B13")
@pytest.mark.parametrize("label", ["!!!", "...", "_", "-_-", "?"])
def test_a_label_of_punctuation_is_refused_where_the_model_drops_it(reader, label):
    classes = reader("cat", label, clean="canonicalize")

    with pytest.raises(LabelError, match=r"f: line 2: label .* is empty once the model"):
        classes.read([0, 1])
    assert reader(label).read([0]).shape == (2, 77)  # CLIP reads it


def test_one_empty_name_among_several_is_refused(reader):
    with pytest.raises(LabelError, match="f: line 1: label '&nbsp;' is empty"):
        reader(("cat", "&nbsp;")).read([0])


@pytest.mark.accepts("B16")
@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize("template", ["a {}", "!{}", "the {}."])
def test_a_special_token_in_a_label_is_refused_in_any_template(reader, template, truncate):
    classes = reader(
        "cat", "x<end_of_text>", templates=TemplateSet("t", (template,)), truncate=truncate
    )

    with pytest.raises(LabelError) as caught:
        classes.read([0, 1])

    assert caught.value.message == (
        "f: line 2: label 'x<end_of_text>' has one of CLIP's special tokens inside"
    )
    assert caught.value.tip is None


@pytest.mark.accepts("B16")
@pytest.mark.parametrize("truncate", [False, True])
def test_a_special_token_that_template_and_label_make_together_is_refused(reader, truncate):
    classes = reader("text", templates=TemplateSet("t", ("{}", "<end_of_{}>")), truncate=truncate)

    with pytest.raises(LabelError, match=r"in template '<end_of_{}>' has one of CLIP's special"):
        classes.read([0])


def test_without_places_a_refusal_names_the_label(reader):
    with pytest.raises(LabelError, match=r"^label '&nbsp;' is empty"):
        reader("&nbsp;", places=False).read([0])


@pytest.mark.accepts("B2")
def test_labels_with_equal_tokens_are_warned_about_in_one_line(reader):
    names = ["TRUE", "cat", "true", "T-shirt", "True", "t - shirt"]

    assert warned(reader(*names).warn_about_equal, range(6)) == [
        "labels with equal tokens, which the model cannot tell apart: "
        "'TRUE' (f: line 1) and 'true' (f: line 3); 'TRUE' (f: line 1) and 'True' (f: line 5); "
        "'T-shirt' (f: line 4) and 't - shirt' (f: line 6)"
    ]


@pytest.mark.accepts("B2")
def test_many_labels_with_equal_tokens_are_still_one_short_warning(reader):
    names = [f"{'cat ' * 20}{i % 50}{' ' * (i // 50)}" for i in range(100)]

    (message,) = warned(reader(*names).warn_about_equal, range(100))

    assert message.endswith("; 45 more") and len(message) < 1500


def test_a_label_that_is_there_twice_is_not_warned_about(reader):
    # from Python: indices stay those of the list
    assert warned(reader("crane", "dog", "crane").warn_about_equal, range(3)) == []


def test_different_tokens_are_not_warned_about(reader):
    assert warned(reader("cat", "cats", "dog").warn_about_equal, range(3)) == []


def test_labels_that_are_equal_once_cut_are_warned_about(reader):
    classes = reader("word " * 90 + "cat", "word " * 90 + "dog", truncate=True)

    with pytest.warns(ZsclipWarning, match="labels with equal tokens"):
        classes.warn_about_equal([0, 1])
