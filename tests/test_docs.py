"""The docs say what the program does: options, commands, links, and the schema of a row."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from zsclip.errors import PICTURE_ERROR_CODES
from zsclip.results import Failure, LabelScore, Result
from zsclip.writers import as_row, dumps

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
SCHEMA = json.loads((DOCS / "row.schema.json").read_text(encoding="utf-8"))

_FENCED = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)|(?:src|href|srcset)=\"([^\"]+)\"")


def _make_cli() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_cli", DOCS / "make_cli.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE_CLI = _make_cli()
COMMANDS: dict[str, Any] = MAKE_CLI.commands()


def _blocks(text: str, *languages: str) -> Iterator[str]:
    for match in _FENCED.finditer(text):
        if match[1] in languages:
            yield match[2]


def _command_lines(text: str) -> Iterator[str]:
    """Whole command lines of ```sh blocks, and of ```console blocks behind their prompt."""
    for block in _blocks(text, "sh", "bash", "shell"):
        yield from _whole_lines(block.splitlines())
    for block in _blocks(text, "console"):
        typed: list[str] = []
        for line in block.splitlines():
            if line.startswith("$ ") or (typed and typed[-1].endswith("\\")):
                typed.append(line.removeprefix("$ ").removeprefix("> "))
        yield from _whole_lines(typed)


def _whole_lines(lines: list[str]) -> Iterator[str]:
    """Lines joined where a backslash or an open quotation mark asks for the next one."""
    whole = ""
    for line in lines:
        whole += line
        if whole.endswith("\\"):
            whole = whole[:-1]
            continue
        try:
            shlex.split(whole, comments=True)
        except ValueError:
            whole += "\n"
            continue
        yield whole
        whole = ""
    assert not whole.strip(), f"a command line does not end: {whole!r}"


def _uses_of_zsclip(line: str) -> Iterator[list[str]]:
    """The words behind `zsclip`, for each time that a command line runs it."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("();<>|&"):
            while words and (re.match(r"\w+=", words[0]) or words[0] == "time"):
                del words[0]
            if words and Path(words[0]).name == "zsclip":
                yield words[1:]
            words = []
        else:
            words.append(word)


def _problems(words: list[str]) -> Iterator[str]:
    """Commands and options that do not exist."""
    name, command, words = "zsclip", COMMANDS["zsclip"], list(words)
    while words:
        word = words.pop(0)
        if word == "--":
            return
        if word.startswith("-") and word != "-":
            option, _, value = word.partition("=")
            option = option if option.startswith("--") else option[:2]
            takes_value = _options(command).get(option)
            if takes_value is None:
                yield f"{name} has no option {option}"
            elif takes_value and not value and word == option:
                if not words:
                    yield f"{name} {option} needs a value"
                del words[:1]
        elif hasattr(command, "commands"):
            if f"{name} {word}" not in COMMANDS:
                yield f"{name} has no command {word!r}"
                return
            name = f"{name} {word}"
            command = COMMANDS[name]


def _options(command: Any) -> dict[str, bool]:
    """Names of a command's options, and whether each takes a value."""
    known = {"--help": False, "-h": False}
    for parameter in command.params:
        if not MAKE_CLI.is_argument(parameter):
            for name in (*parameter.opts, *parameter.secondary_opts):
                known[name] = not parameter.is_flag
    return known


def test_the_page_of_commands_is_up_to_date() -> None:
    page = (DOCS / "cli.md").read_text(encoding="utf-8")

    assert page == MAKE_CLI.page(), "run: python docs/make_cli.py"


def test_the_page_of_commands_does_not_depend_on_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = MAKE_CLI.page()

    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")

    assert MAKE_CLI.page() == before


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_sentence_and_an_example_that_parses(name: str) -> None:
    command = COMMANDS[name]

    sentence, _, rest = command.help.strip().partition("\n")

    assert sentence.endswith(".")
    example = rest.strip().removeprefix("Example:").strip()
    if not hasattr(command, "commands"):
        assert example.startswith(name)
    assert not [p for use in _uses_of_zsclip(example) for p in _problems(use)]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text(name: str) -> None:
    assert not [p.name for p in COMMANDS[name].params if not p.hidden and not p.help]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_on_a_page_exist(page: Path) -> None:
    lines = list(_command_lines(page.read_text(encoding="utf-8")))

    problems = [
        f"{line}: {problem}"
        for line in lines
        for words in _uses_of_zsclip(line)
        for problem in _problems(words)
    ]

    assert not problems, "\n".join(problems)


