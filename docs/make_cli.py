"""Write docs/cli.md from the command line itself: `python docs/make_cli.py [--check]`.

Reads the commands' docstrings and options, not what a terminal shows, so that the page depends on
neither its width nor rich. A command's docstring is a sentence and an example.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from zsclip.cli import make_app

PAGE = Path(__file__).with_name("cli.md")
_COMPLETION = ("install_completion", "show_completion")
_TOP = """\
# Commands and options

<!-- made by docs/make_cli.py from the commands themselves; `make check` compares -->

Every command answers `--help` (`-h`). `zsclip --install-completion` sets up completion of commands,
options, and names of models, template sets and data sets for your shell. What comes out is
described in [output.md](output.md).
"""


def commands() -> dict[str, Any]:
    """Every command by its full name, groups before their commands."""
    return dict(_walk("zsclip", typer.main.get_command(make_app())))


def _walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for word, below in getattr(command, "commands", {}).items():
        if not below.hidden:
            yield from _walk(f"{name} {word}", below)


def page() -> str:
    """The whole page."""
    return "\n".join([_TOP, *(_section(name, command) for name, command in commands().items())])


def _section(name: str, command: Any) -> str:
    sentence, _, rest = (command.help or "").strip().partition("\n")
    lines = [f"## {name}", "", sentence, ""]
    example = rest.strip().removeprefix("Example:").strip()
    if example:
        lines += ["```sh", example, "```", ""]
    if below := getattr(command, "commands", {}):
        links = (f"[{word}](#{name.replace(' ', '-')}-{word})" for word in below)
        lines += [f"Commands: {', '.join(links)}", ""]
    shown = [p for p in command.params if not p.hidden and p.name not in _COMPLETION]
    for title, parameters in _panels(shown).items():
        header = [f"| {title} | value | what it does |", "|---|---|---|"]
        lines += [*header, *map(_row, parameters), ""]
    return "\n".join(lines)


def _panels(parameters: Iterable[Any]) -> dict[str, list[Any]]:
    """Parameters by their panel in the help, in order; those without one come last."""
    panels: dict[str, list[Any]] = {}
    for parameter in parameters:
        title = getattr(parameter, "rich_help_panel", None)
        title = title or ("argument" if is_argument(parameter) else "option")
        panels.setdefault(title, []).append(parameter)
    ordinary = panels.pop("option", [])
    return panels | ({"option": ordinary} if ordinary else {})


def is_argument(parameter: Any) -> bool:
    """Whether a parameter is known by its place, not by a name."""
    return not parameter.opts[0].startswith("-")


def _row(parameter: Any) -> str:
    if is_argument(parameter):
        names, value = parameter.metavar or parameter.name.upper(), ""
    else:
        names = "`, `".join([*parameter.opts, *parameter.secondary_opts])
        value = "" if parameter.is_flag else parameter.metavar or "N"
    notes = [parameter.help or ""]
    if parameter.envvar:
        notes.append(f"Environment: `{parameter.envvar}`.")
    if not is_argument(parameter) and not parameter.is_flag and parameter.default is not None:
        notes.append(f"Default: `{parameter.default}`.")
    shown = [f"`{names}`", f"`{value}`" if value else "", " ".join(notes)]
    cells = [cell.replace("|", r"\|") for cell in shown]
    return f"| {' | '.join(cells)} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page; with --check only say whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if outdated")
    check: bool = parser.parse_args(argv).check
    text = page()
    if not check:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
        print("docs/cli.md is not up to date: python docs/make_cli.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
