"""The command line: parse, call, render. `main(argv)` is the only error boundary."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, NoReturn

import typer

from zsclip import console
from zsclip.cli import descriptors, signals
from zsclip.cli.options import OrderedCommand, spread
from zsclip.cli.signals import Terminated
from zsclip.errors import NotFetchedError, ZsclipError

EXIT_BUG = 70
EXIT_OUTPUT = 5
EXIT_USAGE = 2
_GARBAGE = 50_000
"""New objects before unused ones are looked for: imports make many, and all of them stay."""
CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)

_COMMANDS = (
    "classify", "sort", "build-head", "labels", "evaluate", "probe", "calibrate", "embed",
    "templates", "datasets", "models", "cache", "doctor",
)  # fmt: skip


_LISTING = (["--help"], ["-h"])
"""What shows the list of commands; without a word, the shell may want them completed."""


def make_app(only: str | None = None, *, listed: bool = False) -> typer.Typer:
    """The commands; with the name of one, that alone, which is read in a third of the time.

    Args:
        listed: they are only listed, and so need no options.
    """
    app = typer.Typer(
        name="zsclip",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_zsclip)
    for name in (only,) if only in _COMMANDS else _COMMANDS:
        word = name.replace("-", "_")
        module = import_module(f"zsclip.cli.{word}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            command = getattr(module, word)
            app.command(name, cls=OrderedCommand)(
                _sentence_of(command) if listed else spread(command)
            )
    return app


def _sentence_of(command: Callable[..., int]) -> Callable[[], None]:
    """A command that has the help of another, and nothing else of it."""

    def listed() -> None:
        raise AssertionError("is only listed")

    listed.__doc__ = command.__doc__
    return listed


def _version(wanted: bool) -> None:
    if wanted:
        from zsclip import __version__

        console.line(f"zsclip {__version__}")
        raise typer.Exit()


def _zsclip(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_version, is_eager=True),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback for a bug.")] = False,
) -> None:
    """Sort pictures by words: zero-shot image classification with CLIP.

    Example: zsclip classify photos/ --labels cat,dog
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; raises nothing.

    With --debug C libraries may write to stderr; else what they write is dropped.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if "--debug" in arguments:
        return _main(arguments)
    with descriptors.c_stderr_aside():
        return _main(arguments)


def _main(arguments: Sequence[str]) -> int:
    with console.warnings_as_lines(quiet=_asks_for_quiet(arguments)):
        try:
            app = make_app(_command(arguments), listed=list(arguments) in _LISTING)
            code = app(args=arguments, prog_name="zsclip", standalone_mode=False)
            return int(code or 0)
        except ZsclipError as error:
            console.error(error)
            if isinstance(error, NotFetchedError) and _goes_with_tiny(arguments):
                console.say("or try the small model that is in the package:")
                console.say(f"  {_with_tiny(arguments)}")
            return error.exit_code
        except typer.TyperException as error:
            _say_usage_error(error)
            return EXIT_USAGE
        except (KeyboardInterrupt, typer.Abort):
            return 128 + signal.SIGINT
        except Terminated:
            return 128 + signal.SIGTERM
        except (BrokenPipeError, SystemExit) as error:
            # typer and rich turn a broken pipe into an exit with code 1
            if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
                return int(error.code or 0)
            _forget_stdout()
            return 0
        except Exception as error:
            if isinstance(error, OSError) and error.errno in CANNOT_WRITE:
                _forget_stdout()
                console.say(f"error: cannot write output: {error.strerror}")
                return EXIT_OUTPUT
            if "--debug" in arguments:
                import traceback

                console.say(traceback.format_exc().rstrip())
            kind = type(error).__name__
            console.say(f"error: a bug in zsclip: {kind}: {console.printable(str(error))}")
            console.say("tip: 'zsclip --debug ...' shows where; please report it")
            return EXIT_BUG


def run() -> NoReturn:
    """The process: signals, closed descriptors, and an exit that no stuck thread can hold up."""
    closed = _fill_closed_descriptors()
    gc.set_threshold(_GARBAGE)
    signals.install()
    descriptors.keep_fault_handler()
    if 1 in closed:
        console.say("error: cannot write output: stdout is closed")
        os._exit(EXIT_OUTPUT)
    try:
        code = _flushed(main())
    except KeyboardInterrupt:  # it came when main was done
        code = 128 + signal.SIGINT
    except Terminated:
        code = 128 + signal.SIGTERM
    os._exit(code)


def _flushed(code: int) -> int:
    """The exit code, once all is written that was to be."""
    with contextlib.suppress(BrokenPipeError):
        try:
            sys.stdout.flush()
        except OSError as error:
            console.say(f"error: cannot write output: {error.strerror}")
            code = EXIT_OUTPUT
    with contextlib.suppress(OSError, AttributeError):  # there is none where it came closed
        sys.stderr.flush()
    return code


def _fill_closed_descriptors() -> set[int]:
    """Open /dev/null on descriptors 0 to 2 that came closed, so that no file gets their number."""
    closed = set()
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            closed.add(descriptor)
            os.open(os.devnull, os.O_RDWR)
    return closed


def _forget_stdout() -> None:
    """Keep the interpreter from flushing into a pipe that nobody reads."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _asks_for_quiet(arguments: Sequence[str]) -> bool:
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "-q" in options or "--quiet" in options


_WITH_MODEL = (
    "build-head", "calibrate", "classify", "embed", "evaluate", "labels", "probe", "sort",
)  # fmt: skip
_OF_A_MODEL = ("--model", "-m", "--weights", "--tag", "--revision", "--sha256")


def _command(arguments: Sequence[str]) -> str | None:
    """The command that was named, if any: what comes before it are flags."""
    return next((word for word in arguments if not word.startswith("-")), None)


def _goes_with_tiny(arguments: Sequence[str]) -> bool:
    """Whether the command does the same work with another model: a head fits its own only."""
    with_head = any(word.partition("=")[0] == "--head" for word in arguments)
    return _command(arguments) in _WITH_MODEL and not with_head


def _with_tiny(arguments: Sequence[str]) -> str:
    """The same command with `--model tiny`, ready to paste."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in _OF_A_MODEL:
            skip = True
        elif argument.partition("=")[0] not in _OF_A_MODEL:
            kept.append(argument)
    place = kept.index("--") if "--" in kept else len(kept)
    return shlex.join(["zsclip", *kept[:place], "--model", "tiny", *kept[place:]])


def _say_usage_error(error: typer.TyperException) -> None:
    """Typer's message in our form; it has none where help was shown for a bare command."""
    text = console.printable(error.format_message()).rstrip(".")
    if text:
        context = getattr(error, "ctx", None)
        command = "zsclip" if context is None else context.command_path
        console.say(f"error: {text[0].lower()}{text[1:]}")
        console.say(f"tip: see '{command} --help'")
