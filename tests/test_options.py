"""Options that a command takes together: each is an option of its own on the command line."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer

from zsclip.cli.options import spread


@dataclass(frozen=True)
class Size:
    """Two options."""

    wide: Annotated[int, typer.Option("--wide", "-w")] = 3
    high: Annotated[int, typer.Option("--high")] = 4


@pytest.fixture
def command():
    """A command with options of its own around those of `Size`; it notes what it is called with."""
    calls = []

    def draw(
        name: Annotated[str, typer.Argument()] = "box",
        size: Size = Size(),
        quiet: Annotated[bool, typer.Option("--quiet")] = False,
    ) -> int:
        """Draw a box."""
        calls.append((name, size, quiet))
        return 7

    draw.calls = calls
    return draw


def test_the_fields_of_a_dataclass_stand_in_its_place(command):
    found = inspect.signature(spread(command)).parameters

    assert list(found) == ["name", "wide", "high", "quiet"]
    assert [one.default for one in found.values()] == ["box", 3, 4, False]
    assert found["wide"].annotation == Annotated[int, found["wide"].annotation.__metadata__[0]]
    assert spread(command).__doc__ == "Draw a box."


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        ([], ("box", Size(), False)),
        (["hut", "-w", "5", "--quiet"], ("hut", Size(wide=5), True)),
        (["--high", "1", "--wide", "2"], ("box", Size(2, 1), False)),
    ],
)
def test_the_command_gets_the_dataclass(command, arguments, call):
    app = typer.Typer()
    app.command()(spread(command))

    assert app(args=arguments, standalone_mode=False) == 7
    assert command.calls == [call]
