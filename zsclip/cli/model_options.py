"""Options that say which model, and on what it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from zsclip.cli.options import choices, complete_models

_MODEL = "Model"

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
        help="Ask the hub nothing, as HF_HUB_OFFLINE=1 does for models.",
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


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """A model as it is typed."""

    model: ModelName = None
    weights: Weights = None
    tag: Tag = None
    revision: Revision = None
    sha256: Sha256 = None
    allow_pickle: AllowPickle = False
    offline: Offline = False
    engine: Engine = "auto"
    device: Device = "auto"
