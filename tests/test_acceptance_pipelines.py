"""Pipes, signals, kills, full disks and odd surroundings: group E of the acceptance table.

What needs a process of its own has one, with the embedded model; all else runs in this process,
with the fake engine.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cache_processes import process
from conftest import Ran
from PIL import Image

from zsclip import read_ahead, scoring
from zsclip.cli import main
from zsclip.cli.resume import retry_file
from zsclip.encoders import Model
from zsclip.engines.base import Floats
from zsclip.engines.fake import FakeEngine
from zsclip.results import Result

Run = Callable[..., Ran]
Make = Callable[..., Path]
Tried = Callable[[int], None]

IMAGES = Path(__file__).resolve().parents[1] / "examples" / "images"
COMMAND = [sys.executable, "-m", "zsclip"]
TINY = ("--labels", "cat,dog", "--model", "tiny")
LONG = os.environ.get("ZSCLIP_LONG_TESTS") == "1"
NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")


@pytest.fixture
def run(zsclip: Run, fake_model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`zsclip classify` in an empty folder, with the fake engine as its model."""
    monkeypatch.setattr("zsclip.cli.request.load_model", lambda *args, **kwargs: fake_model)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: zsclip("classify", "-t", "none", *arguments)


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Put bytes on stdin."""

    def put(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return put


def shell(line: str, *, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which `zsclip` is ours; `$IMAGES` and `$TINY` are as above."""
    names = {"IMAGES": str(IMAGES), "TINY": " ".join(TINY), **(env or {})}
    # `sh -c` forgets a stdin that came closed, and so does `subprocess`: bash closes it itself
    script = f'zsclip() {{ "{sys.executable}" -m zsclip "$@"; }}\n{line}'
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, timeout=120, env={**os.environ, **names}
    )


def rows_of(content: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in content.splitlines()]


# readers and writers that fail


