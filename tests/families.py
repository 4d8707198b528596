"""Every architecture family of open_clip, small, with random weights, as a folder.

A family is an architecture of open_clip's with fewer layers and channels; all that makes it a
family of its own (towers, pooling, masks, activations, biases, preprocessing) stays. Statistics,
gains, scale and bias are random too, so that no error in them can hide behind a default.
Not a test: `test_families.py` and `docs/make_models_table.py` measure with it.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zsclip.classifier import Classifier
from zsclip.encoders import Model
from zsclip.head_builder import build_head
from zsclip.models import CLIP_BPE, CONFIG_NAME, config_of_architecture

LABELS = ("cat", "dog", "snow leopard", "T-shirt", "boat at sea")
TEMPLATES = ("a photo of a {}.", "a blurry photo of many {}.", "{}")


@dataclass(frozen=True, slots=True)
class Family:
    """A family and the architecture and tag that stand for it.

    Attributes:
        reference: the class of transformers that runs the same weights, where there is one.
        special: tokens of start (None: none), end and padding, for tokenizers other than CLIP's.
    """

    name: str
    architecture: str
    tag: str
    reference: str | None = None
    special: tuple[int | None, int, int] = (0, 2, 1)


FAMILIES = (
    Family("CLIP, ResNet", "RN50", "openai"),
    Family("CLIP, ViT, QuickGELU", "ViT-B-32", "openai", "CLIPModel"),
    Family("CLIP, ViT", "ViT-B-32", "laion2b_s34b_b79k", "CLIPModel"),
    Family("MetaCLIP 2", "ViT-H-14-worldwide", "metaclip2_worldwide", "MetaClip2Model"),
    Family("CLIPA", "ViT-L-14-CLIPA", "datacomp1b", None, (2, 3, 0)),
    Family("CoCa", "coca_ViT-B-32", "laion2b_s13b_b90k"),
    Family("ConvNeXt", "convnext_base_w", "laion2b_s13b_b82k"),
    Family("ConvNeXt, MLP", "convnext_large_d", "laion2b_s26b_b102k_augreg"),
    Family("EVA-01", "EVA01-g-14", "laion400m_s11b_b41k"),
    Family("EVA-02", "EVA02-B-16", "merged2b_s8b_b131k"),
    Family("EVA-02, enormous", "EVA02-E-14", "laion2b_s4b_b115k"),
    Family("MobileCLIP", "MobileCLIP2-S0", "dfndr2b"),
    Family("MobileCLIP, 5 stages", "MobileCLIP2-S3", "dfndr2b"),
    Family("MobileCLIP, hybrid", "MobileCLIP2-B", "dfndr2b"),
    Family("MobileCLIP, ViT-L", "MobileCLIP2-L-14", "dfndr2b"),
    Family("PE-Core", "PE-Core-B-16", "meta"),
    Family("SigLIP", "ViT-B-16-SigLIP", "webli", "SiglipModel", (None, 1, 1)),
    Family("SigLIP, no projection", "ViT-SO400M-16-SigLIP-i18n-256", "webli", None,
        (None, 1, 1),
    ),
    Family("SigLIP 2", "ViT-B-16-SigLIP2", "webli", "SiglipModel", (None, 1, 0)),
    Family("SigLIP 2, giant", "ViT-gopt-16-SigLIP2-256", "webli",
        "SiglipModel", (None, 1, 0),
    ),
    Family("ViTamin", "ViTamin-S", "datacomp1b"),
    Family("RoBERTa text", "roberta-ViT-B-32", "laion2b_s12b_b32k"),
    Family("XLM-RoBERTa text", "xlm-roberta-base-ViT-B-32", "laion5b_s13b_b90k"),
    Family("mT5 text", "mt5-base-ViT-B-32", "", None, (None, 1, 0)),
    Family("NLLB text", "nllb-clip-base", "v1"),
    Family("NLLB text, SigLIP", "nllb-clip-base-siglip", "mrl"),
)  # fmt: skip

# what is made small in a tower of timm, by the start of its name; the first that fits counts
_VIT = {"embed_dim": 32, "depth": 2, "num_heads": 2}
SMALL_TIMM: dict[str, dict[str, Any]] = {
    "convnext": {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)},
    "eva02_base": {**_VIT, "img_size": 32},
    "eva": {**_VIT, "img_size": 28},
    "fastvit_mci0": {"layers": (1, 1, 1, 1), "embed_dims": (16, 32, 64, 128)},
    "fastvit_mci3": {"layers": (1, 1, 1, 1, 1), "embed_dims": (16, 32, 64, 128, 256)},
    "vit_base_mci": {"depth": 1, "img_size": 64},
    "vit_pe_core": {**_VIT, "img_size": 32, "attn_pool_num_heads": 2, "ref_feat_shape": (2, 2)},
    "vit_large_patch14": {**_VIT, "img_size": 28},
    "vit": {**_VIT, "img_size": 32},
}
SMALL_TEXT: dict[str, dict[str, Any]] = {
    "roberta": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64, "vocab_size": 500, "max_position_embeddings": 80,
        "type_vocab_size": 1, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
    },
    "mt5": {
        "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "vocab_size": 500,
        "is_encoder_decoder": True,
    },
    "m2m_100": {
        "d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
        "vocab_size": 500, "max_position_embeddings": 80, "is_encoder_decoder": True,
    },
}  # fmt: skip
SMALL_TEXT["xlm-roberta"] = SMALL_TEXT["roberta"]
TEXT_TYPES = {"roberta": "roberta", "xlm": "xlm-roberta", "google": "mt5", "facebook": "m2m_100"}


def towers(architecture: str) -> tuple[str, str]:
    """What the two towers of an architecture are, sizes and versions left out."""
    model_cfg = config_of_architecture(architecture, None).model_cfg
    vision, text = model_cfg["vision_cfg"], model_cfg["text_cfg"]
    if name := vision.get("timm_model_name"):
        image = re.sub(r"_(tiny|small|base|x*large2?|huge|giant|gigantic|so400m)(?=_|$)", "", name)
        image = re.sub(r"_patch\d+|_\d+$|(?<=mci)\d", "", image)
        parts = [image, vision.get("timm_pool"), "MLP" if vision["timm_proj"] == "mlp" else None]
    else:
        image = "ResNet" if isinstance(vision["layers"], list) else "ViT"
        pool = "attention" if vision.get("attentional_pool") else vision.get("pool_type")
        parts = [image, pool]
    image = ", ".join(part for part in parts if part and part != "none")
    if name := text.get("hf_model_name"):
        kind = next(kind for start, kind in TEXT_TYPES.items() if name.startswith(start))
        return image, f"{kind}, {text['hf_pooler_type'].replace('_pooler', '')}"
    causal = "both ways" if text.get("no_causal_mask") else "causal"
    where = {"argmax": "end of text", "eos": "end of text", "last": "last token"}
    pool = "class token" if text.get("embed_cls") else where[text.get("pool_type", "argmax")]
    return image, f"{causal}, {pool}"


def small_config(family: Family, folder: Path) -> dict[str, Any]:
    """The content of open_clip_config.json of a small model.

    Args:
        folder: gets the configuration of a text tower of transformers, and the tokenizer's files.
    """
    config = config_of_architecture(family.architecture, family.tag or None)
    vision, text = dict(config.model_cfg["vision_cfg"]), dict(config.model_cfg["text_cfg"])
    if name := vision.get("timm_model_name"):
        vision["timm_model_name"], vision["image_size"] = register_small(name)
    elif isinstance(vision["layers"], list):
        vision |= {"layers": [1, 1, 1, 1], "width": 16, "image_size": 64}
    else:
        patch = vision["patch_size"]
        vision |= {"layers": 2, "width": 32, "head_width": 16, "image_size": 2 * patch}
        if vision.get("attentional_pool"):
            vision |= {"attn_pooler_heads": 2}
    if name := text.get("hf_model_name"):
        text["hf_model_name"] = str(_small_text_tower(name, folder))
    else:
        text |= {"width": 32, "heads": 2, "layers": 2}
        if config.tokenizer != CLIP_BPE:
            text["vocab_size"] = 500
    if config.tokenizer != CLIP_BPE:
        write_tokenizer(family.special, folder)
    model_cfg = {**config.model_cfg, "embed_dim": 32, "vision_cfg": vision, "text_cfg": text}
    if "multimodal_cfg" in model_cfg:
        model_cfg["multimodal_cfg"] = {
            **model_cfg["multimodal_cfg"], "width": 32, "heads": 2, "layers": 1,
        }  # fmt: skip
    how = config.preprocess
    preprocess = {
        "mean": how.mean, "std": how.std,
        "interpolation": how.interpolation, "resize_mode": how.resize_mode,
    }  # fmt: skip
    return {"model_cfg": model_cfg, "preprocess_cfg": preprocess}


def register_small(name: str) -> tuple[str, int]:
    """Name and picture size of a small variant of a tower of timm's, made known to timm."""
    import timm
    from timm.models import model_entrypoint, register_model

    small = f"small_{name}"
    changes = next((c for start, c in SMALL_TIMM.items() if name.startswith(start)), None)
    if name.startswith("vitamin"):
        changes = _small_vitamin()
    assert changes is not None, name
    if not timm.is_model(small):
        full = model_entrypoint(name)

        def entry(pretrained: bool = False, **options: Any) -> Any:
            return full(pretrained=pretrained, **{**changes, **options})

        entry.__name__ = small
        register_model(entry)
    return small, changes.get("img_size", 64)


