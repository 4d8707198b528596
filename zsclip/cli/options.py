"""Options that several commands share, defined once, and what they mean together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from zsclip.errors import UsageError

_ORDER = "zsclip.option_order"


class OrderedCommand(TyperCommand):
    """A command that remembers in which order its options came."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Note the order, then parse as always."""
        if args and not ctx.resilient_parsing:
            _, _, order = self.make_parser(ctx).parse_args(args=list(args))
            ctx.meta[_ORDER] = [parameter.name for parameter in order]
        return super().parse_args(ctx, args)


def in_order(ctx: typer.Context, values: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """(option, value) of repeatable options, as they came on the command line."""
    queues = {name: iter(given) for name, given in values.items()}
    for name in ctx.meta.get(_ORDER, ()):
        if name in queues:
            yield name, next(queues[name])
    for name, rest in queues.items():
        yield from ((name, value) for value in rest)


def complete_models(incomplete: str) -> list[str]:
    """Shell completion of the names of models."""
    from zsclip.models import model_names

    return [name for name in model_names() if name.startswith(incomplete)]


def complete_templates(incomplete: str) -> list[str]:
    """Shell completion of the names of template sets."""
    from zsclip.prompts import template_names

    return [n for n in [*template_names(), "dataset"] if n.startswith(incomplete)]


def complete_datasets(incomplete: str) -> list[str]:
    """Shell completion of the names of data sets."""
    from zsclip.datasets import dataset_names

    return [name for name in dataset_names() if name.startswith(incomplete)]


def choices(*words: str) -> Callable[[str], list[str]]:
    """Shell completion of a few words."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def one_of(name: str, value: str, choices: Sequence[str]) -> str:
    """The value, or a UsageError that lists what is possible."""
    if value not in choices:
        raise UsageError(f"{name} {value!r} is not one of {', '.join(choices)}")
    return value


_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def size_bytes(name: str, value: str) -> int:
    """A number of bytes: 5000000, 5MB, 5MiB."""
    found = re.fullmatch(r"([0-9]{1,15}) ?((?:[kmg]i?)?)b?", value.lower())
    if found is None:
        raise UsageError(f"{name} {value!r} is not a number of bytes, like 5000000, 5MB or 5MiB")
    return int(found[1]) * _UNITS[found[2]]


_LABELS = "Labels (one of)"
_PROMPTS = "Prompts"
_INPUT = "Input"
_MODEL = "Model"
_CACHE = "Cache"

Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--labels",
        "-l",
        metavar="A,B,...",
        help="Class names, split at commas; repeatable.",
        rich_help_panel=_LABELS,
    ),
]
Label = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="TEXT",
        help="One class name as it stands, commas and all; repeatable.",
        rich_help_panel=_LABELS,
    ),
]
LabelsFile = Annotated[
    list[str] | None,
    typer.Option(
        "--labels-file",
        "-L",
        metavar="FILE",
        help="Class names: one a line, or .yaml, .csv or .tsv with synonyms, context, groups, ...; "
        "repeatable.",
        rich_help_panel=_LABELS,
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option(
        "--encoding",
        metavar="NAME",
        help="Of the labels file, if not UTF-8: latin-1, cp1252, utf-16, ...",
        rich_help_panel=_LABELS,
    ),
]
DatasetName = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="NAME",
        help="The class names of a known data set (see 'zsclip datasets').",
        rich_help_panel=_LABELS,
        autocompletion=complete_datasets,
    ),
]
Templates = Annotated[
    str | None,
    typer.Option(
        "--templates",
        "-t",
        metavar="NAME|FILE|dataset",
        help="A template set (see 'zsclip templates'), a file, or the data set's own. "
        "The 80 of the CLIP paper unless given.",
        rich_help_panel=_PROMPTS,
        autocompletion=complete_templates,
    ),
]
Template = Annotated[
    list[str] | None,
    typer.Option(
        "--template",
        metavar="TEXT",
        help="A template, like 'a photo of a {}.'; repeatable, adds to --templates.",
        rich_help_panel=_PROMPTS,
    ),
]
Kind = Annotated[
    str | None,
    typer.Option(
        "--kind",
        metavar="WORD",
        help="Append ', a type of WORD' to each prompt (for fine-grained classes).",
        rich_help_panel=_PROMPTS,
    ),
]
Truncate = Annotated[
    bool,
    typer.Option(
        "--truncate",
        help="Cut prompts that are too long for the model instead of refusing them.",
        rich_help_panel=_PROMPTS,
    ),
]
Decode = Annotated[
    str,
    typer.Option(
        "--decode",
        metavar="HOW",
        help="exact, or fast: decode large JPEGs at a smaller scale.",
        rich_help_panel=_INPUT,
        autocompletion=choices("exact", "fast"),
    ),
]
Fit = Annotated[
    str,
    typer.Option(
        "--fit",
        metavar="HOW",
        help="crop, as the model was trained, or all of the picture: pad, squash, or views, "
        "the average of several squares.",
        rich_help_panel=_INPUT,
        autocompletion=choices("crop", "pad", "squash", "views"),
    ),
]
Exact = Annotated[
    bool,
    typer.Option(
        "--exact",
        help="Load pictures as open_clip does: not turned upright, over no background.",
        rich_help_panel=_INPUT,
    ),
]
Background = Annotated[
    str,
    typer.Option(
        "--background",
        metavar="COLOUR",
        help="What transparent pixels lie over: a colour name or '#rrggbb'.",
        rich_help_panel=_INPUT,
    ),
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        min=1,
        metavar="N",
        help="Larger pictures fail before they are decoded; 89,478,485 unless given.",
        rich_help_panel=_INPUT,
    ),
]
MaxBytes = Annotated[
    str | None,
    typer.Option(
        "--max-bytes",
        metavar="N",
        help="Larger files fail before they are read; 500MB unless given.",
        rich_help_panel=_INPUT,
    ),
]
AllowTruncated = Annotated[
    bool,
    typer.Option(
        "--allow-truncated",
        help="Take what there is of a cut JPEG, PNG, GIF, BMP or JPEG 2000.",
        rich_help_panel=_INPUT,
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        min=0,
        metavar="SECONDS",
        help="A picture that takes longer to read and decode fails; 0 is no limit.",
        rich_help_panel=_INPUT,
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        envvar="ZSCLIP_MODEL",
        help="A preset, OpenAI's name, hf-hub:org/repo, a folder, or ARCH:TAG of open_clip "
        "(see 'zsclip models'). 'default' unless given.",
        rich_help_panel=_MODEL,
        autocompletion=complete_models,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="A local safetensors file, for --model ARCH or ARCH:TAG.",
        rich_help_panel=_MODEL,
    ),
]
Tag = Annotated[
    str | None,
    typer.Option(
        "--tag",
        metavar="TAG",
        help="Lends --weights the activation and preprocessing of that tag of open_clip.",
        rich_help_panel=_MODEL,
    ),
]
KnownModel = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A name, as for --model of classify.",
        autocompletion=complete_models,
    ),
]
KnownModels = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME...",
        help="Names, as for --model of classify.",
        autocompletion=complete_models,
    ),
]

Revision = Annotated[
    str | None,
    typer.Option(
        "--revision",
        metavar="REV",
        help="Branch, tag or commit of the model's repository on the hub.",
        rich_help_panel=_MODEL,
    ),
]
Sha256 = Annotated[
    str | None,
    typer.Option(
        "--sha256",
        metavar="HEX",
        help="Refuse weights whose sha256 is another.",
        rich_help_panel=_MODEL,
    ),
]
AllowPickle = Annotated[
    bool,
    typer.Option(
        "--allow-pickle",
        help="Also open .pt, .bin and .pth weights, as plain tensors (weights_only).",
        rich_help_panel=_MODEL,
    ),
]
Offline = Annotated[
    bool,
    typer.Option(
        "--offline",
        help="Ask the hub nothing; the same as HF_HUB_OFFLINE=1.",
        rich_help_panel=_MODEL,
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        envvar="ZSCLIP_ENGINE",
        help="auto, onnx (starts fast; CPU) or torch (every model, every device).",
        rich_help_panel=_MODEL,
        autocompletion=choices("auto", "onnx", "torch"),
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        envvar="ZSCLIP_DEVICE",
        help="auto, cpu, cuda or mps.",
        rich_help_panel=_MODEL,
        autocompletion=choices("auto", "cpu", "cuda", "mps"),
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="WORD",
        help="fp32, bf16 or fp16, for the image side; fp16 on CUDA only.",
        rich_help_panel=_MODEL,
        autocompletion=choices("fp32", "bf16", "fp16"),
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", min=1, metavar="N", help="Pictures encoded together."),
]
CacheDir = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        metavar="DIR",
        envvar="ZSCLIP_CACHE_DIR",
        readable=False,  # what cannot be read is a warning
        help="Where embeddings and compiled models are kept.",
        rich_help_panel=_CACHE,
    ),
]
NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache",
        help="Keep text embeddings in memory only, and compile nothing.",
        rich_help_panel=_CACHE,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No warnings, summary or bar.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say which model, weights and templates are used.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
