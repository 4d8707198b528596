"""Group B of the acceptance table, by the real command line: labels and templates."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import Ran
from naughty import naughty_strings

from zsclip import console
from zsclip.datasets import DataSet
from zsclip.encoders import Model
from zsclip.engines.base import Floats
from zsclip.engines.fake import FakeEngine
from zsclip.heads import load_head
from zsclip.loading import load_model
from zsclip.plain_text import BLANKS, control_character
from zsclip.prompts import TemplateSet
from zsclip.scoring import normalize
from zsclip.weights import LocalModel

Run = Callable[..., Ran]
Make = Callable[..., Path]
LONG = os.environ.get("ZSCLIP_LONG_TESTS") == "1"


@pytest.fixture
def run(zsclip: Run, fake_model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The command line in an empty folder, with the fake engine as its model."""
    monkeypatch.setattr("zsclip.cli.request.load_model", lambda *args, **kwargs: fake_model)
    monkeypatch.chdir(tmp_path)
    return zsclip


@pytest.fixture
def build(run: Run) -> Run:
    """`zsclip build-head` of a labels file with this content; the head goes to head.safetensors."""

    def made(content: bytes, *options: str) -> Ran:
        Path("labels.txt").write_bytes(content)
        output = ("-o", "head.safetensors", "--json")
        return run("build-head", "--labels-file", "labels.txt", *output, *options)

    return made


def refusal(ran: Ran) -> str:
    """The one line that says why there is no answer, exit code 2."""
    errors = [line for line in ran.stderr.splitlines() if not line.startswith("tip: ")]
    assert ran.code == 2 and ran.stdout == "", ran
    assert len(errors) == 1 and errors[0].startswith("error: "), ran.stderr
    return errors[0].removeprefix("error: ")


