"""Options that name labelled pictures, and what they mean together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsclip.cli.options import choices, complete_datasets
from zsclip.errors import UsageError

if TYPE_CHECKING:
    from zsclip.readers.base import LabelledPictures

_PICTURES = "Labelled pictures (one of)"
_DETAILS = "About the pictures"

_GOES_WITH = {
    "--root": ("--dataset",),
    "--download": ("--dataset",),
    "--split": ("--dataset", "--webdataset", "--hf"),
    "--class-names": ("--folder", "--manifest", "--webdataset", "--hf"),
    "--image-column": ("--manifest", "--hf"),
    "--label-column": ("--manifest", "--hf"),
}


DataSetName = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="NAME",
        help="A known data set (see 'zsclip datasets') that lies below --root.",
        rich_help_panel=_PICTURES,
        autocompletion=complete_datasets,
    ),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        metavar="DIR",
        help="A folder with a folder of pictures for each class.",
        rich_help_panel=_PICTURES,
    ),
]
Manifest = Annotated[
    Path | None,
    typer.Option(
        "--manifest",
        metavar="FILE",
        help="A list of paths and labels: .csv or .tsv with a header, or .jsonl.",
        rich_help_panel=_PICTURES,
    ),
]
WebDataset = Annotated[
    Path | None,
    typer.Option(
        "--webdataset",
        metavar="DIR|FILE",
        help="Tar shards in CLIP_benchmark's layout, a folder of shards, or one.",
        rich_help_panel=_PICTURES,
    ),
]
HuggingFace = Annotated[
    str | None,
    typer.Option(
        "--hf",
        metavar="ORG/NAME",
        help="A data set of the Hugging Face hub, a local folder in one of its forms, or a "
        ".parquet file.",
        rich_help_panel=_PICTURES,
    ),
]
Root = Annotated[
    Path | None,
    typer.Option(
        "--root",
        metavar="DIR",
        help="Where the files of --dataset are, or go with --download.",
        rich_help_panel=_DETAILS,
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="NAME",
        help="Of --dataset, --webdataset or --hf; the paper's, or test, unless given.",
        rich_help_panel=_DETAILS,
    ),
]
Download = Annotated[
    bool,
    typer.Option(
        "--download",
        help="Fetch --dataset to --root if it is not there.",
        rich_help_panel=_DETAILS,
    ),
]
ClassNames = Annotated[
    Path | None,
    typer.Option(
        "--class-names",
        metavar="FILE",
        help="Class names for the folders or labels, a line each: label, tab, name; more names "
        "behind more tabs are averaged.",
        rich_help_panel=_DETAILS,
    ),
]
ImageColumn = Annotated[
    str | None,
    typer.Option(
        "--image-column",
        metavar="NAME",
        help="Where the pictures are in --manifest or --hf, if that is not clear.",
        rich_help_panel=_DETAILS,
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        "--label-column",
        metavar="NAME",
        help="Where the labels are in --manifest or --hf, if that is not clear.",
        rich_help_panel=_DETAILS,
    ),
]


ON_ERROR = ("fail", "skip")
OnError = Annotated[
    str,
    typer.Option(
        "--on-error",
        metavar="WORD",
        help="What broken pictures do: fail ends the run, skip leaves them out.",
        rich_help_panel="Fitting",
        autocompletion=choices(*ON_ERROR),
    ),
]


@dataclass(frozen=True, slots=True)
class LabelledOptions:
    """Labelled pictures as they are typed, but for their split."""

    dataset: DataSetName = None
    root: Root = None
    download: Download = False
    folder: Folder = None
    manifest: Manifest = None
    webdataset: WebDataset = None
    hf: HuggingFace = None
    image_column: ImageColumn = None
    label_column: LabelColumn = None
    class_names: ClassNames = None

    @property
    def has_splits(self) -> bool:
        """Whether they are of a form that has several parts."""
        return any(form is not None for form in (self.dataset, self.webdataset, self.hf))


def open_labelled(
    named: LabelledOptions, *, split: str | None = None, offline: bool = False
) -> LabelledPictures:
    """The labelled pictures that the options name.

    Raises:
        UsageError: no pictures or several are named, options do not go together, or the pictures
            cannot be read.
    """
    source = _the_one(
        {
            "--dataset": named.dataset,
            "--folder": named.folder,
            "--manifest": named.manifest,
            "--webdataset": named.webdataset,
            "--hf": named.hf,
        }
    )
    details = {
        "--root": named.root,
        "--download": named.download or None,
        "--split": split,
        "--class-names": named.class_names,
        "--image-column": named.image_column,
        "--label-column": named.label_column,
    }
    _refuse_misplaced(source, details)
    if offline:
        _refuse_network(named.hf, download=named.download)
    if named.dataset is not None:
        return _known(named.dataset, named.root, split=split, download=named.download)

    from zsclip.readers import class_names as naming

    labels = named.class_names
    names = None if labels is None else naming.read_class_names(labels)
    if named.folder is not None:
        from zsclip.readers.folder import read_folder

        return read_folder(named.folder, class_names=names)
    if named.webdataset is not None:
        from zsclip.readers.webdataset import read_webdataset

        return read_webdataset(named.webdataset, split=split, class_names=names)
    columns = {"image_column": named.image_column, "label_column": named.label_column}
    if named.manifest is not None:
        from zsclip.readers.manifest import read_manifest

        return read_manifest(named.manifest, class_names=names, **columns)

    from zsclip.readers.huggingface import read_huggingface

    assert named.hf is not None  # the one that is left
    return read_huggingface(named.hf, split=split, class_names=names, offline=offline, **columns)


def _known(name: str, root: Path | None, *, split: str | None, download: bool) -> LabelledPictures:
    from zsclip.readers.known import read_known

    if root is None:
        raise UsageError("--dataset needs the folder of its files", tip="name it with --root DIR")
    return read_known(name, root, split=split, download=download)


def _the_one(sources: Mapping[str, object]) -> str:
    """The only option that names pictures."""
    given = [option for option, value in sources.items() if value is not None]
    if not given:
        raise UsageError(
            "no labelled pictures are named",
            tip="one of --dataset NAME --root DIR, --folder DIR, --manifest FILE, "
            "--webdataset DIR, --hf NAME",
        )
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} contradict each other", tip="leave all but one")
    return given[0]


def _refuse_misplaced(source: str, details: Mapping[str, object]) -> None:
    for option, value in details.items():
        goes_with = _GOES_WITH[option]
        if value is not None and source not in goes_with:
            raise UsageError(
                f"{option} goes with {' or '.join(goes_with)}, not with {source}",
                tip=f"leave out {option}",
            )


def _refuse_network(hf: str | None, *, download: bool) -> None:
    """Refuse pictures that --offline could not fetch."""
    if download:
        raise UsageError("--download and --offline contradict each other", tip="leave one out")
    if hf is not None and not Path(hf).exists():
        raise UsageError(
            f"--hf {hf}: there is no such folder or file here, and --offline asks the hub nothing",
            tip="name a folder or a .parquet file that is here, or leave out --offline",
        )
