"""The real thing: a process of its own, the embedded model, pipes and signals."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "examples" / "images"
COMMAND = [sys.executable, "-m", "zsclip"]
pytestmark = pytest.mark.usefixtures("fast_tiny")


def zsclip(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    """Run zsclip as a process, with time to spare."""
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, timeout=120)


def test_cats_and_dogs_are_told_apart() -> None:
    pictures = [*sorted(IMAGES.glob("cat*")), *sorted(IMAGES.glob("dog*"))]

    ran = zsclip("classify", *pictures, "--labels", "cat,dog", "--model", "tiny")

    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(rows) >= 4
    assert [row["label"] for row in rows] == [Path(row["path"]).name[:3] for row in rows]
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_the_same_command_gives_the_same_bytes() -> None:
    arguments = ("classify", IMAGES, "--labels", "cat,dog,pizza,tree", "--model", "tiny")

    first, second = zsclip(*arguments), zsclip(*arguments)

    assert first.returncode == second.returncode == 0
    assert first.stdout == second.stdout


def test_a_cached_head_is_built_without_torch() -> None:
    arguments = ("build-head", "--labels", "cat,dog", "--model", "tiny", "--json")
    blocked = (
        "import sys; sys.modules['torch'] = sys.modules['open_clip'] = None\n"
        "from zsclip.cli import main; sys.exit(main(sys.argv[1:]))"
    )

    built = zsclip(*arguments)
    again = subprocess.run([sys.executable, "-c", blocked, *arguments], capture_output=True)

    assert json.loads(built.stdout)["from_cache"] == 0
    assert json.loads(again.stdout)["from_cache"] == 2
    assert json.loads(again.stdout)["head"] == json.loads(built.stdout)["head"]


@pytest.mark.accepts("E1")
def test_a_reader_that_goes_away_is_no_error() -> None:
    command = [*COMMAND, "classify", str(IMAGES), "--labels", "cat,dog", "--model", "tiny"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None

    process.stdout.readline()
    process.stdout.close()

    assert process.stderr.read() == b""
    assert process.wait(60) == 0


@pytest.mark.accepts("E2", "E3")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_whole_rows(number: signal.Signals, code: int) -> None:
    command = [*COMMAND, "classify", "--files-from", "-", "--labels", "cat,dog", "--model", "tiny"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None

    # the list stays open: the first row comes out all the same
    process.stdin.write(f"{IMAGES / 'cat.png'}\n".encode())
    process.stdin.flush()
    first = process.stdout.readline()
    process.send_signal(number)

    assert process.wait(60) == code
    assert json.loads(first)["status"] == "ok"
    assert process.stdout.read() == b""
    assert b"Traceback" not in process.stderr.read()


def on_a_terminal(
    *arguments: object, columns: int = 80, terminal_type: str = "xterm"
) -> tuple[int, str]:
    """Run zsclip with a terminal on stdout and stderr; return the exit code and what is seen."""
    master, terminal = pty.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "TERM": terminal_type, "NO_COLOR": "1"}
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=terminal, stderr=terminal, env=env
    )
    os.close(terminal)
    seen = b""
    with contextlib.suppress(OSError):  # Linux ends a terminal with EIO
        while part := os.read(master, 1 << 16):
            seen += part
    os.close(master)
    return process.wait(60), seen.decode()


def test_a_terminal_shows_a_table_and_what_tiny_is_not_for(tmp_path: Path) -> None:
    long = tmp_path / ("a" * 100)
    long.mkdir()
    shutil.copy(IMAGES / "cat.png", long)

    code, seen = on_a_terminal(
        "classify", long / "cat.png", "none.png", "--labels", "cat,dog", "--model", "tiny"
    )

    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen).replace("\r", "\n").splitlines()
    [row] = [line for line in lines if "█" in line]
    assert code == 3
    assert "note: 'tiny' knows emoji and simple drawings, not photos" in seen
    assert "…" in row and "aaa/cat.png  cat " in row
    assert len(row) <= 80
    assert any(line.startswith("none.png") and "not_found: no such file" in line for line in lines)


@pytest.mark.accepts("E8")
def test_a_dumb_terminal_of_20_columns_gets_a_table_without_escape_bytes() -> None:
    code, seen = on_a_terminal(
        "classify", IMAGES / "cat.png", IMAGES / "dog.png", "none.png", "--labels", "cat,dog",
        "--model", "tiny", columns=20, terminal_type="dumb",
    )  # fmt: skip

    lines = seen.replace("\r\n", "\n").splitlines()
    assert code == 3
    assert "\x1b" not in seen and "\r" not in "".join(lines)
    assert sum("█" in line and "…" in line for line in lines) == 2
    assert any(line.startswith("none.png") for line in lines)


@pytest.mark.accepts("E5")
@pytest.mark.parametrize("target", ["/dev/full", None])
def test_output_that_cannot_be_written_is_exit_5(target: str | None) -> None:
    arguments = " ".join([*COMMAND, "templates", "photo"])
    redirect = f"> {target}" if target else ">&-"

    ran = subprocess.run(["sh", "-c", f"{arguments} {redirect}"], capture_output=True)

    assert ran.returncode == 5
    assert ran.stderr.startswith(b"error: cannot write output: ")
    assert ran.stderr.count(b"\n") == 1


def test_a_jpeg_does_not_load_what_decodes_avif() -> None:
    code = (
        "import sys; from zsclip.cli import main; main(sys.argv[1:])\n"
        "sys.exit('PIL.AvifImagePlugin' in sys.modules)"
    )
    command = ["classify", IMAGES / "bicycle.jpg", "--labels", "a,b", "--model", "tiny"]

    ran = subprocess.run([sys.executable, "-c", code, *command], capture_output=True)

    assert (ran.returncode, ran.stdout[:8]) == (0, b'{"path":'), ran.stderr


def test_help_and_errors_load_nothing_heavy() -> None:
    code = (
        "import sys; from zsclip.cli import main; main(sys.argv[1:])\n"
        "heavy = {'torch', 'open_clip', 'numpy', 'PIL', 'huggingface_hub', 'onnxruntime'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )

    for arguments in (["--help"], ["--version"], ["classify", "--nonsense"], ["clasify"]):
        ran = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True)
        assert ran.returncode == 0, ran.stderr
