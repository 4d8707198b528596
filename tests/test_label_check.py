"""`zsclip labels check`: what is probably wrong with labels, and only that."""

from __future__ import annotations

import numpy as np
import pytest

from zsclip import console, label_meaning
from zsclip.data_files import TINY_FOLDER
from zsclip.datasets import load_dataset
from zsclip.errors import LabelError, ModelError
from zsclip.label_check import ambiguous_words, check_words
from zsclip.label_meaning import check_meaning
from zsclip.labels import ClassLabel
from zsclip.loading import load_model
from zsclip.prompts import TemplateSet, load_templates

PHOTO = load_templates("photo")
SEVEN = load_templates("imagenet7")


def classes(*labels):
    return [
        label if isinstance(label, ClassLabel) else ClassLabel(label, where=f"f: line {n}")
        for n, label in enumerate(labels, 1)
    ]


def told(findings):
    return [(finding.kind, finding.label) for finding in findings]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return load_model(TINY_FOLDER, engine="torch", device="cpu", cache_dir=cache)


# by their words


def test_labels_without_faults_have_no_findings():
    good = classes(
        "cat", "hot dog", "glass bottle", "O'Neill", "T-shirt", "theatre", "antelope", "grass"
    )

    assert check_words(good) == []


@pytest.mark.parametrize("name", ["a cat", "An apple pie", "THE sea"])
def test_a_leading_article_is_found(name):
    (found,) = check_words(classes("dog", name))

    assert (found.kind, found.where) == ("article", "f: line 2")
    assert found.suggestion == f"write {name.partition(' ')[2]!r}, or use --templates none"


def test_an_underscore_is_found_with_the_name_as_captions_have_it():
    (found,) = check_words(classes("golden_retriever"))

    assert found.kind == "underscore" and found.suggestion == "write 'golden retriever'"


@pytest.mark.parametrize("word", ["crane", "Boxer", "bat", "mouse", "bank"])
def test_a_bare_word_with_several_senses_is_found_with_them(word):
    (found,) = check_words(classes(word))

    first, second = ambiguous_words()[word.lower()][:2]
    assert found.kind == "ambiguous" and f"{first}, or {second}" in found.message
    assert f"'{word}, {first}'" in found.suggestion


@pytest.mark.parametrize(
    "label",
    [
        "crane, a large bird",
        "construction crane",
        ClassLabel("crane", context="a large bird"),
        ClassLabel("crane", ["crane", "derrick"]),
        ClassLabel("crane", prompts=["a bird with long legs"]),
        ClassLabel("crane", ["construction crane"]),
    ],
    ids=str,
)
def test_what_says_which_sense_is_meant_is_not_ambiguous(label):
    assert check_words(classes(label)) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("cat", "Cat"),
        ("cat", "cats"),
        ("ice cream", "ice-cream"),
        ("ice cream", "Ice_creams"),
        ("berries", "berry"),
        ("church", "churches"),
        ("fish dish", "fish dishes"),
        ("fox", "foxes"),
    ],
)
def test_a_label_in_another_spelling_or_number_is_found_with_the_first(first, second):
    found = [f for f in check_words(classes("dog", first, second)) if f.kind == "same_word"]

    assert [(f.label, f.other, f.where) for f in found] == [(second, first, "f: line 3")]


@pytest.mark.parametrize(("first", "second"), [("bus", "buss"), ("class", "grass"), ("cat", "cot")])
def test_different_words_are_not_the_same_word(first, second):
    assert check_words(classes(first, second)) == []


def test_one_word_in_two_contexts_is_not_the_same_word():
    bird = ClassLabel("crane", context="a bird")
    machine = ClassLabel("crane 2", ["crane"], context="a machine")

    assert check_words([bird, machine]) == []


def test_a_hole_in_a_prompt_of_its_own_is_found():
    (found,) = check_words([ClassLabel("cat", prompts=["a {} with fur", "a (small) cat"])])

    assert found.kind == "braces" and "'a {} with fur'" in found.message


