"""Classes as a model's tokens; what the model cannot read whole is refused, with its place.

Knows nothing about features or caches. Shapes: P prompts, L context length.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from zsclip.encoders import Model
from zsclip.errors import LabelError, TextError, ZsclipWarning
from zsclip.labels import ClassLabel, prompts_of
from zsclip.plain_text import quoted
from zsclip.prompts import TemplateSet

Integers = npt.NDArray[np.int64]

_PAIRS_NAMED = 5


class ClassTokens:
    """Reads classes, put into templates, with a model's tokenizer.

    Args:
        places: per class where it was typed, for messages (`animals.txt: line 3`).
        truncate: cut prompts that are too long instead of refusing them.

    Attributes:
        cut: for each class that was cut so far, why.
    """

    def __init__(
        self,
        classes: Sequence[ClassLabel],
        *,
        model: Model,
        templates: TemplateSet,
        places: Sequence[str] | None,
        truncate: bool,
    ) -> None:
        self._classes = classes
        self._model = model
        self._templates = templates
        self._places = places
        self._truncate = truncate
        self.cut: list[str] = []

    def read(self, classes: Sequence[int]) -> Integers:
        """Tokens (P, L) of all prompts of some classes, one class after the other.

        Raises:
            LabelError: a name that is empty to the model, or a prompt that has a special token or
                is too long.
        """
        self._check_names(classes)
        class_prompts = [prompts_of(self._classes[i], self._templates) for i in classes]
        try:
            return self._model.tokenize(itertools.chain.from_iterable(class_prompts))
        except TextError:  # one class after the other, to find which
            return np.concatenate(
                [self._read_one(i, texts) for i, texts in zip(classes, class_prompts, strict=True)]
            )

    def _check_names(self, classes: Sequence[int]) -> None:
        """Refuse a text of which cleaning leaves nothing, or that has a special token."""
        owners = [(i, "label", name) for i in classes for name in self._classes[i].spoken]
        owners += [(i, "prompt", text) for i in classes for text in self._classes[i].prompts]
        try:
            tokens = self._model.tokenize(["", *(text for _, _, text in owners)], truncate=True)
        except TextError as error:
            index, what, text = owners[error.index - 1]
            raise LabelError(f"{self._place(index)}{what} {quoted(text)} {error}") from error
        empty = (tokens[1:] == tokens[0]).all(axis=1)
        if empty.any():
            index, what, text = owners[empty.argmax()]
            raise LabelError(
                f"{self._place(index)}{what} {quoted(text)} is empty once the model has cleaned it"
            )

    def _read_one(self, index: int, texts: Sequence[str]) -> Integers:
        try:
            return self._model.tokenize(texts)
        except TextError as error:
            refusal = error
        try:
            tokens = self._model.tokenize(texts, truncate=True)
        except TextError as error:  # not for its length
            raise LabelError(self._describe(index, error)) from error
        if not self._truncate:
            raise LabelError(
                self._describe(index, refusal),
                tip="shorten the label or its template; --truncate cuts prompts that are too long",
            ) from refusal
        self.cut.append(self._describe(index, refusal))
        return tokens

    def _describe(self, index: int, error: TextError) -> str:
        """`animals.txt: line 3: label 'cat' in template 'a {}' has 93 > 77 tokens`."""
        templates, spoken = self._templates.templates, self._classes[index].spoken
        number, template = divmod(error.index, len(templates))
        if number >= len(spoken):
            own = self._classes[index].prompts[error.index - len(spoken) * len(templates)]
            return f"{self._place(index)}prompt {quoted(own)} {error}"
        what = f"label {quoted(spoken[number])} in template {quoted(templates[template])}"
        return f"{self._place(index)}{what} {error}"

    def _place(self, index: int) -> str:
        return "" if self._places is None else f"{self._places[index]}: "

    def warn_about_cuts(self) -> None:
        """Warn of the classes that were cut, if any."""
        if self.cut:
            more = f"; so are {len(self.cut) - 1:,} more labels" if len(self.cut) > 1 else ""
            warnings.warn(f"{self.cut[0]}; cut{more}", ZsclipWarning, stacklevel=4)

    def warn_about_equal(self, classes: Iterable[int]) -> None:
        """Warn of those that are different classes and have equal tokens."""
        firsts: dict[bytes, int] = {}
        pairs = []
        for index in classes:
            first = firsts.setdefault(self.read([index]).tobytes(), index)
            if self._classes[first] != self._classes[index]:
                pairs.append(f"{self._named(first)} and {self._named(index)}")
        if pairs:
            more = f"; {len(pairs) - _PAIRS_NAMED:,} more" if len(pairs) > _PAIRS_NAMED else ""
            warnings.warn(
                "labels with equal tokens, which the model cannot tell apart: "
                f"{'; '.join(pairs[:_PAIRS_NAMED])}{more}",
                ZsclipWarning,
                stacklevel=4,
            )

    def _named(self, index: int) -> str:
        place = "" if self._places is None else f" ({self._places[index]})"
        return f"{quoted(self._classes[index].label)}{place}"
