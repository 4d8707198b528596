"""Tokenizers of models without CLIP's BPE: SigLIP, CLIPA, MetaCLIP 2, XLM-R, NLLB and others.

Reads their `tokenizer.json` with the small `tokenizers` wheel and does what open_clip's HFTokenizer
does through transformers (the test holds them equal), with the two refusals of `tokenizer.py`.
Only a vocabulary that has no such file (mT5's) is converted by transformers.

Shapes: P prompts, L context length.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zsclip import hub
from zsclip.errors import ModelError, NotFetchedError, TextError
from zsclip.models import require_extras
from zsclip.tokenizer import check_options, clean
from zsclip.weights import LocalModel, digest

FILE_NAME = "tokenizer.json"
SETTINGS_NAME = "tokenizer_config.json"
_COMPANIONS = ("special_tokens_map.json", SETTINGS_NAME)  # the second has the last word
_OF_SENTENCEPIECE = ("added_tokens.json", "config.json")
_FILE_NAMES = (FILE_NAME, "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
_DEFAULT_LANGUAGE = "eng_Latn"
# what transformers' classes call them where no file does; the first that the vocabulary has
_USUAL_NAMES = {
    "pad_token": ("<pad>", "[PAD]"),
    "sep_token": ("[SEP]", "</s>"),
    "unk_token": ("<unk>", "[UNK]"),
    "eos_token": ("</s>",),
}


class HuggingFaceTokenizer:
    """A vocabulary, with the special tokens and the padding that a model was trained with."""

    def __init__(
        self,
        backend: Any,
        context_length: int,
        *,
        settings: Mapping[str, Any],
        options: Mapping[str, Any],
        mode: str | None = None,
    ) -> None:
        """Set up a tokenizer.

        Args:
            backend: a `tokenizers.Tokenizer`.
            settings: what tokenizer_config.json says: names of tokens, sides.
            options: `tokenizer_kwargs` of the model's configuration.
            mode: `tokenizer_mode` of the model's configuration: None or `clips`.

        Raises:
            ModelError: an option or mode that is not known, or a token without a name.
        """
        # not `language`, which has no effect in open_clip: transformers undoes it at each call
        check_options(options, "clean", "strip_sep_token")
        if mode not in (None, "", "clips"):
            raise ModelError(f"the tokenizer mode {mode!r} is not supported")
        self.context_length = context_length
        self._backend, self._settings = backend, settings
        self._clean = options.get("clean", "whitespace")
        self._cut_side = settings.get("truncation_side", "right")
        self._pad = self._number("pad_token")
        self._pad_left = _padding_side(backend, settings) == "left"
        self._blank = self._number("sep_token") if options.get("strip_sep_token") else None
        self._unknown = self._find("unk_token")
        self._special = self._special_numbers()
        backend.no_padding()
        backend.no_truncation()
        self._set_frame()
        self._added = backend.num_special_tokens_to_add(False)
        self._clips: tuple[int, ...] = ()
        if mode == "clips":
            names = ("bos_token", "eos_token", "cls_token")
            self._clips = tuple(self._number(name) for name in names)
            self._added = len(names)

    def __call__(self, texts: Sequence[str], *, truncate: bool = False) -> npt.NDArray[np.int64]:
        cleaned = [clean(text, self._clean) for text in texts]
        encodings = self._backend.encode_batch(cleaned, add_special_tokens=False)
        tokens = np.full((len(texts), self.context_length), self._pad, dtype=np.int64)
        for row, (text, encoding) in enumerate(zip(cleaned, encodings, strict=True)):
            self._refuse_special(row, text, encoding.ids)
            length = len(encoding.ids) + self._added
            if length > self.context_length:
                if not truncate:
                    raise TextError(row, f"has {length} > {self.context_length} tokens")
                self._cut(encoding)
            self._fill(tokens[row], encoding)
        return tokens

    def _cut(self, encoding: Any) -> None:
        side = "right" if self._clips else self._cut_side
        encoding.truncate(self.context_length - self._added, direction=side)

    def _fill(self, row: npt.NDArray[np.int64], encoding: Any) -> None:
        if self._clips:  # open_clip's `clips`: the class token stands at the very end
            start, end, last = self._clips
            row[: len(encoding.ids) + 2] = [start, *encoding.ids, end]
            row[-1] = last
            return
        numbers = self._backend.post_process(encoding).ids
        row[-len(numbers) if self._pad_left else 0 :][: len(numbers)] = numbers
        if self._blank is not None:
            row[row == self._blank] = 0

    def _refuse_special(self, row: int, text: str, numbers: Sequence[int]) -> None:
        found = self._special.intersection(numbers)
        names = [self._backend.id_to_token(number) for number in found]
        if self._unknown is not None and self._unknown in text:
            names.append(self._unknown)  # by name: text of an unknown script has its number, too
        if names:
            raise TextError(row, f"has the model's special token {min(names)!r} inside")

    def _special_numbers(self) -> frozenset[int]:
        """Numbers that only the tokenizer itself may set."""
        added = self._backend.get_added_tokens_decoder()
        names = {token.content for token in added.values() if token.special}
        for key in ("pad_token", "bos_token", "eos_token", "cls_token", "sep_token"):
            names.add(self._find(key))
        numbers = (self._backend.token_to_id(name) for name in names - {None, self._unknown})
        return frozenset(number for number in numbers if number is not None)

    def _set_frame(self) -> None:
        """Put NLLB's language in front of the text: tokenizer.json of 2022 has it at the end."""
        settings = self._settings
        if str(settings.get("tokenizer_class")).removesuffix("Fast") != "NllbTokenizer":
            return
        from tokenizers.processors import TemplateProcessing

        language, end = settings.get("src_lang") or _DEFAULT_LANGUAGE, self._name("eos_token")
        number = self._backend.token_to_id(language)
        if number is None:
            raise ModelError(f"the tokenizer knows no language {language!r}")
        legacy = settings.get("legacy_behaviour")
        self._backend.post_processor = TemplateProcessing(
            single=["$A", end, language] if legacy else [language, "$A", end],
            special_tokens=[(language, number), (end, self._number("eos_token"))],
        )

    def _find(self, key: str) -> str | None:
        """What a special token is called here: `pad_token` -> `<pad>`."""
        name = self._settings.get(key)
        if isinstance(name, Mapping):
            name = name.get("content")
        names = [name] if name else _USUAL_NAMES.get(key, ())
        return next((n for n in names if self._backend.token_to_id(n) is not None), None)

    def _name(self, key: str) -> str:
        name = self._find(key)
        if name is None:
            raise ModelError(f"the tokenizer has no {key}, which its model needs")
        return name

    def _number(self, key: str) -> int:
        return int(self._backend.token_to_id(self._name(key)))