@pytest.mark.accepts("E1")
@pytest.mark.usefixtures("fast_tiny")
@pytest.mark.parametrize("rows", [3, 3000])
@pytest.mark.parametrize("name", ["jsonl", "table"])
def test_a_reader_that_goes_away_ends_the_run_silently(
    tmp_path: Path, rows: int, name: str
) -> None:
    paths = [str(IMAGES / "cat.png"), str(IMAGES / "dog.png")] * (rows // 2)
    (tmp_path / "list").write_text("\n".join(paths))

    ran = shell(f"set -o pipefail; zsclip classify --files-from {tmp_path}/list $TINY -f {name}|"
                "head -n 1")  # fmt: skip

    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout.count(b"\n") == 1


@pytest.mark.accepts("E5")
@pytest.mark.usefixtures("fast_tiny")
@pytest.mark.parametrize(
    ("redirect", "reason"),
    [("> /dev/full", b"No space left on device"), (">&-", b"stdout is closed")],
)
def test_stdout_that_cannot_be_written_is_one_line_and_exit_5(redirect: str, reason: bytes) -> None:
    ran = shell(f"zsclip classify $IMAGES/cat.png $TINY {redirect}")

    assert ran.returncode == 5
    assert ran.stderr == b"error: cannot write output: " + reason + b"\n"


@contextlib.contextmanager
def full_disk(most_bytes: int) -> Iterator[None]:
    """Files cannot become longer than this."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.accepts("E5", "E6")
@pytest.mark.parametrize("name", ["json", "csv", "tsv"])
def test_output_that_fails_half_way_leaves_the_old_file(
    run: Run, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zsclip.console.failure", lambda result: None)  # they have a limit, too
    Path("list").write_text("".join(f"none{i}.png\n" for i in range(99)))
    output = Path(f"out.{name}")
    output.write_text("old")
    run("--files-from", "list", "--labels", "a,b", "-q")  # the text cache has the labels now
    before = set(Path().iterdir())

    with full_disk(4000):
        ran = run("--files-from", "list", "--labels", "a,b", "-q", "-o", output)

    assert ran.code == 5
    assert ran.stderr.splitlines()[-1] == f"error: cannot write {output}: File too large"
    assert output.read_text() == "old"
    assert set(Path().iterdir()) == before


@pytest.mark.accepts("E5", "E6")
def test_json_lines_that_fail_half_way_keep_their_rows_and_can_be_resumed(run: Run) -> None:
    Path("list").write_text("".join(f"none{i}.png\n" for i in range(99)))
    arguments = ("--files-from", "list", "--labels", "a,b", "-q")
    Path("out.jsonl").write_text("old\n" * 5000)
    whole = run(*arguments, "--json").stdout

    with full_disk(8000):
        ran = run(*arguments, "-o", "out.jsonl")
    kept = Path("out.jsonl").read_text()
    resumed = run(*arguments, "--resume", "out.jsonl")

    assert ran.code == 5
    assert len(kept) == 8000 and whole.startswith(kept)
    assert resumed.code == 1  # every input failed, as in a run that was not stopped
    assert Path("out.jsonl").read_text() == whole


# signals

STUCK = """
import hashlib, signal, sys
from zsclip import cli
from zsclip.cli import signals

def main():
    print("stuck", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 30)  # C that hears no signal, as engines do

cli.main = main
signals.GRACE_S = 0.2
cli.run()
"""


@pytest.mark.accepts("E2", "E3")
@pytest.mark.parametrize(
    ("number", "again", "code"), [(signal.SIGINT, True, 130), (signal.SIGTERM, False, 143)]
)
def test_a_second_interrupt_or_a_sigterm_ends_what_is_stuck(
    number: signal.Signals, again: bool, code: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"stuck\n"

    process.send_signal(number)
    while again and process.poll() is None:  # two of a kind that wait together are one
        time.sleep(0.05)
        process.send_signal(number)
    _, said = process.communicate(timeout=60)

    assert (process.returncode, said) == (code, b"")


# kills


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Paths of a hundred pictures, and of some that are not there in between."""
    examples = [Image.open(p).convert("RGB").resize((64, 64)) for p in sorted(IMAGES.glob("*.png"))]
    paths = []
    for number in range(100):
        path = tmp_path / f"{number:03}.png"
        examples[number % len(examples)].rotate(7 * number).save(path)
        paths += [str(path), *([f"none{number}.png"] if number % 9 == 4 else [])]
    return paths


def run_and_die(arguments: list[str], output: Path, size_bytes: int) -> None:
    """Run a command in this process, which is killed as soon as the output is so large."""

    def die() -> None:
        while not output.exists() or output.stat().st_size < size_bytes:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=die, daemon=True).start()
    run_unhurried(arguments)
    threading.Event().wait()  # it ends by being killed, however late that is


def run_unhurried(arguments: list[str]) -> None:
    """Run a command in this process, in which the inputs alone decide which are a batch."""
    read_ahead.PAUSE_S = read_ahead.SLOW_S = 60.0
    main(arguments)


@pytest.mark.accepts("E4", "E18")
@pytest.mark.usefixtures("fast_tiny")
def test_after_kills_at_random_points_the_file_is_that_of_a_run_that_was_not_stopped(
    pictures: list[str], tmp_path: Path, tried: Tried
) -> None:
    kills = 100 if LONG else 20
    (tmp_path / "list").write_text("\n".join(pictures))
    arguments = ["classify", "--files-from", str(tmp_path / "list"), *TINY, "-q", "-k", "0"]
    arguments += ["--engine", "onnx", "--cache-dir", str(tmp_path / "cache")]
    choose = random.Random(6)
    output = tmp_path / "out.jsonl"

    def end_of(target: Callable[..., None], *options: str, **more: Any) -> int | None:
        one = process(target, [*arguments, *options], **more)
        one.start()
        one.join(60)
        return one.exitcode

    assert end_of(run_unhurried, "-o", str(tmp_path / "whole.jsonl")) == 0
    whole = (tmp_path / "whole.jsonl").read_bytes()
    cut_short = 0
    for target in sorted(choose.randrange(len(whole)) for _ in range(kills)):
        resume = ("--resume", str(output))
        assert end_of(run_and_die, *resume, output=output, size_bytes=target) == -signal.SIGKILL
        have = output.read_bytes()
        cut_short += len(have) < len(whole)
        assert whole.startswith(have)
        output.write_bytes(whole[: len(have) + choose.choice([0, 1, 40])])  # or in a write
    assert end_of(run_unhurried, "--resume", str(output)) == 0

    assert cut_short > kills / 2
    assert output.read_bytes() == whole
    tried(kills)


