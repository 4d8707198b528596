"""Class names from options and files."""

from __future__ import annotations

import pytest

from zsclip import labels
from zsclip.errors import LabelError, ZsclipWarning
from zsclip.labels import ClassLabel, Label, class_label, prompts_of
from zsclip.prompts import TemplateSet

TWO = TemplateSet("two", ("a photo of a {}.", "the {}"))


def names(found):
    return [label.label for label in found]


def typed(*places):
    """Labels as they were typed: `typed(("cat", "f: line 1"))`, or names alone."""
    pairs = ((place, "x") if isinstance(place, str) else place for place in places)
    return [ClassLabel(name, where=where) for name, where in pairs]


@pytest.fixture
def labels_file(tmp_path):
    def make(content: bytes):
        path = tmp_path / "labels.txt"
        path.write_bytes(content)
        return path

    return make


@pytest.mark.accepts("B7")
def test_options_split_at_commas_and_strip():
    assert names(labels.from_option(" cat, hot dog ,,dog ")) == ["cat", "hot dog", "dog"]


@pytest.mark.accepts("B7")
def test_a_verbatim_label_keeps_its_commas():
    assert names(labels.verbatim("salt, pepper")) == ["salt, pepper"]


@pytest.mark.accepts("B3")
@pytest.mark.parametrize(
    "content",
    [
        b"cat\nhot dog\n",
        b"cat\nhot dog",
        b"\xef\xbb\xbfcat\nhot dog\n",
        b"cat\r\nhot dog\r\n",
        b"  cat\t\n\n   \nhot dog   \n\n",
        "\u3000cat\xa0\nhot dog\u2028\n".encode(),
    ],
    ids=["clean", "no last newline", "bom", "crlf", "blanks", "odd blanks"],
)
def test_a_file_gives_the_same_labels_however_it_was_saved(labels_file, content):
    assert names(labels.from_file(labels_file(content))) == ["cat", "hot dog"]


@pytest.mark.accepts("B7")
@pytest.mark.parametrize("line", ["# not a comment", "salt, pepper", '"quoted"', "a: b", "{}", "-"])
def test_a_line_of_a_file_is_verbatim(labels_file, line):
    assert names(labels.from_file(labels_file(line.encode()))) == [line]


def test_labels_of_a_file_know_their_line(labels_file):
    found = labels.from_file(labels_file(b"cat\n\ndog\n"))

    assert found[1].where.endswith("labels.txt: line 3")


@pytest.mark.accepts("B1")
@pytest.mark.parametrize("content", [b"", b"\n\n", b"  \r\n\t\n", b"\xef\xbb\xbf"])
def test_a_file_without_labels_is_refused(labels_file, content):
    with pytest.raises(LabelError, match=r"labels\.txt: no labels"):
        labels.from_file(labels_file(content))


@pytest.mark.accepts("B4")
@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"cat\ndog\ncaf\xe9\n", r"line 3: not UTF-8 \(byte 0xE9\)"),
        ("cat\ndog".encode("utf-16"), r"line 1: not UTF-8 \(byte 0xFF\)"),
    ],
)
def test_a_file_that_is_not_utf8_is_refused_with_line_and_byte(labels_file, content, place):
    with pytest.raises(LabelError, match=place):
        labels.from_file(labels_file(content))


@pytest.mark.accepts("B4")
@pytest.mark.parametrize(
    "encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "UTF-8"]
)
def test_a_file_is_read_in_the_encoding_that_is_named(labels_file, encoding):
    content = "café\r\n\nhot dog\n".encode(encoding)

    found = labels.from_file(labels_file(content), encoding=encoding)

    assert [(label.label, label.where[-6:]) for label in found] == [
        ("café", "line 1"),
        ("hot dog", "line 3"),
    ]


@pytest.mark.accepts("B15")
def test_a_missing_file_is_refused_with_its_name(tmp_path):
    with pytest.raises(LabelError, match=r"none\.txt: cannot be read"):
        labels.from_file(tmp_path / "none.txt")


@pytest.mark.accepts("B15")
def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(LabelError, match="cannot be read"):
        labels.from_file(tmp_path)


def test_order_is_kept():
    assert names(labels.unique(typed("b", "a", "c"))) == ["b", "a", "c"]


