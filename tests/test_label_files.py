"""Labels files: lines, YAML, CSV and TSV; what is wrong in them is told with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zsclip import label_files, labels
from zsclip.errors import LabelError, UsageError
from zsclip.labels import ClassLabel

FULL = ClassLabel(
    "crane",
    ["crane", "tower crane"],
    ["a {} of yellow steel.", "it lifts, and turns"],
    "a construction machine",
    "machines",
    0.4,
)


@pytest.fixture
def read(tmp_path):
    """Read a labels file with this content: `read("a.yaml", "- cat")`."""

    def made(name: str, content: str | bytes, **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return labels.unique(label_files.read(path, **options))

    return made


# what is read


def test_an_unknown_ending_is_a_list_with_a_label_a_line(read):
    assert read("labels.txt", "- cat\nlabel,names\n") == [
        ClassLabel("- cat"),
        ClassLabel("label,names"),
    ]


@pytest.mark.parametrize("name", ["a.yaml", "a.yml", "A.YAML"])
def test_a_list_of_texts_and_mappings(read, name):
    content = """
- cat
- label: crane
  names: [crane, tower crane]
  prompts:
    - 'a {} of yellow steel.'
    - it lifts, and turns
  context: a construction machine
  group: machines
  threshold: 0.4
- {label: truck, group: machines}
- names: [dog, puppy]
- no
"""

    assert read(name, content) == [
        ClassLabel("cat"),
        FULL,
        ClassLabel("truck", group="machines"),
        ClassLabel("dog", ["dog", "puppy"]),
        ClassLabel("no"),
    ]


def test_a_mapping_of_labels(read):
    content = """
cat:
dog: [dog, puppy]
crane:
  context: a construction machine
  threshold: .5
