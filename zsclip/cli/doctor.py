"""`zsclip doctor`: what one pastes into a bug report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from zsclip import console
from zsclip.cli import model_options, options
from zsclip.cli.model_files import size_text


def doctor(
    full: Annotated[
        bool, typer.Option("--full", help="Ask torch, too, which devices it sees; takes seconds.")
    ] = False,
    offline: model_options.Offline = False,
    cache_dir: options.CacheDir = None,
    as_json: options.AsJson = False,
) -> int:
    """Show versions, devices, processors, caches and settings: what a bug report needs.

    Example: zsclip doctor --json
    """
    from zsclip.diagnosis import diagnose
    from zsclip.writers import dumps

    found = diagnose(cache_dir, offline=offline, with_torch=full)
    if as_json:
        console.line(dumps(found))
        return 0
    for key, value in _lines(found):
        console.line(f"{key:15}{value}".rstrip())
    return 0


def _lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(what, value) of each line."""
    python = found["python"]
    where = " in a virtual environment" if python["virtual_environment"] else ""
    yield "zsclip", found["zsclip"] or "not installed as a package"
    yield "python", f"{python['implementation']} {python['version']}{where}"
    yield (
        "platform",
        f"{found['platform']['name']}, file names in {found['platform']['file_names']}",
    )
    yield "packages", _versions(found["packages"])
    for extra, packages in found["extras"].items():
        yield f"  {extra}", _versions(packages)
    yield "pillow has", _versions(found["codecs"])
    yield from _machine(found["devices"], found["processors"])
    yield from _cache(found["cache"])
    yield from _hub(found["hub"])
    for name, value in found["environment"].items():
        yield "environment", f"{name} is set" if value is None else f"{name}={value}"
    for problem in found["problems"] or ["none found"]:
        yield "problems", problem


def _versions(packages: Mapping[str, str | None]) -> str:
    """`numpy 2.1, torch 2.4; without av`."""
    there = ", ".join(f"{name} {v}".rstrip() for name, v in packages.items() if v is not None)
    missing = ", ".join(name for name, version in packages.items() if version is None)
    return "; ".join(filter(None, (there, missing and f"without {missing}")))


def _machine(devices: dict[str, Any], processors: dict[str, Any]) -> Iterator[tuple[str, str]]:
    signs = ", ".join(devices["signs_of_accelerators"]) or "none"
    engine = "torch" if devices["auto_wants_torch"] else "onnx where a model can be compiled"
    yield "accelerators", f"signs of one: {signs}; --engine auto is {engine}"
    for device, names in (devices["torch"] or {}).items():
        yield "  torch sees", f"{device} ({', '.join(names)})"
    limits = ", ".join(f"{name} {count}" for name, count in processors["limits"].items())
    yield "processors", f"{processors['usable']} of {processors['present']} ({limits})"


def _cache(place: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if place["folder"] is None:
        yield "cache", "none"
        return
    writable = "writable" if place["writable"] else "cannot be written"
    free = "" if place["free_bytes"] is None else f", {place['free_bytes'] / 1e9:,.1f} GB free"
    yield "cache", f"{place['folder']}: {writable}{free}"
    for part in ("text", "images", "compiled"):
        models = ": " + ", ".join(place["compiled"]) if part == "compiled" else ""
        size_bytes = place[f"{part}_bytes"]
        yield f"  {part}", f"{size_bytes:,} bytes{models}" if size_bytes else "nothing"


def _hub(hub: dict[str, Any]) -> Iterator[tuple[str, str]]:
    answer = {True: f"answered in {hub['seconds']} s", False: "does not answer", None: "not asked"}
    reason = f" ({hub['reason']})" if hub["reason"] else ""
    yield "hub", f"{hub['address']}: {answer[hub['reachable']]}{reason}"
    models = ", ".join(f"{name} {size_text(size)}" for name, size in hub["fetched"].items())
    yield "  fetched", f"{hub['folder']}: {models or 'nothing'}"
