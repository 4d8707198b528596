"""Shards of WebDataset: CLIP_benchmark's layout, archives alone, and all that may be wrong."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest
from picture_files import encoded
from PIL import Image

from zsclip import images
from zsclip.errors import PictureError, UsageError
from zsclip.readers import webdataset
from zsclip.readers.webdataset import read_webdataset
from zsclip.results import Failure

RED = encoded(Image.new("RGB", (4, 4), "red"), "PNG")


def tar(*members, **options):
    """A tar archive of (name, content) pairs."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **options) as archive:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return file.getvalue()


def picture(key, label, ending="png"):
    return (f"{key}.{ending}", RED), (f"{key}.cls", str(label).encode())


@pytest.fixture
def write(tmp_path):
    """Write files below a folder, and give the folder: `write({"test/0.tar": tar(...)})`."""

    def make(files):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path

    return make


NAMES = {"classnames.txt": b"ant\nbee\ncat\n"}


def shown(pictures, root):
    return [
        (sample.path.removeprefix(f"{root}/"), *sample.labels, sample.source == RED)
        for sample in pictures.read()
    ]


def refusal(path, **options):
    """The message of a refusal, at once or while pictures are read."""
    with pytest.raises(UsageError) as raised:
        list(read_webdataset(path, **options).read())
    error = raised.value
    assert "\n" not in error.message and error.tip is not None and "\n" not in error.tip
    return error.message.removeprefix(f"{path}/").removeprefix(f"{path}: ")


# layouts


def test_the_layout_of_clip_benchmark_is_read_in_the_order_of_the_shards(write):
    shards = {f"test/{i}.tar": tar(*picture(f"s{i:07}", i % 3)) for i in range(12)}
    root = write({**NAMES, "test/nshards.txt": b"12\n", **shards})

    pictures = read_webdataset(root)

    assert pictures.class_names == (("ant",), ("bee",), ("cat",))
    assert shown(pictures, root) == [(f"test/{i}.tar/s{i:07}.png", i % 3, True) for i in range(12)]


def test_shards_can_be_read_twice(write):
    root = write({**NAMES, "test/0.tar": tar(*picture("a", 0), *picture("b", 1))})
    pictures = read_webdataset(root)

    assert len(shown(pictures, root)) == 2 and shown(pictures, root) == shown(pictures, root)


def test_another_split_can_be_named(write):
    root = write(
        {**NAMES, "test/0.tar": tar(*picture("a", 0)), "train/0.tar": tar(*picture("b", 1))}
    )

    assert shown(read_webdataset(root, split="train"), root) == [("train/0.tar/b.png", 1, True)]


def test_a_folder_of_archives_is_read_by_name(write):
    root = write({**NAMES, "b.tar": tar(*picture("x", 1)), "a.tar": tar(*picture("x", 0))})

    assert shown(read_webdataset(root), root) == [
        ("a.tar/x.png", 0, True),
        ("b.tar/x.png", 1, True),
    ]


def test_one_archive_is_read_with_the_class_names_one_folder_above(write):
    root = write({**NAMES, "test/0.tar": tar(*picture("a", 2))})

    assert shown(read_webdataset(root / "test" / "0.tar"), root) == [("test/0.tar/a.png", 2, True)]


def test_a_compressed_archive_is_read(write):
    root = write({**NAMES, "0.tar.gz": gzip.compress(tar(*picture("a", 2)))})

    assert shown(read_webdataset(root), root) == [("0.tar.gz/a.png", 2, True)]


def test_classes_of_one_name_stay_apart_as_in_imagenet(write):
    root = write({"classnames.txt": b"maillot\nbee\nmaillot", "0.tar": tar(*picture("a", 2))})

    pictures = read_webdataset(root)

    assert pictures.class_names == (("maillot",), ("bee",), ("maillot",))
    assert shown(pictures, root) == [("0.tar/a.png", 2, True)]


