"""Heads: the linear classifier that the whole program turns on. Build, save, load.

`logits = scale * image_features @ weight.T + bias`. A head from words holds the averaged text
embeddings of each class (C, D), made by way of the text cache; whatever made it, `classify` does
not care. On disk it is one safetensors file: two arrays and a JSON header. No pickle.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from zsclip import prompts, scoring
from zsclip.cache import Row, key_of
from zsclip.data_files import replacing
from zsclip.encoders import PROBE_TEXT, Model, load_model
from zsclip.errors import HeadError, LabelError, OutputError, UsageError, ZsclipWarning
from zsclip.labels import Label, check
from zsclip.models import resolve
from zsclip.prompts import TemplateSet
from zsclip.results import ScoreKind
from zsclip.tokenizer import TokenizeError

Floats = npt.NDArray[np.float32]

FORMAT = "1"
TEXT_PIPELINE_VERSION = 1
CHUNK_PROMPTS = 512
"""Prompts that are encoded before their classes go into the cache (always whole classes)."""
_PROBE_TOLERANCE = 1e-4


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


@dataclass(frozen=True, eq=False)
class Head:
    """A classifier over C classes for image_features of size D.

    Attributes:
        weight: (C, D) float32; unit-length rows where `kind` is `words`.
        bias: (C,) float32, added to the scaled cosines.
        kind: `words` (made from class names) or `pictures` (fitted to labelled pictures).
    """

    weight: Floats
    bias: Floats
    class_names: tuple[str, ...]
    scale: float
    score_kind: ScoreKind
    provenance: Provenance
    kind: Literal["words", "pictures"] = "words"

    def __post_init__(self) -> None:
        classes = len(self.class_names)
        if self.weight.ndim != 2 or self.weight.shape[0] != classes or classes == 0:
            raise HeadError(f"weight {self.weight.shape} does not fit {classes} class names")
        if self.bias.shape != (classes,):
            raise HeadError(f"bias {self.bias.shape} does not fit {classes} class names")
        if not (np.isfinite(self.weight).all() and np.isfinite(self.bias).all()):
            raise HeadError("has values that are not finite")

    @functools.cached_property
    def digest(self) -> str:
        """sha256 of everything in the head, hexadecimal."""
        arrays = self.weight.astype("<f4").tobytes() + self.bias.astype("<f4").tobytes()
        return hashlib.sha256(self._header().encode() + arrays).hexdigest()

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

    def save(self, path: Path) -> None:
        """Write a safetensors file, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        from safetensors.numpy import save

        content = save(
            {"weight": self.weight, "bias": self.bias},
            metadata={"format": "zsclip-head", "version": FORMAT, "header": self._header()},
        )
        try:
            with replacing(path) as file:
                file.write(content)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error

    def _header(self) -> str:
        header = {
            "class_names": self.class_names,
            "kind": self.kind,
            "scale": self.scale,
            "score_kind": self.score_kind,
            "provenance": asdict(self.provenance),
        }
        return json.dumps(header, sort_keys=True, ensure_ascii=True)


