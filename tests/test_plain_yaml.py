"""YAML from people: text, lists and mappings; everything else is refused, quickly."""

from __future__ import annotations

import pytest
import yaml

from zsclip import plain_yaml
from zsclip.errors import UsageError
from zsclip.plain_yaml import Located


def test_lists_and_mappings_are_read():
    assert plain_yaml.loads("a: [x, y]\nb: {c: d}", name="f") == {
        "a": ["x", "y"],
        "b": {"c": "d"},
    }


@pytest.mark.accepts("B12")
@pytest.mark.parametrize(
    "text", ["no", "yes", "1e3", "0x10", "2024-01-01", "null", "~", "1_000", ".inf", "012", "true"]
)
def test_scalars_stay_the_text_that_was_typed(text):
    assert plain_yaml.loads(f"- {text}", name="f") == [text]


@pytest.mark.accepts("B11")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &x [1]\nb: *x", "aliases are not allowed"),
        ("- &x y", "aliases are not allowed"),
        ("- !!python/object/apply:os.system ['true']", "tags are not allowed"),
        ("- !!str x", "tags are not allowed"),
        ("- !mine x", "tags are not allowed"),
        ("a: 1\na: 2", "duplicate key 'a'"),
        ("[a]: 1", "a key must be text"),
    ],
)
def test_what_is_not_plain_is_refused_with_its_line(text, reason):
    with pytest.raises(UsageError, match=r"mine\.yaml: line \d: ") as caught:
        plain_yaml.loads(text, name="mine.yaml")

    assert reason in caught.value.message


def test_the_line_of_the_fault_is_named():
    with pytest.raises(UsageError, match="line 3: duplicate key 'a'"):
        plain_yaml.loads("a: 1\nb: 2\na: 3\n", name="f")


@pytest.mark.accepts("B11")
@pytest.mark.parametrize("text", ["[" * 200_000, "- " * 100_000, "{a: " * 50_000])
def test_deep_nesting_is_refused(text):
    with pytest.raises(UsageError):
        plain_yaml.loads(text, name="deep.yaml")


@pytest.mark.accepts("B11")
def test_an_alias_bomb_is_refused():
    lines = ["a0: &a0 [x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]

    with pytest.raises(UsageError, match="aliases"):
        plain_yaml.loads("\n".join(lines), name="bomb.yaml")


@pytest.mark.accepts("B11")
def test_large_text_is_refused():
    with pytest.raises(UsageError, match="larger than"):
        plain_yaml.loads("x" * (plain_yaml.MAX_SIZE_BYTES + 1), name="f")


@pytest.mark.accepts("B11")
def test_a_large_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: reading it would not fit in memory

    with pytest.raises(UsageError, match="larger than"):
        plain_yaml.load(path)


def test_broken_syntax_is_one_line():
    with pytest.raises(UsageError) as caught:
        plain_yaml.loads("a: [1, 2\nb: }", name="f.yaml")

    assert caught.value.message.startswith("f.yaml: ") and "\n" not in caught.value.message


@pytest.mark.parametrize("character", ["\x00", "\x07", "\ud800", "\ufffe"])
def test_characters_that_yaml_forbids_are_refused_with_their_line(character):
    with pytest.raises(UsageError, match=r"^f\.yaml: line 2: .* is not allowed in YAML$"):
        plain_yaml.loads(f"- a\n- b{character}", name="f.yaml")


def test_the_same_key_in_another_mapping_is_no_duplicate():
    text = "a: {a: 1, b: {a: 2}}\nb: [{a: 3}, {a: 4}]\n"

    assert plain_yaml.loads(text, name="f") == {
        "a": {"a": "1", "b": {"a": "2"}},
        "b": [{"a": "3"}, {"a": "4"}],
    }


@pytest.mark.accepts("B11")
def test_a_duplicate_key_after_an_inner_mapping_is_found():
    with pytest.raises(UsageError, match="line 2: duplicate key 'a'"):
        plain_yaml.loads("a: {b: 1}\na: {b: 2}\n", name="f")


@pytest.mark.accepts("B11")
@pytest.mark.parametrize("line", ["a: 1", "b: *a", "- !x y", "[c]: d"])
def test_what_comes_after_a_fault_is_not_read(line, monkeypatch):
    read = []
    real = yaml.Loader.compose_scalar_node
    monkeypatch.setattr(
        yaml.composer.Composer,
        "compose_scalar_node",
        lambda self, anchor: read.append(1) or real(self, anchor),
    )
    text = "\n".join(["a: 1", *[line] * 1000])

    with pytest.raises(UsageError, match="line 2: "):
        plain_yaml.loads(text, name="f")

    assert len(read) <= 4


@pytest.mark.parametrize(
    ("keys", "line"), [((), 2), (("a",), 2), (("b",), 4), (("b", 1), 6), (("c", "d"), 7)]
)
def test_the_line_of_a_part_is_known(tmp_path, keys, line):
    path = tmp_path / "mine.yaml"
    path.write_text("# mine\na: x\nb:\n  - y\n\n  - 'z'\nc: {d: w}\n")

    assert plain_yaml.line_of(path, *keys) == line


def test_a_byte_order_mark_is_dropped(tmp_path):
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\n")

    assert plain_yaml.load(path) == {"name": "x"}


def test_a_file_that_is_not_utf8_is_named_with_its_byte(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: café".encode("latin-1"))

    with pytest.raises(UsageError, match=r"latin\.yaml: line 1: not UTF-8 \(byte 0xE9\)"):
        plain_yaml.load(path)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        plain_yaml.load(tmp_path / "none.yaml")


def test_a_folder_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        plain_yaml.load(tmp_path)


def test_parts_know_the_lines_on_which_they_or_their_keys_begin():
    content = plain_yaml.located("# a\na:\n  - x\n\n  - b: y\n    c:\n      z\n", name="f")

    mapping = Located({"b": Located("y", 5), "c": Located("z", 6)}, 5)
    assert content == Located({"a": Located([Located("x", 3), mapping], 2)}, 2)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_a_text_without_content_has_no_parts(text):
    found = plain_yaml.located(text, name="f")

    assert found is None or found.value == ""


def test_parts_are_refused_as_all_else_is():
    with pytest.raises(UsageError, match="f: line 2: duplicate key 'a'"):
        plain_yaml.located("a: 1\na: 2", name="f")
    with pytest.raises(UsageError, match="aliases are not allowed"):
        plain_yaml.located("- &a x\n- *a", name="f")