@pytest.mark.accepts("E4", "E18")
def test_a_file_that_is_cut_at_any_byte_is_resumed_to_the_same_bytes(
    run: Run, picture: Make, tried: Tried
) -> None:
    names = [f"{i}.png" for i in range(9)]
    for number, name in enumerate(names[::2]):
        picture(name, (number * 20, 0, 0))
    run(*names, "--labels", "a,b", "-o", "whole.jsonl")
    whole = Path("whole.jsonl").read_bytes()
    cuts = sorted({*range(0, len(whole), 97), len(whole) - 1, len(whole)})

    for cut in cuts:
        Path("out.jsonl").write_bytes(whole[:cut])
        ran = run(*names, "--labels", "a,b", "--resume", "out.jsonl", "-q")
        assert Path("out.jsonl").read_bytes() == whole
        assert ran.code == 3

    tried(len(cuts))


@pytest.mark.accepts("E4", "E18")
@pytest.mark.parametrize("tail", ['{"path":"c.png","status":"o', '{"', "\0" * 4096])
def test_what_is_behind_the_last_whole_row_is_dropped(run: Run, tail: str) -> None:
    run("a.png", "b.png", "--labels", "a,b", "-o", "out.jsonl")
    whole = Path("out.jsonl").read_text()
    Path("out.jsonl").write_text(whole + tail)

    ran = run("a.png", "b.png", "--labels", "a,b", "--resume", "out.jsonl")

    assert ran.code == 1
    assert Path("out.jsonl").read_text() == whole


# resuming


def classify(*names: str) -> tuple[str, ...]:
    return (*names, "--labels", "a,b")


@pytest.mark.accepts("E18")
def test_pictures_that_are_done_are_not_encoded_again(
    run: Run, picture: Make, fake_model: Model
) -> None:
    names = [str(picture(f"{i}.png")) for i in range(70)]
    run(*classify(*names[:64]), "-o", "out.jsonl")
    assert isinstance(fake_model.engine, FakeEngine)
    fake_model.engine.image_calls = 0

    ran = run(*classify(*names), "--resume", "out.jsonl")

    assert fake_model.engine.image_calls == 7  # 63 are batches of 1, 2, 4, 8, 16, 32
    assert ran.stderr == "out.jsonl: 64 rows are done\n"
    assert [row["path"] for row in rows_of(Path("out.jsonl").read_bytes())] == names


@pytest.mark.accepts("E18")
def test_what_is_all_done_opens_no_engine_and_says_what_failed(
    run: Run, picture: Make, fake_model: Model
) -> None:
    names = classify(str(picture("a.png")), "none.png")
    first = run(*names, "-o", "out.jsonl")
    del fake_model.engine  # its weights are not there

    again = run(*names, "--resume", "out.jsonl")

    assert first.code == again.code == 3
    assert again.stderr == "out.jsonl: 2 rows are done\n1 ok, 1 failed (1 not_found)\n"


