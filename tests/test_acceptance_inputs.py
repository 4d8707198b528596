"""Rows A19 to A22 and A24 of the acceptance table, by the command line: what is named as an input.

Folders and links, files that are none, what may not be read, names that are not text, and pictures
that take too long.
"""

from __future__ import annotations

import base64
import builtins
import contextlib
import csv
import io
import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Ran
from PIL import Image

from zsclip import images
from zsclip.classifier import Classifier
from zsclip.encoders import Model
from zsclip.errors import PictureError, UsageError

Run = Callable[..., Ran]
Make = Callable[..., Path]

BLACK = ("--labels", "a,b", "--json")
NOBODY = 65534


@pytest.fixture
def run(zsclip: Run, fake_model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`zsclip classify` in an empty folder, with the fake engine as its model."""
    monkeypatch.setattr("zsclip.cli.request.load_model", lambda *args, **kwargs: fake_model)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: zsclip("classify", *arguments)


@contextlib.contextmanager
def ordinary_user(folder: Path) -> Iterator[None]:
    """Without root's rights to read everything; the way to a folder and its cache is opened."""
    for path in (folder / "cache", *(folder / "cache").iterdir()):
        path.chmod(0o777)
    if os.geteuid() != 0:
        yield
        return
    for parent in (folder, *folder.parents):
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)  # pytest's own folders
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def codes(ran: Ran) -> dict[str, str]:
    """path -> error code, or `ok`."""
    return {
        str(row["path"]): row["error"]["code"] if row["status"] == "error" else "ok"  # type: ignore[index]
        for row in ran.rows
    }


# A19: folders


@pytest.mark.accepts("A19")
def test_a_folder_is_walked_past_one_that_may_not_be_read(
    run: Run, picture: Make, tmp_path: Path
) -> None:
    for name in ("d/b.png", "d/secret/c.png", "d/z/e.png", "d/.hidden.png", "d/.git/f.png"):
        picture(name)
    Path("d/notes.txt").write_text("x")
    Path("d/secret").chmod(0)

    run("d/b.png", *BLACK)  # modules that are imported late may not be readable then
    with ordinary_user(tmp_path):
        ran = run("d", "d/.hidden.png", *BLACK)
    Path("d/secret").chmod(0o755)
    assert list(codes(ran).items()) == [
        ("d/b.png", "ok"),
        ("d/secret", "permission"),
        ("d/z/e.png", "ok"),
        ("d/.hidden.png", "ok"),
    ]
    assert ran.code == 3
    assert ran.stderr == (
        "zsclip: d/secret: permission denied [permission]\n"
        "3 ok, 1 failed (1 permission), 2 other files skipped\n"
    )


@pytest.mark.accepts("A19", "A21")
def test_links_inside_a_folder_end_in_rows_and_never_in_circles(run: Run, picture: Make) -> None:
    picture("d/b.png")
    for name, target in {
        "d/again": "../d",  # a folder
        "d/circle.png": "circle.png",
        "d/circle": "circle",
        "d/gone.png": "none.png",
        "d/one.png": "two.png",
        "d/two.png": "one.png",
    }.items():
        Path(name).symlink_to(target)

    ran = run("d", *BLACK)

    assert codes(ran) == {
        "d/b.png": "ok",
        "d/circle.png": "read_error",
        "d/gone.png": "not_found",
        "d/one.png": "read_error",
        "d/two.png": "read_error",
    }
    assert ran.code == 3