12:
"""

    assert read("a.yaml", content) == [
        ClassLabel("cat"),
        ClassLabel("dog", ["dog", "puppy"]),
        ClassLabel("crane", context="a construction machine", threshold=0.5),
        ClassLabel("12"),
    ]


def test_a_text_is_a_list_with_a_line_each(read):
    content = "- label: cat\n  names: |\n    cat\n    kitty\n  prompts: a cat, as ever\n"

    assert read("a.yaml", content) == [ClassLabel("cat", ["cat", "kitty"], ["a cat, as ever"])]


def test_keys_without_a_value_are_not_given(read):
    content = "cat: {names: , prompts: , context: , group: , threshold: }"

    assert read("a.yaml", content) == [ClassLabel("cat")]


def test_a_class_can_have_its_own_prompts_alone(read):
    content = "cat: {names: [], prompts: [whiskers]}"

    assert read("a.yaml", content) == [ClassLabel("cat", [], ["whiskers"])]


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.tsv", "\t"), ("A.CSV", ",")])
def test_a_table(read, name, separator):
    rows = [
        ["label", "names", "prompts", "context", "group", "threshold"],
        ["cat", "", "", "", "", ""],
        [
            "crane", "crane | tower crane", '"a {} of yellow steel.|it lifts, and turns"',
            "a construction machine", "machines", "0.4",
        ],
        ["truck", "", "", "", "machines", ""],
        ["", "dog|puppy", "", "", "", ""],
    ]  # fmt: skip
    content = "".join(separator.join(row) + "\r\n" for row in rows)

    assert read(name, content) == [
        ClassLabel("cat"),
        FULL,
        ClassLabel("truck", group="machines"),
        ClassLabel("dog", ["dog", "puppy"]),
    ]


def test_columns_come_in_any_order_and_case_and_not_all(read):
    content = "\ufeffGroup, Label\n\n,cat\npets,dog\npets,fox,,\n,,\n"

    assert read("a.csv", content) == [
        ClassLabel("cat"),
        ClassLabel("dog", group="pets"),
        ClassLabel("fox", group="pets"),
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", "label\ncafé\n"), ("a.yaml", "- café\n"), ("a.txt", "café\n")],
)
def test_every_form_is_read_in_the_encoding_that_is_named(read, name, content):
    assert read(name, content.encode("latin-1"), encoding="latin-1") == [ClassLabel("café")]
    with pytest.raises(LabelError, match=r"line \d: not UTF-8 \(byte 0xE9\)"):
        read(name, content.encode("latin-1"))


# where it stands


def test_labels_know_the_line_on_which_they_begin(read):
    listed = read("a.yaml", "- cat\n\n- label: dog\n  names:\n  - dog\n- {label: fox}\n")
    mapped = read("b.yaml", "# animals\ncat:\ndog:\n  - dog\nfox:\n  context: an animal\n")
    table = read("c.csv", 'label,context\n\ncat,\n"dog","a, b"\nfox,\n')

    assert [label.where[-6:] for label in listed] == ["line 1", "line 3", "line 6"]
    assert [label.where[-6:] for label in mapped] == ["line 2", "line 3", "line 5"]
    assert [label.where[-6:] for label in table] == ["line 3", "line 4", "line 5"]


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("- cat\n- [dog, puppy]", 2, "not a list"),
        ("just text", 1, "needs a list of labels"),
        ("- cat\n- label: dog\n  name: x", 3, "unknown key 'name'; did you mean 'names'?"),
        ("cat: {treshold: 1}", 1, "unknown key 'treshold'; did you mean 'threshold'?"),
        ("- {label: cat, zzz: 1}", 1, "unknown key 'zzz'"),
        ("- cat: [cat, kitten]", 1, "unknown key 'cat'"),
        ("dog:\ncrane: a machine", 2, "'crane' needs a list of names, or a mapping"),
        ("cat:\n  label: dog", 2, "'cat' is the label already"),
        ("cat:\n  context: [a, b]", 2, "'context' must be one text"),
        ("cat:\n  names:\n    - a\n    - b: c", 4, "'names' must be a list of texts"),
        ("cat:\n  prompts: {a: b}", 2, "'prompts' must be a list of texts"),
        ("cat:\n  prompts:\n    - {}", 3, "'prompts' must be a list of texts"),
        ("cat:\n  names:\n    - a\n    - ''", 4, "an empty name"),
        ("- cat\n- ''", 2, "an empty label"),
        ("- cat\n- {group: pets}", 2, "neither a label nor a name"),
        ("'': [a]", 1, "an empty label"),
        ("a: [b]\ncat: {names: []}", 2, "neither a name nor a prompt"),
        ("cat:\n  threshold: 1.5", 2, "threshold '1.5' of label 'cat'"),
        ("cat:\n  threshold: -0.1", 2, "threshold '-0.1'"),
        ("cat:\n  threshold: 50%", 2, "threshold '50%'"),
        ("cat:\n  threshold: nan", 2, "threshold 'nan'"),
        ("cat:\n  threshold: 1_0", 2, "threshold '1_0'"),
        ("cat:\n  threshold: ٠", 2, "threshold '٠'"),
        ("cat: [a]\ndog: [b]\ncat: [c]", 3, "duplicate key 'cat'"),
        ("- cat\n- &x dog\n- *x", 2, "aliases are not allowed"),
        ("- cat\n- !!python/name:os.system x", 2, "tags are not allowed"),
        ("- cat\n- [dog", 2, ""),
        ("- cat\n -dog: x", 2, ""),
        ("- cat\n- a\x07b", 2, "is not allowed in YAML"),
        ('- cat\n- "a\\x07b"', 2, "control character"),
        ('- cat\n- {label: dog, group: "a\\tb"}', 2, "control character"),
    ],
)
def test_what_is_wrong_in_yaml_is_told_with_its_line(read, content, line, reason):
    with pytest.raises(UsageError) as caught:
        read("animals.yaml", content)

    where, _, message = caught.value.message.partition(f"animals.yaml: line {line}: ")
    assert message and reason in message, (where, message)


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("cat\ndog\n", 1, "unknown column 'cat'"),
        ("label,contxt\n", 1, "unknown column 'contxt'; did you mean 'context'?"),
        ("label;names\ncat;\n", 1, "columns are not separated by ','"),
        ("label\tnames\ncat\t\n", 1, "columns are not separated by ','"),
        ("label,label\n", 1, "column 'label' is there twice"),
        ("label,\n", 1, "unknown column ''"),
        ("group,context\na,b\n", 1, "no column 'label'"),
        ("label,group\ncat,a,b\n", 2, "3 cells where the header has 2"),
        ("label,group\n\n,pets\n", 3, "neither a label nor a name"),
        ("label,names\ncat,a||b\n", 2, "an empty name"),
        ("label,prompts\ncat,|\n", 2, "an empty prompt"),
        ("label,threshold\ncat,0.5\ndog,2\n", 3, "threshold '2' of label 'dog'"),
        ('label\n"cat\ndog\n', 2, "unexpected end of data"),
        ('label\n"cat"x\n', 2, "expected after"),
        ('label,context\ncat,"a\nb"\n', 2, "control character"),
        ("label\ncat\x00\n", 2, ""),
    ],
)
def test_what_is_wrong_in_a_table_is_told_with_its_line(read, content, line, reason):
    with pytest.raises(LabelError) as caught:
        read("animals.csv", content)

    where, _, message = caught.value.message.partition(f"animals.csv: line {line}: ")
    assert message and reason in message, (where, caught.value.message)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.yaml", ""),
        ("a.yaml", "# nothing\n"),
        ("a.yaml", "[]"),
        ("a.yaml", "{}"),
        ("a.csv", ""),
        ("a.csv", "\n\n"),
        ("a.csv", "label,names\n,\n"),
        ("a.tsv", "label\n"),
    ],
)
def test_a_file_without_labels_is_refused(read, name, content):
    with pytest.raises(LabelError, match=rf"{name}: no labels$"):
        read(name, content)


@pytest.mark.parametrize("name", ["none.yaml", "none.csv", "none.tsv"])
def test_a_missing_file_is_refused_with_its_name(tmp_path, name):
    with pytest.raises(LabelError, match=f"{name}: cannot be read"):
        label_files.read(tmp_path / name)


def test_a_bomb_is_refused_quickly(read):
    with pytest.raises(UsageError):
        read("a.yaml", "[" * 200_000)
    with pytest.raises(UsageError, match="larger than"):
        read("a.yaml", "- cat\n" * 200_000)


# the page about it


def test_the_examples_of_the_page_are_read_and_say_the_same(read):
    page = Path(__file__).parent.parent / "docs" / "labels.md"
    blocks = re.findall(r"```(yaml|csv)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)

    listed, mapped, table = (read(f"{n}.{kind}", text) for n, (kind, text) in enumerate(blocks))

    assert [one.label for one in listed] == ["cat", "crane", "excavator", "dog"]
    assert [one.label for one in mapped] == ["cat", "dog", "crane", "excavator"]
    assert {one.label: one for one in table}["crane"].threshold == listed[1].threshold == 0.4
    assert listed[1].spoken == table[1].spoken and len(listed[1].prompts) == 1
