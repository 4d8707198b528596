"""Heads: the linear classifier that the whole program turns on. Check, save, load.

`logits = scale * image_features @ weight.T + bias`. Whatever made a head, `classify` does not
care; `head_builder` makes them from words. On disk it is one safetensors file: two arrays and a
JSON header. No pickle.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from zsclip import scoring
from zsclip.data_files import replacing
from zsclip.decoding import DEFAULT, FITS
from zsclip.encoders import Model
from zsclip.errors import HeadError, OutputError, UsageError
from zsclip.models import resolve
from zsclip.results import ScoreKind

Floats = npt.NDArray[np.float32]

FORMAT = "1"
_HEADER = "zsclip-head"
_BEYOND_BOUNDS = (OverflowError, RecursionError)  # by numbers and nesting in the JSON


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a head was made with; it fits a model of the same digest, fingerprint and tokenizer."""

    model: str
    weights_digest: str
    architecture: str
    fingerprint: str
    tokenizer: str
    templates_name: str
    templates: tuple[str, ...]
    revision: str | None = None

    @classmethod
    def of(cls, model: Model, *, templates_name: str, templates: tuple[str, ...]) -> Provenance:
        """What a head is made with by this model."""
        config = model.local.config
        return cls(
            model=model.local.source.name,
            weights_digest=model.local.digest,
            architecture=config.architecture,
            fingerprint=config.fingerprint,
            tokenizer=config.tokenizer,
            templates_name=templates_name,
            templates=templates,
            revision=model.local.revision,
        )


@dataclass(frozen=True, slots=True)
class Fitting:
    """How a head was fitted to labelled pictures, for people.

    Attributes:
        method: `linear` or `few-shot`.
        features: which ones of the model.
        source: what the pictures are called.
        pictures: how many there were.
        shots: how many of each class were asked for; None for all.
        seed: of what was drawn.
        strength: of the L2 penalty; relative to the features' spread for `few-shot`.
    """

    method: str
    features: str
    source: str
    pictures: int
    shots: int | None = None
    seed: int | None = None
    strength: float | None = None

    def __post_init__(self) -> None:
        texts = (self.method, self.features, self.source)
        numbers = (self.pictures, self.shots or 0, self.seed or 0, self.strength or 0.0)
        if not (all(map(_is_text, texts)) and all(isinstance(n, int | float) for n in numbers)):
            raise HeadError("was fitted in a way that is not text and numbers")


