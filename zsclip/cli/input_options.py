"""Which pictures: the options that name them, and one input after another from all of them.

Also whether their features are kept.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from zsclip.errors import UsageError

if TYPE_CHECKING:
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
CacheImages = Annotated[
    bool,
    typer.Option(
        "--cache-images",
        help="Keep image features in the cache folder, too: a picture that is known there is "
        "neither decoded nor encoded again.",
        rich_help_panel="Cache",
    ),
]


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
