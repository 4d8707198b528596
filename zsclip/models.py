"""One string -> which architecture, weights, preprocessing and tokenizer.

Pure data: `models.yaml` (presets, OpenAI's names) and `_data/open_clip_tags.json` (open_clip's
pretrained tags, held equal to open_clip by a test). Opens no weights, imports nothing heavy.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsclip import plain_yaml
from zsclip.data_files import DATA, TINY_FOLDER, open_clip_folder
from zsclip.errors import ModelError, UnknownNameError, UsageError

CONFIG_NAME = "open_clip_config.json"
CLIP_BPE = "clip-bpe"
# the hub's own rule
_REPO = re.compile(r"(?!.*(?:--|\.\.|\.git$))(?:\b[\w.-]+\b/)?\b[\w.-]{1,96}\b")
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class Preprocess:
    """What is done to a picture before the model sees it; open_clip's `PreprocessCfg`."""

    size: int = 224
    mean: tuple[float, ...] = _CLIP_MEAN
    std: tuple[float, ...] = _CLIP_STD
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill_color: int = 0


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from: exactly one of `folder`, `repo` and `weights_file` is set.

    Attributes:
        name: as the user named it, short (a folder's last part).
        architecture: open_clip's name; None where the folder or repository says it.
    """

    name: str
    architecture: str | None = None
    tag: str | None = None
    folder: Path | None = None
    repo: str | None = None
    weights_file: Path | None = None


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What has to be known to run a model, apart from its weights."""

    architecture: str
    model_cfg: dict[str, Any]
    preprocess: Preprocess
    context_length: int
    tokenizer: str

    @property
    def fingerprint(self) -> str:
        """sha256 of all of the architecture (activation included) that text embeddings rest on."""
        canonical = json.dumps(self.model_cfg, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


@functools.cache
def catalogue() -> dict[str, dict[str, dict[str, str]]]:
    """`presets` and `openai`: published facts per name (see the comments in models.yaml)."""
    content: dict[str, dict[str, dict[str, str]]] = plain_yaml.load(
        Path(__file__).with_name("models.yaml")
    )
    return content


@functools.cache
def open_clip_tags() -> dict[str, dict[str, Any]]:
    """open_clip's pretrained weights: `ARCH:TAG` -> repository, preprocessing, tokenizer."""
    content: dict[str, dict[str, Any]] = json.loads((DATA / "open_clip_tags.json").read_text())
    return content


def model_names() -> list[str]:
    """Every name that needs no path: presets, OpenAI's names, open_clip's `ARCH:TAG`."""
    return [*catalogue()["presets"], *catalogue()["openai"], *open_clip_tags()]


def resolve(name: str, *, weights_file: Path | None = None, tag: str | None = None) -> ModelSource:
    """Read a model name, in this order: preset, OpenAI's name, hub, folder, ARCH:TAG, ARCH.

    Args:
        weights_file: local weights for a bare architecture.
        tag: of open_clip's; lends the file its preprocessing and activation.

    Raises:
        UnknownNameError: no model has this name, or the architecture has no such tag.
        UsageError: a bare architecture without weights, weights for a model that has its own, or
            a tag without a weights file.
    """
    source = _resolve_named(name)
    if weights_file is None:
        if tag is not None:
            example = f"{source.architecture or 'ARCH'}:{tag}"
            raise UsageError(f"--tag goes with --weights FILE; {example!r} names weights by itself")
        if source.tag is None and source.folder is None and source.repo is None:
            raise UsageError(
                f"model {name!r} names an architecture but no weights",
                tip=f"use '{name}:TAG' ({', '.join(_tags(name))}) or --weights FILE",
            )
        return source
    if source.architecture is None:
        raise UsageError(f"--weights goes with an architecture; {name!r} has weights of its own")
    if tag is not None and tag not in _tags(source.architecture):
        tip = f"{source.architecture} has {', '.join(_tags(source.architecture)) or 'no tags'}"
        raise UnknownNameError("tag", tag, _tags(source.architecture), tip=tip)
    if tag is not None and source.tag not in (None, tag):
        raise UsageError(f"--tag {tag} and model {name!r}, which is of tag {source.tag}, disagree")
    return ModelSource(
        f"{source.architecture}:{weights_file.name}",
        architecture=source.architecture,
        tag=tag or source.tag,
        weights_file=weights_file,
    )


def _tags(architecture: str) -> list[str]:
    known = (key.partition(":") for key in open_clip_tags())
    return [tag for name, _, tag in known if name == architecture]


def _resolve_named(name: str) -> ModelSource:
    for group in catalogue().values():
        if name in group:
            return _from_catalogue(name, group[name])
    if name.startswith("hf-hub:"):
        repo = name.removeprefix("hf-hub:")
        if not _REPO.fullmatch(repo):
            raise UsageError(f"no repository can have the name {name!r}", tip="hf-hub:org/repo")
        return ModelSource(name, repo=repo)
    if _is_folder(name):
        return ModelSource(Path(name).resolve().name, folder=Path(name))
    if name.startswith(("./", "../", "/", "~")):
        raise UsageError(f"no model in folder {name!r}", tip=f"it needs {CONFIG_NAME} and weights")
    if name in open_clip_tags():
        return _from_tag(name, name)
    if name in architectures():
        return ModelSource(name, architecture=name)
    raise UnknownNameError(
        "model", name, [*model_names(), *architectures()], tip="'zsclip models' lists them"
    )


def _is_folder(name: str) -> bool:
    try:
        return (Path(name) / CONFIG_NAME).is_file()
    except (OSError, ValueError):  # no path can have this name
        return False


def _from_catalogue(name: str, entry: dict[str, str]) -> ModelSource:
    if "folder" in entry:
        return ModelSource(name, folder=TINY_FOLDER)
    return _from_tag(name, entry["open_clip"])


def _from_tag(name: str, arch_and_tag: str) -> ModelSource:
    architecture, _, tag = arch_and_tag.partition(":")
    repo = open_clip_tags()[arch_and_tag]["hf_hub"]
    return ModelSource(name, architecture=architecture, tag=tag, repo=repo)


@functools.cache
def architectures() -> list[str]:
    """Names of open_clip's built-in architectures, without importing it."""
    return sorted(path.stem for path in (open_clip_folder() / "model_configs").glob("*.json"))


def config_of_architecture(architecture: str, tag: str | None) -> ModelConfig:
    """Configuration of a built-in architecture with the preprocessing and activation of a tag.

    open_clip only warns where tag and architecture disagree on QuickGELU and then runs the
    architecture's; the weights were trained with the tag's. Without a tag they are those that all
    tags of the architecture have, or else open_clip's defaults (see `tags_disagree`).
    """
    if tag is None and not tags_disagree(architecture):
        tag = next(iter(_tags(architecture)), None)
    path = (open_clip_folder() / "model_configs") / f"{architecture}.json"
    model_cfg: dict[str, Any] = json.loads(path.read_text())
    facts = open_clip_tags().get(f"{architecture}:{tag}") if tag else None
    if facts is None:
        return _config(architecture, model_cfg, {})
    if facts["quick_gelu"]:
        model_cfg["quick_gelu"] = True
    return _config(architecture, model_cfg, facts)


def tags_disagree(architecture: str) -> bool:
    """Whether an architecture's tags have different preprocessing or activations."""
    configs = [config_of_architecture(architecture, tag) for tag in _tags(architecture)]
    return any(config != configs[0] for config in configs)


def config_of_folder(folder: Path) -> ModelConfig:
    """Configuration of a folder with open_clip_config.json.

    Raises:
        ModelError: the file is not such a configuration.
    """
    path = folder / CONFIG_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        model_cfg, overlay = content["model_cfg"], content.get("preprocess_cfg") or {}
        return _config(f"{folder.resolve().name}", model_cfg, overlay)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: not an open_clip configuration ({error!r})") from error


def _config(architecture: str, model_cfg: dict[str, Any], overlay: dict[str, Any]) -> ModelConfig:
    text_cfg = model_cfg["text_cfg"]
    size = model_cfg["vision_cfg"].get("image_size", 224)
    if isinstance(size, list | tuple):
        if len(set(size)) != 1:
            raise ModelError(f"{architecture}: pictures of {size} pixels are not supported")
        size = size[0]
    default = Preprocess()
    preprocess = Preprocess(
        size=size,
        mean=tuple(overlay.get("mean") or default.mean),
        std=tuple(overlay.get("std") or default.std),
        interpolation=overlay.get("interpolation") or default.interpolation,
        resize_mode=overlay.get("resize_mode") or default.resize_mode,
        fill_color=overlay.get("fill_color") or default.fill_color,
    )
    context_length = text_cfg.get("context_length", 77)
    _check_types(model_cfg, preprocess, context_length)
    if preprocess.resize_mode not in ("shortest", "squash", "longest"):
        raise ModelError(f"{architecture}: resize mode {preprocess.resize_mode!r} is not supported")
    if preprocess.interpolation not in ("bicubic", "bilinear"):
        raise ModelError(f"{architecture}: {preprocess.interpolation!r} resizing is not supported")
    return ModelConfig(
        architecture=architecture,
        model_cfg=model_cfg,
        preprocess=preprocess,
        context_length=context_length,
        tokenizer=text_cfg.get("hf_tokenizer_name") or CLIP_BPE,
    )


def _check_types(model_cfg: dict[str, Any], preprocess: Preprocess, context_length: int) -> None:
    text_cfg = model_cfg["text_cfg"]
    sizes = {
        "embed_dim": model_cfg["embed_dim"],
        "image_size": preprocess.size,
        "context_length": context_length,
        "vocab_size": text_cfg.get("vocab_size") or 1,
    }
    wrong = [name for name, size in sizes.items() if type(size) is not int or size < 1]
    for name, numbers in {"mean": preprocess.mean, "std": preprocess.std}.items():
        if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
            wrong.append(name)
    if 0 in preprocess.std:
        wrong.append("std")
    if preprocess.fill_color not in range(256):
        wrong.append("fill_color")
    kinds = {"hf_tokenizer_name": str, "hf_model_name": str, "tokenizer_kwargs": dict}
    wrong += [key for key, kind in kinds.items() if not isinstance(text_cfg.get(key), kind | None)]
    if ":" in str(model_cfg["vision_cfg"].get("timm_model_name")):
        wrong.append("timm_model_name")  # timm would ask a hub of its choice for code and weights
    if wrong:
        raise ValueError(f"{wrong[0]} has no value that can be used")


def config_of(source: ModelSource) -> ModelConfig | None:
    """Configuration of a model; None where only its repository has it."""
    if source.architecture is not None:
        return config_of_architecture(source.architecture, source.tag)
    return None if source.folder is None else config_of_folder(source.folder)


def needed_extra(config: ModelConfig) -> str | None:
    """The optional dependencies that a model needs: `pip install 'zsclip[EXTRA]'`."""
    if config.model_cfg["text_cfg"].get("hf_model_name"):
        return "hf"
    return None if config.tokenizer == CLIP_BPE else "siglip"


def require_extras(config: ModelConfig) -> None:
    """Refuse a model whose optional dependencies are not installed; opens no files.

    Raises:
        ModelError: with what to install.
    """
    extra = needed_extra(config)
    if extra is None:
        return
    tower = config.model_cfg["text_cfg"].get("hf_model_name")
    part, package = (
        (f"text tower {tower}", "transformers")
        if extra == "hf"
        else (f"tokenizer {config.tokenizer}", "tokenizers")
    )
    if importlib.util.find_spec(package) is None:
        raise ModelError(
            f"{config.architecture}: its {part} needs {package}",
            tip=f"pip install 'zsclip[{extra}]'",
        )
