"""Where the files that come with zsclip and with open_clip lie, and how files are replaced.

The wheel carries `prompts/` as `zsclip/_data/prompts`; an editable install reads the top-level
folder of the checkout.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_PACKAGE = Path(__file__).resolve().parent
DATA = _PACKAGE / "_data"
TINY_FOLDER = DATA / "tiny"


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


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when it is whole; until then the old one stays.

    Of a link, what it points at is replaced. A device or a pipe has no place to take: it gets the
    bytes as they are written.

    Raises:
        OSError: it cannot be written.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            yield stream
        return
    path = Path(os.path.realpath(path))
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