def test_a_file_gives_other_names_to_those_that_are_listed(write):
    root = write({**NAMES, "0.tar": tar(*picture("a", 2), *picture("b", 0))})
    names = {"cat": ("a cat", "kitty"), "bee": ("an insect",), "ant": ("an insect",)}

    pictures = read_webdataset(root, class_names=names)

    assert pictures.class_names == (("a cat", "kitty"), ("an insect",))
    assert [sample.labels for sample in pictures.read()] == [(0,), (1,)]


def test_a_file_names_classes_by_number_where_none_are_listed(write):
    root = write({"0.tar": tar(*picture("a", 1), *picture("b", 0))})

    pictures = read_webdataset(root, class_names={"0": ("ant",), "1": ("bee",)})

    assert [sample.labels for sample in pictures.read()] == [(1,), (0,)]


# members


def test_members_are_grouped_up_to_the_first_dot_of_their_name(write):
    root = write(
        {
            **NAMES,
            "0.tar": tar(
                ("./v1.0/a.cls", b" 1\n"),
                ("./v1.0/a.JPG", RED),
                ("./v1.0/a.thumb.jpg", b"small"),
                ("./v1.0/a.json", b"{}"),
                ("w/a.webp", RED),
                ("w/a.cls", b"2"),
            ),
        }
    )

    assert shown(read_webdataset(root), root) == [
        ("0.tar/v1.0/a.jpg", 1, True),
        ("0.tar/w/a.webp", 2, True),
    ]


def test_folders_links_and_hidden_files_in_an_archive_are_passed_over(write):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, kind in (("d.jpg", tarfile.DIRTYPE), ("l.jpg", tarfile.SYMTYPE)):
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, "/etc/passwd"
            archive.addfile(header)
        for name, content in ((".DS_Store", b"x"), ("._a.png", b"x"), *picture("a", 0)):
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    root = write({**NAMES, "0.tar": file.getvalue()})

    assert shown(read_webdataset(root), root) == [("0.tar/a.png", 0, True)]


def test_names_longer_than_a_header_holds_are_whole(write):
    key = "d/" * 60 + "x" * 200
    root = write({**NAMES, "0.tar": tar(*picture(key, 1), format=tarfile.PAX_FORMAT)})

    assert shown(read_webdataset(root), root) == [(f"0.tar/{key}.png", 1, True)]


def test_a_member_that_is_no_picture_stays_among_the_pictures_and_fails(write):
    root = write({**NAMES, "0.tar": tar(("a.jpg", b"hello"), ("a.cls", b"0"))})

    (sample,) = read_webdataset(root).read()

    with pytest.raises(PictureError) as raised:
        images.load(sample.source)
    assert raised.value.code == "unrecognized"


def test_a_label_without_a_picture_is_a_failed_picture(write):
    root = write({**NAMES, "0.tar": tar(("a.npy", b"x"), ("a.cls", b"1"))})

    (sample,) = read_webdataset(root).read()

    assert sample.labels == (1,)
    assert sample.source == Failure("not_found", "no picture of this name in the shard")


def test_a_member_that_is_far_too_large_is_not_read(write, monkeypatch):
    monkeypatch.setattr(webdataset, "_MAX_MEMBER_BYTES", 10)
    root = write({**NAMES, "0.tar": tar(*picture("a", 1), ("b.png", b"small"), ("b.cls", b"2"))})

    first, second = read_webdataset(root).read()

    assert first.source == Failure("too_large_file", f"{len(RED)} bytes are more than 10")
    assert second.source == b"small"


# what is wrong


def test_a_missing_root_is_refused(tmp_path):
    assert refusal(tmp_path / "none") == "no such folder or archive"


def test_a_split_that_is_not_there_is_refused_with_those_that_are(write):
    root = write({**NAMES, "train/0.tar": tar(*picture("a", 0))})

    with pytest.raises(UsageError, match="no shards of split 'test' in it") as raised:
        read_webdataset(root)

    assert raised.value.tip == "--split train"


def test_a_folder_without_archives_is_refused(tmp_path):
    assert refusal(tmp_path) == "no shards of split 'test' in it"