def _small_vitamin() -> dict[str, Any]:
    from timm.models.vitamin import VitCfg, VitConvCfg

    stem = VitCfg(
        embed_dim=(16, 24, 32),
        depths=(1, 1, 1),
        stem_width=16,
        conv_cfg=VitConvCfg(norm_layer="layernorm2d", norm_eps=1e-6),
        head_type="1d",
    )
    return {**_VIT, "img_size": 64, "embed_cfg": stem}


def _small_text_tower(name: str, folder: Path) -> Path:
    kind = next(kind for start, kind in TEXT_TYPES.items() if name.startswith(start))
    tower = folder / "text-tower"
    tower.mkdir()
    content = {"model_type": kind, **SMALL_TEXT[kind]}
    (tower / "config.json").write_text(json.dumps(content))
    return tower


def write_folder(config: dict[str, Any], folder: Path, *, seed: int = 0) -> Path:
    """A folder with a configuration and random weights, made by open_clip's own factory."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    (folder / CONFIG_NAME).write_text(json.dumps(config))
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    randomize(model)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    return folder


def randomize(model: Any) -> None:
    """Values that no default has, large enough that every picture gets features of its own."""
    import torch

    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name == "logit_scale":
                tensor.fill_(np.log(37.0))
            elif name == "logit_bias":
                tensor.fill_(-5.25)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point() and (tensor.ndim < 2 or tensor.shape[1:].numel() == 1):
                tensor.add_(torch.randn_like(tensor) * 0.1)
            elif tensor.is_floating_point():
                tensor.normal_(std=1.5 * tensor.shape[1:].numel() ** -0.5)


def write_tokenizer(special: tuple[int | None, int, int], folder: Path) -> None:
    """The files of a tokenizer of whole words, as transformers saves them.

    Args:
        special: numbers of start (None: it sets none), end and padding.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = " ".join([*LABELS, *TEMPLATES]).replace("-", " - ").replace(".", " . ").split()
    reserved = [f"<{number}>" for number in range(8)]
    names = [*reserved, *sorted({*words, *(word.lower() for word in words)})]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<7>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    start, end, padding = (None if number is None else f"<{number}>" for number in special)
    frame = ([start] if start else []) + ["$A", end]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=frame, special_tokens=[(n, vocabulary[n]) for n in frame if n != "$A"]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<7>",
        "pad_token": padding, "eos_token": end, "sep_token": end,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def pictures(count: int = 64, *, seed: int = 0) -> list[Image.Image]:
    """RGB pictures of all sorts of shapes: smooth colours with some noise."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        width, height = (int(n) for n in generator.integers(40, 120, size=2))
        coarse = generator.integers(0, 256, size=(5, 5, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((width, height)), dtype=np.int16)
        noise = generator.integers(-20, 21, size=smooth.shape)
        made.append(Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8)))
    return made


@dataclass(frozen=True, slots=True)
class Answers:
    """What one implementation says of some pictures.

    Attributes:
        cosines: (B, C).
        scores: (B, C), softmax or sigmoid as the model was trained.
    """

    cosines: Any
    scores: Any


def ask_open_clip(folder: Path, images: Sequence[Image.Image]) -> Answers:
    """Cosines and scores by open_clip alone: its factory, tokenizer, transform and builder."""
    import open_clip
    import torch

    name = f"local-dir:{folder}"
    model, _, transform = open_clip.create_model_and_transforms(name, require_pretrained=True)
    model.eval()
    tokenizer = open_clip.get_tokenizer(name)
    with torch.inference_mode():
        weight = open_clip.build_zero_shot_classifier(model, tokenizer, LABELS, TEMPLATES)  # (D, C)
        pixels = torch.stack([transform(image) for image in images])
        features = model.encode_image(pixels, normalize=True)
        cosines = features @ weight
        logits = model.logit_scale.exp() * cosines
        if model.logit_bias is None:
            scores = logits.softmax(dim=-1)
        else:
            scores = (logits + model.logit_bias).sigmoid()
    return Answers(cosines.numpy(), scores.numpy())


def ask_zsclip(model: Model, images: Sequence[Image.Image], *, batch_size: int) -> Answers:
    """Cosines and scores by zsclip, through its classifier."""
    head = build_head(LABELS, model=model, templates=TEMPLATES)
    classifier = Classifier(head, model=model, top_k=0, batch_size=batch_size)
    rows = list(_rows(classifier, images))
    return Answers(*(np.asarray(values) for values in zip(*rows, strict=True)))


def _rows(classifier: Classifier, images: Sequence[Image.Image]) -> Iterator[tuple[Any, Any]]:
    for result in classifier.classify(list(images)):
        assert result.status == "ok", result
        by_label = {score.label: score for score in result.scores}
        in_order = [by_label[label] for label in LABELS]
        yield [score.cosine for score in in_order], [score.score for score in in_order]


@functools.cache
def sixty_four() -> list[Image.Image]:
    """The pictures that families are measured on."""
    return pictures()
