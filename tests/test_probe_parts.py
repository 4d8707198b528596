"""Which pictures the options of `zsclip probe` mean, without reading any."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from zsclip.cli import probe_parts
from zsclip.cli.data_options import LabelledOptions
from zsclip.cli.probe_parts import Named, open_parts
from zsclip.errors import UsageError
from zsclip.readers.base import LabelledPictures


@pytest.fixture
def opened(monkeypatch):
    """What is opened, as `open_labelled` is asked for it, in order."""
    asked = []

    def note(named, *, split=None, offline=False):
        options = {**asdict(named), "split": split, "offline": offline}
        asked.append({name: value for name, value in options.items() if value})
        return LabelledPictures("pictures", (("a",), ("b",)), lambda: iter(()))

    monkeypatch.setattr(probe_parts, "open_labelled", note)
    return asked


def parts(*, split=None, test=Named(), validation=Named(), **source):
    named = LabelledOptions(**source)
    return open_parts(named, split=split, test=test, validation=validation)


def test_a_known_data_set_is_fitted_to_on_train_and_tested_on_its_test_split(opened):
    found = parts(dataset="cifar10", root=Path("data"))

    assert [one["split"] for one in opened] == ["train", "test"]
    assert all(one["dataset"] == "cifar10" for one in opened)
    assert found.has_test
    assert found.validation is None


def test_a_data_set_without_train_is_fitted_to_on_trainval(opened):
    parts(dataset="oxford_pets", root=Path("data"))

    assert [one["split"] for one in opened] == ["trainval", "test"]


def test_splits_can_be_named(opened):
    parts(
        dataset="dtd",
        root=Path("data"),
        split="train",
        test=Named(split="test"),
        validation=Named(split="val"),
    )

    assert [one["split"] for one in opened] == ["train", "val", "test"]


def test_a_data_set_with_one_split_is_refused_unless_it_is_divided(opened):
    with pytest.raises(UsageError, match="caltech101 has no split to fit to") as caught:
        parts(dataset="caltech101", root=Path("data"))
    divided = parts(
        dataset="caltech101", root=Path("data"), split="all", test=Named(fraction=0.5)
    )  # fmt: skip

    assert "--split all --test-fraction 0.5" in caught.value.tip
    assert [one["split"] for one in opened] == ["all"]
    assert divided.test is None
    assert divided.test_fraction == 0.5


def test_one_split_is_not_fitted_to_and_tested_on(opened):
    with pytest.raises(UsageError, match="'test' is to be fitted to, and is --test-split, too"):
        parts(dataset="cifar10", root=Path("data"), split="test")

    assert opened == []


def test_shards_and_hub_data_sets_have_no_test_unless_it_is_named(opened):
    without = parts(webdataset=Path("shards"))
    named = parts(hf="org/pets", test=Named(split="validation"))

    assert not without.has_test
    assert named.has_test
    assert [one["split"] for one in opened] == ["train", "train", "validation"]


def test_a_test_folder_has_the_class_names_of_the_folder(opened):
    parts(folder=Path("a"), class_names=Path("names.tsv"), test=Named(folder=Path("b")))

    assert opened == [
        {"folder": Path("a"), "class_names": Path("names.tsv")},
        {"folder": Path("b"), "class_names": Path("names.tsv")},
    ]


def test_a_test_manifest_has_the_columns_of_the_manifest(opened):
    parts(manifest=Path("a.csv"), label_column="kind", test=Named(manifest=Path("b.csv")))

    assert [one["label_column"] for one in opened] == ["kind", "kind"]
