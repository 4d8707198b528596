"""Options that many commands share, and how a command takes several as one object.

A command has a parameter for each of its options. Options that always come together are the fields
of a dataclass instead, such as `RunOptions`, and `spread` makes them options again.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

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


def spread(command: Callable[..., int]) -> Callable[..., int]:
    """A command with an option for each field of the dataclasses among its parameters."""
    hints: dict[str, Any] = get_type_hints(command, include_extras=True)
    bundles: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}

    @functools.wraps(command)
    def run(**given: Any) -> int:
        together = {
            name: bundle(**{one.name: given.pop(one.name) for one in fields(bundle)})
            for name, bundle in bundles.items()
        }
        return command(**given, **together)

    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in bundles:
            parameters += _parameters_of(bundles[name])
        else:
            parameters.append(parameter.replace(annotation=hints[name], kind=_BY_NAME))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


_BY_NAME = inspect.Parameter.KEYWORD_ONLY


def _parameters_of(bundle: Any) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(bundle, include_extras=True)
    for one in fields(bundle):
        yield inspect.Parameter(one.name, _BY_NAME, default=one.default, annotation=hints[one.name])


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


_CACHE = "Cache"

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


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Where the cache is, and how much is said."""

    cache_dir: CacheDir = None
    no_cache: NoCache = False
    quiet: Quiet = False
    verbose: Verbose = False