def _padding_side(backend: Any, settings: Mapping[str, Any]) -> str:
    default = "left" if "Gemma" in str(settings.get("tokenizer_class")) else "right"
    side = settings.get("padding_side") or (backend.padding or {}).get("direction") or default
    return str(side)


def load(model: LocalModel) -> HuggingFaceTokenizer:
    """Load the tokenizer that a model's configuration names.

    Raises:
        NotFetchedError: its files are not on this machine and cannot be fetched.
        ModelError: a package is missing, or the files are damaged.
    """
    config = model.config
    require_extras(config)
    path = find(model)
    backend, settings = _read(path) if path.name == FILE_NAME else _convert(path, config.tokenizer)
    text_cfg = config.model_cfg["text_cfg"]
    return HuggingFaceTokenizer(
        backend,
        config.context_length,
        settings=settings,
        options=text_cfg.get("tokenizer_kwargs") or {},
        mode=text_cfg.get("tokenizer_mode"),
    )


def identity(model: LocalModel, digests: MutableMapping[str, str] | None = None) -> str:
    """The tokenizer's name and the digests of its files, which tell it from any other."""
    path = find(model)
    files = (path, *(path.with_name(name) for name in _companions(path)))
    known = (f"{file.name}={digest(file, digests)}" for file in files if file.is_file())
    return " ".join([model.config.tokenizer, *known])


def _companions(path: Path) -> tuple[str, ...]:
    """Files that may lie beside a vocabulary and change its tokens; transformers reads two more."""
    return _COMPANIONS if path.name == FILE_NAME else (*_COMPANIONS, *_OF_SENTENCEPIECE)


def find(model: LocalModel) -> Path:
    """The file with the vocabulary of a model's tokenizer; its settings lie beside it.

    A folder has its own, as open_clip wants it; any other model's is on the hub.

    Raises:
        NotFetchedError: it is not on this machine and cannot be fetched.
        ModelError: the folder or the repository has no tokenizer.
    """
    folder = model.source.folder
    if folder is None:
        where, path = f"hf-hub:{model.config.tokenizer}", _find_on_hub(model)
    else:
        where, paths = str(folder), (folder / name for name in _FILE_NAMES)
        path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise ModelError(f"{where} has no {FILE_NAME}", tip="the model needs its tokenizer's files")
    return path


def _find_on_hub(model: LocalModel) -> Path | None:
    """The first such file that is in the cache, or else on the hub, with what belongs to it."""
    repo, offline = model.config.tokenizer, model.offline
    revision = model.revision if repo == model.source.repo else None
    cached = (hub.cached(repo, name, revision=revision) for name in _FILE_NAMES)
    path = next((found for found in cached if found is not None), None)
    for name in _FILE_NAMES if path is None else ():
        try:
            path = hub.fetch(repo, name, revision=revision, offline=offline)
            break
        except hub.MissingFileError:
            continue
    if path is None:
        return None
    if path.name != FILE_NAME:  # that alone may be in the cache, left by another program
        with contextlib.suppress(NotFetchedError):
            path = hub.fetch(repo, FILE_NAME, revision=path.parent.name, offline=offline)
    for name in _companions(path):  # of the same commit
        with contextlib.suppress(hub.MissingFileError):
            hub.fetch(repo, name, revision=path.parent.name, offline=offline)
    return path


def _read(path: Path) -> tuple[Any, dict[str, Any]]:
    """A `tokenizers.Tokenizer` and what the files beside it say of it."""
    import tokenizers

    settings: dict[str, Any] = {}
    try:
        for other in _COMPANIONS:
            beside = path.with_name(other)
            if beside.is_file():
                settings.update(json.loads(beside.read_text(encoding="utf-8")))
        return tokenizers.Tokenizer.from_file(str(path)), settings
    except Exception as error:  # tokenizers raises no class of its own
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: not a tokenizer that can be read: {reason}") from error


def _convert(path: Path, name: str) -> tuple[Any, dict[str, Any]]:
    """The same of a SentencePiece model, which transformers turns into such a tokenizer."""
    try:
        import sentencepiece  # noqa: F401  # transformers asks for it late, and not in one line
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ModelError(
            f"the tokenizer {name} has no {FILE_NAME}, only {path.name}, which needs transformers",
            tip="pip install 'zsclip[hf]'",
        ) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path.parent), local_files_only=True)
        settings = {**tokenizer.init_kwargs, **tokenizer.special_tokens_map}
        settings["tokenizer_class"] = type(tokenizer).__name__
        settings["padding_side"] = tokenizer.padding_side
        settings["truncation_side"] = tokenizer.truncation_side
        return tokenizer.backend_tokenizer, settings
    except Exception as error:  # transformers raises many kinds, all mean the same here
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: not a tokenizer that can be read: {reason}") from error
