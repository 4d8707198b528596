"""What a bug report needs to know of this installation and machine, as one record.

Reads versions, folders and settings; opens no model, writes nothing, and imports torch only where
it is asked to. No secrets in it: of other people's settings only the names, and the home folder is
`~`. Knows nothing about how it is shown.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from zsclip import cache, cpus, hub, image_cache
from zsclip.engines import compiled, opening
from zsclip.errors import NotFetchedError, UsageError
from zsclip.models import resolve
from zsclip.plain_text import printable
from zsclip.weights import names_in_repository

_OURS = ("torch", "open_clip_torch", "onnxruntime", "onnxscript", "numpy", "pillow")
"""Where the package itself is not installed, and so does not say what it needs."""
_NOT_FOR_USERS = ("dev", "fuzz")
_REQUIREMENT = re.compile(r"([\w.-]+)[^;]*(?:;.*\bextra == ['\"]([\w-]+)['\"])?")
_CODECS = {
    "jpeg": "jpg", "libjpeg-turbo": "libjpeg_turbo", "jpeg2000": "jpg_2000", "webp": "webp",
    "avif": "avif", "libtiff": "libtiff", "zlib": "zlib", "littlecms": "littlecms2",
}  # fmt: skip
_SHOWN = re.compile(
    r"ZSCLIP_(MODEL|ENGINE|DEVICE|CACHE_DIR)|HF_(HOME|HUB_CACHE|HUB_OFFLINE|HUB_DISABLE_\w+)"
    r"|HUGGINGFACE_HUB_CACHE|XDG_CACHE_HOME|(OMP|MKL|OPENBLAS)_\w+|CUDA_VISIBLE_DEVICES"
    r"|CUDA_MODULE_LOADING|PYTORCH_\w+|LANG|LC_\w+|PYTHON(UTF8|IOENCODING|WARNINGS)|TERM|COLUMNS"
    r"|NO_COLOR|FORCE_COLOR"
)
"""Variables whose values are nobody's secret."""
_NAMED = re.compile(r"ZSCLIP_\w+|HF_\w+|HUGGING_?FACE_\w+|(HTTPS?|ALL|NO)_PROXY", re.IGNORECASE)
"""Variables of which only the name is told: tokens, addresses with passwords in them."""
_PASSWORD = re.compile(r"//[^/\s]*@")
_FEW_BYTES = 1_000_000_000


def diagnose(
    folder: Path | None = None, *, offline: bool = False, with_torch: bool = False
) -> dict[str, Any]:
    """Everything, section by section; `problems` lists what is likely to be in the way.

    Args:
        folder: the cache folder; the user's unless given.
        offline: do not ask the hub whether it answers, as with HF_HUB_OFFLINE.
        with_torch: import torch, which takes seconds, and say which devices it sees.
    """
    found: dict[str, Any] = {
        "zsclip": _version("zsclip"),
        "python": _python(),
        "platform": {"name": platform.platform(), "file_names": sys.getfilesystemencoding()},
        "packages": _packages(),
        "extras": _extras(),
        "codecs": _codecs(),
        "devices": _devices(with_torch=with_torch),
        "processors": _processors(),
        "cache": _cache(folder),
        "hub": _hub(offline=offline),
        "environment": _environment(),
    }
    return {**_without_home(found), "problems": _without_home(list(_problems(found)))}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _python() -> dict[str, Any]:
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "virtual_environment": sys.prefix != sys.base_prefix,
    }


def _requirements() -> list[tuple[str, str | None]]:
    """(package, extra) of each that zsclip asks for; no extra for those it always needs."""
    try:
        lines = metadata.requires("zsclip") or []
    except metadata.PackageNotFoundError:
        return [(package, None) for package in _OURS]
    found = (_REQUIREMENT.match(line) for line in lines)
    return [(match[1], match[2]) for match in found if match]


def _packages() -> dict[str, str | None]:
    """Versions of the packages that zsclip always needs; None for one that is not there."""
    return {package: _version(package) for package, extra in _requirements() if extra is None}


def _extras() -> dict[str, dict[str, str | None]]:
    """For each extra its packages and their versions; None for one that is not there."""
    found: dict[str, dict[str, str | None]] = {}
    for package, extra in _requirements():
        if extra is not None and extra not in _NOT_FOR_USERS:
            found.setdefault(extra, {})[package] = _version(package)
    return found


def _codecs() -> dict[str, str | None]:
    """Versions of the libraries that Pillow decodes with; None for one that it was built without.

    An empty version is one that Pillow does not know.
    """
    from PIL import features

    return {
        name: str(features.version(word) or "") if features.check(word) else None
        for name, word in _CODECS.items()
    }


