"""Data sets in the forms of the Hugging Face hub: local folders and Parquet files, no network."""

from __future__ import annotations

import io
import sys
import zipfile
from typing import ClassVar

import pytest
from picture_files import encoded
from PIL import Image

from zsclip.errors import UsageError
from zsclip.readers import huggingface
from zsclip.readers.huggingface import read_huggingface
from zsclip.results import Failure

RED = encoded(Image.new("RGB", (4, 4), "red"), "PNG")
BLUE = encoded(Image.new("RGB", (4, 4), "blue"), "PNG")
NAMES = ["cat", "golden_retriever"]


@pytest.fixture
def parquet(tmp_path):
    """Write rows as a Parquet file of the library: `parquet("test", columns, features)`."""
    import datasets

    datasets.disable_progress_bars()

    def make(name, columns, **features):
        file = tmp_path / "data" / f"{name}.parquet"
        file.parent.mkdir(exist_ok=True)
        of = datasets.Features(features)
        datasets.Dataset.from_dict(columns, features=of).to_parquet(file)
        return file

    return make


@pytest.fixture
def pets(parquet):
    """Two labelled pictures, in a file of the split test."""
    import datasets

    columns = {
        "image": [{"bytes": RED, "path": "a.png"}, {"bytes": BLUE, "path": None}],
        "id": [7, 8],
        "label": [1, 0],
    }
    return parquet(
        "test",
        columns,
        image=datasets.Image(),
        id=datasets.Value("int64"),
        label=datasets.ClassLabel(names=NAMES),
    )


def refusal(name, **options):
    """The message and the tip of a refusal, at once or while pictures are read."""
    with pytest.raises(UsageError) as raised:
        list(read_huggingface(str(name), **options).read())
    error = raised.value
    assert "\n" not in error.message and error.tip is not None and "\n" not in error.tip
    return error.message.replace(str(name), "NAME"), error.tip


def test_a_parquet_file_is_read_undecoded(pets):
    pictures = read_huggingface(str(pets))

    samples = list(pictures.read())

    assert pictures.class_names == (("cat",), ("golden retriever",))
    assert [(sample.source, sample.labels) for sample in samples] == [(RED, (1,)), (BLUE, (0,))]
    assert [sample.path for sample in samples] == [f"{pets}#0", f"{pets}#1"]


def test_pictures_can_be_read_twice(pets):
    pictures = read_huggingface(str(pets))

    assert list(pictures.read()) == list(pictures.read()) != []


def test_the_split_test_of_a_folder_is_taken_unless_another_is_named(pets):
    (pets.parent / "train.parquet").write_bytes(pets.read_bytes())

    tested = read_huggingface(str(pets.parent))
    trained = read_huggingface(str(pets.parent), split="train")

    assert next(tested.read()).path == f"{pets.parent}/test#0"
    assert next(trained.read()).path == f"{pets.parent}/train#0"


def test_the_only_split_is_taken_whatever_its_name(pets):
    pets.rename(pets.parent / "train.parquet")

    assert read_huggingface(str(pets.parent)).name == f"{pets.parent}/train"


def test_a_folder_of_class_folders_is_read_by_its_paths(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "d" / "test" / name).mkdir(parents=True)
        (tmp_path / "d" / "test" / name / "1.png").write_bytes(RED)

    pictures = read_huggingface(str(tmp_path / "d"))

    assert pictures.class_names == (("cat",), ("dog",))
    assert [(sample.source, sample.labels) for sample in pictures.read()] == [
        (f"{tmp_path}/d/test/cat/1.png", (0,)),
        (f"{tmp_path}/d/test/dog/1.png", (1,)),
    ]


def test_a_file_gives_classes_other_names(pets):
    names = {"golden_retriever": ("a dog", "a puppy"), "cat": ("a cat",)}

    pictures = read_huggingface(str(pets), class_names=names)

    assert pictures.class_names == (("a dog", "a puppy"), ("a cat",))
    assert [sample.labels for sample in pictures.read()] == [(0,), (1,)]


def test_columns_without_types_can_be_named(parquet):
    import datasets

    of = {"photo": datasets.Value("binary"), "kind": datasets.Value("int64")}
    file = parquet("test", {"photo": [RED, BLUE], "kind": [1, 0]}, **of)

    pictures = read_huggingface(
        str(file),
        image_column="photo",
        label_column="kind",
        class_names={"0": ("cat",), "1": ("dog",)},
    )

    assert [(sample.source, sample.labels) for sample in pictures.read()] == [
        (RED, (1,)),
        (BLUE, (0,)),
    ]


def test_a_row_without_a_picture_stays_among_the_pictures_and_fails(parquet):
    import datasets

    file = parquet(
        "test",
        {"image": [None], "label": [0]},
        image=datasets.Image(),
        label=datasets.ClassLabel(names=NAMES),
    )

    (sample,) = read_huggingface(str(file)).read()

    assert sample.source == Failure("empty", "no picture in this row")


@pytest.fixture
def hub(monkeypatch):
    """A hub in memory, for addresses like `hf://file`."""
    from fsspec.implementations.memory import MemoryFileSystem

    class Hub(MemoryFileSystem):
        protocol = "hf"
        store: ClassVar[dict[str, object]] = {}

        @classmethod
        def _strip_protocol(cls, path):
            return "/" + path.removeprefix("hf://").strip("/")

    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "hf", Hub)
    return Hub()


def test_a_picture_that_is_a_file_of_the_hub_is_fetched(hub):
    hub.pipe("/datasets/o/n/a.png", RED)

    assert huggingface._picture({"bytes": None, "path": "hf://datasets/o/n/a.png"}) == RED