def test_every_finding_is_a_line_with_a_suggestion():
    labels = classes("a_crane", "crane\u2028", "x" * 3000, "a " + "y" * 3000, "an apple", "mouse")

    for found in check_words(labels):
        for text in (found.message, found.suggestion):
            assert text and "\n" not in text and len(text) < 300


def test_packaged_senses_can_be_read_as_contexts():
    words = ambiguous_words()

    assert len(words) > 80
    for word, senses in words.items():
        assert word == word.lower() and len(senses) >= 2 and len(set(senses)) == len(senses)
        assert all(sense and not sense.startswith((" ", word + ",")) for sense in senses), word


# by what a model makes of them


@pytest.mark.parametrize("templates", [PHOTO, SEVEN], ids=lambda one: one.name)
def test_names_that_a_model_holds_for_one_are_found_and_others_are_not(tiny, templates):
    labels = classes("cat", "kitten", "sofa", "couch", "truck", "car", "house", "bicycle")

    found = check_meaning(labels, model=tiny, templates=templates)

    assert {(f.other, f.label) for f in found} == {("cat", "kitten"), ("sofa", "couch")}
    assert {f.kind for f in found} == {"near_duplicate"}
    assert [f.value for f in found] == sorted((f.value for f in found), reverse=True)
    assert all(f.value > f.limit for f in found)


def test_the_classes_of_the_measure_are_far_enough_from_each_other(tiny):
    labels = classes(*(names[0] for names in load_dataset(label_meaning.MEASURE).class_names))

    assert check_meaning(labels, model=tiny, templates=PHOTO) == []


def test_a_pair_that_is_one_word_is_not_told_a_second_time(tiny):
    assert check_meaning(classes("cat", "Cat", "truck"), model=tiny, templates=PHOTO) == []


def test_pairs_are_found_across_blocks_of_rows(tiny, monkeypatch):
    monkeypatch.setattr(label_meaning, "_ROWS", 3)
    labels = classes("cat", "truck", "house", "bicycle", "sofa", "tree", "kitten", "couch")

    found = check_meaning(labels, model=tiny, templates=PHOTO)

    assert {(f.other, f.label) for f in found} == {("cat", "kitten"), ("sofa", "couch")}


def test_one_label_alone_is_near_to_none(tiny):
    assert check_meaning(classes("cat"), model=tiny, templates=PHOTO) == []


def test_a_class_of_different_things_is_found(tiny):
    labels = [
        ClassLabel("things", ["cat", "truck", "house"], where="f: line 1"),
        ClassLabel("cats", ["cat", "kitten"], where="f: line 2"),
        ClassLabel("tree", prompts=["a green tree"], where="f: line 3"),
    ]

    found = check_meaning(labels, model=tiny, templates=SEVEN)

    assert told(found) == [("disagreeing_prompts", "things")]
    assert found[0].value < found[0].limit and "two classes" in found[0].suggestion


