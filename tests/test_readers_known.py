"""Known data sets: splits, class folders, how labels find their classes, and what is refused."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from zsclip.datasets import dataset_names, load_dataset
from zsclip.errors import UnknownNameError, UsageError
from zsclip.readers.entries import class_folders
from zsclip.readers.known import known_splits, read_known
from zsclip.readers.layouts import LAYOUTS


def write(path: Path, content: str = "a picture, which no reader decodes") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def write_classes(folder: Path, *labels: str, ending: str = ".jpg") -> None:
    """A picture in each class folder, named after the folder."""
    for label in labels:
        write(folder / label / f"{label}{ending}")


def shown(name: str, root: Path, **options) -> dict[str, str]:
    """What each picture shows, by the name of its file."""
    pictures = read_known(name, root, **options)
    return {Path(s.path).name: pictures.class_names[s.labels[0]][0] for s in pictures.read()}


# the table


def test_every_known_data_set_has_a_reader():
    assert set(LAYOUTS) == set(dataset_names())


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_the_published_split_is_read_unless_a_note_says_otherwise(name):
    published = load_dataset(name).facts["split"]["name"]

    assert known_splits(name)[0] == published or LAYOUTS[name].note


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_labels_of_a_data_set_differ(name):
    labels = load_dataset(name).labels

    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_what_is_not_there_is_asked_for_in_one_line(tmp_path, name):
    folder = tmp_path / "none" / LAYOUTS[name].folders[0]

    with pytest.raises(UsageError) as caught:
        read_known(name, tmp_path / "none")

    assert caught.value.message == f"{folder}: no such folder"
    assert "--root" in caught.value.tip
    assert f"unpack it as {folder}" in caught.value.tip
    assert ("--download" in caught.value.tip) == (LAYOUTS[name].fetch is not None)
    assert "\n" not in caught.value.tip


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_an_empty_folder_is_refused_in_one_line(tmp_path, name):
    folder = tmp_path / LAYOUTS[name].folders[0]
    folder.mkdir(parents=True, exist_ok=True)

    with pytest.raises(UsageError) as caught:
        read_known(name, tmp_path)

    assert caught.value.message.startswith(str(tmp_path))
    assert name in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("name", [name for name in sorted(LAYOUTS) if not LAYOUTS[name].fetch])
def test_what_cannot_be_downloaded_says_from_where_by_hand(tmp_path, name):
    facts = load_dataset(name).facts
    source = facts["archive"][0]["url"] if "archive" in facts else facts["homepage"]

    with pytest.raises(UsageError) as caught:
        read_known(name, tmp_path, download=True)

    assert caught.value.message == f"--download cannot fetch {name}"
    assert source in caught.value.tip
    assert list(tmp_path.iterdir()) == []


# class folders


def test_caltech101_has_a_background(tmp_path):
    folder = tmp_path / "caltech101" / "101_ObjectCategories"
    write_classes(folder, "Faces", "BACKGROUND_Google", "yin_yang", "Faces_easy", "airplanes")

    assert list(shown("caltech101", tmp_path).items()) == [
        ("BACKGROUND_Google.jpg", "background"),
        ("Faces.jpg", "off-center face"),
        ("Faces_easy.jpg", "centered face"),
        ("airplanes.jpg", "airplane"),
        ("yin_yang.jpg", "yin and yang symbol"),
    ]


def test_resisc45_is_read_by_its_folders(tmp_path):
    write_classes(tmp_path / "NWPU-RESISC45", "wetland", "railway_station", "railway")

    assert shown("resisc45", tmp_path) == {
        "railway.jpg": "railway",
        "railway_station.jpg": "railway station",
        "wetland.jpg": "wetland",
    }


@pytest.mark.parametrize("place", ["imagenet/val", "val", "."])
def test_imagenet_is_read_from_folders_of_wordnet_numbers(tmp_path, place):
    write_classes(tmp_path / place, "n15075141", "n01440764", "n04008634", ending=".JPEG")

    assert list(shown("imagenet", tmp_path).items()) == [
        ("n01440764.JPEG", "tench"),
        ("n04008634.JPEG", "missile"),
        ("n15075141.JPEG", "toilet paper"),
    ]


def test_classes_with_equal_names_stay_apart(tmp_path):
    write_classes(tmp_path, "n03773504", "n04008634")

    first, second = read_known("imagenet", tmp_path).read()

    assert (first.labels, second.labels) == ((657,), (744,))


def test_splits_of_imagenet_are_folders(tmp_path):
    write_classes(tmp_path / "imagenet" / "val", "n01440764")
    write_classes(tmp_path / "imagenet" / "train", "n01443537")

    assert shown("imagenet", tmp_path, split="train") == {"n01443537.jpg": "goldfish"}


def test_imagenet_v2_has_numbers_for_folders(tmp_path):
    write_classes(tmp_path / "imagenetv2-matched-frequency-format-val", "0", "2", "10", "999")

    assert shown("imagenet_v2", tmp_path) == {
        "0.jpg": "tench",
        "2.jpg": "great white shark",
        "10.jpg": "brambling",
        "999.jpg": "toilet paper",
    }


@pytest.mark.parametrize(
    "name, folder, labels",
    [
        ("imagenet_a", "imagenet-a", {"n12267677": "acorn", "n01498041": "stingray"}),
        ("imagenet_r", "imagenet-r", {"n12267677": "acorn", "n01443537": "goldfish"}),
        ("imagenet_sketch", "sketch", {"n15075141": "toilet paper", "n01440764": "tench"}),
    ],
)
def test_subsets_of_imagenet_are_matched_by_wordnet_numbers(tmp_path, name, folder, labels):
    write_classes(tmp_path / folder, *labels)

    assert shown(name, tmp_path) == {f"{label}.jpg": first for label, first in labels.items()}


def test_folders_of_objectnet_that_imagenet_does_not_have_are_left_out(tmp_path):
    folder = tmp_path / "objectnet-1.0" / "images"
    write_classes(folder, "wine_bottle", "air_freshener", "alarm_clock", ending=".png")

    pictures = read_known("objectnet", tmp_path)

    assert shown("objectnet", tmp_path) == {
        "alarm_clock.png": "alarm clock",
        "wine_bottle.png": "wine bottle",
    }
    assert "red border" in pictures.notes[0]


def test_a_folder_of_other_classes_alone_has_no_pictures(tmp_path):
    write_classes(tmp_path / "objectnet-1.0" / "images", "air_freshener")

    with pytest.raises(UsageError, match="no pictures of objectnet, split test"):
        read_known("objectnet", tmp_path)


def test_hidden_files_and_other_files_are_no_pictures(tmp_path):
    folder = tmp_path / "NWPU-RESISC45"
    write_classes(folder, "wetland")
    write_classes(folder, ".cache")
    for name in (".hidden.jpg", "Thumbs.db", "notes.txt"):
        write(folder / "wetland" / name)
    write(folder / "readme.jpg")

    assert list(shown("resisc45", tmp_path)) == ["wetland.jpg"]


def test_the_first_place_that_exists_has_the_class_folders(tmp_path):
    write_classes(tmp_path / "second", "a")
    write_classes(tmp_path / "third", "b")

    entries = class_folders("first", "SPLIT", "third")(tmp_path, "second")

    assert [entry.labels for entry in entries] == [("a",)]


# labels


def test_a_label_of_no_class_is_refused_with_the_nearest(tmp_path):
    write_classes(tmp_path / "NWPU-RESISC45", "wetland", "air_port_hall")

    with pytest.raises(UnknownNameError) as caught:
        read_known("resisc45", tmp_path)

    assert "unknown resisc45 label 'air_port_hall'; did you mean 'airport'" in str(caught.value)
    assert str(tmp_path / "NWPU-RESISC45" / "air_port_hall") in caught.value.tip


def test_case_and_blanks_of_a_label_are_passed_over(tmp_path):
    write_classes(tmp_path / "NWPU-RESISC45", "Railway Station", "baseball-diamond")

    assert shown("resisc45", tmp_path) == {
        "Railway Station.jpg": "railway station",
        "baseball-diamond.jpg": "baseball diamond",
    }


# what is given


def test_a_data_set_can_be_read_more_than_once(tmp_path):
    write_classes(tmp_path / "NWPU-RESISC45", "wetland", "island")

    pictures = read_known("resisc45", tmp_path)

    assert list(pictures.read()) == list(pictures.read())
    assert pictures.size == 2


def test_facts_of_the_data_set_are_handed_on(tmp_path):
    write_classes(tmp_path / "caltech101" / "101_ObjectCategories", "Faces")

    pictures = read_known("caltech101", tmp_path)

    assert pictures.name == "caltech101"
    assert pictures.metric == "mean_per_class"
    assert not pictures.multi_label
    assert pictures.class_names == load_dataset("caltech101").class_names


def test_a_set_whose_files_name_no_split_says_so(tmp_path):
    write_classes(tmp_path / "eurosat" / "2750", "River")

    pictures = read_known("eurosat", tmp_path)

    assert pictures.notes[0].startswith("all pictures are read: its files do not say")
    assert pictures.notes[1].startswith("no pictures of 9 of 10 classes: 'forest', ")


def test_a_count_that_is_not_the_published_one_is_a_note(tmp_path):
    write_classes(tmp_path / "val", "n01440764", "n01443537")

    pictures = read_known("imagenet", tmp_path)

    assert pictures.notes[0] == "2 pictures were found, and the val split has 50,000"


def test_other_splits_have_no_note_about_the_published_one(tmp_path):
    write_classes(tmp_path / "train", "n01440764")

    pictures = read_known("imagenet", tmp_path, split="train")

    assert [note for note in pictures.notes if "split" in note] == []


def test_a_set_whose_files_name_no_published_split_has_no_count_to_compare(tmp_path):
    write_classes(tmp_path / "NWPU-RESISC45", "wetland")

    pictures = read_known("resisc45", tmp_path)

    assert [note for note in pictures.notes if "were found" in note] == []


# what is refused


def test_an_unknown_data_set_is_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'food101'"):
        read_known("food-101", tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean 'food101'"):
        known_splits("food-101")


def test_an_unknown_split_is_refused_before_files_are_looked_for(tmp_path):
    with pytest.raises(UnknownNameError) as caught:
        read_known("food101", tmp_path / "none", split="tests")

    assert str(caught.value) == "unknown split of food101 'tests'; did you mean 'test'?"
    assert caught.value.tip == "--split takes test, train"


@pytest.mark.parametrize(
    "name, module, extra",
    [
        ("ucf101", "av", "video"),
        ("kinetics700", "av", "video"),
        ("pcam", "h5py", "readers"),
        ("flowers102", "scipy", "readers"),
        ("stanford_cars", "scipy", "readers"),
    ],
)
def test_an_extra_that_is_missing_is_named(tmp_path, monkeypatch, name, module, extra):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda wanted: None if wanted == module else find(wanted)
    )

    with pytest.raises(UsageError) as caught:
        read_known(name, tmp_path)

    assert str(caught.value) == f"reading {name} needs {module}, which is not installed"
    assert caught.value.tip == f"pip install 'zsclip[{extra}]'"


@pytest.mark.parametrize(
    "name, path, content",
    [
        ("food101", "food-101/meta/test.json", "{"),
        ("food101", "food-101/meta/test.json", "[1]"),
        ("fgvc_aircraft", "fgvc-aircraft-2013b/data/variants.txt", "A300"),
        ("mnist", "MNIST/raw/t10k-images-idx3-ubyte", "short"),
        ("kitti", "Kitti/raw/training/image_2/000001.png", ""),
        ("gtsrb", "gtsrb/GT-final_test.csv", "Filename\n1.ppm\n"),
        ("fer2013", "fer2013/fer2013.csv", "emotion,pixels,Usage\n1,1 2 x,PrivateTest\n"),
        ("fer2013", "fer2013/fer2013.csv", "emotion,pixels,Usage\n1,1 2 3,PrivateTest\n"),
        ("fer2013", "fer2013/fer2013.csv", "emotion,pixels,Usage\n1\n"),
        ("hateful_memes", "hateful_memes/dev_seen.jsonl", '{"img": '),
        ("hateful_memes", "hateful_memes/dev_seen.jsonl", "[1]\n"),
        ("oxford_pets", "oxford-iiit-pet/annotations/test.txt", ""),
        ("pcam", "pcam/camelyonpatch_level_2_split_test_y.h5", "not HDF5"),
        ("voc2007", "VOCdevkit/VOC2007/ImageSets/Main/cat_test.txt", "000001\n"),
        ("ucf101", "UCF-101/x.avi", ""),
    ],
)
def test_damaged_files_are_one_line(tmp_path, name, path, content):
    pytest.importorskip(LAYOUTS[name].extra[1] if LAYOUTS[name].extra else "torchvision")
    write(tmp_path / path, content)
    (tmp_path / "food-101" / "images").mkdir(parents=True, exist_ok=True)

    with pytest.raises(UsageError) as caught:
        read_known(name, tmp_path)

    assert name in caught.value.message
    assert "\n" not in caught.value.message


def test_a_file_that_is_missing_is_named(tmp_path):
    (tmp_path / "oxford-iiit-pet").mkdir()
    path = tmp_path / "oxford-iiit-pet" / "annotations" / "test.txt"

    with pytest.raises(UsageError) as caught:
        read_known("oxford_pets", tmp_path)

    assert caught.value.message == (
        f"{tmp_path / 'oxford-iiit-pet'}: oxford_pets cannot be read: "
        f"no such file or directory: '{path}'"
    )


def test_a_list_in_another_encoding_is_one_line(tmp_path):
    path = tmp_path / "hateful_memes" / "dev_seen.jsonl"
    write(path)
    path.write_bytes(json.dumps({"text": "é"}, ensure_ascii=False).encode("latin-1"))

    with pytest.raises(UsageError, match="hateful_memes cannot be read: UnicodeDecodeError"):
        read_known("hateful_memes", tmp_path)