@pytest.mark.accepts("A19", "A21")
def test_a_folder_that_is_removed_during_the_walk_is_a_row(
    run: Run, picture: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("d/a.png", "d/e/b.png", "d/f.png"):
        picture(name)
    scandir = os.scandir

    def late(folder: str) -> object:
        if folder == "d/e":
            Path("d/e/b.png").unlink()
            Path("d/e").rmdir()
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", late)

    ran = run("d", *BLACK)

    assert codes(ran) == {"d/a.png": "ok", "d/e": "not_found", "d/f.png": "ok"}


# A20: what is no regular file


@pytest.mark.accepts("A20")
@pytest.mark.parametrize("kind", ["FIFO", "socket", "device", "proc", "endless proc"])
@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_regular_file_is_a_row_at_once(
    run: Run, picture: Make, kind: str, linked: bool
) -> None:
    path = {
        "FIFO": "fifo.png",
        "socket": "socket.png",
        "device": "/dev/zero",
        "proc": "/proc/self/status",
        "endless proc": "/proc/kmsg",
    }[kind]
    if path.startswith("/") and not os.path.exists(path):
        pytest.skip(f"no {path} here")
    with contextlib.ExitStack() as stack:
        if kind == "FIFO":
            os.mkfifo(path)
        elif kind == "socket":
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind(path)
        if linked:
            os.symlink(path, "link.png")
            path = "link.png"
        start = time.monotonic()

        ran = run(picture("a.png").name, path, picture("b.png").name, *BLACK)

    assert codes(ran) == {"a.png": "ok", path: "not_regular", "b.png": "ok"}
    assert ran.code == 3 and time.monotonic() - start < 60


@pytest.mark.accepts("A20")
@pytest.mark.parametrize("kind", ["FIFO", "device"])
def test_a_file_that_becomes_another_before_it_is_opened_blocks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    regular, path = tmp_path / "a.png", tmp_path / "b.png"
    regular.write_bytes(b"x")
    if kind == "FIFO":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda p, **o: stat(regular if p == str(path) else p, **o))
    found: list[str] = []

    def load() -> None:
        try:
            images.load(str(path))
        except PictureError as error:
            found.append(error.code)

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    thread.join(60)

    assert found == ["not_regular"]


