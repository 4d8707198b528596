"""Classes that say more than a name, all the way: built, saved, and answered with."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from zsclip import scoring
from zsclip.class_tokens import ClassTokens
from zsclip.classifier import Classifier
from zsclip.engines.fake import FakeEngine
from zsclip.errors import HeadError, LabelError, UsageError, ZsclipWarning
from zsclip.head_builder import build, build_head
from zsclip.heads import load_head
from zsclip.labels import ClassLabel, prompts_of
from zsclip.prompts import TemplateSet
from zsclip.resuming import Run

TWO = TemplateSet("two", ("a photo of a {}.", "the {}"))
CRANE = ClassLabel("crane", ["crane", "derrick"], ["it {} lifts"], "a machine", "machines", 0.4)
CLASSES = [
    CRANE,
    ClassLabel("truck", group="machines"),
    ClassLabel("cat", group="pets"),
    ClassLabel("dog", group="pets", threshold=0.9),
    ClassLabel("tree"),
]


@pytest.fixture
def head(fake_model):
    return build(CLASSES, model=fake_model, templates=TWO).head


@pytest.fixture
def pictures():
    return [Image.new("RGB", (9, 9), colour) for colour in ("red", "green", "blue", "grey")]


# built


def test_the_average_is_over_names_in_templates_then_own_prompts(fake_model):
    expected = scoring.average(
        fake_model.encode_text(
            [
                "a photo of a crane, a machine.",
                "the crane, a machine",
                "a photo of a derrick, a machine.",
                "the derrick, a machine",
                "it {} lifts",
            ]
        )
    )

    head = build([CRANE], model=fake_model, templates=TWO).head

    assert np.array_equal(head.weight[0], expected) and head.class_names == ("crane",)


def test_what_is_said_of_a_class_is_in_its_cache_key(fake_model):
    variants = [
        ClassLabel("crane"),
        ClassLabel("crane", ["crane", "derrick"]),
        ClassLabel("crane", ["derrick", "crane"]),
        ClassLabel("crane", context="a bird"),
        ClassLabel("crane", prompts=["it lifts"]),
        ClassLabel("crane", [], ["it lifts"]),
    ]

    built = [build([one], model=fake_model, templates=TWO) for one in variants]

    assert [one.cached for one in built] == [0] * 6
    assert len({one.head.weight.tobytes() for one in built}) == 6


def test_what_only_results_show_is_not_in_the_cache_key(fake_model):
    build([ClassLabel("crane")], model=fake_model, templates=TWO)
    other = ClassLabel("lifting thing", ["crane"], group="machines", threshold=0.5)

    assert build([other], model=fake_model, templates=TWO).cached == 1


def test_chunks_of_classes_of_different_sizes_are_cut_right(fake_model, monkeypatch):
    monkeypatch.setattr("zsclip.head_builder.CHUNK_PROMPTS", 6)

    head = build(CLASSES, model=fake_model, templates=TWO).head

    for row, one in zip(head.weight, CLASSES, strict=True):
        expected = scoring.average(fake_model.encode_text(prompts_of(one, TWO)))
        assert np.abs(row - expected).max() < 1e-6


def test_an_article_in_front_of_a_name_that_is_not_the_label_is_warned_about(fake_model):
    with pytest.warns(ZsclipWarning, match="'a crane' begins with an article"):
        build([ClassLabel("crane", ["a crane"])], model=fake_model, templates=TWO)


def test_from_python_classes_come_in_any_form(fake_model):
    head = build_head(["cat", ["dog", "puppy"], CRANE], model=fake_model, templates=["the {}"])

    assert head.class_names == ("cat", "dog", "crane")
    assert head.groups == (None, None, "machines") and head.thresholds == (None, None, 0.4)


def test_a_fault_in_a_class_from_python_is_told_with_its_place(fake_model):
    with pytest.raises(LabelError, match=r"an empty prompt"):
        build_head(["cat", ClassLabel("dog", prompts=[""])], model=fake_model)
    with pytest.raises(LabelError, match=r"^labels\[1\]: a class without a name"):
        build_head(["cat", []], model=fake_model)


# what a model cannot read


def tokens_of(model, *classes, truncate=False):
    places = [f"f: line {i}" for i in range(1, len(classes) + 1)]
    return ClassTokens(classes, model=model, templates=TWO, places=places, truncate=truncate)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (
            ClassLabel("dog", ["dog", "hound"], ["fine", "word " * 80]),
            f"f: line 2: prompt '{'word ' * 8}…{'word ' * 8}' has 82 > 77 tokens",
        ),
        (
            ClassLabel("dog", ["dog", "hound"], context="word " * 75),
            "f: line 2: label 'dog, word word word word word word word …"
            f"{'word ' * 8}' in template 'a photo of a {{}}.' has 84 > 77 tokens",
        ),
        (
            ClassLabel("dog", prompts=["fine", "a<end_of_text>b"]),
            "f: line 2: prompt 'a<end_of_text>b' has one of CLIP's special tokens inside",
        ),
        (
            ClassLabel("dog", prompts=["&nbsp;"]),
            "f: line 2: prompt '&nbsp;' is empty once the model has cleaned it",
        ),
    ],
    ids=["long prompt", "long context", "special token", "empty prompt"],
)
def test_what_a_model_cannot_read_is_told_with_the_text_that_it_is_in(fake_model, label, message):
    with pytest.raises(LabelError) as caught:
        tokens_of(fake_model, ClassLabel("cat"), label).read([0, 1])

    assert caught.value.message == message


def test_a_prompt_that_is_too_long_is_cut_where_that_is_asked_for(fake_model):
    reader = tokens_of(fake_model, ClassLabel("dog", prompts=["word " * 80]), truncate=True)

    assert reader.read([0]).shape == (3, 77)
    with pytest.warns(ZsclipWarning, match="prompt .* has 82 > 77 tokens; cut"):
        reader.warn_about_cuts()


def test_classes_with_other_labels_and_equal_prompts_cannot_be_told_apart(fake_model):
    with pytest.warns(ZsclipWarning, match=r"'one' \(1\) and 'two' \(2\)"):
        build(
            [ClassLabel("one", ["cat"]), ClassLabel("two", ["cat"])],
            model=fake_model,
            templates=TWO,
            places=["1", "2"],
        )


# kept in heads


def test_groups_and_thresholds_are_kept_in_the_file(head, tmp_path):
    head.save(tmp_path / "a.safetensors")

    loaded = load_head(tmp_path / "a.safetensors")

    assert loaded.groups == ("machines", "machines", "pets", "pets", None)
    assert loaded.thresholds == (0.4, None, None, 0.9, None)
    assert loaded.digest == head.digest


def test_groups_and_thresholds_change_the_digest(head):
    digests = {
        head.digest,
        dataclasses.replace(head, groups=()).digest,
        dataclasses.replace(head, thresholds=()).digest,
        dataclasses.replace(head, groups=("x", *head.groups[1:])).digest,
        dataclasses.replace(head, thresholds=(0.5, *head.thresholds[1:])).digest,
    }

    assert len(digests) == 5


def test_a_head_without_them_is_the_file_that_it_was_before_there_were_any(fake_model):
    head = build([("cat",)], model=fake_model, templates=TWO).head

    assert not {"groups", "thresholds"} & json.loads(head._header()).keys()
    assert (head.groups, head.thresholds) == ((), ())


@pytest.mark.parametrize(
    "header",
    [
        {"groups": "pets!"},
        {"groups": 5},
        {"groups": ["pets"]},
        {"groups": [1, 2, 3, 4, 5]},
        {"groups": ["\ud83d", None, None, None, None]},
        {"thresholds": {"a": 1}},
        {"thresholds": [0.5]},
        {"thresholds": ["0.5", None, None, None, None]},
        {"thresholds": [True, None, None, None, None]},
        {"thresholds": [1.5, None, None, None, None]},
        {"thresholds": [float("nan"), None, None, None, None]},
    ],
    ids=str,
)
def test_a_header_with_other_groups_or_thresholds_is_refused(head, tmp_path, header):
    path = tmp_path / "a.safetensors"
    content = {**json.loads(head._header()), **header}
    arrays = {"weight": head.weight, "bias": head.bias}
    save_file(arrays, path, metadata={"zsclip-head": json.dumps(content)})

    with pytest.raises(HeadError, match=r"a\.safetensors: has "):
        load_head(path)


# groups


def test_members_come_in_the_order_of_the_first_and_a_lone_class_is_its_own_group(head):
    assert head.members == {"machines": [0, 1], "pets": [2, 3], "tree": [4]}


def test_a_class_with_the_name_of_a_group_is_in_it(head):
    names = ("crane", "truck", "cat", "dog", "pets")

    assert dataclasses.replace(head, class_names=names).members["pets"] == [2, 3, 4]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("softmax", [[0.6, 0.1, 0.3], [0.4, 0.4, 0.2]]),
        ("sigmoid", [[0.4, 0.1, 0.3], [0.3, 0.4, 0.2]]),
        ("cosine", [[0.4, 0.1, 0.3], [0.3, 0.4, 0.2]]),
    ],
)
def test_the_score_of_a_group_is_the_sum_or_the_best_of_its_members(kind, expected):
    scores = np.asarray([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]], dtype=np.float32)

    found = scoring.grouped(scores, [[1, 3], [0], [2]], kind)

    assert np.abs(found - expected).max() < 1e-6 and found.dtype == np.float32


def test_a_sum_of_probabilities_is_never_over_1():
    scores = scoring.softmax(np.zeros((3, 999), dtype=np.float32))

    assert scoring.grouped(scores, [list(range(999))], "softmax").max() <= 1


def test_scores_that_are_not_finite_stay_so_in_groups():
    scores = np.asarray([[np.nan, 0.5, 0.5]], dtype=np.float32)

    for kind in ("softmax", "cosine"):
        assert np.isnan(scoring.grouped(scores, [[1, 0], [2]], kind)[0, 0])


def test_answers_are_groups_whose_scores_are_those_of_their_members(head, fake_model, pictures):
    head = dataclasses.replace(head, thresholds=())
    single = list(Classifier(head, model=fake_model, top_k=0).classify(pictures))

    grouped = list(Classifier(head, model=fake_model, top_k=0, group=True).classify(pictures))

    for one, many in zip(grouped, single, strict=True):
        scores = {s.label: s.score for s in many.scores}
        cosines = {s.label: s.cosine for s in many.scores}
        found = {s.label: (s.score, s.cosine) for s in one.scores}
        assert found.keys() == {"machines", "pets", "tree"}
        assert abs(found["pets"][0] - scores["cat"] - scores["dog"]) < 1e-6
        assert found["machines"][1] == max(cosines["crane"], cosines["truck"])
        assert found["tree"] == (pytest.approx(scores["tree"], abs=1e-6), cosines["tree"])
        assert one.label == max(found, key=lambda name: found[name][0])


def test_groups_without_any_group_are_refused(fake_model):
    with pytest.raises(UsageError, match="no label is in a group"):
        Classifier(["cat", "dog"], model=fake_model, group=True)


# thresholds


@pytest.fixture
def with_thresholds(head, fake_model, pictures):
    """Results of a head with one threshold for all labels."""

    def run(limit, **options):
        limits = (limit,) * 5
        made = dataclasses.replace(head, thresholds=limits)
        return list(Classifier(made, model=fake_model, **options).classify(pictures))

    return run


def test_a_best_label_under_its_own_threshold_is_none_and_keeps_its_scores(
    with_thresholds, head, fake_model, pictures
):
    plain = dataclasses.replace(head, thresholds=())
    free = list(Classifier(plain, model=fake_model).classify(pictures))
    middle = sorted(result.score for result in free)[2]

    found = with_thresholds(middle)

    for one, other in zip(found, free, strict=True):
        assert one.scores == other.scores and one.score == other.score
        assert one.label == (other.label if other.score >= middle else None)
    assert {one.label is None for one in found} == {True, False}


def test_the_threshold_of_another_label_does_not_count(head, fake_model, pictures):
    free = list(
        Classifier(dataclasses.replace(head, thresholds=()), model=fake_model).classify(pictures)
    )
    best = head.class_names.index(free[0].label)
    limits = tuple(None if i == best else 1.0 for i in range(5))
    made = dataclasses.replace(head, thresholds=limits)

    assert next(Classifier(made, model=fake_model).classify(pictures[0])).label == free[0].label


def test_both_thresholds_must_be_reached(with_thresholds):
    assert {result.label for result in with_thresholds(0.0, min_score=1.1)} == {None}
    assert {result.label for result in with_thresholds(1.0, min_score=0.0)} == {None}
    assert None not in {result.label for result in with_thresholds(0.0, min_score=0.0)}


def test_for_groups_thresholds_do_not_count_which_is_said(with_thresholds):
    with pytest.warns(ZsclipWarning, match="thresholds of labels do not count for groups"):
        found = with_thresholds(1.0, group=True)

    assert None not in {result.label for result in found}


# the command line


@pytest.fixture
def run(zsclip, fake_model, monkeypatch, tmp_path, picture):
    """The command line in a folder with pictures and labels files, with the fake engine."""
    monkeypatch.setattr("zsclip.cli.request.load_model", lambda *args, **kwargs: fake_model)
    monkeypatch.chdir(tmp_path)
    for colour in ("red", "green", "blue"):
        picture(f"{colour}.png", colour)
    Path("animals.yaml").write_text(
        "- {label: crane, names: [crane, derrick], context: a machine, group: machines}\n"
        "- {label: truck, group: machines}\n- {label: cat, threshold: 1}\n- dog\n"
    )
    return zsclip


def test_a_yaml_file_is_a_labels_file_beside_other_labels(run):
    ran = run("classify", "red.png", "-l", "tree", "-L", "animals.yaml", "--label", "a, b", "-k0")

    labels = {score["label"] for score in ran.rows[0]["scores"]}
    assert ran.code == 0 and labels == {"tree", "crane", "truck", "cat", "dog", "a, b"}


def test_a_csv_file_gives_the_head_that_the_same_yaml_gives(run):
    Path("animals.csv").write_text(
        "label,names,context,group,threshold\ncrane,crane|derrick,a machine,machines,\n"
        "truck,,,machines,\ncat,,,,1\ndog,,,,\n"
    )

    first, second = (
        run("build-head", "-L", name, "--json").rows[0]["head"]
        for name in ("animals.yaml", "animals.csv")
    )

    assert first == second


def test_groups_are_answered_with_from_a_file_and_from_a_head(run):
    options = ("--group", "--top-k", "0")
    run("build-head", "-L", "animals.yaml", "-o", "head.safetensors")

    typed = run("classify", "red.png", "blue.png", "-L", "animals.yaml", *options)
    saved = run("classify", "red.png", "blue.png", "--head", "head.safetensors", *options)

    assert typed.code == 0 and typed.stdout == saved.stdout
    assert {score["label"] for score in typed.rows[0]["scores"]} == {"machines", "cat", "dog"}
    assert "thresholds of labels do not count for groups" in typed.stderr


def test_groups_of_plain_labels_are_refused_in_one_line(run):
    ran = run("classify", "red.png", "--labels", "cat,dog", "--group")

    assert ran.code == 2 and ran.stderr.startswith("error: no label is in a group\ntip: ")


def test_a_group_with_one_member_is_one_warning(run):
    Path("odd.yaml").write_text("cat: {group: pets}\ndog: {group: pest}\nfox: {group: pets}\n")

    ran = run("classify", "red.png", "-L", "odd.yaml")

    assert ran.code == 0
    assert (
        "warning: groups with one member, perhaps misspelled: 'pest' has only 'dog'" in ran.stderr
    )


def test_a_fault_in_a_labels_file_is_one_line_with_its_place(run):
    Path("odd.csv").write_text("label,threshold\ncat,0.5\ndog,7\n")

    ran = run("classify", "red.png", "-L", "odd.csv")

    assert ran.code == 2 and ran.stdout == ""
    assert ran.stderr.startswith("error: odd.csv: line 3: threshold '7' of label 'dog' is not")
    assert ran.stderr.count("\n") == 2


def test_a_prompt_that_is_too_long_is_told_with_its_line(run):
    Path("odd.yaml").write_text(f"- cat\n- label: dog\n  prompts: ['{'word ' * 80}']\n")

    ran = run("classify", "red.png", "-L", "odd.yaml")

    assert ran.code == 2 and "odd.yaml: line 2: prompt 'word " in ran.stderr


def test_a_run_with_groups_is_not_gone_on_with_without_them(run, fake_model, head):
    plain = dataclasses.replace(head, thresholds=())
    first = Run.of(Classifier(plain, model=fake_model))
    grouped = Run.of(Classifier(plain, model=fake_model, group=True))

    assert first.digest != grouped.digest
    assert (first.labels, grouped.labels) == (5, 3)


def test_a_sigmoid_group_is_its_best_member(fake_model, pictures):
    fake_model.engine = FakeEngine(logit_bias=-1.0)
    head = dataclasses.replace(build(CLASSES, model=fake_model, templates=TWO).head, thresholds=())
    (one,) = Classifier(head, model=fake_model, top_k=0).classify(pictures[0])

    (many,) = Classifier(head, model=fake_model, top_k=0, group=True).classify(pictures[0])

    scores = {s.label: s.score for s in one.scores}
    assert one.score_kind == "sigmoid"
    assert dict((s.label, s.score) for s in many.scores)["pets"] == max(
        scores["cat"], scores["dog"]
    )
