"""The options that name labelled pictures: one source, and what goes with it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from picture_files import encoded
from PIL import Image
from test_readers_webdataset import picture, tar

from zsclip.cli.data_options import LabelledOptions, open_labelled
from zsclip.errors import UsageError
from zsclip.readers.base import LabelledPictures


def opened(*, split=None, offline=False, **options):
    return open_labelled(LabelledOptions(**options), split=split, offline=offline)


def refusal(**options):
    """The message of a refusal; it and its tip are one line."""
    with pytest.raises(UsageError) as raised:
        opened(**options)
    error = raised.value
    assert "\n" not in error.message and error.tip is not None and "\n" not in error.tip
    return error.message


@pytest.fixture
def known(monkeypatch):
    """In place of the readers of known data sets: what they were asked for."""
    asked = []

    def read_known(name, root, *, split=None, download=False):
        asked.append((name, root, split, download))
        return LabelledPictures(name, (("cat",),), lambda: iter(()))

    module = SimpleNamespace(read_known=read_known)
    monkeypatch.setitem(sys.modules, "zsclip.readers.known", module)
    return asked


@pytest.fixture
def names(tmp_path):
    """A file of class names: labels 0 and 1."""
    path = tmp_path / "names.tsv"
    path.write_text("0\tcat\tkitty\n1\tdog\n")
    return path


def test_a_known_data_set_is_opened_with_its_root_and_split(known):
    pictures = opened(dataset="cifar10", root=Path("d"), split="train", download=True)

    assert pictures.name == "cifar10"
    assert known == [("cifar10", Path("d"), "train", True)]


def test_a_folder_is_opened_with_class_names(tmp_path, names):
    for label in "01":
        (tmp_path / "d" / label).mkdir(parents=True)
        (tmp_path / "d" / label / "a.jpg").touch()

    pictures = opened(folder=tmp_path / "d", class_names=names)

    assert pictures.class_names == (("cat", "kitty"), ("dog",))
    assert [sample.labels for sample in pictures.read()] == [(0,), (1,)]


def test_a_manifest_is_opened_with_its_columns(tmp_path, names):
    (tmp_path / "m.csv").write_text("photo,kind\na.jpg,1\n")

    pictures = opened(
        manifest=tmp_path / "m.csv", class_names=names, image_column="photo", label_column="kind"
    )

    assert [sample.labels for sample in pictures.read()] == [(1,)]


def test_shards_are_opened_with_their_split(tmp_path, names):
    (tmp_path / "d" / "val").mkdir(parents=True)
    (tmp_path / "d" / "val" / "0.tar").write_bytes(tar(*picture("a", 1)))

    pictures = opened(webdataset=tmp_path / "d", split="val", class_names=names)

    assert [sample.labels for sample in pictures.read()] == [(1,)]


def test_offline_refuses_what_is_on_the_hub_or_would_be_fetched(tmp_path):
    assert "asks the hub nothing" in refusal(hf="org/name", offline=True)
    assert "contradict" in refusal(dataset="cifar10", root=tmp_path, download=True, offline=True)


def test_offline_reads_what_is_here(tmp_path, known):
    opened(dataset="cifar10", root=tmp_path, offline=True)

    assert known == [("cifar10", tmp_path, None, False)]


def test_a_data_set_of_the_hub_is_opened_with_its_split_and_columns(tmp_path):
    import datasets

    (tmp_path / "d").mkdir()
    datasets.disable_progress_bars()
    image = {"bytes": encoded(Image.new("RGB", (4, 4)), "PNG"), "path": None}
    of = {name: datasets.ClassLabel(names=["cat", "dog"]) for name in ("fine", "coarse")}
    datasets.Dataset.from_dict(
        {"image": [image], "fine": [0], "coarse": [1]},
        features=datasets.Features({"image": datasets.Image(), **of}),
    ).to_parquet(tmp_path / "d" / "validation.parquet")

    pictures = opened(hf=str(tmp_path / "d"), split="validation", label_column="coarse")

    assert pictures.name == f"{tmp_path}/d/validation"
    assert [sample.labels for sample in pictures.read()] == [(1,)]


def test_no_pictures_are_refused():
    assert refusal() == "no labelled pictures are named"


def test_details_alone_are_no_pictures():
    assert refusal(root=Path("d"), split="test") == "no labelled pictures are named"


def test_several_sources_are_refused():
    message = refusal(folder=Path("d"), manifest=Path("m.csv"))

    assert message == "--folder and --manifest contradict each other"


def test_a_known_data_set_without_a_root_is_refused(known):
    assert refusal(dataset="cifar10") == "--dataset needs the folder of its files"
    assert known == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"folder": Path("d"), "split": "test"},
            "--split goes with --dataset or --webdataset or --hf, not with --folder",
        ),
        (
            {"manifest": Path("m.csv"), "split": "test"},
            "--split goes with --dataset or --webdataset or --hf, not with --manifest",
        ),
        ({"hf": "o/n", "root": Path("d")}, "--root goes with --dataset, not with --hf"),
        (
            {"webdataset": Path("d"), "download": True},
            "--download goes with --dataset, not with --webdataset",
        ),
        (
            {"dataset": "cifar10", "root": Path("d"), "class_names": Path("n.tsv")},
            "--class-names goes with --folder or --manifest or --webdataset or --hf, "
            "not with --dataset",
        ),
        (
            {"folder": Path("d"), "image_column": "x"},
            "--image-column goes with --manifest or --hf, not with --folder",
        ),
        (
            {"webdataset": Path("d"), "label_column": "x"},
            "--label-column goes with --manifest or --hf, not with --webdataset",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    assert refusal(**options) == message


def test_a_file_of_class_names_that_is_wrong_is_refused_before_the_pictures_are_looked_at(tmp_path):
    (tmp_path / "names.tsv").write_text("cat\n")

    message = refusal(folder=tmp_path / "none", class_names=tmp_path / "names.tsv")

    assert "names.tsv: line 1: needs a label" in message


@pytest.mark.parametrize("command", [["evaluate"], ["calibrate"], ["probe", "-o", "head"]])
def test_offline_reaches_the_commands_that_read_labelled_pictures(command, zsclip):
    ran = zsclip(*command, "--hf", "org/name", "--offline", "--model", "tiny")

    assert ran.code == 2 and "asks the hub nothing" in ran.stderr
