"""An open_clip model whose every value comes from one weights file, or the reason why it cannot be.

The model is built without memory of its own (torch's `meta` device) and takes the mapped tensors
of a safetensors file as they are, cast to fp32: no random numbers are drawn that the file would
replace. Where a part cannot be made so, it is built the ordinary way. Knows nothing about pictures.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsclip import hub
from zsclip.engines import checkpoint
from zsclip.engines.checkpoint import State
from zsclip.errors import ModelError
from zsclip.models import require_extras
from zsclip.weights import LocalModel


@dataclass(frozen=True, slots=True)
class Loaded:
    """An open_clip model with all its weights, and what people should know about them."""

    net: Any
    notes: tuple[str, ...]


def load(model: LocalModel) -> Loaded:
    """The open_clip model on the CPU in fp32, for inference only.

    Branches that were trained side by side (MobileCLIP) are folded into one, which changes results
    by rounding alone.

    Raises:
        ModelError: an extra is missing, or the file is damaged or does not fit the architecture.
    """
    require_extras(model.config)
    text_tower = text_tower_folder(model)
    with silence():
        frame = _create_frame(model, text_tower)
        state = checkpoint.read(model)
        if _faults(state, frame.state_dict()):
            state, notes = _as_open_clip_names_it(state, frame)
        else:
            notes = []
        faults = _faults(state, frame.state_dict())
        if faults:
            raise ModelError(f"{model.weights} does not fit {model.config.architecture}: {faults}")
        filled = _fill(frame, state)
        if not filled:
            frame = _create(model, "cpu", text_tower)
            frame.load_state_dict(state, strict=True)
        frame = _fold_branches(frame.eval())
    return Loaded(frame, tuple(f"{model.weights}: {note}" for note in notes))


@contextmanager
def silence() -> Iterator[None]:
    """No log lines or warnings of others: open_clip warns of random weights before ours are in."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


# the empty model


def text_tower_folder(model: LocalModel) -> str | None:
    """The folder with the configuration of a text tower of transformers, fetched at first use.

    Raises:
        NotFetchedError: it is not on this machine and cannot be fetched.
    """
    name: str | None = model.config.model_cfg["text_cfg"].get("hf_model_name")
    if name is None or (model.source.folder is not None and Path(name).is_dir()):
        return name  # of a folder alone: open_clip's `roberta-base` is never one of this directory
    return str(hub.fetch(name, "config.json", offline=model.offline).parent)


def _create_frame(model: LocalModel, text_tower: str | None) -> Any:
    """The model without memory for its weights, or with random ones where that is impossible."""
    try:
        return _create(model, "meta", text_tower)
    except ModelError:
        return _create(model, "cpu", text_tower)


def _create(model: LocalModel, device: str, text_tower: str | None) -> Any:
    import open_clip
    import torch

    config = model.config
    name = config.architecture
    if model.source.architecture is None:
        name = f"local-dir:{model.weights.parent}"
    changes: dict[str, Any] = {}
    if text_tower is not None:
        own = {"hf_model_name": text_tower, "hf_model_pretrained": False}
        changes["text_cfg"] = {**config.model_cfg["text_cfg"], **own}
    try:
        with torch.device(device):
            return open_clip.create_model(
                name,
                device=device,
                load_weights=False,
                pretrained_text=False,
                force_quick_gelu=bool(config.model_cfg.get("quick_gelu")),
                **changes,
            )
    except Exception as error:  # open_clip and timm raise many kinds, all mean the same here
        reason = " ".join(str(error).split())[:300]
        tip = "pip install 'zsclip[hf]'" if "install transformers" in reason else None
        raise ModelError(f"{config.architecture} cannot be built: {reason}", tip=tip) from error


# its weights


