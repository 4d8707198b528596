"""Which pictures a probe is fitted to, chosen by and tested on: the options, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from zsclip.cli.data_options import LabelledOptions, open_labelled
from zsclip.errors import UsageError
from zsclip.readers.base import LabelledPictures

_TRAINING = ("train", "trainval")


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


def open_parts(
    source: LabelledOptions,
    *,
    split: str | None,
    test: Named,
    validation: Named,
    offline: bool = False,
) -> Parts:
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
        train=open_labelled(source, split=split, offline=offline),
        validation=_open(source, validation, offline=offline),
        test=_open(source, test, offline=offline),
        test_fraction=test.fraction,
    )


def _check(source: LabelledOptions, prefix: str, named: Named) -> None:
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


def _open(source: LabelledOptions, named: Named, *, offline: bool) -> LabelledPictures | None:
    if named.split is not None:
        return open_labelled(source, split=named.split, offline=offline)
    if named.folder is not None or named.manifest is not None:
        return open_labelled(_elsewhere(source, named))
    return None


def _elsewhere(source: LabelledOptions, named: Named) -> LabelledOptions:
    """Pictures that are elsewhere, with the same names for labels."""
    own = source.folder is not None or source.manifest is not None
    in_columns = named.manifest is not None
    return LabelledOptions(
        folder=named.folder,
        manifest=named.manifest,
        image_column=source.image_column if in_columns else None,
        label_column=source.label_column if in_columns else None,
        class_names=source.class_names if own else None,
    )


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