@pytest.mark.accepts("B2")
def test_exact_duplicates_are_dropped_with_one_warning_that_names_their_lines():
    found = typed(("cat", "f: line 1"), ("dog", "f: line 2"), ("cat", "f: line 3"))

    with pytest.warns(ZsclipWarning, match=r"'cat' \(f: line 3\)") as caught:
        kept = labels.unique(found)

    assert names(kept) == ["cat", "dog"] and len(caught) == 1
    assert kept[0].where == "f: line 1"


def test_many_duplicates_are_still_one_short_warning():
    found = typed(*(("cat", f"f: line {i}") for i in range(1, 1001)))

    with pytest.warns(ZsclipWarning, match="994 more") as caught:
        labels.unique(found)

    assert len(str(caught[0].message)) < 300


def test_a_message_about_a_long_label_is_short():
    with pytest.raises(LabelError) as caught:
        labels.unique(typed(("\x00" * 5_000, "f: line 1")))

    assert len(caught.value.message) < 500


@pytest.mark.accepts("B6")
def test_a_label_that_a_tokenizer_would_take_minutes_for_is_refused_at_once():
    with pytest.raises(LabelError, match=r"^f: line 2: label .* has 5,001 characters, more than"):
        labels.unique(typed(("a" * 5_000, "f: line 1"), ("b" * 5_001, "f: line 2")))


@pytest.mark.accepts("B5")
def test_every_control_character_is_refused_wherever_it_is_in_a_label(labels_file, tried):
    contents = [
        f"cat\n\n{before}{chr(code)}{after}\n".encode()
        for code in (*range(32), *range(127, 160))
        for before, after in (("a", "b"), ("", "b"), ("a", ""))
        if chr(code) != "\n" and (chr(code) not in "\r\t" or (before and after))
    ]

    tried(len(contents))
    for content in contents:
        with pytest.raises(LabelError, match=r"labels\.txt: line 3: control character"):
            labels.unique(labels.from_file(labels_file(content)))


def test_labels_that_differ_in_case_are_both_kept():
    assert names(labels.unique(typed("Turkey", "turkey"))) == ["Turkey", "turkey"]


@pytest.mark.accepts("B5")
@pytest.mark.parametrize(
    "name", ["a\x00b", "a\x1bb", "a\tb", "a\x7fb", "a\x9bb", "a\udcffb", "\x1ca"]
)
def test_control_characters_and_surrogates_are_refused_with_their_place(name):
    with pytest.raises(LabelError, match="f: line 7: "):
        labels.unique(typed(("cat", "f: line 1"), (name, "f: line 7")))


@pytest.mark.accepts("B5")
@pytest.mark.parametrize("line", [b"\x0ccat", b"cat\x1c", b"\xc2\x85", b"\x0b", b"cat\rdog"])
def test_control_characters_at_the_ends_of_a_line_are_not_taken_for_blanks(labels_file, line):
    with pytest.raises(LabelError, match="line 2: control character"):
        labels.unique(labels.from_file(labels_file(b"cat\n" + line + b"\n")))


@pytest.mark.parametrize("name", ["", "  ", "\u3000"])
def test_an_empty_label_is_refused(name):
    with pytest.raises(LabelError, match="an empty label"):
        labels.unique(typed((name, "--label")))


@pytest.mark.parametrize("name", ["{}", "{0.__class__}", "猫", "🐈‍⬛", "O'Neill", "[/x]", "=1+1"])
def test_odd_but_honest_labels_are_kept_as_they_are(name):
    assert names(labels.unique(typed(name))) == [name]


# classes with more than a name


def test_a_class_is_its_label_unless_names_are_given():
    assert ClassLabel("cat").spoken == ("cat",)
    assert ClassLabel("pet", ["cat", "dog"]).spoken == ("cat", "dog")
    assert ClassLabel("cat") == ClassLabel("cat", ["cat"], where="elsewhere")


def test_the_first_of_several_names_is_the_label():
    assert class_label(("happy", "smiling")) == ClassLabel("happy", ["happy", "smiling"])


def test_a_context_follows_every_name():
    crane = ClassLabel("crane", ["crane", "derrick"], context="a construction machine")

    assert crane.spoken == ("crane, a construction machine", "derrick, a construction machine")


def test_own_prompts_come_behind_names_in_templates_and_are_literal():
    cat = ClassLabel("cat", ["cat", "kitty"], prompts=["{} has {whiskers}"])

    assert prompts_of(cat, TWO) == [
        "a photo of a cat.", "the cat", "a photo of a kitty.", "the kitty", "{} has {whiskers}",
    ]  # fmt: skip