def _faults(state: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Why weights do not fill a model, in one line; empty if they do."""
    shared = [name for name in wanted if name in state]
    reasons = []
    if missing := [name for name in wanted if name not in state]:
        reasons.append(f"{len(missing)} {_keys(missing)} missing, e.g. {missing[0]}")
    if unexpected := [name for name in state if name not in wanted]:
        reasons.append(f"{len(unexpected)} unexpected, e.g. {unexpected[0]}")
    if other := [name for name in shared if state[name].shape != wanted[name].shape]:
        shapes = f"{tuple(state[other[0]].shape)}, not {tuple(wanted[other[0]].shape)}"
        more = f" (and {len(other) - 1} more)" if len(other) > 1 else ""
        reasons.append(f"shape of {other[0]} is {shapes}{more}")
    for name in shared:
        if state[name].is_floating_point() != wanted[name].is_floating_point():
            reasons.append(f"{name} holds {state[name].dtype}, not {wanted[name].dtype}")
            break
    return "; ".join(reasons)


def _keys(names: list[str]) -> str:
    return "key" if len(names) == 1 else "keys"


def _as_open_clip_names_it(state: State, frame: Any) -> tuple[State, list[str]]:
    """Weights of other programs and older versions, renamed and resized as open_clip does.

    The steps of `open_clip.factory.load_checkpoint`, in its order.

    Returns:
        The weights (as they were, if a step fails), and what people should know about them.
    """
    from open_clip.convert import convert_state_dict
    from open_clip.model import (
        convert_to_custom_text_state_dict,
        resize_pos_embed,
        resize_text_pos_embed,
    )

    wanted = frame.state_dict()
    try:
        new = convert_state_dict(frame, dict(state))
        if "positional_embedding" in new and not hasattr(frame, "positional_embedding"):
            new = convert_to_custom_text_state_dict(new)
        for name in ("logit_scale", "logit_bias"):  # a number, or a list of one
            if name in new and name in wanted and new[name].numel() == 1:
                new[name] = new[name].reshape(wanted[name].shape)
        without_bias = "logit_bias" in wanted and "logit_bias" not in new
        if without_bias:
            new["logit_bias"] = new["logit_scale"].new_zeros(wanted["logit_bias"].shape)
        new.pop("text.transformer.embeddings.position_ids", None)  # of transformers before 4.31
        before = dict(new)
        resize_pos_embed(new, frame)
        resize_text_pos_embed(new, frame)
    except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return state, []
    notes = [
        f"made for another input size: {name} is resized from {tuple(before[name].shape)} "
        f"to {tuple(new[name].shape)}, as open_clip does"
        for name in before
        if before[name].shape != new[name].shape
    ]
    if without_bias:
        notes.append("has no logit_bias; 0 is taken, as open_clip does: sigmoid scores mean little")
    return new, notes


def _fill(frame: Any, state: State) -> bool:
    """Give a model its weights in fp32; False where a part of it stays without memory."""
    wanted = frame.state_dict()
    cast = {name: tensor.to(wanted[name].dtype) for name, tensor in state.items()}
    frame.load_state_dict(cast, strict=True, assign=True)
    for module in frame.modules():
        if not _fill_buffers(module):
            return False
    return not any(tensor.is_meta for tensor in (*frame.parameters(), *frame.buffers()))


def _fill_buffers(module: Any) -> bool:
    """Compute what a module does not keep in its weights file: masks, rotary positions."""
    import torch
    from open_clip.coca_model import MultimodalTransformer
    from open_clip.model import CLIP
    from open_clip.transformer import TextTransformer

    empty = {name: b for name, b in module.named_buffers(recurse=False) if b.is_meta}
    if not empty:
        return True
    if isinstance(module, CLIP | TextTransformer | MultimodalTransformer) and [*empty] == [
        "attn_mask"
    ]:
        causal = torch.full(module.attn_mask.shape, float("-inf"))
        module.attn_mask = causal.triu_(1)
        return True
    fill = getattr(module, "init_non_persistent_buffers", None)  # timm's own, since 1.0.24
    if fill is None or not all(buffer.is_floating_point() for buffer in empty.values()):
        return False
    for name, buffer in empty.items():  # NaN: what timm left out would show in every result
        setattr(module, name, torch.full_like(buffer, float("nan"), device="cpu"))
    fill()
    return True


def _fold_branches(model: Any) -> Any:
    from open_clip.timm_model import TimmModel
    from timm.utils.model import reparameterize_model

    if isinstance(model.visual, TimmModel):
        model.visual = reparameterize_model(model.visual, inplace=True)
    return model