@pytest.mark.accepts("E18")
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("--labels", "c"), "line 1: is of another run: head "),
        (("--scores", "cosine"), "line 1: is of another run: score_kind softmax, not cosine"),
        (("-k", "1"), "line 1: is of another run: 2 labels a row, not 1"),
        (("--min-score", "0.3"), "another precision, threshold, or way of decoding"),
        (("--exact",), "another precision, threshold, or way of decoding"),
        (("extra.png",), "line 3: is of 'b.png', but that input is 'extra.png' now"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else "",
)
def test_a_file_of_another_run_is_refused_and_left_alone(
    run: Run, picture: Make, change: tuple[str, ...], named: str
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        picture(name)
    run("c.png", "a.png", "b.png", "--labels", "a,b", "-o", "out.jsonl")
    before = Path("out.jsonl").read_bytes()
    Path("errors").write_text("old")
    inputs = ("c.png", "a.png", *(change if change[0] == "extra.png" else ("b.png", *change)))

    ran = run(*inputs, "--labels", "a,b", "--resume", "out.jsonl", "--errors", "errors")

    assert ran.code == 2
    assert named in ran.stderr.splitlines()[0]
    assert Path("out.jsonl").read_bytes() == before
    assert Path("errors").read_text() == "old"


@pytest.mark.accepts("E18")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume", "o.jsonl", "-o", "p.jsonl"], "leave out --output"),
        (["--resume", "o.csv"], "JSON Lines only, not with csv"),
        (["--resume", "o.jsonl", "-f", "table"], "JSON Lines only, not with table"),
        (["--retry-errors"], "--retry-errors goes with --resume"),
        (["--resume", "fifo"], "is not a regular file"),
        (["-", "--resume", "o.jsonl"], "cannot tell which picture came on stdin"),
        (["--csv-safe"], "--csv-safe is for csv and tsv, not for jsonl"),
        (["--files0-from", "list", "--errors", "./list"], "would write over what is read"),
        (["--files-from", "list", "-o", "list"], "would write over what is read"),
        (["--labels-file", "list", "--resume", "list"], "would write over what is read"),
        (["-o", "new", "--errors", "./new"], "cannot take both the rows and --errors"),
        (["-o", "link", "--errors", "gone"], "cannot take both the rows and --errors"),
    ],
    ids=" ".join,
)
def test_options_of_the_output_that_contradict_each_other_are_refused(
    run: Run, options: list[str], message: str
) -> None:
    os.mkfifo("fifo")
    Path("link").symlink_to("gone")
    Path("list").write_text("a.png\n")

    ran = run(*options, "a.png", "--labels", "a,b")

    assert ran.code == 2
    assert message in ran.stderr.splitlines()[0]
    assert Path("list").read_text() == "a.png\n"


