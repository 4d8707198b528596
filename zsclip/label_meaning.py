"""What a model makes of labels: too long, too near to each other, at odds with themselves.

How near is too near differs from model to model. So the measure is another set of classes under the
same model and templates, the ten of CIFAR-10, which are different things to everyone.

Shapes: C classes, P prompts, D feature size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zsclip import scoring
from zsclip.class_tokens import ClassTokens
from zsclip.datasets import load_dataset
from zsclip.encoders import Model
from zsclip.head_builder import chunks
from zsclip.label_check import Finding, word_of
from zsclip.labels import ClassLabel, class_label, prompts_of
from zsclip.plain_text import quoted
from zsclip.prompts import TemplateSet

Floats = npt.NDArray[np.float32]

MEASURE = "cifar10"
NEAR = 0.5
"""Of the squared distance between the two closest classes of the measure: what is nearer is too
near. With `tiny` it names couch and sofa, dog and puppy; not car and truck."""
MOST_TOKENS = 20
"""CLIP makes little of what comes behind its first 20: Long-CLIP, arXiv 2403.15378, abstract."""
DECIMALS = 6
_ROWS = 256


@dataclass(frozen=True, slots=True)
class _Encoded:
    """Classes as a model reads them.

    Attributes:
        weight: (C, D) their averages, of unit length.
        agreement: (C,) the mean cosine between two prompts of a class; 1 where it has one only.
    """

    weight: Floats
    agreement: Floats


def check_meaning(
    labels: Sequence[ClassLabel],
    *,
    model: Model,
    templates: TemplateSet,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Finding]:
    """What a model says: names too long, classes too near, prompts of one class too far apart.

    Encodes every prompt; the text cache has their averages only.

    Args:
        on_progress: called with (classes done, classes).

    Raises:
        LabelError: a label that the model cannot read at all, as when a head is built.
    """
    reader = ClassTokens(
        labels,
        model=model,
        templates=templates,
        places=[label.where for label in labels],
        truncate=True,
    )
    found = list(_long(labels, reader, model))
    of_measure = [class_label(names) for names in load_dataset(MEASURE).class_names]
    measure = _encode(of_measure, _reader(of_measure, model, templates), model, templates)
    encoded = _encode(labels, reader, model, templates, on_progress)
    closest = float((measure.weight @ measure.weight.T - np.eye(len(of_measure))).max())
    found += _near(labels, encoded, limit=1 - NEAR * (1 - closest))
    usual = float(np.median(measure.agreement))
    found += _disagreeing(labels, encoded, limit=usual - NEAR * (1 - closest))
    return found


def _reader(labels: Sequence[ClassLabel], model: Model, templates: TemplateSet) -> ClassTokens:
    return ClassTokens(labels, model=model, templates=templates, places=None, truncate=True)


def _long(labels: Sequence[ClassLabel], reader: ClassTokens, model: Model) -> Iterator[Finding]:
    """Names of more tokens than a model makes something of, and prompts that it cuts."""
    for index, label in enumerate(labels):
        before = len(reader.cut)
        reader.read([index])
        suggestion = "shorten it to what can be seen"
        if len(reader.cut) > before:
            reason = reader.cut[-1].removeprefix(f"{label.where}: ")
            message = f"{reason}, which is refused"
            yield Finding(label.label, label.where, "long", message, suggestion)
        elif label.spoken:
            longest = int(_lengths(label.spoken, model).max())
            if longest > MOST_TOKENS:
                message = f"a name of {longest} tokens; little is made of more than {MOST_TOKENS}"
                yield Finding(
                    label.label,
                    label.where,
                    "long",
                    message,
                    suggestion,
                    None,
                    longest,
                    MOST_TOKENS,
                )


def _lengths(texts: Sequence[str], model: Model) -> npt.NDArray[np.int64]:
    """Tokens (P,) of each text, without those that every text has."""
    tokens = model.tokenize(["", *texts], truncate=True)
    padding = tokens[0, -1]
    used = tokens.shape[1] - (tokens != padding)[:, ::-1].argmax(axis=1)
    lengths: npt.NDArray[np.int64] = used[1:] - used[0]
    return lengths


def _encode(
    labels: Sequence[ClassLabel],
    reader: ClassTokens,
    model: Model,
    templates: TemplateSet,
    on_progress: Callable[[int, int], None] | None = None,
) -> _Encoded:
    sizes = [len(prompts_of(label, templates)) for label in labels]
    averages, agreements = [], []
    for chunk in chunks(range(len(labels)), sizes):
        features = model.encode_text(reader.read(chunk))  # (P, D)
        ends = np.cumsum([sizes[i] for i in chunk])
        for part in np.split(features, ends[:-1]):
            averages.append(scoring.average(part))
            agreements.append(_agreement(part))
        if on_progress is not None:
            on_progress(len(averages), len(labels))
    return _Encoded(np.stack(averages), np.asarray(agreements, dtype=np.float32))


def _agreement(features: Floats) -> float:
    """The mean cosine between two different rows of unit length (P, D)."""
    count = len(features)
    if count == 1:
        return 1.0
    total = float(np.square(features.sum(axis=0, dtype=np.float64)).sum())
    return (total - count) / (count * (count - 1))


def _near(labels: Sequence[ClassLabel], encoded: _Encoded, *, limit: float) -> list[Finding]:
    """Each class with its nearest one, where that is too near; the nearest pairs come first.

    Not those that are the same word, which is told already.
    """
    pairs: dict[tuple[int, int], float] = {}
    for start in range(0, len(labels), _ROWS):
        cosines = encoded.weight[start : start + _ROWS] @ encoded.weight.T  # (rows, C)
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -1
        for row, other in zip(rows, cosines.argmax(axis=1), strict=True):
            if cosines[row, other] > limit:
                pair = (min(start + row, other), max(start + row, other))
                pairs[int(pair[0]), int(pair[1])] = float(cosines[row, other])
    return [
        Finding(
            labels[second].label,
            labels[second].where,
            "near_duplicate",
            f"{quoted(labels[first].label)} and {quoted(labels[second].label)} are nearly one to "
            f"the model: their cosine is {cosine:.3f}, over {limit:.3f}",
            "make them names of one class, or say with a context what sets them apart",
            other=labels[first].label,
            value=round(cosine, DECIMALS),
            limit=round(limit, DECIMALS),
        )
        for (first, second), cosine in sorted(pairs.items(), key=lambda item: -item[1])
        if word_of(labels[first]) != word_of(labels[second])
    ]


def _disagreeing(labels: Sequence[ClassLabel], encoded: _Encoded, *, limit: float) -> list[Finding]:
    """Classes whose prompts are farther apart than templates alone drive them; the worst first."""
    order = np.argsort(encoded.agreement, kind="stable")
    return [
        _disagreement(labels[i], float(encoded.agreement[i]), limit)
        for i in order
        if encoded.agreement[i] < limit
    ]


def _disagreement(label: ClassLabel, agreement: float, limit: float) -> Finding:
    is_single = len(label.spoken) + len(label.prompts) == 1
    suggestion = (
        "write it as captions do, or say more with a context or a second name"
        if is_single
        else "make two classes of it, in one group, or drop the name or prompt that is apart"
    )
    return Finding(
        label.label,
        label.where,
        "disagreeing_prompts",
        f"the prompts of {quoted(label.label)} mean different things to the model: their mean "
        f"cosine is {agreement:.3f}, under {limit:.3f}",
        suggestion,
        value=round(agreement, DECIMALS),
        limit=round(limit, DECIMALS),
    )
