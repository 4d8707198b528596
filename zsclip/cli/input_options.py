"""Which pictures: the options that name them, and one input after another from all of them.

Also how they are decoded, and whether their features are kept.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from zsclip.cli.options import choices, size_bytes
from zsclip.errors import UsageError

if TYPE_CHECKING:
    from zsclip.decoding import Decoding
    from zsclip.inputs import Input, Skipped

_INPUT = "Input"

Paths = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PATH...", help="Pictures, folders, quoted globs; - reads a picture from stdin."
    ),
]
FilesFrom = Annotated[
    str | None,
    typer.Option(
        "--files-from",
        metavar="FILE|-",
        help="Read paths from a file, one a line; - is stdin.",
        rich_help_panel=_INPUT,
    ),
]
Files0From = Annotated[
    str | None,
    typer.Option(
        "--files0-from",
        metavar="FILE|-",
        help="The same with NUL between paths, as from 'find -print0'.",
        rich_help_panel=_INPUT,
    ),
]
Decode = Annotated[
    str,
    typer.Option(
        "--decode",
        metavar="HOW",
        help="exact, or fast: decode large JPEGs at a smaller scale.",
        rich_help_panel=_INPUT,
        autocompletion=choices("exact", "fast"),
    ),
]
Fit = Annotated[
    str,
    typer.Option(
        "--fit",
        metavar="HOW",
        help="crop, as the model was trained, or all of the picture: pad, squash, or views, "
        "the average of several squares.",
        rich_help_panel=_INPUT,
        autocompletion=choices("crop", "pad", "squash", "views"),
    ),
]
Exact = Annotated[
    bool,
    typer.Option(
        "--exact",
        help="Load pictures as open_clip does: not turned upright, over no background.",
        rich_help_panel=_INPUT,
    ),
]
Background = Annotated[
    str,
    typer.Option(
        "--background",
        metavar="COLOUR",
        help="What transparent pixels lie over: a colour name or '#rrggbb'.",
        rich_help_panel=_INPUT,
    ),
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        min=1,
        metavar="N",
        help="Larger pictures fail before they are decoded; 89,478,485 unless given.",
        rich_help_panel=_INPUT,
    ),
]
MaxBytes = Annotated[
    str | None,
    typer.Option(
        "--max-bytes",
        metavar="N",
        help="Larger files fail before they are read; 500MB unless given.",
        rich_help_panel=_INPUT,
    ),
]
AllowTruncated = Annotated[
    bool,
    typer.Option(
        "--allow-truncated",
        help="Take what there is of a cut JPEG, PNG, GIF, BMP or JPEG 2000.",
        rich_help_panel=_INPUT,
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        min=0,
        metavar="SECONDS",
        help="A picture that takes longer to read and decode fails; 0 is no limit.",
        rich_help_panel=_INPUT,
    ),
]
CacheImages = Annotated[
    bool,
    typer.Option(
        "--cache-images",
        help="Keep image features in the cache folder, too: a picture that is known there is "
        "neither decoded nor encoded again.",
        rich_help_panel="Cache",
    ),
]


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """How pictures are read and decoded, as it is typed."""

    decode: Decode = "exact"
    fit: Fit = "crop"
    exact: Exact = False
    background: Background = "white"
    max_pixels: MaxPixels = None
    max_bytes: MaxBytes = None
    allow_truncated: AllowTruncated = False
    timeout: Timeout = 20.0

    def decoding(self) -> Decoding:
        """The same for the functions that do it; the timeout is not theirs.

        Raises:
            UsageError: a word, colour or number that cannot be meant.
        """
        from zsclip.decoding import DEFAULT

        max_bytes = self.max_bytes
        return DEFAULT.but(
            decode=self.decode,
            exact=self.exact,
            background=self.background,
            max_pixels=self.max_pixels,
            max_bytes=None if max_bytes is None else size_bytes("--max-bytes", max_bytes),
            allow_truncated=self.allow_truncated,
            fit=self.fit,
        )


def check_cache(*, cache_images: bool, no_cache: bool) -> None:
    """Refuse what contradicts itself.

    Raises:
        UsageError: the image cache is wanted, and no cache.
    """
    if cache_images and no_cache:
        raise UsageError("--cache-images needs the cache; leave out --no-cache")


def inputs(
    paths: Sequence[str],
    files_from: str | None,
    files0_from: str | None,
    *,
    skipped: Skipped,
    example: str,
) -> Iterator[Input]:
    """All inputs that were named; the first one is looked for at once, unless stdin has it.

    Args:
        example: of a command, for whoever names none.

    Raises:
        UsageError: no input, a list that cannot be read, or stdin asked for twice.
    """
    from zsclip.inputs import at_least_one, expand, from_list

    readers = [path for path in paths if path == "-"]
    readers += [name for name in (files_from, files0_from) if name == "-"]
    if len(readers) > 1:
        raise UsageError("stdin can be read once: use one of -, --files-from -, --files0-from -")
    if not paths and files_from is None and files0_from is None:
        raise UsageError("no pictures named", tip=f"{example} (or - for stdin)")
    lists = [
        from_list(_open_list(name), separator=separator, skipped=skipped)
        for name, separator in ((files_from, b"\n"), (files0_from, b"\0"))
        if name is not None
    ]
    found = at_least_one(
        chain(expand(paths, stdin=sys.stdin.buffer, skipped=skipped), *lists), skipped
    )
    if readers:  # a slow pipe must not hold up loading the model
        return found
    return chain([next(found)], found)


def _open_list(name: str) -> BinaryIO:
    if name == "-":
        return sys.stdin.buffer
    try:
        return open(name, "rb")
    except OSError as error:
        raise UsageError(f"{name}: cannot be read: {(error.strerror or '').lower()}") from error
