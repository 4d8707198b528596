"""Which pictures a probe is fitted to, chosen by and tested on: the options, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from zsclip.cli.data_options import open_labelled
from zsclip.errors import UsageError
from zsclip.readers.base import LabelledPictures

_TRAINING = ("train", "trainval")


@dataclass(frozen=True, slots=True)
class Source:
    """The pictures to fit to, as the options name them."""

    dataset: str | None
    root: Path | None
    download: bool
    folder: Path | None
    manifest: Path | None
    webdataset: Path | None
    hf: str | None
    image_column: str | None
    label_column: str | None
    class_names: Path | None
    offline: bool = False

    @property
    def has_splits(self) -> bool:
        """Whether it is of a form that has several parts."""
        return any(form is not None for form in (self.dataset, self.webdataset, self.hf))

    def open(self, split: str | None) -> LabelledPictures:
        """Its pictures, of a split where there are some."""
        return open_labelled(
            dataset=self.dataset,
            root=self.root,
            split=split,
            download=self.download,
            folder=self.folder,
            manifest=self.manifest,
            webdataset=self.webdataset,
            hf=self.hf,
            class_names=self.class_names,
            image_column=self.image_column,
            label_column=self.label_column,
            offline=self.offline,
        )

    def open_other(self, folder: Path | None, manifest: Path | None) -> LabelledPictures:
        """Pictures that are elsewhere, with the same names for labels."""
        own = self.folder is not None or self.manifest is not None
        other = Source(
            dataset=None,
            root=None,
            download=False,
            folder=folder,
            manifest=manifest,
            webdataset=None,
            hf=None,
            image_column=None if manifest is None else self.image_column,
            label_column=None if manifest is None else self.label_column,
            class_names=self.class_names if own else None,
        )
        return other.open(None)


@dataclass(frozen=True, slots=True)
class Named:
    """Test or validation pictures, as the options name them."""

    folder: Path | None = None
    manifest: Path | None = None
    split: str | None = None
    fraction: float | None = None

    def given(self, prefix: str) -> list[str]:
        """The options that were given."""
        values = (self.folder, self.manifest, self.split, self.fraction)
        names = ("folder", "manifest", "split", "fraction")
        return [f"{prefix}-{n}" for n, v in zip(names, values, strict=True) if v is not None]


@dataclass(frozen=True, slots=True)
class Parts:
    """Pictures to fit to, to choose by, and to test on.

    Attributes:
        test_fraction: of the pictures to fit to, the share that is set aside for the test.
    """

    train: LabelledPictures
    validation: LabelledPictures | None
    test: LabelledPictures | None
    test_fraction: float | None

    @property
    def has_test(self) -> bool:
        """Whether there are test pictures."""
        return self.test is not None or self.test_fraction is not None


def open_parts(source: Source, *, split: str | None, test: Named, validation: Named) -> Parts:
    """Open all that the options name.

    Raises:
        UsageError: they contradict each other, or pictures cannot be read.
    """
    for prefix, named in (("--test", test), ("--validation", validation)):
        _check(source, prefix, named)
    if source.has_splits:
        split = split or _training_split(source.dataset)
    if source.dataset is not None and not test.given("--test"):
        test = replace(test, split=_usual_split(source.dataset))
    for prefix, named in (("--test-split", test), ("--validation-split", validation)):
        if named.split is not None and named.split == split:
            raise UsageError(
                f"the split {split!r} is to be fitted to, and is {prefix}, too",
                tip="set some of it aside with --test-fraction 0.5, or name another with --split",
            )
    return Parts(
        train=source.open(split),
        validation=_open(source, validation),
        test=_open(source, test),
        test_fraction=test.fraction,
    )


def _check(source: Source, prefix: str, named: Named) -> None:
    given = named.given(prefix)
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} contradict each other", tip="leave all but one")
    if named.split is not None and not source.has_splits:
        raise UsageError(
            f"{prefix}-split goes with --dataset, --webdataset or --hf",
            tip=f"name a folder with {prefix}-folder DIR",
        )
    if named.fraction is not None and not 0 < named.fraction < 1:
        raise UsageError(f"{prefix}-fraction {named.fraction} is not between 0 and 1")


def _open(source: Source, named: Named) -> LabelledPictures | None:
    if named.split is not None:
        return source.open(named.split)
    if named.folder is not None or named.manifest is not None:
        return source.open_other(named.folder, named.manifest)
    return None


def _training_split(dataset: str | None) -> str:
    """The split to fit to unless one is named."""
    if dataset is None:
        return _TRAINING[0]
    from zsclip.readers.known import known_splits

    splits = known_splits(dataset)
    for name in _TRAINING:
        if name in splits:
            return name
    raise UsageError(
        f"{dataset} has no split to fit to, only {', '.join(splits)}",
        tip=f"--split {splits[0]} --test-fraction 0.5 divides it",
    )


def _usual_split(dataset: str) -> str:
    from zsclip.readers.known import known_splits

    return known_splits(dataset)[0]