def test_a_split_of_one_archive_is_refused(write):
    root = write({**NAMES, "0.tar": tar(*picture("a", 0))})

    assert refusal(root / "0.tar", split="test") == "--split goes with the root of a data set"


def test_a_shard_that_is_missing_is_refused_by_name(write):
    root = write({**NAMES, "test/nshards.txt": b"2", "test/0.tar": tar(*picture("a", 0))})

    assert refusal(root) == "test/1.tar: missing, one of 2 shards"


@pytest.mark.parametrize("count", [b"many", b"-1", b"", b"9" * 5000])
def test_a_count_of_shards_that_is_no_number_is_refused(write, count):
    root = write({**NAMES, "test/nshards.txt": count})

    assert refusal(root).startswith("test/nshards.txt: not a number: ")


def test_shards_without_class_names_are_refused(write):
    root = write({"data/test/0.tar": tar(*picture("a", 0))}) / "data"

    assert refusal(root) == "test: no classnames.txt there or above"


def test_a_blank_line_among_class_names_is_refused_since_lines_count(write):
    root = write({"classnames.txt": b"ant\n\nbee\n", "0.tar": tar(*picture("a", 0))})

    with pytest.raises(UsageError, match=r"classnames.txt: line 2: an empty label"):
        read_webdataset(root)


def test_a_listed_class_without_a_line_in_the_file_is_refused(write):
    root = write({**NAMES, "0.tar": tar(*picture("a", 0))})

    message = refusal(root, class_names={"ant": ("ant",), "bee": ("bee",)})

    assert message == "--class-names has no line for class 'cat'"


def test_a_file_that_names_words_where_numbers_are_needed_is_refused(write):
    root = write({"data/0.tar": tar(*picture("a", 0))}) / "data"

    message = refusal(root, class_names={"ant": ("ant",)})

    assert message == "--class-names: 'ant' is not the number of a class"


@pytest.mark.parametrize("label", ["3", "-1", "cat", "", "1.0", "9" * 60, "9" * 100])
def test_a_label_that_is_none_of_the_classes_is_refused_by_shard_and_key(write, label):
    root = write({**NAMES, "test/0.tar": tar(*picture("a", 0), *picture("b", label))})

    message = refusal(root)

    assert message.startswith("test/0.tar/b: label ")
    assert message.endswith("is none of the 3 classes")


def test_a_picture_without_a_label_is_refused_by_shard_and_key(write):
    root = write({**NAMES, "0.tar": tar(*picture("a", 0), ("b.png", RED))})

    assert refusal(root) == "0.tar/b: no .cls file with its label"


def test_two_pictures_of_one_name_are_refused(write):
    root = write({**NAMES, "0.tar": tar(("d/a.jpg", RED), *picture("d/a", 0))})

    assert refusal(root) == "0.tar/d/a: two pictures of one name: a.jpg and a.png"


WHOLE = tar(*picture("a", 0), *picture("b", 1))
HEADER = 1024 + 512 + 512  # a.png and a.cls are before it
DAMAGED = {
    "empty": b"",
    "not an archive": b"hello" * 300,
    "cut in a picture": WHOLE[: HEADER + 512 + 20],
    "cut in a header": WHOLE[: HEADER + 100],
    "cut between members": WHOLE[:HEADER],
    "a damaged header": WHOLE[:HEADER] + b"\xff" + WHOLE[HEADER + 1 :],
    "gzip cut in its header": gzip.compress(WHOLE)[:3],
    "cut gzip": gzip.compress(WHOLE)[:-40],
    "damaged gzip": gzip.compress(WHOLE)[:20] + b"\xff" * 20 + gzip.compress(WHOLE)[40:],
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_archive_is_refused_by_name(write, content):
    root = write({**NAMES, "test/0.tar": tar(*picture("a", 0)), "test/1.tar": content})

    assert refusal(root).startswith("test/1.tar: a damaged tar archive: ")
