"""Data sets whose labels stand in files of their own form: lists, CSV, JSON Lines, HDF5.

Each reader takes the data set's folder and the split, and hands on the paths of pictures or their
pixels. Nothing is decoded here, but the middle frame of a video when it is its turn. Knows
nothing about class names.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from zsclip.readers.entries import (
    Entry,
    Pixels,
    in_class_folders,
    of_file,
    present,
)
from zsclip.readers.video import middle_frame

VIDEOS = frozenset((".avi", ".mkv", ".mp4", ".webm"))
KITTI_DISTANCES = ("0 to 8 m", "8 to 20 m", "over 20 m", "no vehicle")
"""How near the nearest car, van or truck is, as the VTAB benchmark cuts it."""


def voc2007(folder: Path, split: str) -> list[Entry]:
    """Read VOC 2007: a list per class marks each picture 1 (shown), 0 (difficult) or -1."""
    shown: dict[str, list[str]] = {}
    difficult: dict[str, list[str]] = defaultdict(list)
    for listed in sorted((folder / "ImageSets" / "Main").glob(f"*_{split}.txt")):
        label = listed.name.removesuffix(f"_{split}.txt")
        for key, mark in map(str.split, _lines(listed)):
            shown.setdefault(key, []).extend([label] * (mark == "1"))
            difficult[key].extend([label] * (mark == "0"))
    paths = {key: str(folder / "JPEGImages" / f"{key}.jpg") for key in sorted(shown)}
    return [
        Entry(path, path, tuple(shown[key]), tuple(difficult[key])) for key, path in paths.items()
    ]


def oxford_pets(folder: Path, split: str) -> list[Entry]:
    """Read Oxford-IIIT Pets, where pictures are named after their breed: `great_pyrenees_12`."""
    names = [line.split()[0] for line in _lines(folder / "annotations" / f"{split}.txt")]
    return [of_file(folder / "images" / f"{name}.jpg", name.rpartition("_")[0]) for name in names]


def gtsrb(folder: Path, split: str) -> list[Entry]:
    """Read GTSRB, whose labels are numbers; the folders of its training set have leading zeros."""
    if split == "train":
        found = in_class_folders(folder / "GTSRB" / "Training")
        return [of_file(entry.path, str(int(entry.labels[0]))) for entry in found]
    images = folder / "GTSRB" / "Final_Test" / "Images"
    rows = _table(folder / "GT-final_test.csv", delimiter=";")
    return [of_file(images / row["Filename"], row["ClassId"]) for row in rows]


def kitti(folder: Path, split: str) -> list[Entry]:
    """Read KITTI's object detection pictures, by how near the nearest vehicle is.

    Args:
        split: `all` with labels, or a part of TensorFlow Datasets, by which the paper split them.
    """
    training = folder / "training"
    images = sorted((training / "image_2").glob("*.png"))
    if split != "all":
        chosen = _kitti_videos(folder, split)
        images = [image for image in images if int(image.stem) in chosen]
    return [
        of_file(image, _kitti_distance(training / "label_2" / f"{image.stem}.txt"))
        for image in images
    ]


def _kitti_distance(path: Path) -> str:
    objects = [line.split() for line in _lines(path)]
    depths = [float(words[13]) for words in objects if words[0] in ("Car", "Van", "Truck")]
    if not depths:
        return KITTI_DISTANCES[3]
    return KITTI_DISTANCES[sum(min(depths) > limit for limit in (8.0, 20.0))]


def _kitti_videos(folder: Path, split: str) -> set[int]:
    """Numbers of the pictures of a split: a tenth of the videos, drawn with TFDS's seed."""
    order = (folder / "mapping" / "train_rand.txt").read_text(encoding="utf-8").split(",")
    frames = _lines(folder / "mapping" / "train_mapping.txt")
    video_of = [frames[int(line) - 1].split()[1] for line in order if line.strip()]
    videos = sorted(set(video_of))
    drawn = np.random.RandomState(123)  # the old generator, whose numbers never change
    parts: dict[str, set[str]] = {}
    for part in ("test", "val"):
        parts[part] = set(drawn.choice(videos, max(1, len(set(video_of)) // 10), replace=False))
        videos = sorted(set(videos) - parts[part])
    parts["train"] = set(videos)
    return {number for number, video in enumerate(video_of) if video in parts[split]}


def birdsnap(folder: Path, split: str) -> list[Entry]:
    """Read Birdsnap as its own script fetches it, without pictures that are gone from the web."""
    tested = {row["path"] for row in _table(folder / "test_images.txt", delimiter="\t")}
    listed = [row["path"] for row in _table(folder / "images.txt", delimiter="\t")]
    images = folder / "download" / "images"
    return present(
        of_file(images / path, path.partition("/")[0])
        for path in listed
        if (path in tested) == (split == "test")
    )


def sun397(folder: Path, split: str) -> list[Entry]:
    """Read the first of the ten pairs of lists that SUN397's authors give beside the pictures."""
    listed = _lines(folder / f"{'Training' if split == 'train' else 'Testing'}_01.txt")
    return [  # /a/apartment_building/outdoor/sun_a.jpg is of apartment_building/outdoor
        of_file(folder / line.removeprefix("/"), "/".join(line.split("/")[2:-1])) for line in listed
    ]


def hateful_memes(folder: Path, split: str) -> list[Entry]:
    """Read the Hateful Memes challenge; its first release calls `dev_seen` just `dev`."""
    path = folder / f"{split}.jsonl"
    if split == "dev_seen" and not path.exists():
        path = folder / "dev.jsonl"
    rows = [json.loads(line) for line in _lines(path)]
    return [of_file(folder / row["img"], str(row["label"])) for row in rows]


def fer2013(folder: Path, split: str) -> list[Entry]:
    """Read FER 2013 from `fer2013.csv` or `icml_face_data.csv`: 48 x 48 grey values a row."""
    usage = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}[split]
    names = ("fer2013.csv", "icml_face_data.csv")
    path = next((folder / name for name in names if (folder / name).exists()), folder / names[0])
    return [
        Entry(f"{path.name}#{number}", _grey(row["pixels"]), (row["emotion"],))
        for number, row in enumerate(_table(path))
        if row["Usage"] == usage
    ]


def _grey(values: str) -> Pixels:
    return np.array(values.split(), np.uint8).reshape(48, 48)


def pcam(folder: Path, split: str) -> list[Entry]:
    """Read PatchCamelyon; pixels are fetched one picture at a time."""
    import h5py

    stem = f"camelyonpatch_level_2_split_{'valid' if split == 'val' else split}"
    with h5py.File(folder / f"{stem}_y.h5") as file:
        labels = np.asarray(file["y"]).reshape(-1)  # (N, 1, 1, 1) -> (N,)
    pixels = h5py.File(folder / f"{stem}_x.h5")["x"]  # (N, 96, 96, 3)

    def row(index: int) -> Pixels:
        fetched: Pixels = pixels[index]
        return fetched

    return [
        Entry(f"{stem}_x.h5#{i}", partial(row, i), (str(label),)) for i, label in enumerate(labels)
    ]


def ucf101(folder: Path, split: str) -> list[Entry]:
    """Read the middle frames of UCF101's first split."""
    listed = _lines(folder / "ucfTrainTestlist" / f"{split}list01.txt")
    names = [line.split()[0] for line in listed]  # training lists name the class's number, too
    return [_of_video(folder / "UCF-101" / name, name.partition("/")[0]) for name in names]


def kinetics700(folder: Path, split: str) -> list[Entry]:
    """Read the middle frames of Kinetics, from class folders, or as its CSV file names them."""
    videos = folder / split
    found = in_class_folders(videos, VIDEOS)
    if found:
        return [_of_video(Path(entry.path), entry.labels[0]) for entry in found]
    rows = _table(folder / "annotations" / f"{split}.csv")
    return present(_of_video(videos / _clip(row), row["label"]) for row in rows)


def _clip(row: Mapping[str, str]) -> str:
    start, end = int(row["time_start"]), int(row["time_end"])
    return f"{row['youtube_id']}_{start:06}_{end:06}.mp4"


def _of_video(path: Path, label: str) -> Entry:
    return Entry(str(path), partial(middle_frame, path), (label,))


def _lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").split("\n")  # a text may hold other ends of lines
    return [stripped for line in lines if (stripped := line.strip())]


def _table(path: Path, *, delimiter: str = ",") -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file, delimiter=delimiter, skipinitialspace=True)