@pytest.mark.accepts("E18")
def test_two_processes_do_not_resume_one_file_at_a_time(run: Run, picture: Make) -> None:
    import fcntl

    picture("a.png")
    with open("out.jsonl", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        ran = run(*classify("a.png"), "--resume", "out.jsonl")

    assert ran.code == 2
    assert "another process is writing to it" in ran.stderr


# trying again


@pytest.fixture
def half_done(run: Run, picture: Make) -> tuple[str, ...]:
    """Six inputs, of which the first four have rows and two of these failed; now all are there."""
    names = ("a.png", "b.png", "c.png", "d.png", "e.png", "f.png")
    picture("a.png")
    picture("d.png", "blue")
    run(*classify(*names[:4]), "-o", "out.jsonl")
    for name in ("b.png", "e.png", "f.png"):
        picture(name, "green")
    return names


def status(path: str | Path) -> list[str]:
    return [str(row["status"]) for row in rows_of(Path(path).read_bytes())]


@pytest.mark.accepts("E18")
def test_errors_count_as_done(run: Run, half_done: tuple[str, ...]) -> None:
    ran = run(*classify(*half_done), "--resume", "out.jsonl")

    assert status("out.jsonl") == ["ok", "error", "error", "ok", "ok", "ok"]
    assert ran.code == 3


@pytest.mark.accepts("E18")
def test_errors_can_be_tried_again_and_rows_keep_their_order(
    run: Run, half_done: tuple[str, ...]
) -> None:
    os.chmod("out.jsonl", 0o600)

    ran = run(*classify(*half_done), "--resume", "out.jsonl", "--retry-errors")

    assert [row["path"] for row in rows_of(Path("out.jsonl").read_bytes())] == list(half_done)
    assert status("out.jsonl") == ["ok", "ok", "error", "ok", "ok", "ok"]
    assert ran.stderr.splitlines() == [
        "out.jsonl: 4 rows are done",
        "zsclip: c.png: no such file [not_found]",
        "5 ok, 1 failed (1 not_found)",
    ]
    assert os.stat("out.jsonl").st_mode & 0o777 == 0o600
    assert not retry_file(Path("out.jsonl")).exists()


@pytest.mark.accepts("E4", "E18")
@pytest.mark.parametrize("done", range(5))
def test_a_kill_while_errors_are_tried_again_loses_nothing(
    run: Run, half_done: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    class Killed(BaseException):
        pass

    written = []

    def killing(results: Iterator[Result]) -> Iterator[Result]:
        for result in results:
            if len(written) == done:
                raise Killed
            written.append(result.path)
            yield result

    old = Path("out.jsonl").read_bytes()
    from zsclip.classifier import Classifier

    original = Classifier.classify_inputs
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "classify_inputs", lambda *a: killing(original(*a)))
        with contextlib.suppress(Killed):
            run(*classify(*half_done), "--resume", "out.jsonl", "--retry-errors")
    now = Path("out.jsonl").read_bytes()
    retried = Path("out.jsonl.retry")
    if retried.exists():  # the old file stays as it is until the new one is whole
        assert now == old
        retried.write_bytes(retried.read_bytes() + b'{"path":"c.p')

    ran = run(*classify(*half_done), "--resume", "out.jsonl", "--retry-errors")

    assert status("out.jsonl") == ["ok", "ok", "error", "ok", "ok", "ok"]
    assert ran.code == 3


@pytest.mark.accepts("E18")
def test_trying_again_goes_on_where_it_was_stopped(
    run: Run, half_done: tuple[str, ...], fake_model: Model
) -> None:
    run(*classify(*half_done[:2]), "-o", "out.jsonl.retry")  # as a retry leaves it that is killed
    assert isinstance(fake_model.engine, FakeEngine)
    fake_model.engine.image_calls = 0

    run(*classify(*half_done[:4]), "--resume", "out.jsonl", "--retry-errors")

    assert status("out.jsonl") == ["ok", "ok", "error", "ok"]
    assert fake_model.engine.image_calls == 0  # b.png is not tried again


# the list of what failed


@pytest.mark.accepts("E17")
def test_paths_that_failed_are_a_list_for_another_run(run: Run, picture: Make) -> None:
    odd = os.fsdecode(b"caf\xe9 \n=\x1b.png")
    names = ["a.png", odd, " b .png", "-c.png", "d.png"]
    picture("a.png")
    picture("d.png")

    first = run("--errors", "failed", "--labels", "a,b", "--", *names)
    left = Path("failed").read_bytes()
    again = run("--files0-from", "failed", "--labels", "a,b", "--errors", "failed2")

    assert first.code == 3
    assert left == b"caf\xe9 \n=\x1b.png\0 b .png\0-c.png\0"
    assert again.code == 1
    assert Path("failed2").read_bytes() == left


@pytest.mark.accepts("E17")
def test_the_list_is_empty_where_none_failed(run: Run, picture: Make) -> None:
    Path("failed").write_text("old")

    ran = run(str(picture("a.png")), "--labels", "a,b", "--errors", "failed")

    assert (ran.code, Path("failed").read_bytes()) == (0, b"")


@pytest.mark.accepts("E17")
def test_the_list_of_a_resumed_run_has_what_failed_before(
    run: Run, half_done: tuple[str, ...]
) -> None:
    ran = run(*classify(*half_done, "g.png"), "--resume", "out.jsonl", "--errors", "failed")

    assert ran.code == 3
    assert Path("failed").read_bytes() == b"b.png\0c.png\0g.png\0"


@pytest.mark.accepts("E17")
def test_the_list_grows_with_the_rows(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        "zsclip.console.failure", lambda result: seen.append(Path("failed").read_bytes())
    )

    run("a.png", "b.png", "c.png", "--labels", "a,b", "--errors", "failed")

    assert seen == [b"", b"a.png\0", b"a.png\0b.png\0"]


@pytest.mark.accepts("E5", "E17")
@pytest.mark.parametrize("path", ["/dev/full", "missing/failed", "."])
def test_a_list_that_cannot_be_written_is_one_line_and_exit_5(run: Run, path: str) -> None:
    ran = run("a.png", "--labels", "a,b", "--errors", path, "-q")

    assert ran.code == 5
    assert ran.stderr.splitlines()[-1].startswith(f"error: cannot write {path}: ")


# where things are said


@pytest.mark.accepts("E7")
@pytest.mark.usefixtures("fast_tiny")
def test_a_closed_stderr_changes_nothing_else() -> None:
    ran = shell("zsclip classify $IMAGES/cat.png none.png $TINY 2>&-")

    assert (ran.returncode, ran.stderr) == (3, b"")
    assert [row["status"] for row in rows_of(ran.stdout)] == ["ok", "error"]


@pytest.mark.accepts("E7")
@pytest.mark.usefixtures("fast_tiny")
def test_messages_in_the_same_pipe_are_whole_lines_between_rows(
    tmp_path: Path, tried: Tried
) -> None:
    names = [f"{'n' * 100}{number}" for number in range(500)]
    (tmp_path / "list").write_text("\n".join(names))

    ran = shell(f"zsclip classify --files-from {tmp_path}/list $TINY 2>&1")

    lines = ran.stdout.decode().splitlines()
    said = [line for line in lines if not line.startswith("{")]
    assert [json.loads(line)["path"] for line in lines if line.startswith("{")] == names
    assert said[:-1] == [f"zsclip: {name}: no such file [not_found]" for name in names]
    assert said[-1] == "0 ok, 500 failed (500 not_found)"
    tried(len(lines))


@pytest.mark.accepts("E8")
@pytest.mark.parametrize("name", ["table", "jsonl", "csv"])
@pytest.mark.parametrize(
    "env",
    [
        {"TERM": "xterm-256color", "COLORTERM": "truecolor"},
        {"TERM": "dumb"},
        {"NO_COLOR": "1"},
        {"FORCE_COLOR": "1"},
    ],
    ids=str,
)
def test_a_pipe_gets_no_escape_bytes_and_whole_paths(
    run: Run, picture: Make, monkeypatch: pytest.MonkeyPatch, env: dict[str, str], name: str
) -> None:
    path = picture("long/" * 40 + "a.png").relative_to(Path.cwd())
    for variable, value in {**env, "COLUMNS": "20"}.items():
        monkeypatch.setenv(variable, value)

    ran = run(path, "none.png", "--labels", "a,b", "--format", name)

    assert "\x1b" not in ran.stdout + ran.stderr
    assert "\r" not in ran.stdout + ran.stderr
    assert str(path) in ran.stdout


# many inputs

MANY = """
import sys
from pathlib import Path
from zsclip.cache import TextCache
from zsclip.cli import request, run
from zsclip.encoders import Model
from zsclip.engines.fake import FakeEngine
from zsclip.models import config_of_architecture, resolve
from zsclip.weights import LocalModel

config = config_of_architecture("ViT-B-32", "openai")
local = LocalModel(resolve("ViT-B/32"), config, Path("none"), "f" * 64)
model = Model(local, cache=TextCache(None), engine=FakeEngine())
request.load_model = lambda *args, **options: model
run()
"""


def peak_mb(process: subprocess.Popen[bytes]) -> float:
    """The most memory that a process has had so far."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) / 1024


@NEEDS_PROC
@pytest.mark.accepts("E9")
def test_memory_stays_flat_and_the_first_row_is_out_before_the_list_ends(
    picture: Make, tried: Tried
) -> None:
    few, many = (10_000, 1_000_000) if LONG else (2_000, 20_000)
    path = os.fsencode(picture("a.png", size=2))
    arguments = ["classify", "--files0-from", "-", "--labels", "a,b", "-t", "none", "-q", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-c", MANY, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    first_is_out = threading.Event()

    def feed() -> None:
        process.stdin.write(path + b"\0")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        assert first_is_out.wait(60)
        for number in range(1, many):
            process.stdin.write((b"none" if number % 100 else path) + b"\0")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert json.loads(process.stdout.readline())["status"] == "ok"
    first_is_out.set()
    for _ in range(few - 1):
        process.stdout.readline()
    early = peak_mb(process)
    for _ in range(many - few):
        process.stdout.readline()
    late = peak_mb(process)
    feeder.join()
    process.stdin.close()

    assert process.stdout.read() == b"" and process.wait(60) == 3
    assert late - early < 50, (early, late)
    tried(many)


# surroundings


@pytest.mark.accepts("E10")
@pytest.mark.usefixtures("fast_tiny")
@pytest.mark.parametrize(
    ("env", "name"),
    [
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "jsonl"),
        ({"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "table"),
        ({"PYTHONIOENCODING": "latin-1:strict"}, "jsonl"),
    ],
    ids=str,
)
def test_output_is_utf8_whatever_the_locale(env: dict[str, str], name: str) -> None:
    line = f"zsclip classify $IMAGES/cat.png weiß猫.png --labels größe猫 --model tiny -f {name}"

    ran = shell(line, env=env)

    assert ran.returncode == 3
    assert "größe猫" in ran.stdout.decode("utf-8")
    if name == "jsonl":
        assert rows_of(ran.stdout)[1]["path"] == "weiß猫.png"
    assert b"Traceback" not in ran.stderr


@pytest.mark.accepts("E11")
@pytest.mark.usefixtures("fast_tiny")
def test_no_home_no_folder_for_temporary_files_a_deleted_folder_and_few_descriptors(
    tmp_path: Path,
) -> None:
    (tmp_path / "gone").mkdir()
    gone = f"ulimit -n 64; unset HOME; cd {tmp_path}/gone && rmdir {tmp_path}/gone;"
    env = {"TMPDIR": "/none/such", "PYTHONPATH": str(IMAGES.parents[1])}

    works = shell(f"{gone} zsclip classify $IMAGES $TINY -o {tmp_path}/out.csv", env=env)
    (tmp_path / "gone").mkdir()
    says = shell(f"{gone} zsclip classify $IMAGES/cat.png $TINY -o out.csv", env=env)

    assert works.returncode == 0, works.stderr
    assert (tmp_path / "out.csv").read_text().count(",ok,") >= 20
    assert (says.returncode, says.stderr.count(b"\n")) == (5, 1)
    assert says.stderr.startswith(b"error: cannot write out.csv: ")


# inputs


@pytest.mark.accepts("E12")
def test_no_input_is_a_line_that_helps(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsclip.console.stdin_is_terminal", lambda: True)

    ran = run("--labels", "a,b")

    assert (ran.code, ran.stdout) == (2, "")
    assert ran.stderr.splitlines()[0] == "error: no pictures named"
    assert "zsclip classify img.jpg --labels cat,dog" in ran.stderr


@pytest.mark.accepts("E12")
@pytest.mark.parametrize(
    ("option", "content"),
    [
        ("--files-from", b""),
        ("--files-from", b"\n"),
        ("--files-from", b" \n\r\n\t\n"),
        ("--files0-from", b""),
        ("--files0-from", b"\0\0"),
        ("--files0-from", b" \0"),
    ],
)
def test_a_list_without_paths_is_no_input(
    run: Run, stdin: Callable[[bytes], None], option: str, content: bytes
) -> None:
    stdin(content)

    ran = run(option, "-", "--labels", "a,b")

    assert (ran.code, ran.stdout) == (2, "")
    assert ran.stderr.startswith("error: no pictures among the inputs")


@pytest.mark.accepts("E12")
def test_an_empty_picture_on_stdin_is_a_row(run: Run, stdin: Callable[[bytes], None]) -> None:
    stdin(b"")

    ran = run("-", "--labels", "a,b")

    assert ran.code == 1
    assert [(row["path"], row["error"]["code"]) for row in ran.rows] == [("-", "empty")]  # type: ignore[index]


@pytest.mark.accepts("E12")
def test_blank_entries_are_skipped_and_all_failed_is_exit_1(
    run: Run, stdin: Callable[[bytes], None]
) -> None:
    stdin(b"\n\na.png\n \n\r\nb.png")

    ran = run("--files-from", "-", "--labels", "a,b")

    assert [row["path"] for row in ran.rows] == ["a.png", "b.png"]
    assert ran.code == 1
    assert ran.stderr.splitlines()[-1] == "0 ok, 2 failed (2 not_found)"


@pytest.mark.accepts("E13")
@pytest.mark.parametrize("name", ["jsonl", "json", "csv", "table"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_score_that_is_no_number_is_a_row(
    run: Run, picture: Make, fake_model: Model, name: str, value: str
) -> None:
    class Broken(FakeEngine):
        def encode_images(self, pixels: Floats, *, full_precision: bool = False) -> Floats:
            features = super().encode_images(pixels)
            features[pixels.mean(axis=(1, 2, 3)) > 1] = float(value)  # white pictures
            return features

    fake_model.engine = Broken()
    picture("black.png", "black")
    picture("white.png", "white")

    ran = run("black.png", "white.png", "--labels", "a,b", "-f", name)

    assert ran.code == 3
    assert "non_finite" in ran.stdout
    assert not re.search(r"\bnan\b|\binf(inity)?\b", ran.stdout, re.IGNORECASE)
    if name == "jsonl":
        assert [row["status"] for row in ran.rows] == ["ok", "error"]


@pytest.mark.accepts("E13")
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_finite_features_whose_score_is_no_number_are_a_row(
    run: Run, picture: Make, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    original = scoring.scores

    def broken(*arguments: Any, **options: Any) -> Floats:
        scores = original(*arguments, **options)
        scores[0, 0] = float(value)
        return scores

    monkeypatch.setattr(scoring, "scores", broken)

    ran = run(str(picture("a.png")), "none.png", "--labels", "a,b", "--json")

    assert [row["error"]["code"] for row in ran.rows] == ["non_finite", "not_found"]  # type: ignore[index]
    assert ran.code == 1


@pytest.mark.accepts("E14")
def test_every_occurrence_of_an_input_has_its_row(run: Run, picture: Make) -> None:
    picture("a.png")
    picture("b.png")
    Path("list").write_text("a.png\na.png\n")

    ran = run("a.png", "*.png", "a.png", ".", "--files-from", "list", "--labels", "a,b")

    assert [os.path.basename(str(row["path"])) for row in ran.rows] == [
        "a.png", "a.png", "b.png", "a.png", "a.png", "b.png", "a.png", "a.png",
    ]  # fmt: skip
    assert ran.code == 0


@pytest.mark.accepts("E15")
@pytest.mark.parametrize("batch_size", [(), ("--batch-size", "1"), ("--batch-size", "5")])
def test_rows_come_in_input_order_whatever_the_inputs_cost(
    run: Run, picture: Make, batch_size: tuple[str, ...], tried: Tried
) -> None:
    names = []
    for number in range(40):
        name = f"{(number * 17) % 40:02}.png"
        if number % 5 != 3:
            picture(name, size=1500 if number % 7 == 0 else 4)
        names.append(name)

    ran = run(*names, "--labels", "a,b", *batch_size)

    assert [row["path"] for row in ran.rows] == names
    tried(len(names))


@pytest.mark.accepts("E16")
@pytest.mark.parametrize("debug", [False, True])
def test_a_bug_is_one_line_and_never_shows_values(
    zsclip: Run, run: Run, picture: Make, monkeypatch: pytest.MonkeyPatch, debug: bool
) -> None:
    def broken(*_: object, **__: object) -> None:
        password = "hunter2"
        raise RuntimeError(f"something impossible {len(password)}\n")

    monkeypatch.setattr("zsclip.writers.as_row", broken)
    arguments = ["classify", picture("a.png"), "--labels", "a,b", "-t", "none", "--json"]

    ran = zsclip(*(["--debug"] if debug else []), *arguments)

    said = ran.stderr.splitlines()
    assert ran.code == 70
    assert "hunter2" not in ran.stdout + ran.stderr.replace('password = "hunter2"', "")
    assert ("Traceback" in ran.stderr) is debug
    assert said[-2] == "error: a bug in zsclip: RuntimeError: something impossible 7\\n"
    assert len(said) == 2 or debug