def test_agreement_is_the_mean_cosine_of_different_prompts():
    rows = np.asarray([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)

    agreement = label_meaning._agreement(rows)

    assert abs(agreement - (0 + 0.6 + 0.8) / 3) < 1e-6
    assert label_meaning._agreement(rows[:1]) == 1


def test_a_name_of_many_tokens_is_found_with_its_number(fake_model):
    labels = classes("word " * 20, "word " * 21)

    found = check_meaning(labels, model=fake_model, templates=PHOTO)

    (long,) = [f for f in found if f.kind == "long"]
    assert (long.where, long.value, long.limit) == ("f: line 2", 21, 20)


def test_a_prompt_that_would_be_refused_is_found_and_the_others_are_still_checked(fake_model):
    labels = classes("cat", "word " * 90, ClassLabel("dog", prompts=["word " * 90], where="here"))

    found = check_meaning(labels, model=fake_model, templates=PHOTO)

    long = [f for f in found if f.kind == "long"]
    assert [f.where for f in long] == ["f: line 2", "here"]
    assert "in template 'a photo of a {}.' has 97 > 77 tokens, which is refused" in long[0].message
    assert long[1].message.startswith("prompt 'word ")


def test_a_label_that_no_model_reads_is_an_error_as_it_is_elsewhere(fake_model):
    with pytest.raises(LabelError, match=r"f: line 2: label .* special tokens"):
        check_meaning(classes("cat", "a<end_of_text>b"), model=fake_model, templates=PHOTO)


def test_progress_ends_with_the_number_of_classes(fake_model, monkeypatch):
    monkeypatch.setattr("zsclip.head_builder.CHUNK_PROMPTS", 4)
    steps = []
    two = TemplateSet("two", ("a {}", "the {}"))

    check_meaning(
        classes("cat", "dog", "fox"),
        model=fake_model,
        templates=two,
        on_progress=lambda done, total: steps.append((done, total)),
    )

    assert steps == [(2, 3), (3, 3)]


# the command


@pytest.fixture
def run(zsclip, tiny, monkeypatch, tmp_path):
    """The command line in an empty folder, with the embedded model open already."""
    monkeypatch.setattr("zsclip.cli.request.load_model", lambda *args, **kwargs: tiny)
    monkeypatch.chdir(tmp_path)

    def check(*arguments):
        return zsclip("labels", "check", *arguments, "--templates", "photo")

    return check


def test_files_and_options_are_checked_together_in_json_lines(run, tmp_path):
    (tmp_path / "a.yaml").write_text("- label: crane\n- {label: sofa}\n- the dog\n")

    ran = run("a.yaml", "--labels", "couch,tree")

    found = {(row["kind"], row["label"]): row for row in ran.rows}
    assert ran.code == 0 and ran.stderr == "3 findings in 5 labels\n"
    assert found.keys() == {
        ("ambiguous", "crane"),
        ("article", "the dog"),
        ("near_duplicate", "sofa"),
    }
    assert found["ambiguous", "crane"]["where"] == "a.yaml: line 1"
    assert found["near_duplicate", "sofa"]["other"] == "couch"
    assert all(row["suggestion"] for row in ran.rows)


def test_good_labels_are_no_line_and_exit_0(run):
    ran = run("--labels", "cat,truck", "-q")

    assert (ran.code, ran.stdout, ran.stderr) == (0, "", "")


def test_a_data_set_can_be_checked(run):
    ran = run("--dataset", "cifar100", "-q")

    words = {row["label"] for row in ran.rows if row["kind"] == "ambiguous"}
    assert {"mouse", "seal", "bridge"} <= words
    assert {row["where"] for row in ran.rows} == {"--dataset cifar100"}


def test_without_labels_there_is_nothing_to_check(run):
    ran = run()

    assert ran.code == 2 and ran.stderr.startswith("error: no labels\n")


def test_without_a_model_what_words_say_is_still_told(zsclip, monkeypatch):
    def missing(*args, **kwargs):
        raise ModelError("it is not here")

    monkeypatch.setattr("zsclip.cli.request.load_model", missing)

    ran = zsclip("labels", "check", "--labels", "crane,truck")

    assert ran.code == 4 and ran.stderr == "error: it is not here\n"
    assert [row["kind"] for row in ran.rows] == ["ambiguous"]


def test_on_a_terminal_findings_are_a_table(run, monkeypatch):
    monkeypatch.setattr(console, "stdout_is_terminal", lambda: True)

    ran, none = run("--labels", "the cat,truck"), run("--labels", "cat,truck")

    header, *rows = ran.stdout.splitlines()
    assert header.split() == ["label", "what", "is", "found", "what", "to", "do"]
    assert rows[0].startswith("the cat") and "begins with an article" in ran.stdout
    assert (none.stdout, none.stderr) == ("", "0 findings in 2 labels\n")


def test_as_json_there_are_lines_on_a_terminal_too(run, monkeypatch):
    monkeypatch.setattr(console, "stdout_is_terminal", lambda: True)

    assert [row["kind"] for row in run("--labels", "the cat,truck", "--json").rows] == ["article"]