def test_a_page_with_mistakes_is_found_out() -> None:
    page = "```console\n$ A=1 zsclip clasify x | zsclip classify - --lables a \\\n> -k\nout\n```\n"

    (line,) = _command_lines(page)
    found = [problem for words in _uses_of_zsclip(line) for problem in _problems(words)]

    assert found == [
        "zsclip has no command 'clasify'",
        "zsclip classify has no option --lables",
        "zsclip classify -k needs a value",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_on_a_page_lead_to_files(page: Path) -> None:
    prose = _FENCED.sub("", page.read_text(encoding="utf-8"))
    targets = [inline or attribute for inline, attribute in _LINK.findall(prose)]

    local = [t.partition("#")[0] for t in targets if not re.match(r"[a-z]+:|#", t)]

    assert not [target for target in local if not (page.parent / target).exists()]


def test_the_index_names_every_page() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")

    pages = [page.name for page in DOCS.glob("*.md") if page.name != "README.md"]

    assert not [name for name in pages if f"]({name})" not in index]


def test_the_schema_is_a_schema_with_the_closed_list_of_error_codes() -> None:
    Draft202012Validator.check_schema(SCHEMA)

    codes = SCHEMA["$defs"]["error"]["properties"]["error"]["properties"]["code"]["enum"]

    assert tuple(codes) == PICTURE_ERROR_CODES


def test_the_page_of_formats_lists_every_error_code() -> None:
    text = (DOCS / "output.md").read_text(encoding="utf-8")

    section = text.partition("## Error codes")[2].partition("\n## ")[0]

    assert tuple(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == PICTURE_ERROR_CODES


def _result(**changes: Any) -> Result:
    scores = (LabelScore("cat", 0.93, 0.262), LabelScore("dog", 0.07, 0.236))
    facts: dict[str, Any] = {
        "path": "img.jpg",
        "status": "ok",
        "model": "tiny@3f2a9c",
        "head": "8b1c04d2e6f7",
        "label": "cat",
        "score": 0.93,
        "cosine": 0.262,
        "scores": scores,
        "score_kind": "softmax",
    }
    return Result(**(facts | changes))


def _failed(path: str | None) -> Result:
    failure = Failure("truncated", "the picture ends early")
    return Result(path, "error", model="tiny@3f2a9c", head="8b1c04d2e6f7", error=failure)


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(_result(), id="ok"),
        pytest.param(_result(label=None), id="rejected"),
        pytest.param(_result(path=None, frames=42), id="animation from memory"),
        pytest.param(_result(revision="c0ffee" + "0" * 34), id="model of the hub"),
        pytest.param(_result(path=os.fsdecode(b"caf\xe9.jpg")), id="path not UTF-8"),
        pytest.param(_failed("bad.jpg"), id="error"),
        pytest.param(_failed(os.fsdecode(b"\xff\n.jpg")), id="error, path not UTF-8"),
        pytest.param(
            _result(cosine=None, scores=(LabelScore("cat", 0.93, None),), score_kind="sigmoid"),
            id="head from pictures",
        ),
        pytest.param(
            _result(
                score=-0.02,
                cosine=-0.02,
                scores=(LabelScore("cat", -0.02, -0.02),),
                score_kind="cosine",
            ),
            id="cosines as scores",
        ),
    ],
)
def test_rows_as_written_fit_the_schema(result: Result) -> None:
    row = json.loads(dumps(as_row(result)))

    errors = [error.message for error in Draft202012Validator(SCHEMA).iter_errors(row)]

    assert not errors


def test_rows_in_the_docs_fit_the_schema() -> None:
    text = (DOCS / "output.md").read_text(encoding="utf-8")
    rows = [json.loads(ln) for block in _blocks(text, "json") for ln in block.splitlines()]

    errors = [e.message for row in rows for e in Draft202012Validator(SCHEMA).iter_errors(row)]

    assert len(rows) >= 3 and not errors


@pytest.mark.parametrize(
    "change",
    [
        {"status": "error"},
        {"label": 3},
        {"score": 1.5},
        {"score_kind": "logit"},
        {"score": -0.1},
        {"scores": [{"label": "cat", "score": -0.1, "cosine": -0.1}]},
        {"model": "tiny"},
        {"time": 0.2},
        {"error": {"code": "truncated", "message": "ends early"}},
    ],
)
def test_a_row_of_another_form_does_not_fit_the_schema(change: dict[str, Any]) -> None:
    row = as_row(_result()) | change

    assert not Draft202012Validator(SCHEMA).is_valid(row)


def test_an_unknown_error_code_does_not_fit_the_schema() -> None:
    row = as_row(_failed("bad.jpg")) | {"error": {"code": "odd", "message": "odd"}}

    assert not Draft202012Validator(SCHEMA).is_valid(row)