@pytest.mark.accepts("A20")
def test_a_dash_is_the_picture_on_stdin(
    run: Run, picture: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = picture("a.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    ran = run("-", *BLACK)

    assert codes(ran) == {"-": "ok"} and ran.code == 0


# A21: what cannot be read


@pytest.mark.accepts("A21")
def test_whatever_cannot_be_read_is_a_row_and_the_others_are_classified(
    run: Run, picture: Make, tmp_path: Path
) -> None:
    picture("good.png")
    picture("secret.png").chmod(0)
    picture("closed/a.png")
    Path("closed").chmod(0)
    Path("dangling.png").symlink_to("none.png")
    Path("loop.png").symlink_to("loop.png")
    expected = {
        "secret.png": "permission",
        "closed/a.png": "permission",
        "dangling.png": "not_found",
        "loop.png": "read_error",
        "loop.png/a.png": "read_error",
        "good.png/a.png": "not_found",
        "none.png": "not_found",
        "n" * 300: "read_error",
        "n/" * 3000: "read_error",
        "nul\0.png": "not_found",
        "good.png": "ok",
    }
    Path("list").write_text("\n".join(expected))

    run("good.png", *BLACK)
    with ordinary_user(tmp_path):
        ran = run("--files-from", "list", *BLACK)
    Path("closed").chmod(0o755)

    assert codes(ran) == expected and ran.code == 3
    assert len(ran.stderr.splitlines()) == len(expected)  # a line each but one, and the summary


@pytest.mark.accepts("A21")
def test_a_file_that_vanishes_after_it_was_found_is_a_row(
    run: Run, picture: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("d/a.png", "d/b.png", "d/c.png"):
        picture(name)
    load = images.load

    def late(source: str, *arguments: object, **options: object) -> images.Picture:
        if source == "d/b.png":
            os.unlink(source)
        return load(source, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(images, "load", late)

    assert codes(run("d", *BLACK)) == {"d/a.png": "ok", "d/b.png": "not_found", "d/c.png": "ok"}


# A22: names

NAMES = [
    b"line\nbreak.png",
    b"carriage\rreturn.png",
    b"both\r\n.png",
    b"caf\xe9.png",
    b"\xff\xfe\x80.png",
    b"half \xf0\x9f\x98.png",
    b"-dash.png",
    b"--labels=x.png",
    b"\x1b[31mred\x1b[0m.png",
    b"\x1b]0;title\x07.png",
    b"[/x].png",
    b"[bold]x[/bold].png",
    "😀é漢.png".encode(),
    "\u202egnp.exe.png".encode(),
    "\u2028separated.png".encode(),
    b"=1+1.png",
    b"@SUM(A1).png",
    b'quote".png',
    b"a,b;c\td.png",
    b" blank .png",
    b"{}%s$HOME`x`.png",
    b"\\xe9.png",
    b"\x01\x7f\xc2\x9b.png",
]


@pytest.fixture
def odd_names(run: Run, picture: Make, tmp_path: Path) -> Path:
    """A folder `d` with a picture of each name, and one that is broken."""
    content = picture("x.png").read_bytes()
    for name in NAMES:
        for path, what in ((name, content), (b"bad " + name, b"none")):
            os.makedirs(os.path.dirname(b"d/" + path), exist_ok=True)  # `[/x]` has a slash
            with open(b"d/" + path, "wb") as file:
                file.write(what)
    return tmp_path / "d"


def in_bytes(row: dict[str, object]) -> bytes:
    """The path of a row of JSON as the file system knows it, by the published rule."""
    if "path_b64" in row:
        return base64.b64decode(str(row["path_b64"]))
    return str(row["path"]).encode()


@pytest.mark.accepts("A22")
@pytest.mark.parametrize("kind", ["jsonl", "json"])
def test_json_gives_back_the_bytes_of_every_name(
    run: Run, odd_names: Path, kind: str, tried: Callable[[int], None]
) -> None:
    ran = run("d", "--labels", "a,b", "--format", kind)

    rows = json.loads(ran.stdout) if kind == "json" else ran.rows
    given = sorted(b"d/" + path for name in NAMES for path in (name, b"bad " + name))
    assert [in_bytes(row) for row in rows] == given
    assert len(ran.stdout.splitlines()) == len(given) + 2 * (kind == "json")
    tried(2 * len(NAMES))


@pytest.mark.accepts("A22")
@pytest.mark.parametrize(("kind", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_a_reader_of_csv_gives_back_every_name(
    run: Run, odd_names: Path, kind: str, delimiter: str, tried: Callable[[int], None]
) -> None:
    ran = run("d", "--labels", "a,b", "--format", kind)

    _, *rows = csv.reader(io.StringIO(ran.stdout, newline=""), delimiter=delimiter)
    given = sorted(b"d/" + path for name in NAMES for path in (name, b"bad " + name))
    assert [row[0] for row in rows] == [path.decode("utf-8", "backslashreplace") for path in given]
    assert {len(row) for row in rows} == {8}
    tried(2 * len(NAMES))


@pytest.mark.accepts("A22")
def test_names_are_escaped_where_people_read_them(
    run: Run, odd_names: Path, tried: Callable[[int], None]
) -> None:
    ran = run("d", "--labels", "a,b", "--format", "table")

    shown = ran.stdout + ran.stderr
    assert [c for c in shown if not c.isprintable() and c != "\n"] == []
    assert "\u202e" not in shown and "\u2028" not in shown
    assert len(ran.stdout.split("\n")) == 1 + 2 * len(NAMES) + 1
    told = ran.stderr.split("\n")
    assert len(told) == len(NAMES) + 2 and told[-2].startswith(f"{len(NAMES)} ok, ")
    assert all(line.startswith("zsclip: d/bad ") for line in told[:-2])
    for text in (r"line\nbreak", r"\x1b[31mred", "[/x].png", "[bold]x[/bold]", "😀é漢", r"\udce9"):
        assert f"d/{text}" in ran.stdout or f"d/caf{text}" in ran.stdout
        assert f"bad {text}" in ran.stderr or f"bad caf{text}" in ran.stderr
    tried(2 * len(NAMES))


@pytest.mark.accepts("A22")
@pytest.mark.parametrize(
    "arguments", [(*BLACK, "--", "-x.png"), ("./-x.png", *BLACK), (*BLACK, "--", "--debug")]
)
def test_names_that_begin_with_a_dash_can_be_given(
    run: Run, picture: Make, arguments: tuple[str, ...]
) -> None:
    picture("-x.png")
    os.link("-x.png", "--debug")

    ran = run(*arguments)

    assert [row["status"] for row in ran.rows] == ["ok"] and ran.code == 0


@pytest.mark.accepts("A22")
@pytest.mark.parametrize(
    ("option", "separator"), [("--files-from", b"\n"), ("--files0-from", b"\0")]
)
def test_a_list_names_any_bytes(
    run: Run, odd_names: Path, option: str, separator: bytes, tried: Callable[[int], None]
) -> None:
    names = [b"d/" + name for name in NAMES if separator == b"\0" or b"\n" not in name]
    Path("list").write_bytes(separator.join(names))

    ran = run(option, "list", *BLACK)

    assert [in_bytes(row) for row in ran.rows] == names and ran.code == 0
    tried(len(names))


# A24: pictures that take too long


class Stuck:
    """What is called with one of `paths` waits until it is let go."""

    def __init__(self, function: Callable[..., object], *paths: str) -> None:
        self.function, self.paths, self.go = function, paths, threading.Event()

    def __call__(self, path: object, *arguments: object, **options: object) -> object:
        if path in self.paths:
            self.go.wait(60)
        return self.function(path, *arguments, **options)


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Let a function of a module get stuck: `stuck(images, "load", "a.png")`."""
    held: list[Stuck] = []

    def hold(module: object, name: str, *paths: str) -> None:
        held.append(Stuck(getattr(module, name), *paths))
        monkeypatch.setattr(module, name, held[-1])

    yield hold
    for one in held:
        one.go.set()


@pytest.mark.accepts("A24")
@pytest.mark.parametrize(
    ("module", "name"), [(images, "load"), (builtins, "open")], ids=["load", "open"]
)
def test_pictures_that_take_too_long_are_rows_and_those_after_them_are_classified(
    run: Run,
    picture: Make,
    stuck: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    module: object,
    name: str,
) -> None:
    monkeypatch.setattr("zsclip.cpus.usable", lambda: 2)
    names = [picture(f"{n:02}.png").name for n in range(40)]
    late = names[3:9:2]  # more than there are threads
    stuck(module, name, *late)

    ran = run(*names, "--timeout", "1", *BLACK)

    assert codes(ran) == {name: "timeout" if name in late else "ok" for name in names}
    assert ran.code == 3
    told = "took longer than 1 s (--timeout) [timeout]"
    assert ran.stderr.splitlines()[0] == f"zsclip: {late[0]}: {told}"


@pytest.mark.accepts("A24")
def test_when_every_picture_gets_stuck_each_has_its_row_and_the_run_ends(
    run: Run, picture: Make, stuck: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zsclip.thread_pool.MOST_REPLACED", 2)
    names = [picture(f"{n}.png").name for n in range(20)]
    stuck(images, "load", *names)

    ran = run(*names, "--timeout", "0.05", *BLACK)

    assert codes(ran) == dict.fromkeys(names, "timeout") and ran.code == 1
    assert "before it do not come to an end" in ran.stderr


@pytest.mark.accepts("A24")
@pytest.mark.parametrize("seconds", ["-1", "nan", "soon"])
def test_a_time_out_that_is_none_is_refused(run: Run, picture: Make, seconds: str) -> None:
    ran = run(picture("a.png"), "--timeout", seconds, *BLACK)

    assert ran.code == 2 and len([x for x in ran.stderr.splitlines() if x[:4] != "tip:"]) == 1


def test_a_time_out_in_python_is_refused_likewise(fake_model: Model) -> None:
    with pytest.raises(UsageError, match="0 means no limit"):
        Classifier(["a", "b"], model=fake_model, timeout_s=float("nan"))


def cpu_of_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def slow_jpeg(scans: int) -> bytes:
    """A small file that takes long: the last pass of a progressive JPEG over and over."""
    file = io.BytesIO()
    Image.new("L", (2000, 2000), 128).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * scans + b"\xff\xd9"


@pytest.mark.accepts("A24")
@pytest.mark.usefixtures("fast_tiny")
def test_a_picture_that_really_takes_long_does_not_keep_the_process(
    picture: Make, tmp_path: Path
) -> None:
    names = [picture(f"{n}.png").name for n in range(4)]
    (tmp_path / "slow.jpg").write_bytes(slow_jpeg(20_000))
    command = [sys.executable, "-m", "zsclip", "classify", *names[:2], "slow.jpg", *names[2:]]

    before_s = cpu_of_children_s()
    ran = subprocess.run(
        [*command, "--model", "tiny", "--timeout", "2", *BLACK],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    seconds = cpu_of_children_s() - before_s  # the machine may be busy

    found = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [row["status"] for row in found] == ["ok", "ok", "error", "ok", "ok"], ran.stderr
    assert found[2]["error"]["code"] == "timeout" and ran.returncode == 3
    assert seconds < 20, seconds  # the picture takes 40