def _devices(*, with_torch: bool) -> dict[str, Any]:
    """Signs of a GPU, what `--engine auto` makes of them, and what torch sees."""
    found: dict[str, Any] = {
        "signs_of_accelerators": opening.signs_of_accelerators(),
        "auto_wants_torch": opening.Choice().wants_torch,
        "torch": None,
    }
    if with_torch:
        from zsclip.engines import torch_engine

        found["torch"] = torch_engine.devices()
    return found


def _processors() -> dict[str, Any]:
    return {"usable": cpus.usable(), "present": os.cpu_count(), "limits": cpus.limits()}


def _cache(folder: Path | None) -> dict[str, Any]:
    """Where the cache is, how large its parts are, and the models that are prepared in it."""
    try:
        folder = folder or cache.default_folder()
    except UsageError as error:
        return {"folder": None, "reason": error.message}
    beginning = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    return {
        "folder": str(folder),
        "exists": folder.exists(),
        "writable": beginning.is_dir() and os.access(beginning, os.W_OK | os.X_OK),
        "free_bytes": _free_bytes(beginning),
        "text_bytes": _size_bytes(folder / cache.FILE_NAME),
        "images_bytes": _size_bytes(folder / image_cache.FILE_NAME),
        "compiled_bytes": sum(map(_size_bytes, _files_below(folder / "compiled"))),
        "compiled": [about.model for about in compiled.stored(folder).values()],
    }


def _files_below(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _free_bytes(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _hub(*, offline: bool) -> dict[str, Any]:
    """The models that were fetched, and whether the hub gives the default one."""
    settings = hub.settings()
    found: dict[str, Any] = {
        "address": _without_password(settings.endpoint),
        "folder": str(settings.cache),
        "fetched": {one.name: one.size_bytes for one in hub.repositories()},
        "reachable": None,
        "reason": None,
        "seconds": None,
    }
    source = resolve("default")
    assert source.repo is not None
    began = time.monotonic()
    try:
        hub.ask(source.repo, names_in_repository(source)[0], offline=offline)
    except NotFetchedError as error:
        is_asked = not (offline or settings.is_offline)
        reason = error.reason.replace(settings.endpoint, found["address"])
        return {**found, "reachable": False if is_asked else None, "reason": reason}
    return {**found, "reachable": True, "seconds": round(time.monotonic() - began, 2)}


def _without_password(address: str) -> str:
    """Scheme, host and port of an address: the rest may be a secret."""
    try:
        parts = urlsplit(address)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "(not an address)"
    return f"{parts.scheme}://{host}" if host else "(not an address)"


def _environment() -> dict[str, str | None]:
    """Variables that change what zsclip does; None in place of a value that may be a secret."""
    return {
        name: os.environ[name] if _SHOWN.fullmatch(name) else None
        for name in sorted(os.environ)
        if _SHOWN.fullmatch(name) or _NAMED.fullmatch(name)
    }


def _problems(found: dict[str, Any]) -> Iterator[str]:
    missing = [package for package, version in found["packages"].items() if version is None]
    if missing:
        yield f"not installed, though zsclip needs it: {', '.join(missing)}"
    place = found["cache"]
    if place["folder"] is None:
        yield f"no cache: {place['reason']}"
    elif not place["writable"]:
        yield f"the cache folder {place['folder']} cannot be written"
    elif place["free_bytes"] is not None and place["free_bytes"] < _FEW_BYTES:
        yield f"little space for the cache: {place['free_bytes'] / 1e6:,.0f} MB are free"
    if found["hub"]["reachable"] is False:
        yield f"the hub does not give the default model: {found['hub']['reason']}"


def _without_home(value: Any) -> Any:
    """The same with `~` for the home folder, and with nothing in it that disturbs a terminal.

    Nor with a user's name and password in an address: messages of the network may have them.
    """
    return _replaced(value, _homes())


def _replaced(value: Any, homes: Sequence[re.Pattern[str]]) -> Any:
    if isinstance(value, dict):
        return {_replaced(key, homes): _replaced(item, homes) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, homes) for item in value]
    if not isinstance(value, str):
        return value
    for home in homes:
        value = home.sub("~", value)
    return printable(_PASSWORD.sub("//", value))


def _homes() -> list[re.Pattern[str]]:
    """Patterns of the home folder, as it is named and where it really is."""
    try:
        home = Path.home()
    except RuntimeError:  # there is none
        return []
    names = {str(home), os.path.realpath(home)} - {os.sep}
    return [re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])") for name in sorted(names)]