def load_head(path: Path | str) -> Head:
    """Read a head from a safetensors file.

    Raises:
        HeadError: not a head, damaged, or of a later format.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != "zsclip-head":
                raise HeadError(f"{path} is not a head of zsclip")
            if metadata.get("version") != FORMAT:
                raise HeadError(
                    f"{path} has head format {metadata.get('version')}; this zsclip reads {FORMAT}"
                )
            weight, bias = file.get_tensor("weight"), file.get_tensor("bias")
        return _from_header(json.loads(metadata["header"]), weight, bias)
    except OSError as error:
        raise HeadError(f"{path} cannot be read: {error.strerror or error}") from error
    except HeadError as error:
        raise HeadError(f"{path}: {error.message}", tip=error.tip) from error
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise HeadError(f"{path} is damaged or not a head: {error}") from error


def _from_header(header: dict[str, object], weight: Floats, bias: Floats) -> Head:
    provenance = dict(header["provenance"])  # type: ignore[call-overload]
    provenance["templates"] = tuple(provenance["templates"])
    return Head(
        weight=weight.astype(np.float32),
        bias=bias.astype(np.float32),
        class_names=tuple(header["class_names"]),  # type: ignore[arg-type]
        scale=float(header["scale"]),  # type: ignore[arg-type]
        score_kind=header["score_kind"],  # type: ignore[arg-type]
        provenance=Provenance(**provenance),
        kind=header["kind"],  # type: ignore[arg-type]
    )


@dataclass(frozen=True, slots=True)
class Built:
    """A head and how many of its classes came from the cache."""

    head: Head
    cached: int


def build(
    class_names: Sequence[Sequence[str]],
    *,
    model: Model,
    templates: TemplateSet,
    truncate: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Built:
    """Build a head from words; classes that are in the cache are not encoded again.

    Args:
        class_names: per class its names; their prompts are averaged, the first name is shown.
        truncate: cut prompts that are too long for the model instead of refusing them.
        on_progress: called with (classes done, classes to encode).

    Raises:
        LabelError: no classes, or a prompt that the model cannot read whole.
    """
    if not class_names:
        raise LabelError("no labels", tip="name some with --labels cat,dog")
    shown = tuple(names[0] for names in class_names)
    prompts.warn_about_articles(shown, templates)
    class_prompts = prompts.expand(class_names, templates)
    keys = [_key(model, class_prompt, truncate) for class_prompt in class_prompts]
    vectors = model.cache.load(keys)
    missing = {key: i for i, key in enumerate(keys) if key not in vectors}
    if missing and on_progress is not None:
        on_progress(0, len(missing))
    if missing and not probe_agrees(model):
        vectors, missing = {}, {key: i for i, key in enumerate(keys)}
    cached = sum(key in vectors for key in keys)
    done = 0
    for chunk in _chunks(list(missing.values()), class_prompts):
        rows = _encode(chunk, class_prompts, shown, keys, model, truncate)
        model.cache.save(rows)
        vectors.update((row.key, row.vector) for row in rows)
        done += len(rows)
        if on_progress is not None:
            on_progress(done, len(missing))
    head = _assemble(np.stack([vectors[key] for key in keys]), shown, model, templates)
    return Built(head, cached)


def build_head(
    labels: Sequence[str | Sequence[str]],
    *,
    model: str | Model = "default",
    templates: str | Sequence[str] | TemplateSet = prompts.DEFAULT_TEMPLATES,
    truncate: bool = False,
    device: str = "auto",
    cache_dir: Path | str | None = None,
) -> Head:
    """Build a head from class names.

    Args:
        labels: class names; a class with several names is a list of them, averaged.
        model: a name (see `load_model`) or a loaded model.
        templates: name or file of a template set, or the templates themselves.
        truncate: cut prompts that are too long for the model instead of refusing them.

    Raises:
        UsageError: labels, templates or names that cannot be understood.
        ModelError: the model cannot be loaded.
    """
    if isinstance(labels, str):
        raise LabelError(f"labels is one text, {labels!r}", tip="pass a list of class names")
    if isinstance(model, str):
        model = load_model(model, device=device, cache_dir=cache_dir)
    if isinstance(templates, str):
        templates = prompts.load_templates(templates)
    elif not isinstance(templates, TemplateSet):
        templates = prompts.templates_from_texts(templates)
    class_names = [(names,) if isinstance(names, str) else tuple(names) for names in labels]
    for name in itertools.chain.from_iterable(class_names):
        check(Label(name, "labels"))
    return build(class_names, model=model, templates=templates, truncate=truncate).head


def _assemble(weight: Floats, shown: tuple[str, ...], model: Model, templates: TemplateSet) -> Head:
    config = model.local.config
    return Head(
        weight=weight,
        bias=np.full(len(shown), model.logit_bias or 0.0, dtype=np.float32),
        class_names=shown,
        scale=model.logit_scale,
        score_kind="softmax" if model.logit_bias is None else "sigmoid",
        provenance=Provenance(
            model=model.local.source.name,
            weights_digest=model.local.digest,
            architecture=config.architecture,
            fingerprint=config.fingerprint,
            tokenizer=config.tokenizer,
            templates_name=templates.name,
            templates=templates.templates,
            revision=model.local.revision,
        ),
    )


def _key(model: Model, class_prompts: Sequence[str], truncate: bool) -> bytes:
    config = model.local.config
    return key_of(
        {
            "weights": model.local.digest,
            "architecture": config.fingerprint,
            "tokenizer": config.tokenizer,
            "context_length": config.context_length,
            "pipeline": TEXT_PIPELINE_VERSION,
            "truncate": truncate,
            "prompts": list(class_prompts),
        }
    )


def _chunks(indices: Sequence[int], class_prompts: Sequence[Sequence[str]]) -> list[list[int]]:
    """Whole classes, at most CHUNK_PROMPTS prompts together where a class allows it."""
    chunks: list[list[int]] = []
    size = CHUNK_PROMPTS
    for index in indices:
        prompts_here = len(class_prompts[index])
        if size + prompts_here > CHUNK_PROMPTS:
            chunks.append([])
            size = 0
        chunks[-1].append(index)
        size += prompts_here
    return chunks


def _encode(
    chunk: Sequence[int],
    class_prompts: Sequence[Sequence[str]],
    shown: Sequence[str],
    keys: Sequence[bytes],
    model: Model,
    truncate: bool,
) -> list[Row]:
    texts = [prompt for index in chunk for prompt in class_prompts[index]]
    owners = [shown[index] for index in chunk for _ in class_prompts[index]]
    tokens = _tokens(texts, owners, model, truncate)
    features = model.encode_text(tokens)  # (P, D)
    rows, start = [], 0
    for index in chunk:
        end = start + len(class_prompts[index])
        vector = scoring.average(features[start:end])
        rows.append(Row(keys[index], model.id, shown[index], vector))
        start = end
    return rows


def _tokens(
    texts: Sequence[str], owners: Sequence[str], model: Model, truncate: bool
) -> npt.NDArray[np.int64]:
    try:
        try:
            return model.tokenize(texts)
        except TokenizeError as error:
            if not truncate:
                raise
            tokens = model.tokenize(texts, truncate=True)
            warnings.warn(
                f"label {owners[error.index]!r}: the prompt {texts[error.index]!r} {error}; cut",
                ZsclipWarning,
                stacklevel=4,
            )
            return tokens
    except TokenizeError as error:
        raise LabelError(
            f"label {owners[error.index]!r}: the prompt {texts[error.index]!r} {error}",
            tip="shorten the label or its template; --truncate cuts prompts that are too long",
        ) from error


def probe_agrees(model: Model) -> bool:
    """Whether the text encoder still answers as it did when the cache was filled."""
    key = f"probe|{model.local.digest}|{model.local.config.fingerprint}"
    now = model.encode_text([PROBE_TEXT])[0]
    known = model.cache.facts.get(key)
    if known is None:
        model.cache.facts[key] = json.dumps([round(float(x), 7) for x in now])
        return True
    then = np.asarray(json.loads(known), dtype=np.float32)
    if then.shape == now.shape and float(np.abs(then - now).max()) < _PROBE_TOLERANCE:
        return True
    warnings.warn(
        f"{model.id} encodes text differently from when the cache was filled; building anew",
        ZsclipWarning,
        stacklevel=3,
    )
    model.cache.facts[key] = json.dumps([round(float(x), 7) for x in now])
    return False
