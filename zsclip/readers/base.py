"""What every reader gives: pictures with the classes that they show.

A reader never decodes: it names a file, or hands on what is in an archive, so that pictures of data
sets go the same guarded way as all others. Knows nothing about models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from zsclip.inputs import Input


@dataclass(frozen=True, slots=True)
class Sample(Input):
    """One labelled picture.

    Attributes:
        labels: indices of the classes that it shows; exactly one unless several may be true.
        ignored: indices of classes that it is not counted for (VOC's "difficult" objects).
    """

    labels: tuple[int, ...]
    ignored: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelledPictures:
    """Pictures with labels, in a fixed order, which can be read more than once.

    Attributes:
        name: of the data set, folder or file, for people.
        class_names: per class its names, in the order of the labels; several are averaged.
        read: begins a pass over the pictures.
        size: how many there are, where that is known without reading them all.
        metric: what figures of it are measured in (see prompts/README.md).
        multi_label: whether a picture may show several of the classes.
        notes: what people must know about the figures (no split of the paper in this reader, ...).
    """

    name: str
    class_names: tuple[tuple[str, ...], ...]
    read: Callable[[], Iterator[Sample]]
    size: int | None = None
    metric: str = "accuracy"
    multi_label: bool = False
    notes: tuple[str, ...] = ()
