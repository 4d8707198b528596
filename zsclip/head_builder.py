"""Make a head from words: prompts, encoded and averaged per class, by way of the text cache.

A class that is in the cache is not encoded again; what is encoded goes into the cache chunk by
chunk, so that a run that is killed loses little, and prompts take memory for one chunk only.
Shapes: C classes, P prompts, D feature size.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zsclip import prompts, scoring
from zsclip.cache import Row, key_of
from zsclip.class_tokens import ClassTokens
from zsclip.encoders import PROBE_TEXT, Model
from zsclip.errors import LabelError, ZsclipWarning
from zsclip.heads import Head, Provenance
from zsclip.labels import ClassLabel, check_class, class_label, prompts_of
from zsclip.loading import load_model
from zsclip.prompts import TemplateSet

Floats = npt.NDArray[np.float32]

TEXT_PIPELINE_VERSION = 1
CHUNK_PROMPTS = 4000
"""Prompts that are encoded before their classes go into the cache (always whole classes).

They share a token tree: chunks of 20,000 would save 2 % of ImageNet's nodes, and lose five times
as much when the run is killed."""
_PROBE_TOLERANCE = 1e-4
_ROUNDING = 1e-5
_MOST_NEIGHBOURS = 200


@dataclass(frozen=True, slots=True)
class Built:
    """A head and how many of its classes came from the cache."""

    head: Head
    cached: int


def build(
    class_names: Sequence[Sequence[str] | ClassLabel],
    *,
    model: Model,
    templates: TemplateSet,
    truncate: bool = False,
    places: Sequence[str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Built:
    """Build a head from words; classes that are in the cache are not encoded again.

    Args:
        class_names: per class its names, whose prompts are averaged and of which the first is
            shown, or all that is said of it.
        truncate: cut prompts that are too long for the model instead of refusing them.
        places: per class where a person typed it, for messages (`animals.txt: line 3`). Given
            these, different names with equal tokens get a warning; data sets may have such.
        on_progress: called with (classes done, classes to encode).

    Raises:
        LabelError: no classes, a name that is empty to the model, or a prompt that it cannot read
            whole.
    """
    if not class_names:
        raise LabelError("no labels", tip="name some with --labels cat,dog")
    classes = [class_label(names) for names in class_names]
    prompts.warn_about_articles([n for one in classes for n in one.spoken[:1]], templates)
    reader = ClassTokens(
        classes, model=model, templates=templates, places=places, truncate=truncate
    )
    common = _key_parts(model, truncate)
    keys = [key_of({**common, "prompts": prompts_of(one, templates)}) for one in classes]
    vectors = model.cache.load(keys, dimension=model.dimension)
    missing = {key: i for i, key in enumerate(keys) if key not in vectors}
    if missing and not probe_agrees(model):
        _start_anew(model)
        vectors, missing = {}, {key: i for i, key in enumerate(keys)}
    if missing and on_progress is not None:
        on_progress(0, len(missing))
    cached = sum(key in vectors for key in keys)
    done = 0
    sizes = [len(o.spoken) * len(templates.templates) + len(o.prompts) for o in classes]
    for chunk in chunks(list(missing.values()), sizes):
        features = model.encode_text(reader.read(chunk))  # (P, D)
        ends = np.cumsum([sizes[i] for i in chunk])
        averages = [scoring.average(part) for part in np.split(features, ends[:-1])]
        rows = [
            Row(keys[i], model.id, classes[i].label, vector)
            for i, vector in zip(chunk, averages, strict=True)
        ]
        model.cache.save(rows)
        vectors.update((row.key, row.vector) for row in rows)
        done += len(rows)
        if on_progress is not None:
            on_progress(done, len(missing))
    reader.warn_about_cuts()
    weight = np.stack([vectors[key] for key in keys])  # (C, D)
    if places is not None:
        reader.warn_about_equal(_twins(weight))
    return Built(_assemble(weight, classes, model, templates), cached)


def build_head(
    labels: Sequence[str | Sequence[str] | ClassLabel],
    *,
    model: str | Model = "default",
    templates: str | Sequence[str] | TemplateSet = prompts.DEFAULT_TEMPLATES,
    truncate: bool = False,
    engine: str | None = None,
    device: str = "auto",
    cache_dir: Path | str | None = None,
) -> Head:
    """Build a head from class names.

    Args:
        labels: class names; a class with several names is a list of them, averaged, and one with
            prompts of its own, a context, a group or a threshold is a ClassLabel.
        model: a name (see `load_model`) or a loaded model.
        templates: name or file of a template set, or the templates themselves.
        truncate: cut prompts that are too long for the model instead of refusing them.
        engine: as for `load_model`; so are `device` and `cache_dir`.

    Raises:
        UsageError: labels, templates or names that cannot be understood.
        ModelError: the model cannot be loaded.
    """
    if isinstance(labels, str):
        raise LabelError(f"labels is one text, {labels!r}", tip="pass a list of class names")
    if isinstance(model, str):
        model = load_model(model, engine=engine, device=device, cache_dir=cache_dir)
    if isinstance(templates, str):
        templates = prompts.load_templates(templates)
    elif not isinstance(templates, TemplateSet):
        templates = prompts.templates_from_texts(templates)
    classes = [class_label(names, where=f"labels[{i}]") for i, names in enumerate(labels)]
    for one in classes:
        check_class(one)
    places = [one.where or f"labels[{i}]" for i, one in enumerate(classes)]
    return build(classes, model=model, templates=templates, truncate=truncate, places=places).head


def _assemble(
    weight: Floats, classes: Sequence[ClassLabel], model: Model, templates: TemplateSet
) -> Head:
    groups = tuple(one.group for one in classes)
    thresholds = tuple(one.threshold for one in classes)
    return Head(
        weight=weight,
        bias=np.full(len(classes), model.logit_bias or 0.0, dtype=np.float32),
        class_names=tuple(one.label for one in classes),
        groups=groups if any(group is not None for group in groups) else (),
        thresholds=thresholds if any(limit is not None for limit in thresholds) else (),
        scale=model.logit_scale,
        score_kind=model.choose_kind(),
        provenance=Provenance.of(
            model, templates_name=templates.name, templates=templates.templates
        ),
    )


def _key_parts(model: Model, truncate: bool) -> dict[str, object]:
    """What is in the key of every class; its prompts come to it."""
    config = model.local.config
    return {
        "weights": model.local.digest,
        "architecture": config.fingerprint,
        "tokenizer": model.text_files_id,
        "context_length": config.context_length,
        "pipeline": TEXT_PIPELINE_VERSION,
        "truncate": truncate,
    }


def chunks(indices: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    """Whole classes, at most CHUNK_PROMPTS prompts together where a class allows it."""
    found: list[list[int]] = []
    size = CHUNK_PROMPTS
    for index in indices:
        if size + sizes[index] > CHUNK_PROMPTS:
            found.append([])
            size = 0
        found[-1].append(index)
        size += sizes[index]
    return found


def _twins(weight: Floats) -> list[int]:
    """Rows that differ from another one by rounding only, in order.

    Classes with equal tokens have such rows; they may come from different chunks, runs or engines.
    Rows are compared with their neighbours along the first feature, so that memory and time stay
    small for any number of classes.
    """
    order = weight[:, 0].argsort()
    found: set[int] = set()
    for gap in range(1, min(len(order), _MOST_NEIGHBOURS)):
        first, second = order[:-gap], order[gap:]
        is_near = weight[second, 0] - weight[first, 0] < _ROUNDING
        if not is_near.any():  # still less are those with more between them
            break
        first, second = first[is_near], second[is_near]
        for column in weight.T:
            is_near = np.abs(column[first] - column[second]) < _ROUNDING
            first, second = first[is_near], second[is_near]
        found.update(first.tolist(), second.tolist())
    return sorted(found)


def probe_agrees(model: Model) -> bool:
    """Whether the text encoder still answers as it did when the cache was filled.

    The embedding of PROBE_TEXT is compared with the one in the cache, which is set at the first
    time and never changed here.
    """
    now = model.encode_text(model.tokenize([PROBE_TEXT], truncate=True))[0]
    known = model.cache.facts.setdefault(_probe_key(model), json.dumps(now.tolist()))
    then = np.asarray(json.loads(known), dtype=np.float32)
    return then.shape == now.shape and float(np.abs(then - now).max()) < _PROBE_TOLERANCE


def _probe_key(model: Model) -> str:
    return f"probe|{model.local.digest}|{model.local.config.fingerprint}|{model.text_files_id}"


def _start_anew(model: Model) -> None:
    """Forget every row of these weights: rows of other heads are as doubtful as this one's."""
    warnings.warn(
        f"{model.id} encodes text differently from when the cache was filled; building anew",
        ZsclipWarning,
        stacklevel=3,
    )
    model.cache.forget(model.local.digest)
    model.cache.facts.pop(_probe_key(model), None)
    probe_agrees(model)  # remembers the new answer