def warned(ran: Ran) -> list[str]:
    """What an answer warns of."""
    assert ran.code == 0, ran.stderr
    lines = ran.stderr.splitlines()
    return [line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")]


def built() -> tuple[str, ...]:
    """Class names of the head that was built."""
    return load_head("head.safetensors").class_names


@pytest.mark.accepts("B1")
@pytest.mark.parametrize("content", [b"", b"\n \r\n\t\n", b"\xef\xbb\xbf", "\u3000\n".encode()])
def test_a_file_without_labels_is_refused(build: Run, content: bytes) -> None:
    assert refusal(build(content)) == "labels.txt: no labels"


@pytest.mark.accepts("B2")
def test_exact_duplicates_are_dropped_with_one_warning(build: Run) -> None:
    ran = build(b"dog\ncat\n dog \nbird\ncat\n")

    assert warned(ran) == [
        "duplicate labels dropped: 'dog' (labels.txt: line 3), 'cat' (labels.txt: line 5)"
    ]
    assert built() == ("dog", "cat", "bird")


@pytest.mark.accepts("B2")
def test_labels_with_equal_tokens_are_kept_with_one_warning_each_time(build: Run) -> None:
    first, again = (build(b"TRUE\ncat\ntrue\n", "--label", "T-shirt") for _ in range(2))

    assert (
        warned(first)
        == warned(again)
        == [
            "labels with equal tokens, which the model cannot tell apart: "
            "'TRUE' (labels.txt: line 1) and 'true' (labels.txt: line 3)"
        ]
    )
    assert built() == ("TRUE", "cat", "true", "T-shirt")


@pytest.mark.accepts("B2")
def test_data_sets_and_heads_keep_every_row_silently(
    run: Run, picture: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (("crane",), ("dog",), ("crane",), ("Crane",))
    labels = ("0", "1", "2", "3")
    known = DataSet("birds", "Birds", names, TemplateSet("t", ("a {}",)), {}, labels)
    monkeypatch.setattr("zsclip.cli.request.load_dataset", lambda name: known)

    ran = run("build-head", "--dataset", "birds", "-o", "head.safetensors")
    rows = run("classify", picture("red.png"), "--head", "head.safetensors", "-k", "0")

    assert warned(ran) == warned(rows) == []
    assert Counter(s["label"] for s in rows.rows[0]["scores"]) == Counter(n for (n,) in names)  # type: ignore[attr-defined]


@pytest.mark.accepts("B3")
@pytest.mark.parametrize(
    "content",
    [
        b"cat\nhot dog",
        b"\xef\xbb\xbfcat\nhot dog\n",
        b"cat\r\nhot dog\r\n",
        b"\xef\xbb\xbf cat \t\r\n\r\n\xc2\xa0hot dog   \r\n\n\n  ",
    ],
    ids=["no last line break", "bom", "crlf", "all at once"],
)
def test_however_a_file_was_saved_its_labels_are_in_the_cache(build: Run, content: bytes) -> None:
    clean = build(b"cat\nhot dog\n")

    row = build(content).rows[0]

    assert row["from_cache"] == 2
    assert row["head"] == clean.rows[0]["head"]


@pytest.mark.accepts("B4")
@pytest.mark.parametrize(
    ("encoding", "place"),
    [("latin-1", "line 3: not UTF-8 (byte 0xE9)"), ("utf-16", "line 1: not UTF-8 (byte 0xFF)")],
)
def test_another_encoding_is_refused_until_it_is_named(
    build: Run, encoding: str, place: str
) -> None:
    content = "dog\r\n\r\ncafé\r\n"

    refused = build(content.encode(encoding))
    named = build(content.encode(encoding), "--encoding", encoding)

    assert refusal(refused) == f"labels.txt: {place}"
    assert "tip: re-save it as UTF-8, or name its encoding: --encoding" in refused.stderr
    assert named.rows[0]["head"] == build("dog\ncafé\n".encode()).rows[0]["head"]


@pytest.mark.accepts("B4")
@pytest.mark.parametrize("command", ["classify red.png", "build-head"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--labels-file labels.txt --encoding klingon", "'klingon' is not an encoding of text"),
        ("--labels-file labels.txt --encoding hex", "'hex' is not an encoding of text"),
        ("--labels-file labels.txt --encoding utf-16", "labels.txt: line 1: not utf-16 (byte"),
        ("--labels cat --encoding latin-1", "--encoding is for --labels-file FILE"),
    ],
)
def test_an_encoding_that_cannot_be_used_is_refused(
    run: Run, picture: Make, command: str, options: str, message: str
) -> None:
    picture("red.png")
    Path("labels.txt").write_bytes(b"cat")

    assert message in refusal(run(*command.split(), *options.split()))


@pytest.mark.accepts("B5")
def test_control_bytes_are_refused_with_their_line(
    build: Run, tried: Callable[[int], None]
) -> None:
    contents = [
        f"cat\n\n{form.replace('_', char)}\n".encode()
        for char in "\x00\x08\x0c\x1b\x1c\x7f\x85\x9b"
        for form in ("a_b", "_b", "b_")
    ]
    contents += [b"cat\n\na\tb", b"cat\n\na\rb", "cat\n\na".encode("utf-16-le")]

    refusals = [refusal(build(content)) for content in contents]

    tried(len(contents))
    assert [text for text in refusals[:-1] if "labels.txt: line 3: control" not in text] == []
    assert refusals[-1].startswith("labels.txt: line 1: control character '\\x00' in label")


@pytest.mark.accepts("B6")
def test_a_prompt_that_is_too_long_is_refused_with_class_template_and_tokens(build: Run) -> None:
    assert refusal(build(b"cat\n" + b"word " * 75 + b"\n", "--templates", "photo")) == (
        f"labels.txt: line 2: label '{'word ' * 8}…{' word' * 8}' in template 'a photo of a {{}}.' "
        "has 82 > 77 tokens"
    )


@pytest.mark.accepts("B6")
def test_a_long_prompt_is_cut_with_a_warning_where_that_is_asked_for(build: Run) -> None:
    ran = build(b"cat\n" + b"word " * 75 + b"\n", "--templates", "photo", "--truncate")

    assert len(warned(ran)) == 1
    assert re.fullmatch("labels.txt: line 2: .* has 82 > 77 tokens; cut", warned(ran)[0])


@pytest.mark.accepts("B6")
def test_the_length_is_the_models_own(
    run: Run, fake_model: Model, tiny_local: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = Model(tiny_local, cache=fake_model.cache, engine=FakeEngine())
    monkeypatch.setattr("zsclip.cli.request.load_model", lambda *args, **kwargs: tiny)

    ran = run("build-head", "--label", "word " * 40, "-t", "none")

    assert refusal(ran).endswith("in template '{}' has 42 > 32 tokens")


@pytest.mark.accepts("B7")
def test_commas_quotes_and_colons_are_as_each_option_documents(run: Run, tmp_path: Path) -> None:
    Path("labels.txt").write_text('salt, pepper\n"quoted"\na: b\n# no comment\n')

    run(
        "build-head", "-o", "head.safetensors", "-L", "labels.txt", "--labels", ' x ,"y", z:1',
        "--label", "oil, vinegar", "--label", "'it'",
    )  # fmt: skip

    assert built() == (
        "salt, pepper", '"quoted"', "a: b", "# no comment", "x", '"y"', "z:1", "oil, vinegar",
        "'it'",
    )  # fmt: skip


@pytest.mark.accepts("B8")
def test_one_label_works_with_a_warning_and_its_cosine(run: Run, picture: Make) -> None:
    as_json = run("classify", picture("red.png"), "--labels", "cat", "--json")
    as_table = run("classify", picture("red.png"), "--labels", "cat", "--format", "table")

    assert as_json.rows[0]["score"] == 1.0 and -1 <= as_json.rows[0]["cosine"] <= 1  # type: ignore[operator]
    assert warned(as_json) == warned(as_table)
    assert len(warned(as_json)) == 1 and "always 1; look at the cosine" in warned(as_json)[0]
    assert f"cosine {as_json.rows[0]['cosine']:.3f}" in as_table.stdout


NO_TEMPLATES = (
    "a photo", "{} and {}", "{} {label}", "{label} of {object}", "{0}", "{name!r}", "{:>99999999}",
    "{0.__class__}", "{0.__class__.__mro__[1].__subclasses__}", "a {} and {", "a {} }", "{{}}",
    "{ }", "{}{", "}{", "{label!r}", "{Label}", "%s", "$name", "a {} \x1b[31m",
)  # fmt: skip


@pytest.mark.accepts("B9")
@pytest.mark.parametrize("name", ["templates.txt", "templates.yaml"])
def test_what_is_no_template_is_refused_with_file_and_line(
    run: Run, name: str, tried: Callable[[int], None]
) -> None:
    refusals = {}
    for text in NO_TEMPLATES:
        lines = ["a {}", text] if name.endswith("txt") else ["- 'a {}'", f"- {json.dumps(text)}"]
        Path(name).write_text("\n".join(lines), encoding="utf-8")
        refusals[text] = refusal(run("build-head", "--labels", "cat", "--templates", name))

    tried(len(NO_TEMPLATES))
    wrong = {t: r for t, r in refusals.items() if not r.startswith(f"{name}: line 2: ")}
    assert wrong == {}
    assert refusals["{0}"] == f"{name}: line 2: needs exactly one {{}} for the class name: '{{0}}'"


@pytest.mark.accepts("B10")
@pytest.mark.parametrize("label", ["{}", "{0.__class__}", "{label}", "{:>999999999}", "%s", "\\1"])
def test_braces_in_a_label_are_text(build: Run, fake_model: Model, label: str) -> None:
    build(f"{label}\ncat\n".encode(), "--template", "a {label}.")

    expected = fake_model.encode_text([f"a {label}.", "a cat."])
    assert built() == (label, "cat")
    np.testing.assert_allclose(load_head("head.safetensors").weight, expected, atol=1e-6)


_BOMBS = r"""
import json, os, resource, sys, time
from pathlib import Path
from zsclip.cli import main

def peak():
    in_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return in_kib / (1 << 20 if sys.platform == "darwin" else 1 << 10)

def answer(text, size):
    Path("bomb.yaml").write_text(text, encoding="utf-8")
    os.truncate("bomb.yaml", size or len(text))
    before, start = peak(), time.process_time()
    return main(["templates", "bomb.yaml"]), time.process_time() - start, peak() - before

MIB = 1 << 20
bombs = {
    "an alias to itself": ("- &a [*a]", 0),
    "a merge": ("- &a {b: c}\n- <<: *a", 0),
    "a Python object": ("!!python/object/apply:os.system ['touch executed']", 0),
    "a tag inside": ("templates:\n- !!python/name:os.system x", 0),
    "aliases": ("- &a0 [x, x]\n" + "".join(
        f"- &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40)
    ), 0),
    "a large file": ("- 'a {}'\n", 1 << 40),
    "a little too much": ("- 'a {}'\n" * (MIB // 9 + 1), 0),
    "brackets": ("[" * MIB, 0),
    "braces": ("{a: " * (MIB // 4), 0),
    "dashes": ("- " * (MIB // 2), 0),
    "questions": ("? " * (MIB // 2), 0),
    "duplicate keys": ("a: 1\n" * (MIB // 5), 0),
}
assert answer("- 'a {}'", 0)[0] == 0  # imports what is needed
print(json.dumps({name: answer(*bomb) for name, bomb in bombs.items()}))
"""


@pytest.mark.accepts("B11")
def test_yaml_bombs_are_refused_at_once_in_little_memory(
    tmp_path: Path, tried: Callable[[int], None]
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _BOMBS], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )

    assert ran.returncode == 0, ran.stderr  # no signal
    answers = json.loads(ran.stdout.splitlines()[-1])
    tried(len(answers))
    assert {name: code for name, (code, _, _) in answers.items() if code != 2} == {}
    assert {name: time_s for name, (_, time_s, _) in answers.items() if time_s > 1} == {}
    assert sum(grown_mib for _, _, grown_mib in answers.values()) < 20, answers
    assert ran.stderr.count("error: bomb.yaml: ") == len(answers), ran.stderr
    assert not (tmp_path / "executed").exists()


@pytest.mark.accepts("B12")
def test_yaml_scalars_are_the_text_that_was_typed(run: Run) -> None:
    for name in ("no", "1e3", "2024-01-01", "0x1F", "null", "1_000", "12:30:00", "~"):
        Path("mine.yaml").write_text(f"name: {name}\ndescription: {name}\ntemplates: ['a {{}}']\n")

        row = run("templates", "mine.yaml", "--json").rows[0]

        assert (row["name"], row["description"]) == (name, name)


@pytest.fixture(scope="module")
def small(small_clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A small model with all its parts, random weights, 24 tokens."""
    folder = tmp_path_factory.mktemp("naughty")
    return load_model(small_clip_folder, engine="torch", device="cpu", cache_dir=folder)


@functools.cache
def oracle() -> Any:
    """open_clip's own tokenizer."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


@functools.cache
def verdict(text: str, context_length: int) -> str:
    """Why a line of a labels file must be refused; nothing if it must not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "not UTF-8"
    text = text.strip(BLANKS)
    if control_character(text) is not None:
        return "control character"
    tokens = oracle().encode(text)
    if not tokens:
        return "is empty once the model has cleaned it"
    if {oracle().sot_token_id, oracle().eot_token_id} & set(tokens):
        return "special tokens inside"
    return f"> {context_length} tokens" if len(tokens) + 2 > context_length else ""


@pytest.mark.accepts("B13")
def test_naughty_labels_embed_finitely_and_equal_exactly_when_their_tokens_are(
    run: Run, small: Model, monkeypatch: pytest.MonkeyPatch, tried: Callable[[int], None]
) -> None:
    monkeypatch.setattr("zsclip.cli.request.load_model", lambda *args, **kwargs: small)
    texts = [text for text in naughty_strings() if not verdict(text, 24)]
    names = tuple(dict.fromkeys(text.strip(BLANKS) for text in texts))
    Path("naughty.txt").write_bytes("\n".join(["cat", *texts]).encode())

    ran = run("build-head", "-L", "naughty.txt", "-t", "none", "-o", "head.safetensors")

    tried(len(texts))
    head = load_head("head.safetensors")
    by_tokens, by_row = defaultdict(set), defaultdict(set)
    for name, row in zip(head.class_names, head.weight, strict=True):
        by_tokens[tuple(oracle().encode(name))].add(name)
        by_row[row.tobytes()].add(name)
    assert len(texts) > 500 and head.class_names == tuple(dict.fromkeys(("cat", *names)))
    assert np.abs(np.linalg.norm(head.weight, axis=1) - 1).max() < 1e-5
    assert sorted(map(sorted, by_row.values())) == sorted(map(sorted, by_tokens.values()))
    assert sum("labels with equal tokens" in line for line in warned(ran)) == 1


@pytest.mark.accepts("B13")
def test_naughty_labels_that_cannot_be_read_are_refused_with_their_line(
    run: Run, small: Model, monkeypatch: pytest.MonkeyPatch, tried: Callable[[int], None]
) -> None:
    monkeypatch.setattr("zsclip.cli.request.load_model", lambda *args, **kwargs: small)
    wrong, reasons = {}, Counter[str]()
    for text in naughty_strings():
        if reason := verdict(text, 24):
            reasons[reason] += 1
            Path("naughty.txt").write_bytes(f"cat\n{text}\n".encode("utf-8", "surrogateescape"))
            said = refusal(run("build-head", "-L", "naughty.txt", "-t", "none"))
            if not said.startswith("naughty.txt: line 2: ") or reason not in said:
                wrong[text] = said

    tried(reasons.total())
    assert wrong == {}
    assert len(reasons) == 5 and min(reasons.values()) > 1, reasons


class Watching(FakeEngine):
    """A quick engine that notes how many prompts come at once, and what was cached by then."""

    def __init__(self, cache: Path) -> None:
        super().__init__()
        self.calls: list[tuple[int, int]] = []
        self._cache = cache
        self._mixing = np.random.default_rng(0).standard_normal((77, self.dimension))

    def encode_texts(self, tokens: npt.NDArray[np.int64]) -> Floats:
        with contextlib.closing(sqlite3.connect(self._cache)) as db:
            (rows,) = db.execute("SELECT count(*) FROM classes").fetchone()
        self.calls.append((len(tokens), rows))
        return normalize(np.sin(tokens @ self._mixing).astype(np.float32))


def peak_mib() -> float:
    """The most memory that this process has had since `forget_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]


@pytest.mark.accepts("B14")
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak from Linux")
def test_a_hundred_thousand_labels_take_memory_for_a_chunk_of_them(
    run: Run, picture: Make, fake_model: Model, tried: Callable[[int], None]
) -> None:
    count = 100_000 if LONG else 15_000
    engine = fake_model.engine = Watching(fake_model.cache.path)
    Path("labels.txt").write_text("".join(f"label {n}\n" for n in range(count)))
    Path("/proc/self/clear_refs").write_text("5")  # from here on
    before = peak_mib()

    ran = run("classify", picture("red.png"), "-L", "labels.txt", "-t", "none", "-k", "2")

    grown = peak_mib() - before
    tried(count)
    assert ran.code == 0 and ran.stderr == "", "no bar where nobody watches"
    assert len(ran.rows[0]["scores"]) == 2  # type: ignore[arg-type]
    sizes, cached = zip(*engine.calls[1:], strict=True)  # the first is the probe
    assert sum(sizes) == count and max(sizes) <= 5_000
    assert cached == (0, *itertools.accumulate(sizes[:-1]))
    assert grown < 60 + count * 3e-3, grown


@pytest.mark.accepts("B14")
@pytest.mark.parametrize("watched", [False, True])
def test_a_bar_is_drawn_where_a_person_watches_only(
    run: Run, monkeypatch: pytest.MonkeyPatch, watched: bool
) -> None:
    asked = []
    real = console.progress
    monkeypatch.setattr(console, "stderr_is_terminal", lambda: watched)
    monkeypatch.setattr(
        console,
        "progress",
        lambda what, *, shown: asked.append((what, shown)) or real(what, shown=False),
    )

    run("build-head", "--labels", "cat")

    assert asked == [("encoding classes", watched)]


@contextlib.contextmanager
def ordinary_user() -> Iterator[None]:
    """Without the rights of root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.accepts("B15")
@pytest.mark.parametrize("option", ["--labels-file", "-L"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("folder", "is a directory"),
        ("none.txt", "no such file or directory"),
        ("dangling.txt", "no such file or directory"),
        ("loop.txt", "too many levels of symbolic links"),
        ("secret.txt", "permission denied"),
        ("x" * 300, "file name too long"),
    ],
)
def test_a_labels_file_that_cannot_be_read_is_one_line_with_path_and_reason(
    run: Run, tmp_path: Path, option: str, name: str, reason: str
) -> None:
    Path("folder").mkdir()
    Path("dangling.txt").symlink_to("gone")
    Path("loop.txt").symlink_to("loop.txt")
    Path("secret.txt").write_text("cat")
    Path("secret.txt").chmod(0)

    with ordinary_user() if name == "secret.txt" else contextlib.nullcontext():
        ran = run("build-head", option, name)

    assert refusal(ran) == f"{name}: cannot be read: {reason}"


@pytest.mark.accepts("B16")
@pytest.mark.parametrize("token", ["<start_of_text>", "<end_of_text>", "&lt;END_OF_TEXT&gt;"])
@pytest.mark.parametrize("options", [(), ("--truncate",), ("-t", "none")])
def test_a_special_token_inside_a_label_is_refused_with_the_label(
    build: Run, token: str, options: tuple[str, ...]
) -> None:
    assert refusal(build(f"dog\n\nthe{token} cat\n".encode(), *options)) == (
        f"labels.txt: line 3: label 'the{token} cat' has one of CLIP's special tokens inside"
    )
