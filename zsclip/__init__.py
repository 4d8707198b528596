"""zsclip: sort pictures by words, with CLIP.

    >>> import zsclip
    >>> classifier = zsclip.Classifier(["cat", "dog"], model="tiny")
    >>> for result in classifier.classify(["a.jpg", "b.jpg"]):
    ...     print(result.path, result.label, result.score)

Importing this loads nothing heavy; names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from zsclip.classifier import Classifier as Classifier
    from zsclip.encoders import Model as Model
    from zsclip.errors import PictureError as PictureError
    from zsclip.errors import TextError as TextError
    from zsclip.errors import ZsclipError as ZsclipError
    from zsclip.errors import ZsclipWarning as ZsclipWarning
    from zsclip.head_builder import build_head as build_head
    from zsclip.heads import Head as Head
    from zsclip.heads import load_head as load_head
    from zsclip.labels import ClassLabel as ClassLabel
    from zsclip.loading import load_model as load_model
    from zsclip.results import Failure as Failure
    from zsclip.results import LabelScore as LabelScore
    from zsclip.results import Result as Result

_HOMES = {
    "ClassLabel": "zsclip.labels",
    "Classifier": "zsclip.classifier",
    "Failure": "zsclip.results",
    "Head": "zsclip.heads",
    "LabelScore": "zsclip.results",
    "Model": "zsclip.encoders",
    "PictureError": "zsclip.errors",
    "Result": "zsclip.results",
    "TextError": "zsclip.errors",
    "ZsclipError": "zsclip.errors",
    "ZsclipWarning": "zsclip.errors",
    "build_head": "zsclip.head_builder",
    "load_head": "zsclip.heads",
    "load_model": "zsclip.loading",
}

__all__ = sorted(["__version__", *_HOMES])


def __getattr__(name: str) -> object:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'zsclip' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return list(__all__)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("zsclip")
    except PackageNotFoundError:
        return "0+unknown"