@dataclass(frozen=True, eq=False)
class Head:
    """A classifier over C classes for image_features of size D.

    Attributes:
        weight: (C, D) float32; unit-length rows where `kind` is `words`.
        bias: (C,) float32, added to the scaled cosines.
        score_kind: what the model was trained with, `softmax` or `sigmoid`.
        kind: `words` (made from class names) or `pictures` (fitted to labelled pictures).
        fitted: how, where it was fitted to pictures.
        groups: (C,) the group of each class, None for one in no group; empty where none has one.
        thresholds: (C,) the least score that each class is given for, in the same way.
        temperature: what logits are divided by before the softmax; None where none was fitted.
        coverage: (share, score) pairs: the classes with at least this score hold the truth of such
            a share of pictures.
        fit: how the pictures were loaded that it was fitted to or calibrated with, if there were
            any; see `zsclip.decoding`.
    """

    weight: Floats
    bias: Floats
    class_names: tuple[str, ...]
    scale: float
    score_kind: ScoreKind
    provenance: Provenance
    kind: Literal["words", "pictures"] = "words"
    fitted: Fitting | None = None
    groups: tuple[str | None, ...] = ()
    thresholds: tuple[float | None, ...] = ()
    temperature: float | None = None
    coverage: tuple[tuple[float, float], ...] = ()
    fit: str = DEFAULT.fit

    def __post_init__(self) -> None:
        classes = len(self.class_names)
        if self.weight.ndim != 2 or self.weight.shape[0] != classes or self.weight.size == 0:
            raise HeadError(f"weight {self.weight.shape} does not fit {classes} class names")
        if self.bias.shape != (classes,):
            raise HeadError(f"bias {self.bias.shape} does not fit {classes} class names")
        values = (self.weight, self.bias, self.scale)
        if not all(np.isfinite(value).all() for value in values):
            raise HeadError("has values that are not finite")
        if self.score_kind not in ("softmax", "sigmoid") or self.kind not in ("words", "pictures"):
            raise HeadError(f"is of an unknown kind: {self.kind!r} with {self.score_kind!r}")
        if not all(_is_text(name) for name in self.class_names):
            raise HeadError("has class names that are not text")
        if not {len(self.groups), len(self.thresholds)} <= {0, classes}:
            raise HeadError(f"has groups or thresholds that do not fit {classes} class names")
        if not all(group is None or _is_text(group) for group in self.groups):
            raise HeadError("has groups that are not text")
        if not all(limit is None or _is_share(limit) for limit in self.thresholds):
            raise HeadError("has thresholds that are not between 0 and 1")
        if not (self.temperature is None or 0.001 <= self.temperature <= 1000):
            raise HeadError("has a temperature that is not between 0.001 and 1000")
        if self.fit not in FITS:
            raise HeadError(f"has seen pictures in an unknown fit: {_short(self.fit)!r}")
        if not all(len(pair) == 2 and all(map(_is_share, pair)) for pair in self.coverage):
            raise HeadError("has a coverage that is not pairs of numbers between 0 and 1")
        if self.score_kind != "softmax" and (self.temperature is not None or self.coverage):
            raise HeadError(f"has a temperature or coverage of {self.score_kind} scores")

    @property
    def has_seen_pictures(self) -> bool:
        """Whether it was fitted to pictures or calibrated with some."""
        return self.kind == "pictures" or self.temperature is not None or bool(self.coverage)

    @functools.cached_property
    def digest(self) -> str:
        """sha256 of everything in the head, hexadecimal."""
        arrays = self.weight.astype("<f4").tobytes() + self.bias.astype("<f4").tobytes()
        return hashlib.sha256(self._header().encode() + arrays).hexdigest()

    @functools.cached_property
    def members(self) -> dict[str, list[int]]:
        """The classes of each group, groups in the order of their first classes.

        A class that is in no group stands for itself.
        """
        found: dict[str, list[int]] = {}
        groups = self.groups or (None,) * len(self.class_names)
        for index, (name, group) in enumerate(zip(self.class_names, groups, strict=True)):
            found.setdefault(name if group is None else group, []).append(index)
        return found

    def set_threshold(self, coverage: float) -> float:
        """The score that a class needs to be in sets that hold the truth this often.

        Raises:
            UsageError: none was found for this coverage.
        """
        known = dict(self.coverage)
        if coverage not in known:
            has = ", ".join(map(str, known)) or "none"
            raise UsageError(
                f"the head has no label sets of coverage {coverage}; it has {has}",
                tip=f"zsclip calibrate --coverage {coverage} finds them with labelled pictures",
            )
        return known[coverage]

    def model_name(self) -> str:
        """The name of the model that the head was made for.

        Raises:
            HeadError: it has no name by which it can be found (a folder, a file).
        """
        made = self.provenance
        try:
            resolve(made.model)
        except UsageError as error:
            raise HeadError(
                f"the head was made for {made.model}@{made.weights_digest[:6]}, "
                "which cannot be found by this name",
                tip="say where that model is with --model",
            ) from error
        return made.model

    def choose_kind(self, asked: str | None = None) -> ScoreKind:
        """The kind of score to give: what was asked for, or else the model's own.

        Raises:
            UsageError: no such kind, or not of this head.
        """
        if asked == "cosine" and self.kind != "words":
            raise UsageError("the head was made from labelled pictures and has no cosines")
        return scoring.choose_kind(asked, native=self.score_kind, model=self.provenance.model)

    def check_fits(self, model: Model) -> None:
        """Refuse another model than the head was made for, naming both.

        Raises:
            HeadError: weights, architecture or tokenizer differ.
        """
        made = self.provenance
        config = model.local.config
        mine = (made.weights_digest, made.fingerprint, made.tokenizer)
        if mine != (model.local.digest, config.fingerprint, config.tokenizer):
            raise HeadError(
                f"the head was made for {made.model}@{made.weights_digest[:6]} "
                f"({made.architecture}), not for {model.id} ({config.architecture})",
                tip=f"use --model {made.model}, or build the head anew with zsclip build-head",
            )

    def save(self, path: Path | str) -> None:
        """Write a safetensors file, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        from safetensors.numpy import save

        content = save(
            # safetensors writes memory as it lies, and fitted weights may lie column by column
            {name: np.ascontiguousarray(getattr(self, name)) for name in ("weight", "bias")},
            metadata={_HEADER: self._header()},  # one key: safetensors writes several in any order
        )
        try:
            with replacing(Path(path)) as file:
                file.write(content)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error

    def _header(self) -> str:
        header: dict[str, Any] = {
            "class_names": self.class_names,
            "kind": self.kind,
            "scale": self.scale,
            "score_kind": self.score_kind,
            "provenance": asdict(self.provenance),
            "version": FORMAT,
        }
        if self.fitted is not None:
            header["fitted"] = asdict(self.fitted)
        if self.groups:
            header["groups"] = self.groups
        if self.thresholds:
            header["thresholds"] = self.thresholds
        if self.temperature is not None:
            header["temperature"] = self.temperature
        if self.coverage:
            header["coverage"] = self.coverage
        if self.fit != DEFAULT.fit:
            header["fit"] = self.fit
        return json.dumps(header, sort_keys=True, ensure_ascii=True)


def load_head(path: Path | str) -> Head:
    """Read a head from a safetensors file.

    Raises:
        HeadError: not a head, damaged, or of a later format.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise HeadError("is not a regular file")
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            if _HEADER not in metadata:
                raise HeadError("is not a head of zsclip")
            header = dict(json.loads(metadata[_HEADER]))
            if header.get("version") != FORMAT:
                raise HeadError(
                    f"has head format {header.get('version')}; this zsclip reads {FORMAT}"
                )
            if {file.get_slice(name).get_dtype() for name in ("weight", "bias")} != {"F32"}:
                raise HeadError("has numbers that are not float32")
            weight, bias = file.get_tensor("weight"), file.get_tensor("bias")
        return _from_header(header, weight, bias)
    except OSError as error:
        raise HeadError(f"{path} cannot be read: {error.strerror or error}") from error
    except HeadError as error:
        raise HeadError(f"{path}: {_short(error.message)}", tip=error.tip) from error
    except (SafetensorError, ValueError, LookupError, TypeError, *_BEYOND_BOUNDS) as error:
        raise HeadError(f"{path} is damaged or not a head: {_short(error)}") from error


