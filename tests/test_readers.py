"""Own pictures: files of class names, folders of class folders, and manifests."""

from __future__ import annotations

import json
import os

import pytest

from zsclip import images
from zsclip.errors import PictureError, UsageError
from zsclip.readers.class_names import classes_of, read_class_names
from zsclip.readers.folder import read_folder
from zsclip.readers.manifest import read_manifest
from zsclip.results import Failure


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Make files below the working directory, which is empty: `tree("cat/1.jpg")`."""
    root = tmp_path / "work"
    root.mkdir()
    monkeypatch.chdir(root)

    def make(*names):
        for name in names:
            path = root / os.fsdecode(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return root

    return make


@pytest.fixture
def write(tree):
    """Write a file in the working directory."""

    def make(name, content):
        path = tree() / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path.relative_to(tree())

    return make


def shown(pictures):
    """(path, first names of its classes) of every picture."""
    return [
        (sample.path, *(pictures.class_names[label][0] for label in sample.labels))
        for sample in pictures.read()
    ]


def refusal(function, *arguments, **options):
    """The message and the tip of a refusal; both are one line."""
    with pytest.raises(UsageError) as raised:
        function(*arguments, **options)
    error = raised.value
    assert "\n" not in error.message and error.tip is not None and "\n" not in error.tip
    return error.message


# class names


def test_a_line_has_a_label_and_the_names_of_its_class(write):
    path = write("names.tsv", "n1\tcat\tkitty\nn2\ta dog\n")

    assert read_class_names(path) == {"n1": ("cat", "kitty"), "n2": ("a dog",)}


def test_blank_lines_carriage_returns_and_tabs_at_the_end_do_not_count(write):
    path = write("names.tsv", "\ufeffn1\t cat \t\t\r\n \t \r\n\r\nn2\tdog\r\n")

    assert read_class_names(path) == {"n1": ("cat",), "n2": ("dog",)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("n1 cat\n", "names.tsv: line 1: needs a label, a tab and a class name: 'n1 cat'"),
        ("n1\tcat\n\tdog\n", "names.tsv: line 2: needs a label, a tab and a class name: '\\tdog'"),
        ("n1\tcat\nn1\tdog\n", "names.tsv: line 2: label 'n1' has a line already"),
        ("\n\n", "names.tsv: no class names"),
    ],
)
def test_lines_of_another_form_are_refused(write, content, message):
    assert refusal(read_class_names, write("names.tsv", content)) == message


def test_control_characters_in_a_class_name_are_refused(write):
    path = write("names.tsv", "n1\tca\x07t\n")

    with pytest.raises(UsageError, match=r"names.tsv: line 1: control character '\\x07'"):
        read_class_names(path)


def test_a_file_of_class_names_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"names.tsv: cannot be read"):
        read_class_names(tmp_path / "names.tsv")


def test_labels_with_one_first_name_are_one_class_with_all_names():
    classes = classes_of({"n1": ("cat", "kitty"), "n2": ("dog",), "n3": ("cat", "tom")})

    assert classes.names == (("cat", "kitty", "tom"), ("dog",))
    assert classes.numbers == {"n1": 0, "n2": 1, "n3": 0}


# folders


def test_class_names_are_those_of_the_folders_with_underscores_as_blanks(tree):
    root = tree("golden_retriever/1.jpg", "cat/1.jpg", "Zebra/1.jpg", "élan/1.jpg")

    pictures = read_folder(root)

    assert pictures.class_names == (("Zebra",), ("cat",), ("golden retriever",), ("élan",))


def test_each_picture_has_the_class_of_the_folder_that_it_is_in(tree):
    tree("d/dog/b.PNG", "d/cat/2/deep.webp", "d/cat/1.jpg", "d/dog/a.jpg", "d/dog/notes.txt")

    pictures = read_folder(tree() / "d")

    assert shown(pictures) == [
        (str(tree() / "d/cat/1.jpg"), "cat"),
        (str(tree() / "d/cat/2/deep.webp"), "cat"),
        (str(tree() / "d/dog/a.jpg"), "dog"),
        (str(tree() / "d/dog/b.PNG"), "dog"),
    ]


def test_a_folder_can_be_read_twice(tree):
    pictures = read_folder(tree("cat/1.jpg", "dog/2.jpg"))

    assert len(shown(pictures)) == 2 and shown(pictures) == shown(pictures)


def test_hidden_folders_and_other_files_beside_class_folders_are_skipped(tree):
    root = tree("cat/1.jpg", ".git/2.jpg", "README.txt", ".hidden.jpg")

    assert read_folder(root).class_names == (("cat",),)


def test_linked_folders_are_skipped_and_a_note_says_so(tree):
    root = tree("d/cat/1.jpg", "elsewhere/2.jpg")
    (root / "d" / "dog").symlink_to(root / "elsewhere")

    pictures = read_folder(root / "d")

    assert pictures.class_names == (("cat",),)
    assert pictures.notes == ("linked folders were passed over: 'dog'",)


def test_a_file_names_the_classes_and_their_order(tree):
    root = tree("n1/1.jpg", "n2/2.jpg", "n3/3.jpg")
    names = {"n3": ("zebra",), "n2": ("cat", "kitty"), "n1": ("zebra",)}

    pictures = read_folder(root, class_names=names)

    assert pictures.class_names == (("zebra",), ("cat", "kitty"))
    assert [row[1] for row in shown(pictures)] == ["zebra", "cat", "zebra"]


def test_named_classes_without_a_folder_stay_candidates_and_a_note_names_them(tree):
    names = {"cat": ("cat",), **{f"n{i}": (f"thing {i}",) for i in range(4)}}

    pictures = read_folder(tree("cat/1.jpg"), class_names=names)

    assert len(pictures.class_names) == 5
    assert pictures.notes == (
        "no pictures of 4 of 5 classes: 'thing 0', 'thing 1', 'thing 2' and 1 more",
    )


def test_a_class_folder_that_may_not_be_read_is_a_failed_picture_of_its_class(tree, monkeypatch):
    root = tree("cat/1.jpg", "dog/2.jpg")
    scandir = os.scandir

    def refuse_dog(path):
        if os.path.basename(path) == "dog":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse_dog)  # root may read everything

    failed = list(read_folder(root).read())[1]

    assert (failed.path, failed.labels) == (str(root / "dog"), (1,))
    assert failed.source == Failure("permission", "permission denied")


def test_a_file_that_is_no_picture_stays_among_the_pictures_and_fails(tree):
    root = tree("cat/1.jpg")
    (root / "cat" / "1.jpg").write_text("hello")

    (sample,) = read_folder(root).read()

    with pytest.raises(PictureError) as raised:
        images.load(sample.source)
    assert raised.value.code == "unrecognized"


def test_a_missing_folder_is_refused(tree):
    assert refusal(read_folder, tree() / "none") == f"{tree()}/none: no such folder"


def test_a_file_in_place_of_a_folder_is_refused(tree):
    tree("list.csv")

    assert refusal(read_folder, tree() / "list.csv") == f"{tree()}/list.csv: is not a folder"


def test_a_folder_without_class_folders_is_refused(tree):
    tree("d/notes.txt")

    assert refusal(read_folder, tree() / "d") == f"{tree()}/d: no class folders in it"


def test_pictures_without_a_class_folder_are_refused_by_the_first(tree):
    tree("d/cat/1.jpg", "d/b.jpg", "d/a.jpg")

    message = refusal(read_folder, tree() / "d")

    assert message == f"{tree()}/d/a.jpg: a picture outside of the class folders"


def test_an_empty_class_folder_is_refused_by_name(tree):
    tree("d/cat/1.jpg", "d/dog/notes.txt")

    message = refusal(read_folder, tree() / "d")

    assert message == f"{tree()}/d/dog: no pictures in this class folder"


def test_a_folder_without_a_line_in_the_file_of_class_names_is_refused(tree):
    root = tree("cat/1.jpg", "dog/2.jpg")

    message = refusal(read_folder, root, class_names={"cat": ("cat",)})

    assert message == f"{root}/dog: --class-names has no line for this folder"


def test_parts_of_a_data_set_are_not_taken_for_classes(tree):
    root = tree("train/cat/1.jpg", "test/cat/2.jpg")

    message = refusal(read_folder, root)

    assert message == f"{root}: its folders are parts of a data set, not classes: test, train"


def test_a_class_may_be_called_train_where_others_are_not_parts(tree):
    assert read_folder(tree("train/1.jpg", "bus/2.jpg")).class_names == (("bus",), ("train",))


def test_a_folder_whose_name_is_no_text_is_refused(tree):
    root = tree(b"caf\xe9/1.jpg")

    with pytest.raises(UsageError, match="control character"):
        read_folder(root)


def test_a_folder_of_underscores_only_is_refused(tree):
    with pytest.raises(UsageError, match="an empty label"):
        read_folder(tree("__/1.jpg"))


# manifests


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.csv", "path,label\na.jpg,dog\nb.jpg,cat\n"),
        ("m.CSV", "Label,File\ndog,a.jpg\ncat,b.jpg\n"),
        ("m.csv", '\ufefffilename,class,note\r\na.jpg," dog ",x\r\n\r\n"b.jpg",cat,\r\n'),
        ("m.tsv", "label\tpath\ndog\ta.jpg\ncat\tb.jpg"),
        ("m.jsonl", '{"path": "a.jpg", "label": "dog"}\n\n{"label": "cat", "path": "b.jpg"}\n'),
        ("m.ndjson", '{"file_name": "a.jpg", "class": "dog"}\n{"file": "b.jpg", "label": "cat"}'),
    ],
)
def test_a_manifest_names_pictures_and_labels(write, name, content):
    pictures = read_manifest(write(name, content))

    assert pictures.class_names == (("cat",), ("dog",))
    assert shown(pictures) == [("a.jpg", "dog"), ("b.jpg", "cat")]
    assert (pictures.size, pictures.multi_label, pictures.metric) == (2, False, "accuracy")


def test_relative_paths_are_relative_to_the_manifest(write, tree):
    tree("lists/x")
    path = write("lists/m.csv", "path,label\n../a.jpg,cat\n/b/c.jpg,cat\nsub/d.jpg,cat\n")

    samples = list(read_manifest(path).read())

    assert [sample.path for sample in samples] == ["lists/../a.jpg", "/b/c.jpg", "lists/sub/d.jpg"]
    assert [sample.source for sample in samples] == [sample.path for sample in samples]


def test_labels_of_a_manifest_are_names_as_they_stand(write):
    path = write("m.csv", 'path,label\na.jpg,"salt, pepper"\nb.jpg,under_score\n')

    assert read_manifest(path).class_names == (("salt, pepper",), ("under_score",))


def test_numbers_of_classes_in_json_are_labels(write):
    path = write("m.jsonl", '{"path": "a.jpg", "label": 1}\n{"path": "b.jpg", "label": 0}\n')

    pictures = read_manifest(path, class_names={"0": ("cat",), "1": ("dog",)})

    assert shown(pictures) == [("a.jpg", "dog"), ("b.jpg", "cat")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.csv", "path,labels\na.jpg,dog; cat;dog\nb.jpg,\nc.jpg,cat\n"),
        (
            "m.jsonl",
            '{"path": "a.jpg", "label": ["dog", "cat", "dog"]}\n'
            '{"path": "b.jpg", "label": []}\n{"path": "c.jpg", "labels": ["cat"]}\n',
        ),
    ],
)
def test_pictures_may_show_several_classes_or_none(write, name, content):
    pictures = read_manifest(write(name, content))

    assert pictures.multi_label and pictures.metric == "map11"
    assert shown(pictures) == [("a.jpg", "dog", "cat"), ("b.jpg",), ("c.jpg", "cat")]


def test_a_semicolon_is_part_of_a_single_label(write):
    assert read_manifest(write("m.csv", "path,label\na.jpg,x;y\n")).class_names == (("x;y",),)


def test_a_file_names_the_classes_of_a_manifest(write):
    path = write("m.csv", "path,label\na.jpg,n2\nb.jpg,n1\nc.jpg,n3\n")
    names = {"n3": ("zebra",), "n1": ("cat", "kitty"), "n2": ("zebra",), "n4": ("ant",)}

    pictures = read_manifest(path, class_names=names)

    assert pictures.class_names == (("zebra",), ("cat", "kitty"), ("ant",))
    assert [row[1] for row in shown(pictures)] == ["zebra", "cat", "zebra"]
    assert pictures.notes == ("no pictures of 1 of 3 classes: 'ant'",)


def test_columns_can_be_named(write):
    path = write("m.csv", "path,photo,label,Species\nx,a.jpg,1,cat\n")

    pictures = read_manifest(path, image_column="photo", label_column="species")

    assert shown(pictures) == [("a.jpg", "cat")]


def test_a_manifest_keeps_no_rows(write):
    path = write("m.csv", "path,label\na.jpg,cat\n")
    pictures = read_manifest(path)

    write("m.csv", "path,label\nb.jpg,cat\n")

    assert shown(pictures) == [("b.jpg", "cat")]


def test_a_picture_that_is_not_there_stays_among_the_pictures(write):
    (sample,) = read_manifest(write("m.csv", "path,label\nnone.jpg,cat\n")).read()

    with pytest.raises(PictureError) as raised:
        images.load(sample.source)
    assert raised.value.code == "not_found"


CSV = [
    ("", "m.csv: names no pictures"),
    ("path,label\n", "m.csv: names no pictures"),
    (
        "name,label\na.jpg,cat\n",
        "m.csv: line 1: no column 'path' or 'file' or 'filename' or 'file_name'; "
        "there is 'name', 'label'",
    ),
    (
        "path;label\na.jpg;cat\n",
        "m.csv: line 1: no column 'path' or 'file' or 'filename' or 'file_name'; "
        "there is 'path;label'",
    ),
    (
        "path,what\na.jpg,cat\n",
        "m.csv: line 1: no column 'label' or 'class' or 'labels'; there is 'path', 'what'",
    ),
    ("path,label\na.jpg\n", "m.csv: line 2: 1 cells where the header has 2"),
    ("path,label\na.jpg,salt, pepper\n", "m.csv: line 2: 3 cells where the header has 2"),
    ("path,label\na.jpg,cat\nb.jpg, \n", "m.csv: line 3: an empty label"),
    ("path,label\n,cat\n", "m.csv: line 2: no path of a picture"),
    ('path,label\na.jpg,"cat\nb.jpg,dog\n', "m.csv: line 3: unexpected end of data"),
    ("path,labels\na.jpg,\n", "m.csv: no row has a label"),
    (b"path,label\na.jpg,caf\xe9\n", "m.csv: line 2: not UTF-8 (byte 0xE9)"),
    (b"path,label\n" + b"x" * (1 << 20) + b"x\n", "m.csv: line 2: longer than 1,048,576 bytes"),
]


@pytest.mark.parametrize(("content", "message"), CSV, ids=[message for _, message in CSV])
def test_mistakes_in_csv_are_refused_with_their_line(write, content, message):
    assert refusal(read_manifest, write("m.csv", content)) == message


ROW = '{"path": "a.jpg", "label": "cat"}\n'
JSON_LINES = [
    ("", "m.jsonl: names no pictures"),
    (
        ROW + "{'path': 1}\n",
        "m.jsonl: line 2: not JSON: expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)",
    ),
    (
        "[" * 100_000 + "\n",
        "m.jsonl: line 1: not JSON: maximum recursion depth exceeded while decoding a json array "
        "from a unicode string",
    ),
    ('["a.jpg", "cat"]\n', "m.jsonl: line 1: not an object"),
    (
        ROW + '{"label": "cat"}\n',
        "m.jsonl: line 2: no column 'path' or 'file' or 'filename' or 'file_name'; "
        "there is 'label'",
    ),
    (
        '{"path": "a.jpg"}\n',
        "m.jsonl: line 1: no column 'label' or 'class' or 'labels'; there is 'path'",
    ),
    ('{"path": 7, "label": "cat"}\n', "m.jsonl: line 1: no path of a picture"),
    ('{"path": "a.jpg", "label": null}\n', "m.jsonl: line 1: no label: 'null'"),
    ('{"path": "a.jpg", "label": true}\n', "m.jsonl: line 1: no label: 'true'"),
    ('{"path": "a.jpg", "label": {"a": 1}}\n', "m.jsonl: line 1: no label: '{\"a\": 1}'"),
    ('{"path": "a.jpg", "label": ["cat", ""]}\n', "m.jsonl: line 1: an empty label"),
    (
        ROW + '{"path": "b.jpg", "label": ["cat"]}\n',
        "m.jsonl: line 2: one label and lists of labels in one manifest",
    ),
]


@pytest.mark.parametrize(("content", "message"), JSON_LINES, ids=[m for _, m in JSON_LINES])
def test_mistakes_in_json_lines_are_refused_with_their_line(write, content, message):
    assert refusal(read_manifest, write("m.jsonl", content)) == message


@pytest.mark.parametrize("content", [CSV[5][0], CSV[8][0]])
def test_mistakes_are_told_before_the_first_picture(write, content):
    with pytest.raises(UsageError):
        read_manifest(write("m.csv", content), class_names={"cat": ("cat",)})


def test_a_label_without_a_line_in_the_file_of_class_names_is_refused(write):
    path = write("m.csv", "path,label\na.jpg,cat\nb.jpg,cow\n")

    message = refusal(read_manifest, path, class_names={"cat": ("cat",)})

    assert message == "m.csv: line 3: unknown class 'cow'"


def test_a_label_with_control_characters_is_refused_with_its_line(write):
    rows = [{"path": "a.jpg", "label": "cat"}, {"path": "b.jpg", "label": "do\x07g"}]
    path = write("m.jsonl", "\n".join(json.dumps(row) for row in rows))

    with pytest.raises(UsageError, match=r"m.jsonl: line 2: control character"):
        read_manifest(path)


def test_another_ending_is_refused(write):
    assert refusal(read_manifest, write("m.xlsx", "")) == "m.xlsx: is none of .csv, .tsv and .jsonl"


def test_a_missing_manifest_is_refused(tree):
    path = tree() / "none.csv"

    assert refusal(read_manifest, path) == f"{path}: no such file"


def test_a_manifest_that_cannot_be_read_twice_is_refused(tree):
    path = tree() / "pipe.csv"
    os.mkfifo(path)

    assert refusal(read_manifest, path) == f"{path}: is not a file"