def test_a_picture_in_an_archive_of_the_hub_is_fetched(hub):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("cat/a.png", RED)
    hub.pipe("/a.zip", archive.getvalue())

    assert huggingface._picture({"bytes": None, "path": "zip://cat/a.png::hf://a.zip"}) == RED


def test_a_picture_that_is_gone_from_the_hub_is_a_failed_picture(hub):
    found = huggingface._picture({"bytes": None, "path": "hf://none.png"})

    assert isinstance(found, Failure) and found.code == "fetch_error"


def test_offline_no_picture_is_fetched(hub, parquet):
    import datasets

    hub.pipe("/a.png", RED)
    columns = {"image": [{"bytes": None, "path": "hf://a.png"}], "label": [0]}
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    file = parquet("rows", columns, **features)

    (there,) = read_huggingface(str(file)).read()
    (here,) = read_huggingface(str(file), offline=True).read()

    assert there.source == RED
    assert here.source.code == "fetch_error"


def test_a_broken_connection_is_a_failed_picture(monkeypatch):
    class ConnectError(Exception):
        """Of whatever library is under the hub's."""

    def refuse(*_):
        raise ConnectError("no route to host")

    monkeypatch.setattr("fsspec.open", refuse)

    found = huggingface._picture({"bytes": None, "path": "hf://a.png"})

    assert found == Failure("fetch_error", "no route to host")


def test_a_picture_that_is_far_too_large_is_a_failed_picture(hub, monkeypatch):
    monkeypatch.setattr(huggingface, "_MAX_PICTURE_BYTES", 10)
    hub.pipe("/a.png", RED)

    found = huggingface._picture({"bytes": None, "path": "hf://a.png"})

    assert found == Failure("too_large_file", "more than 10 bytes")


@pytest.mark.parametrize("path", ["http://127.0.0.1:9/a.png", "zip://a::https://x/y", "file:///a"])
def test_rows_make_no_requests_to_other_machines(path):
    found = huggingface._picture({"bytes": None, "path": path})

    assert found == Failure("fetch_error", "the picture is not on the hub")


# what is wrong


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)

    message, tip = refusal("org/name")

    assert message == "--hf needs the package datasets"
    assert tip == "pip install 'zsclip[hf-datasets]'"


def test_a_name_that_cannot_be_found_is_refused():
    message, _ = refusal("org/name")

    assert message.startswith("--hf NAME: couldn't reach 'NAME' on the Hub")


def test_a_split_that_is_not_there_is_refused_with_those_that_are(pets):
    assert refusal(pets.parent, split="val") == ("--hf NAME: no split 'val'", "--split test")


def test_one_of_several_splits_must_be_named_where_none_is_test(pets):
    (pets.parent / "train.parquet").write_bytes(pets.read_bytes())
    pets.rename(pets.parent / "validation.parquet")

    message, tip = refusal(pets.parent)

    assert message == "--hf NAME: no split 'test'"
    assert tip == "--split train or validation"


def test_a_split_of_one_file_is_refused(pets):
    message, _ = refusal(pets, split="train")

    assert message == "--split goes with a data set, not with a file"


@pytest.mark.parametrize("content", [b"", b"hello", b"PAR1" + b"x" * 100 + b"PAR1"])
def test_a_damaged_file_is_refused(tmp_path, content, capfd):
    file = tmp_path / "x.parquet"
    file.write_bytes(content)

    message, _ = refusal(file)

    assert message.startswith("--hf NAME: ")
    assert capfd.readouterr().err == ""


def test_an_empty_folder_is_refused(tmp_path):
    message, _ = refusal(tmp_path)

    assert message.startswith("--hf NAME: ")


def test_several_columns_of_labels_are_refused_by_name(parquet):
    import datasets

    of = datasets.ClassLabel(names=NAMES)
    columns = {"img": [{"bytes": RED, "path": None}], "fine": [0], "coarse": [1]}
    file = parquet("test", columns, img=datasets.Image(), fine=of, coarse=of)

    message, tip = refusal(file)
    (sample,) = read_huggingface(str(file), label_column="coarse").read()

    assert message == "NAME: several columns of named labels: 'fine', 'coarse'"
    assert tip == "--label-column takes one of 'img', 'fine', 'coarse'"
    assert sample.labels == (1,)


def test_a_data_set_without_pictures_is_refused(parquet):
    import datasets

    file = parquet("test", {"text": ["a"]}, text=datasets.Value("string"))

    message, tip = refusal(file)

    assert message == "NAME: no column of pictures"
    assert tip == "--image-column takes one of 'text'"


def test_a_column_that_is_not_there_is_refused(pets):
    message, tip = refusal(pets, image_column="photo")

    assert message == "NAME: no column 'photo'"
    assert tip == "--image-column takes one of 'image', 'id', 'label'"


def test_labels_without_names_are_refused(pets):
    message, _ = refusal(pets, label_column="id")

    assert message == "NAME: column 'id' has no class names"


def test_a_label_without_a_line_in_the_file_of_class_names_is_refused(pets):
    message, _ = refusal(pets, class_names={"cat": ("cat",)})

    assert message == "NAME#0: unknown class 'golden_retriever'"


@pytest.mark.parametrize("label", [-1, None])
def test_a_split_that_hides_its_labels_is_refused(parquet, label):
    import datasets

    columns = {"image": [{"bytes": RED, "path": None}] * 2, "label": [0, label]}
    of = datasets.ClassLabel(names=NAMES)
    file = parquet("test", columns, image=datasets.Image(), label=of)

    message, tip = refusal(file)

    assert message == f"NAME#1: no label in column 'label': {label}"
    assert "--split" in tip
