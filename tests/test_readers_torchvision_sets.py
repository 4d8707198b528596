"""Data sets that torchvision reads: small ones in the original form, and whose label is whose."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from zsclip import images
from zsclip.datasets import load_dataset
from zsclip.errors import UsageError
from zsclip.readers.known import read_known

pytest.importorskip("torchvision")


def write(path: Path, content: str | bytes = b"a picture, which no reader decodes") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def shown(name: str, root: Path, **options) -> dict[str, str]:
    """What each picture shows, by the name of its file or row."""
    pictures = read_known(name, root, **options)
    samples = list(pictures.read())
    assert pictures.size == len(samples)
    return {Path(sample.path).name: pictures.class_names[sample.labels[0]][0] for sample in samples}


def sources(name: str, root: Path) -> dict[str, object]:
    return {sample.path: sample.source for sample in read_known(name, root).read()}


@pytest.fixture
def any_md5(monkeypatch):
    """The files of the tests are small: torchvision takes any content."""
    for module in ("cifar", "flowers102", "stl10"):
        monkeypatch.setattr(
            f"torchvision.datasets.{module}.check_integrity", lambda path, md5: os.path.exists(path)
        )


# files and lists


def test_food101_is_read_by_its_lists(tmp_path):
    lists = {"test": {"waffles": ["waffles/1"], "apple_pie": ["apple_pie/2", "apple_pie/3"]}}
    lists["train"] = {"apple_pie": ["apple_pie/4"]}
    for split, listed in lists.items():
        write(tmp_path / "food-101" / "meta" / f"{split}.json", json.dumps(listed))
    (tmp_path / "food-101" / "images").mkdir()

    assert shown("food101", tmp_path) == {
        "1.jpg": "waffles",
        "2.jpg": "apple pie",
        "3.jpg": "apple pie",
    }
    assert shown("food101", tmp_path, split="train") == {"4.jpg": "apple pie"}


def test_pictures_are_handed_on_as_the_paths_of_their_files(tmp_path):
    write(tmp_path / "food-101" / "meta" / "test.json", json.dumps({"waffles": ["waffles/1"]}))
    (tmp_path / "food-101" / "images").mkdir()
    path = str(tmp_path / "food-101" / "images" / "waffles" / "1.jpg")

    assert sources("food101", tmp_path) == {path: path}


def test_stanford_cars_is_read_by_its_matlab_files(tmp_path):
    folder = tmp_path / "stanford_cars"
    names = ["Volvo C30 Hatchback 2012", "Acura RL Sedan 2012", "smart fortwo Convertible 2012"]
    (folder / "devkit").mkdir(parents=True)
    (folder / "cars_test").mkdir()
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": np.array(names, object)})
    rows = np.array([("1.jpg", 3), ("2.jpg", 1)], [("fname", object), ("class", object)])
    savemat(folder / "cars_test_annos_withlabels.mat", {"annotations": rows})

    assert shown("stanford_cars", tmp_path) == {
        "1.jpg": "smart fortwo Convertible 2012",
        "2.jpg": "Volvo C30 Hatchback 2012",
    }


def test_flowers102_is_read_by_its_matlab_files(tmp_path, any_md5):
    folder = tmp_path / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    savemat(folder / "imagelabels.mat", {"labels": np.array([[77, 1, 60, 19]])})
    ids = {"tstid": [[1, 3, 4]], "trnid": [[2, 3]], "valid": [[2, 4]]}
    savemat(folder / "setid.mat", ids)

    assert shown("flowers102", tmp_path) == {
        "image_00001.jpg": "passion flower",
        "image_00003.jpg": "pink and yellow dahlia",  # pink-yellow dahlia? in the files' words
        "image_00004.jpg": "balloon flower",
    }


def test_names_that_torchvision_gives_to_flowers_have_their_classes():
    from torchvision.datasets import Flowers102

    assert set(Flowers102.classes) == set(load_dataset("flowers102").labels)


def test_fgvc_aircraft_is_read_by_its_lists(tmp_path):
    data = tmp_path / "fgvc-aircraft-2013b" / "data"
    write(data / "variants.txt", "Yak-42\n707-320\nF/A-18\n")
    write(data / "images_variant_test.txt", "0000001 F/A-18\n0000002 Yak-42\n0000003 707-320\n")

    assert shown("fgvc_aircraft", tmp_path) == {
        "0000001.jpg": "F/A-18",
        "0000002.jpg": "Yak-42",
        "0000003.jpg": "707-320",
    }


def test_dtd_is_read_by_its_first_split(tmp_path):
    labels = tmp_path / "dtd" / "dtd" / "labels"
    write(labels / "test1.txt", "zigzagged/z.jpg\npolka-dotted/p.jpg\n")
    write(labels / "test2.txt", "banded/b.jpg\n")

    assert shown("dtd", tmp_path) == {"z.jpg": "zigzagged", "p.jpg": "polka-dotted"}


def test_clevr_is_read_by_counting_its_objects(tmp_path):
    folder = tmp_path / "clevr" / "CLEVR_v1.0"
    counts = {"a.png": 10, "b.png": 3, "c.png": 9}
    for name in counts:
        write(folder / "images" / "val" / name)
    scenes = [{"image_filename": n, "objects": [{}] * count} for n, count in counts.items()]
    write(folder / "scenes" / "CLEVR_val_scenes.json", json.dumps({"scenes": scenes}))

    assert shown("clevr_counts", tmp_path) == {"a.png": "10", "b.png": "3", "c.png": "9"}


def test_sun397_is_read_by_its_folders_in_the_order_of_their_names(tmp_path):
    folder = tmp_path / "SUN397"
    write(folder / "ClassName.txt", "/a/apartment_building/outdoor\n/j/jail/indoor\n/j/jail_cell\n")
    for path in ("j/jail_cell/sun_c", "j/jail/indoor/sun_b", "a/apartment_building/outdoor/sun_a"):
        write(folder / f"{path}.jpg")

    found = shown("sun397", tmp_path)

    assert list(found.items()) == [
        ("sun_a.jpg", "apartment building outdoor"),
        ("sun_b.jpg", "jail indoor"),
        ("sun_c.jpg", "jail cell"),
    ]


def test_a_torchvision_that_hands_on_no_paths_is_too_old(tmp_path, monkeypatch):
    class OldFood101:
        def __init__(self, root: str, split: str) -> None: ...

    monkeypatch.setattr("torchvision.datasets.Food101", OldFood101)
    (tmp_path / "food-101").mkdir()

    with pytest.raises(UsageError, match="food101 cannot be read: this torchvision is too old"):
        read_known("food101", tmp_path)


# folders


@pytest.mark.parametrize(
    "name, folder, expected",
    [
        (
            "eurosat",
            "eurosat/2750",
            {"AnnualCrop": "annual crop land", "SeaLake": "lake or sea", "Forest": "forest"},
        ),
        (
            "country211",
            "country211/test",
            {"AD": "Andorra", "XK": "Kosovo", "ZW": "Zimbabwe"},
        ),
        ("rendered_sst2", "rendered-sst2/test", {"positive": "positive", "negative": "negative"}),
    ],
)
def test_folders_are_classes_by_their_names(tmp_path, name, folder, expected):
    for label in expected:
        write(tmp_path / folder / label / f"{label}.png")

    assert shown(name, tmp_path) == {f"{label}.png": said for label, said in expected.items()}


# arrays


def write_cifar(folder: Path, batches: dict[str, list[int]], meta: str, names: list[str]) -> None:
    key = "labels" if meta == "batches.meta" else "fine_labels"
    for batch, labels in batches.items():
        planes = np.zeros((len(labels), 3, 32, 32), np.uint8)
        for number, label in enumerate(labels):
            planes[number, 0], planes[number, 2, 0] = label, 7  # red all over, blue in the top row
        content = {"data": planes.reshape(len(labels), -1), key: labels}
        write(folder / batch, pickle.dumps(content))
    names_key = "label_names" if meta == "batches.meta" else "fine_label_names"
    write(folder / meta, pickle.dumps({names_key: names}))


def test_cifar10_is_matched_by_the_names_in_its_files(tmp_path, any_md5):
    train = {f"data_batch_{number}": [number - 1] for number in range(1, 6)}
    names = [names[0] for names in load_dataset("cifar10").class_names][::-1]
    write_cifar(
        tmp_path / "cifar-10-batches-py", {"test_batch": [0, 9, 3], **train}, "batches.meta", names
    )

    assert shown("cifar10", tmp_path) == {
        "test_batch#0": "truck",
        "test_batch#1": "airplane",
        "test_batch#2": "frog",
    }
    assert shown("cifar10", tmp_path, split="train") == {
        "data_batch_1#0": "truck",
        "data_batch_2#0": "ship",
        "data_batch_3#0": "horse",
        "data_batch_4#0": "frog",
        "data_batch_5#0": "dog",
    }


def test_pixels_of_cifar_have_colours_last(tmp_path, any_md5):
    train = {f"data_batch_{number}": [0] for number in range(1, 6)}
    names = [names[0] for names in load_dataset("cifar10").class_names]
    write_cifar(
        tmp_path / "cifar-10-batches-py", {"test_batch": [9], **train}, "batches.meta", names
    )

    pixels = sources("cifar10", tmp_path)["cifar-10-batches-py/test_batch#0"]

    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8
    assert pixels[0, 31].tolist() == [9, 0, 7]
    assert pixels[31, 0].tolist() == [9, 0, 0]


def test_cifar100_is_matched_by_its_fine_names(tmp_path, any_md5):
    names = list(load_dataset("cifar100").labels)
    names[1], names[2] = names[2], names[1]
    write_cifar(tmp_path / "cifar-100-python", {"test": [1, 2, 99], "train": [0]}, "meta", names)

    assert shown("cifar100", tmp_path) == {
        "test#0": "baby",
        "test#1": "aquarium fish",
        "test#2": "worm",
    }


def test_a_pickle_that_is_not_the_published_one_is_not_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    for name in ("test_batch", "batches.meta", *(f"data_batch_{i}" for i in range(1, 6))):
        write(tmp_path / "cifar-10-batches-py" / name, pickle.dumps(Bomb()))

    with pytest.raises(UsageError, match="files are missing or damaged"):
        read_known("cifar10", tmp_path)

    assert not (tmp_path / "exploded").exists()


def write_idx(path: Path, array: np.ndarray) -> None:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    write(path, bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes())


def test_mnist_is_read_by_its_idx_files(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    pixels = np.arange(3 * 28 * 28, dtype=np.int64).reshape(3, 28, 28).astype(np.uint8)
    for part, labels in (("t10k", [7, 0, 9]), ("train", [1, 2, 3])):
        write_idx(raw / f"{part}-images-idx3-ubyte", pixels)
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.array(labels, np.uint8))

    assert list(shown("mnist", tmp_path).values()) == ["7", "0", "9"]
    assert list(shown("mnist", tmp_path, split="train").values()) == ["1", "2", "3"]
    found = sources("mnist", tmp_path)["MNIST/raw/t10k-images-idx3-ubyte#2"]
    decoded = images.load(found).image
    np.testing.assert_array_equal(np.asarray(decoded)[:, :, 1], pixels[2])


def test_stl10_is_read_by_its_columns(tmp_path, any_md5):
    folder = tmp_path / "stl10_binary"
    pixels = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)
    write(folder / "test_X.bin", pixels.transpose(0, 3, 2, 1).tobytes())  # columns come first
    write(folder / "test_y.bin", bytes([10, 2]))  # numbers begin at 1
    for name in ("train_X.bin", "train_y.bin", "unlabeled_X.bin"):
        write(folder / name, b"")
    names = "airplane bird car cat deer dog horse monkey ship truck"
    write(folder / "class_names.txt", names.replace(" ", "\n"))

    assert shown("stl10", tmp_path) == {"test_X.bin#0": "truck", "test_X.bin#1": "bird"}
    found = sources("stl10", tmp_path)
    decoded = images.load(found["stl10_binary/test_X.bin#1"]).image
    np.testing.assert_array_equal(np.asarray(decoded), pixels[1])


# downloads


def test_what_torchvision_can_download_is_downloaded(tmp_path, monkeypatch):
    def unpack(url: str, download_root: str, md5: str) -> None:
        assert url == load_dataset("dtd").facts["archive"][0]["url"]
        write(Path(download_root) / "dtd" / "labels" / "test1.txt", "zigzagged/z.jpg\n")

    monkeypatch.setattr("torchvision.datasets.dtd.download_and_extract_archive", unpack)

    assert shown("dtd", tmp_path, download=True) == {"z.jpg": "zigzagged"}


def test_a_download_that_fails_is_one_line(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr("torchvision.datasets.dtd.download_and_extract_archive", refuse)

    with pytest.raises(UsageError) as caught:
        read_known("dtd", tmp_path, download=True)

    assert str(caught.value) == f"--download cannot fetch dtd into {tmp_path}: no route to host"
    assert "dtd-r1.0.1.tar.gz" in caught.value.tip
    assert str(tmp_path / "dtd") in caught.value.tip


@pytest.mark.parametrize(
    "name, folder",
    [
        ("gtsrb", "gtsrb/GTSRB"),
        ("kitti", "Kitti/raw"),
        ("oxford_pets", "oxford-iiit-pet"),
        ("voc2007", "VOCdevkit"),
        ("caltech101", "caltech101"),
    ],
)
def test_what_only_torchvision_fetches_goes_where_our_readers_look(
    tmp_path, monkeypatch, name, folder
):
    fetched = []

    def note(url: str, download_root: str = "", **options: object) -> None:
        fetched.append(url)
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        raise OSError("stopped here")

    module = {"oxford_pets": "oxford_iiit_pet", "voc2007": "voc", "caltech101": "caltech"}
    target = f"torchvision.datasets.{module.get(name, name)}.download_and_extract_archive"
    monkeypatch.setattr(target, note)

    with pytest.raises(UsageError, match="stopped here"):
        read_known(name, tmp_path, download=True)

    assert len(fetched) == 1


def test_archives_of_imagenet_that_are_not_there_are_asked_for(tmp_path):
    with pytest.raises(UsageError, match=r"ILSVRC2012_devkit_t12\.tar\.gz is not present"):
        read_known("imagenet", tmp_path, download=True)
