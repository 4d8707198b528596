"""Data sets that torchvision reads and fetches.

Its readers bring lists of files and labels; none of them decodes a picture here (`loader=str`
hands on the path). Whatever foreign code raises becomes a ValueError of one line. Knows nothing
about class names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from zsclip.readers.entries import Entry, Read, of_file, of_rows


def fetch(name: str, root: Path, split: str) -> None:
    """Download a data set into a folder, unless it is there.

    Args:
        name: torchvision's class; its `ImageNet` unpacks the archives that lie in the folder.
    """
    with _foreign():
        _dataset(name, root, split, **({} if name == "ImageNet" else {"download": True}))


def files(name: str) -> Read:
    """A reader of pictures in files: torchvision's class of this name."""

    def read(folder: Path, split: str) -> list[Entry]:
        with _foreign():
            dataset = _dataset(name, folder.parent, split, loader=str)
            names = getattr(dataset, "classes", None)  # CLEVR's labels are the counts themselves
            pairs = (dataset[i] for i in range(len(dataset)))
            entries = [
                of_file(path, names[label] if names else str(label)) for path, label in pairs
            ]
        return sorted(entries, key=lambda entry: entry.path)  # SUN397 comes as the disk has it

    return read


def cifar(name: str) -> Read:
    """A reader of CIFAR10 or CIFAR100.

    Its files are pickles. torchvision opens them only after their MD5 agrees with the published
    one, so that what runs is what the authors wrote; our own files are never pickles.
    """

    def read(folder: Path, split: str) -> list[Entry]:
        with _foreign():
            dataset = _dataset(name, folder.parent, split)
        batches = [
            batch for batch, _ in (dataset.train_list if dataset.train else dataset.test_list)
        ]
        pixels = np.split(dataset.data, len(batches))  # each (N / batches, 32, 32, 3)
        labels = np.split(np.array([dataset.classes[i] for i in dataset.targets]), len(batches))
        return [
            entry
            for batch, rows, spelled in zip(batches, pixels, labels, strict=True)
            for entry in of_rows(f"{folder.name}/{batch}", rows, map(str, spelled))
        ]

    return read


def mnist(folder: Path, split: str) -> list[Entry]:
    """Read MNIST, whose labels are the digits."""
    with _foreign():
        dataset = _dataset("MNIST", folder.parent, split)
    part = "train" if split == "train" else "t10k"
    place = f"{folder.name}/raw/{part}-images-idx3-ubyte"
    return of_rows(place, dataset.data.numpy(), map(str, dataset.targets.tolist()))


def stl10(folder: Path, split: str) -> list[Entry]:
    """Read STL-10."""
    with _foreign():
        dataset = _dataset("STL10", folder.parent, split)
        labels = [dataset.classes[i] for i in dataset.labels]
    return of_rows(f"{folder.name}/{split}_X.bin", dataset.data.transpose(0, 2, 3, 1), labels)


def _dataset(name: str, root: Path, split: str, **more: Any) -> Any:
    from torchvision import datasets

    return getattr(datasets, name)(str(root), **_told(name, split), **more)


def _told(name: str, split: str) -> dict[str, Any]:
    """How a class is told the split."""
    if name in ("CIFAR10", "CIFAR100", "MNIST"):
        return {"train": split == "train"}
    if name in ("Caltech101", "EuroSAT", "Kitti", "SUN397"):
        return {}
    if name == "VOCDetection":
        return {"year": "2007", "image_set": split}
    return {"split": split}


@contextmanager
def _foreign() -> Iterator[None]:
    """The guard around one data set: torchvision, SciPy and archives raise anything."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if "download=True" in reason:  # advice for programmers
            reason = "files are missing or damaged"
        if "argument 'loader'" in reason:
            reason = "this torchvision is too old: 0.22 hands on the paths of pictures"
        raise ValueError(reason) from error
