"""How the files of each known data set lie on disk, and which reader takes them.

One row a data set. Knows nothing about class names or figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from zsclip.readers import annotation_files, torchvision_sets
from zsclip.readers.entries import Entry, Read, class_folders


@dataclass(frozen=True, slots=True)
class Layout:
    """How a data set is read.

    Attributes:
        read: its files -> entries.
        folders: where it is below the root; the first one that exists is taken.
        splits: in our words; the first one is read unless told.
        fetch: the class of torchvision that downloads it.
        extra: the optional dependencies that it needs, and the module that is looked for.
        has_others: whether it has classes that are not asked for.
        note: what people must know of figures of the first split.
    """

    read: Read
    folders: tuple[str, ...]
    splits: tuple[str, ...] = ("test", "train")
    fetch: str | None = None
    extra: tuple[str, str] | None = None
    has_others: bool = False
    note: str = ""


def _sun397(folder: Path, split: str) -> list[Entry]:
    read = torchvision_sets.files("SUN397") if split == "all" else annotation_files.sun397
    return read(folder, split)


_SCIPY = ("readers", "scipy")
_VIDEO = ("video", "av")
_NO_SPLIT = "all pictures are read: its files do not say which of them the paper tested on"
_MORE = "all pictures are read; --split test reads what figures are for, where "
LAYOUTS: Mapping[str, Layout] = {
    "birdsnap": Layout(annotation_files.birdsnap, ("birdsnap",)),
    "caltech101": Layout(
        class_folders("."),
        ("caltech101/101_ObjectCategories",),
        ("all",),
        fetch="Caltech101",
        note=_NO_SPLIT,
    ),
    "cifar10": Layout(torchvision_sets.cifar("CIFAR10"), ("cifar-10-batches-py",), fetch="CIFAR10"),
    "cifar100": Layout(torchvision_sets.cifar("CIFAR100"), ("cifar-100-python",), fetch="CIFAR100"),
    "clevr_counts": Layout(
        torchvision_sets.files("CLEVRClassification"),
        ("clevr",),
        ("val", "train"),
        fetch="CLEVRClassification",
        note="the paper tested on 500 of the pictures, and does not say which",
    ),
    "country211": Layout(
        torchvision_sets.files("Country211"),
        ("country211",),
        ("test", "valid", "train"),
        fetch="Country211",
    ),
    "dtd": Layout(torchvision_sets.files("DTD"), ("dtd",), ("test", "val", "train"), fetch="DTD"),
    "eurosat": Layout(
        torchvision_sets.files("EuroSAT"),
        ("eurosat",),
        ("all",),
        fetch="EuroSAT",
        note=_NO_SPLIT,
    ),
    "fer2013": Layout(annotation_files.fer2013, ("fer2013",), ("test", "val", "train")),
    "fgvc_aircraft": Layout(
        torchvision_sets.files("FGVCAircraft"),
        ("fgvc-aircraft-2013b",),
        ("test", "val", "train", "trainval"),
        fetch="FGVCAircraft",
    ),
    "flowers102": Layout(
        torchvision_sets.files("Flowers102"),
        ("flowers-102",),
        ("test", "val", "train"),
        fetch="Flowers102",
        extra=_SCIPY,
    ),
    "food101": Layout(torchvision_sets.files("Food101"), ("food-101",), fetch="Food101"),
    "gtsrb": Layout(annotation_files.gtsrb, ("gtsrb",), fetch="GTSRB"),
    "hateful_memes": Layout(
        annotation_files.hateful_memes,
        ("hateful_memes",),
        ("dev_seen", "dev_unseen", "test_seen", "test_unseen", "train"),
    ),
    "imagenet": Layout(
        class_folders("SPLIT", "."), ("imagenet", "."), ("val", "train"), fetch="ImageNet"
    ),
    "imagenet_a": Layout(class_folders("."), ("imagenet-a", "."), ("test",)),
    "imagenet_r": Layout(class_folders("."), ("imagenet-r", "."), ("test",)),
    "imagenet_sketch": Layout(class_folders("."), ("imagenet-sketch", "sketch", "."), ("test",)),
    "imagenet_v2": Layout(
        class_folders("."), ("imagenetv2-matched-frequency-format-val", "."), ("test",)
    ),
    "kinetics700": Layout(
        annotation_files.kinetics700, ("kinetics700", "."), ("val", "train"), extra=_VIDEO
    ),
    "kitti": Layout(
        annotation_files.kitti,
        ("Kitti/raw",),
        ("all", "test", "val", "train"),
        fetch="Kitti",
        note=f"{_MORE}mapping/ of devkit_object.zip lies in Kitti/raw",
    ),
    "mnist": Layout(torchvision_sets.mnist, ("MNIST",), fetch="MNIST"),
    "objectnet": Layout(
        class_folders("."),
        ("objectnet-1.0/images", "images", "."),
        ("test",),
        has_others=True,
        note="its pictures have a red border one pixel wide, which is left on",
    ),
    "oxford_pets": Layout(
        annotation_files.oxford_pets,
        ("oxford-iiit-pet",),
        ("test", "trainval"),
        fetch="OxfordIIITPet",
    ),
    "pcam": Layout(
        annotation_files.pcam,
        ("pcam",),
        ("test", "val", "train"),
        fetch="PCAM",
        extra=("readers", "h5py"),
    ),
    "rendered_sst2": Layout(
        torchvision_sets.files("RenderedSST2"),
        ("rendered-sst2",),
        ("test", "val", "train"),
        fetch="RenderedSST2",
    ),
    "resisc45": Layout(class_folders("."), ("NWPU-RESISC45", "resisc45"), ("all",), note=_NO_SPLIT),
    "stanford_cars": Layout(
        torchvision_sets.files("StanfordCars"), ("stanford_cars",), extra=_SCIPY
    ),
    "stl10": Layout(torchvision_sets.stl10, ("stl10_binary",), fetch="STL10"),
    "sun397": Layout(
        _sun397,
        ("SUN397",),
        ("all", "test", "train"),
        fetch="SUN397",
        note=f"{_MORE}Testing_01.txt of Partitions.zip lies in SUN397",
    ),
    "ucf101": Layout(
        annotation_files.ucf101,
        ("ucf101", "."),
        extra=_VIDEO,
        note="this is the first of three splits, of which the paper reports the mean",
    ),
    "voc2007": Layout(
        annotation_files.voc2007,
        ("VOCdevkit/VOC2007",),
        ("test", "val", "train", "trainval"),
        fetch="VOCDetection",
    ),
}