def _from_header(header: dict[str, Any], weight: Floats, bias: Floats) -> Head:
    made = dict(header["provenance"])
    templates, names = made.pop("templates"), header["class_names"]
    texts = [text for key, text in made.items() if key != "revision" or text is not None]
    if not all(isinstance(text, str) for text in texts):
        raise HeadError("was made with something that is not text")
    if not (isinstance(names, list) and isinstance(templates, list)):
        raise HeadError("has no lists of class names and templates")
    if not all(map(_is_text, templates)):
        raise HeadError("has templates that are not text")
    return Head(
        weight=weight,
        bias=bias,
        class_names=tuple(names),
        scale=float(header["scale"]),
        score_kind=header["score_kind"],
        provenance=Provenance(**made, templates=tuple(templates)),
        kind=header["kind"],
        fitted=Fitting(**header["fitted"]) if "fitted" in header else None,
        groups=_optional_list(header, "groups"),
        thresholds=_optional_list(header, "thresholds"),
        temperature=float(header["temperature"]) if "temperature" in header else None,
        coverage=tuple(tuple(pair) for pair in _optional_list(header, "coverage")),
        fit=header.get("fit", DEFAULT.fit),
    )


def _optional_list(header: dict[str, Any], key: str) -> tuple[Any, ...]:
    values = header.get(key, [])
    if not isinstance(values, list):
        raise HeadError(f"has no list of {key}")
    return tuple(values)


def _is_share(value: object) -> bool:
    """Whether this is a number between 0 and 1."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_text(value: object) -> bool:
    """Whether this can be written in UTF-8; JSON can hold half of a surrogate pair."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def _short(reason: object) -> str:
    """One line, of a message that a file may have written."""
    return " ".join(str(reason).split())[:200]
