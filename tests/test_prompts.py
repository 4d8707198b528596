"""Template sets: found, loaded, checked, expanded."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsclip import prompts
from zsclip.errors import TemplateError, UnknownNameError, UsageError, ZsclipWarning
from zsclip.prompts import TemplateSet, check_template, expand, load_templates


@pytest.mark.parametrize(
    ("name", "oracle", "count"),
    [
        ("imagenet80", "OPENAI_IMAGENET_TEMPLATES", 80),
        ("imagenet7", "SIMPLE_IMAGENET_TEMPLATES", 7),
    ],
)
def test_the_imagenet_templates_equal_open_clips_in_order(name, oracle, count):
    import open_clip

    expected = [template("{}") for template in getattr(open_clip, oracle)]

    assert list(load_templates(name).templates) == expected and len(expected) == count


@pytest.mark.parametrize("name", prompts.template_names())
def test_every_packaged_set_loads_under_its_own_name(name):
    loaded = load_templates(name)

    assert loaded.name == name and loaded.templates and loaded.description


def test_the_default_is_the_80():
    assert prompts.DEFAULT_TEMPLATES == "imagenet80"


def test_the_set_none_is_the_label_itself():
    assert load_templates("none").templates == ("{}",)


@pytest.mark.parametrize("hole", ["{}", "{label}", "{object}"])
def test_three_ways_to_write_the_hole_mean_the_same(hole):
    assert check_template(f"a photo of a {hole}.", where="x") == "a photo of a {}."


@pytest.mark.accepts("B9")
@pytest.mark.parametrize(
    "text",
    [
        "a photo",
        "",
        "{} and {}",
        "{} {label}",
        "{label} {object}",
        "{0}",
        "{name!r}",
        "{:>99999999}",
        "{0.__class__}",
        "{label!r}",
        "a {} photo {",
        "a {} photo }",
        "{{}}",
        "{{} }",
        "{ }",
        "{Label}",
    ],
)
def test_anything_but_exactly_one_hole_is_refused(text):
    with pytest.raises(TemplateError, match=r"line 2: needs exactly one \{\}"):
        check_template(text, where="templates.txt: line 2")


@pytest.mark.accepts("B9")
@pytest.mark.parametrize("char", ["\x00", "\t", "\x1b", "\x7f", "\x9b", "\udce9"])
def test_a_control_character_in_a_template_is_refused(char):
    with pytest.raises(TemplateError, match="control character"):
        check_template(f"a {char} {{}}", where="x")


def test_a_template_that_a_tokenizer_would_take_minutes_for_is_refused_at_once():
    with pytest.raises(TemplateError, match="x: has 6,002 characters, more than 5,000: "):
        check_template("{}" + "a" * 6000, where="x")


def test_templates_typed_on_the_command_line_are_numbered_in_errors():
    with pytest.raises(TemplateError, match="template 2: needs exactly one"):
        prompts.templates_from_texts(["a {}", "nothing"])


def test_a_text_file_has_one_template_a_line(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes(b"\xef\xbb\xbfa photo of a {}.\r\n\r\n  a {label}  \r\n")

    loaded = load_templates(str(path))

    assert loaded.templates == ("a photo of a {}.", "a {}")


@pytest.mark.accepts("B9")
def test_a_fault_in_a_text_file_names_file_and_line(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("a {}\n\nnothing\n")

    with pytest.raises(TemplateError, match=r"mine\.txt: line 3: needs exactly one"):
        load_templates(str(path))


@pytest.mark.accepts("B9")
def test_a_line_of_a_text_file_ends_at_a_line_feed_only(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes("a {}\u2028\nb\x85{}\n".encode())

    with pytest.raises(TemplateError, match=r"mine\.txt: line 2: has a control character"):
        load_templates(str(path))


@pytest.mark.accepts("B9")
@pytest.mark.parametrize("start", ["", "name: x\ntemplates:\n"])
def test_a_fault_in_a_yaml_file_names_file_and_line(tmp_path, start):
    path = tmp_path / "mine.yaml"
    path.write_text(f"# mine\n{start}- 'a {{}}'\n\n- 'the {{}}'\n- nothing\n")
    line = 5 + start.count("\n")

    with pytest.raises(TemplateError, match=rf"mine\.yaml: line {line}: needs exactly one"):
        load_templates(str(path))


@pytest.mark.accepts("B9")
@pytest.mark.parametrize("text", ["{}", "{label}", "[a]"])
def test_a_template_without_its_quotation_marks_is_named_with_its_line(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(f"templates:\n- 'a {{}}'\n- {text}\n")

    with pytest.raises(TemplateError, match=r"mine\.yaml: line 3: a template must be text"):
        load_templates(str(path))


@pytest.mark.parametrize("ending", [".txt", ".yaml"])
def test_a_file_without_templates_is_refused(tmp_path, ending):
    path = tmp_path / f"mine{ending}"
    path.write_text("\n\n")

    with pytest.raises(TemplateError):
        load_templates(str(path))


@pytest.mark.parametrize("content", ["- 'a {}'\n- 'b {}'\n", "templates: ['a {}', 'b {}']\n"])
def test_a_yaml_file_is_a_list_or_has_one(tmp_path, content):
    path = tmp_path / "mine.yml"
    path.write_text(content)

    assert load_templates(str(path)).templates == ("a {}", "b {}")


@pytest.mark.parametrize(
    "content", ["templates: a {}", "templates: []", "x: [y]", "templates: [{a: b}]"]
)
def test_a_yaml_file_of_another_form_is_refused(tmp_path, content):
    path = tmp_path / "mine.yaml"
    path.write_text(content)

    with pytest.raises(UsageError):
        load_templates(str(path))


def test_a_text_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes(b"a {}\ncaf\xe9 {}\n")

    with pytest.raises(TemplateError, match=r"mine\.txt: line 2: not UTF-8 \(byte 0xE9\)"):
        load_templates(str(path))


def test_an_unknown_set_brings_near_names():
    with pytest.raises(UnknownNameError, match="did you mean 'imagenet80'"):
        load_templates("imagnet80")


def test_expansion_puts_names_outside_templates():
    templates = TemplateSet("t", ("a {}", "the {}"))

    expanded = expand([("cat", "kitty"), ("dog",)], templates)

    assert expanded == [["a cat", "the cat", "a kitty", "the kitty"], ["a dog", "the dog"]]


@pytest.mark.accepts("B10")
@given(name=st.text(min_size=1))
def test_a_class_name_goes_in_literally(name):
    expanded = expand([(name,)], TemplateSet("t", ("a {} b",)))

    assert expanded == [[f"a {name} b"]]


@pytest.mark.accepts("B10")
@pytest.mark.parametrize("name", ["{}", "{0.__class__}", "{label}", "\\1", "%s", "{:>999999999}"])
def test_holes_in_a_class_name_are_text(name):
    assert expand([(name,)], TemplateSet("t", ("a {}",))) == [[f"a {name}"]]


def test_the_kind_goes_before_a_closing_full_stop():
    kinds = TemplateSet("t", ("a photo of a {}.", "a {}")).with_kind("pet")

    assert kinds.templates == ("a photo of a {}, a type of pet.", "a {}, a type of pet")


def test_the_kind_is_in_the_name_of_the_set():
    assert TemplateSet("t", ("a {}.",)).with_kind("pet").name == "t, a type of pet"


@pytest.mark.parametrize("kind", ["{}", "{label}", "pet\x1b"])
def test_a_kind_cannot_add_a_hole_or_control_characters(kind):
    with pytest.raises(TemplateError):
        TemplateSet("t", ("a {}.",)).with_kind(kind)


def test_a_long_label_with_an_article_is_a_short_warning():
    with pytest.warns(ZsclipWarning) as caught:
        prompts.warn_about_articles(["a " + "cat " * 9999], TemplateSet("t", ("a photo of a {}.",)))

    assert len(str(caught[0].message)) < 300


@pytest.mark.parametrize("name", ["a cat", "An apple", "the sun", "THE sun"])
@pytest.mark.parametrize(
    "template", ["a photo of a {}.", "art of the {}.", "a photo of the large {}."]
)
def test_a_second_article_gets_a_warning_that_names_the_way_out(name, template):
    with pytest.warns(ZsclipWarning, match="--templates none") as caught:
        prompts.warn_about_articles([name], TemplateSet("t", (template,)))

    assert template.replace("{}", name) in str(caught[0].message)


@pytest.mark.parametrize(
    ("name", "template"),
    [("a cat", "{}"), ("a cat", "itap of {}."), ("cat", "a photo of a {}."), ("anteater", "a {}")],
)
def test_one_article_gets_no_warning(name, template):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prompts.warn_about_articles([name], TemplateSet("t", (template,)))

    assert caught == []
