"""Where the files that come with zsclip and with open_clip lie, and how files are replaced.

The wheel carries `prompts/` as `zsclip/_data/prompts`; an editable install reads the top-level
folder of the checkout.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_PACKAGE = Path(__file__).resolve().parent
DATA = _PACKAGE / "_data"
TINY_FOLDER = DATA / "tiny"
_MOST_LINKS = 40  # as Linux follows


def prompts_folder() -> Path:
    """The folder that holds `templates/` and `datasets/`."""
    packaged = DATA / "prompts"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "prompts"


def names(folder: Path) -> list[str]:
    """Names of the YAML files in a folder, without their ending, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def open_clip_folder() -> Path:
    """Where open_clip is installed, without importing it."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("open_clip is not installed", name="open_clip")
    return Path(spec.submodule_search_locations[0])


def opened(path: Path) -> BinaryIO:
    """A file to write to in place; of an open file (`/dev/stdout`) what follows goes there.

    Raises:
        OSError: it cannot be written.
    """
    descriptor = _descriptor(path)
    return path.open("wb") if descriptor is None else os.fdopen(os.dup(descriptor), "wb")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when it is whole; until then the old one stays.

    Of a link, what it points at is replaced. A device, a pipe or an open file (`/dev/stdout`) has
    no place to take: it gets the bytes as they are written.

    Raises:
        OSError: it cannot be written.
    """
    if _descriptor(path) is not None or (path.exists() and not path.is_file()):
        with opened(path) as stream:
            yield stream
        return
    path = Path(os.path.realpath(path))
    if path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes files that only we can read
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _descriptor(path: Path) -> int | None:
    """The number of the open file that this is a name of, by links or itself."""
    ours = {"/dev/fd", os.path.realpath("/proc/self/fd")}
    for _ in range(_MOST_LINKS):
        if os.path.realpath(path.parent) in ours and path.name.isdecimal():
            return int(path.name)
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return None