def test_braces_in_names_and_contexts_are_literal():
    odd = ClassLabel("{}", context="a {label}")

    assert prompts_of(odd, TWO) == ["a photo of a {}, a {label}.", "the {}, a {label}"]


def test_without_names_a_class_is_its_own_prompts_alone():
    assert prompts_of(ClassLabel("cat", [], ["whiskers and fur"]), TWO) == ["whiskers and fur"]


def test_a_class_without_names_and_prompts_is_refused():
    with pytest.raises(LabelError, match="f: line 3: label 'cat' has neither a name nor a prompt"):
        ClassLabel("cat", [], where="f: line 3")


@pytest.mark.parametrize("empty", [(), [], ""])
def test_names_of_a_class_in_python_are_at_least_one(empty):
    with pytest.raises(LabelError):
        labels.check_class(class_label(empty))


@pytest.mark.parametrize("given", [{"names": "cat"}, {"prompts": "a cat"}])
def test_one_text_where_a_list_belongs_is_refused(given):
    with pytest.raises(LabelError, match="is one text"):
        ClassLabel("cat", **given)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_threshold_that_is_no_share_is_refused(threshold):
    with pytest.raises(LabelError, match=r"of label 'cat' is not between 0 and 1"):
        ClassLabel("cat", threshold=threshold)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"names": ["cat", ""]}, "an empty name"),
        ({"names": ["a\x00b"]}, "in name"),
        ({"prompts": [" "]}, "an empty prompt"),
        ({"prompts": ["a\nb"]}, "in prompt"),
        ({"prompts": ["b" * 5_001]}, "prompt .* has 5,001 characters"),
        ({"context": "\x1b"}, "in context"),
        ({"group": "a\tb"}, "in group"),
        ({"group": ""}, "an empty group"),
    ],
)
def test_every_text_of_a_class_is_checked(given, what):
    with pytest.raises(LabelError, match=f"^f: line 2: .*{what}"):
        labels.unique([ClassLabel("cat", **given, where="f: line 2")])


def test_one_label_for_two_classes_is_refused_with_both_places():
    bird = ClassLabel("crane", context="a bird", where="f: line 1")
    machine = ClassLabel("crane", context="a machine", where="f: line 4")

    with pytest.raises(LabelError, match="f: line 4: label 'crane' is another class at f: line 1"):
        labels.unique([bird, machine])


def test_names_and_prompts_that_are_there_twice_count_once():
    cat = ClassLabel("cat", ["cat", "kitty", "cat"], ["a", "b", "a"], where="f: line 2")

    with pytest.warns(ZsclipWarning, match=r"twice count once: those of 'cat' \(f: line 2\)"):
        (kept,) = labels.unique([cat])

    assert (kept.names, kept.prompts) == (("cat", "kitty"), ("a", "b"))


def test_a_name_of_two_classes_is_warned_about_with_both():
    cat = ClassLabel("cat", ["cat", "kitten"], where="f: line 1")
    young = ClassLabel("young", ["puppy", "kitten"], where="f: line 2")

    with pytest.warns(
        ZsclipWarning, match=r"'kitten' is one of 'cat' \(f: line 1\) and 'young' \(f: line 2\)"
    ):
        assert labels.unique([cat, young]) == [cat, young]


def test_one_name_in_two_contexts_is_no_fault():
    bird = ClassLabel("crane (bird)", ["crane"], context="a bird")
    machine = ClassLabel("crane (machine)", ["crane"], context="a machine")

    assert labels.unique([bird, machine]) == [bird, machine]


def test_a_group_with_one_member_is_warned_about():
    found = [
        ClassLabel("cat", group="pets", where="f: line 1"),
        ClassLabel("dog", group="pets", where="f: line 2"),
        ClassLabel("cow", group="farn", where="f: line 3"),
        ClassLabel("tree", where="f: line 4"),
    ]

    with pytest.warns(ZsclipWarning, match=r"'farn' has only 'cow' \(f: line 3\)") as caught:
        labels.unique(found)

    assert len(caught) == 1 and "pets" not in str(caught[0].message)


def test_a_plain_label_can_be_checked_alone():
    with pytest.raises(LabelError, match="here: an empty label"):
        labels.check(Label(" ", "here"))
