"""Group C of the acceptance table: real faults around the text cache, by the command line."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from cache_processes import (
    COMPILED,
    COMPILED_FILES,
    DIMENSION,
    NO_ONE,
    NOBODY,
    Command,
    Compiler,
    as_user,
    busy_timeout,
    chunks_of,
    environment,
    fake_engines,
    files_of_at_most,
    flock_fails,
    open_folder,  # noqa: F401 (a fixture)
    sqlite_without_locks,
    write_model,
)

from zsclip.cache import FILE_NAME, SCHEMA_VERSION, Row, TextCache
from zsclip.engines import compiled
from zsclip.errors import ZsclipWarning
from zsclip.head_builder import build
from zsclip.loading import load_model
from zsclip.prompts import load_templates

LONG = os.environ.get("ZSCLIP_LONG_TESTS") == "1"
KILLS = 200 if LONG else 20
PATIENT = busy_timeout(60)
"""Ten that wait for one disk may wait for long."""
NAMES = [f"thing {n}" for n in range(40)]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@pytest.fixture
def tmp_path(open_folder):  # noqa: F811
    """Also for other users."""
    return open_folder


@pytest.fixture
def model(tmp_path) -> Path:
    return write_model(tmp_path / "model")


@pytest.fixture
def folder(tmp_path) -> Path:
    """The cache folder."""
    return tmp_path / "cache"


@pytest.fixture
def start(tmp_path, model, folder):
    """Start `zsclip build-head` in a process: `start(names, faults=[...])`."""

    def start(names=NAMES, *arguments, faults=(), cache=folder):
        labels = tmp_path / f"{len(names)}.txt"
        if not labels.exists():  # written again, it would be empty while another process reads it
            labels.write_text("".join(f"{name}\n" for name in names))
        options = () if cache is None else ("--cache-dir", cache)
        return Command(
            tmp_path,
            "build-head", "--labels-file", labels, "-t", "photo", "--model", model, "--json",
            *options, *arguments,
            faults=faults,
        )  # fmt: skip

    return start


@pytest.fixture
def run(start):
    """The same, and wait for its end."""
    return lambda *arguments, **options: start(*arguments, **options).wait()


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """The digest of the head of NAMES that a run without cache builds, as results show it."""
    name = write_model(tmp_path_factory.mktemp("right") / "model")
    with fake_engines():
        without = load_model(name, cache_dir=name.parent, use_cache=False)
        classes = [(name,) for name in NAMES]
        head = build(classes, model=without, templates=load_templates("photo")).head
    return head.digest[:12]


def database(folder: Path):
    return contextlib.closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None))


def count(folder: Path) -> int:
    with database(folder) as db:
        return int(db.execute("SELECT count(*) FROM classes").fetchone()[0])


def set_aside(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{FILE_NAME}.corrupt-*"))


def assert_sound(folder: Path) -> None:
    """No page, row or fact is other than it was stored."""
    assert TextCache(folder).verify() == []
    with database(folder) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# many processes


@pytest.mark.accepts("C1")
def test_ten_processes_build_the_same_classes_in_one_cache(run, start, folder, tried):
    names = [f"thing {n}" for n in range(1000)]
    alone = run(names, "--no-cache")

    builders = [start(names, faults=[chunks_of(100), PATIENT]) for _ in range(10)]
    ended = [builder.wait() for builder in builders]

    assert [one.code for one in ended] == [0] * 10
    assert {one.head for one in ended} == {alone.head}
    assert count(folder) == 1000
    assert_sound(folder)
    assert run(names).from_cache == 1000
    tried(10)


@pytest.mark.accepts("C1", "C5")
def test_of_ten_processes_that_find_a_broken_cache_one_moves_it_aside(start, folder, right, tried):
    broken = b"not a database, not at all " * 500
    folder.mkdir()
    (folder / FILE_NAME).write_bytes(broken)

    ended = [
        builder.wait() for builder in [start(faults=[chunks_of(4), PATIENT]) for _ in range(10)]
    ]

    assert [(one.code, one.head) for one in ended] == [(0, right)] * 10
    assert [path.read_bytes() for path in set_aside(folder)] == [broken]
    assert sum("moved to" in one.stderr for one in ended) == 1
    assert count(folder) == len(NAMES)
    assert_sound(folder)
    tried(10)


@pytest.mark.accepts("C2")
def test_after_kill_9_at_any_point_finished_chunks_are_kept(
    in_process, start, folder, right, tried
):
    chunk, faults = 4, [chunks_of(4)]
    began = time.monotonic()
    whole = start(faults=faults)
    whole.wait()
    step_s = (time.monotonic() - began) / (len(NAMES) / chunk)

    for point in range(KILLS):
        shutil.rmtree(folder)
        killed = start(faults=faults)
        for _ in range(point % (len(NAMES) // chunk)):  # lets so many chunks pass
            killed.saved.recv()
        time.sleep(step_s * (point * 0.618 % 1))  # and is anywhere in the next
        killed.kill()
        rows = point % (len(NAMES) // chunk) * chunk + killed.saved_rows()
        assert killed.process.exitcode in (-9, 0)
        if folder.exists():
            assert_sound(folder)
        again = in_process()

        assert again.head.digest.startswith(right)
        assert again.cached >= rows
        assert count(folder) == len(NAMES)
        assert_sound(folder)
    tried(KILLS)


@pytest.mark.accepts("C1")
def test_of_ten_processes_that_compile_a_model_one_writes_it(tmp_path, tried):
    target = tmp_path / "compiled" / "abc"

    compilers = [Compiler(target) for _ in range(10)]
    written = sorted(compiler.wait() for compiler in compilers)

    assert [compiler.process.exitcode for compiler in compilers] == [0] * 10
    assert written == [0] * 9 + [COMPILED_FILES]
    assert compiled.is_whole(target) and compiled.verify(tmp_path) == []
    tried(10)


@pytest.mark.accepts("C2")
def test_after_kill_9_at_any_point_a_compiled_model_is_whole_or_not_there(tmp_path, tried):
    target = tmp_path / "compiled" / "abc"
    whole = Compiler(target)
    for _ in range(COMPILED_FILES):
        whole.written.recv()
    began = time.monotonic()
    whole.process.join(60)
    last_step_s = time.monotonic() - began
    shutil.rmtree(target)

    for point in range(KILLS):
        killed = Compiler(target)
        for _ in range(COMPILED_FILES if point % 2 else point % COMPILED_FILES):
            killed.written.recv()
        time.sleep(last_step_s * (point * 0.618 % 1))  # most time goes to flushing the disk
        killed.process.kill()
        killed.process.join(60)
        there = target.exists()
        assert there == compiled.is_whole(target)
        again = Compiler(target)

        assert again.wait() == (0 if there else COMPILED_FILES)
        assert {path.name for path in target.parent.iterdir()} == {"abc", "abc.lock"}
        shutil.rmtree(target)
    tried(KILLS)


# folders and files of others


@pytest.fixture
def shared(run, folder):
    """A cache with NAMES in it that only its owner may write."""
    run()
    folder.chmod(0o755)
    (folder / FILE_NAME).chmod(0o644)
    return folder


@pytest.mark.accepts("C3")
@needs_root
def test_a_cache_of_another_user_is_read(run, shared, right):
    ran = run(faults=[as_user(NOBODY)])

    assert (ran.code, ran.head, ran.from_cache, ran.stderr.count("warning")) == (0, right, 40, 0)


@pytest.mark.accepts("C3")
@needs_root
def test_a_cache_of_another_user_is_read_and_not_written_with_one_warning(run, shared):
    names = [*NAMES, "one more"]
    expected = run(names, "--no-cache").head

    ran = run(names, faults=[as_user(NOBODY)])

    assert (ran.code, ran.head, ran.from_cache) == (0, expected, 40)
    [warning] = ran.warnings
    assert "cache not written" in warning
    assert count(shared) == 40


@pytest.mark.accepts("C3")
@needs_root
@pytest.mark.parametrize("secret", [FILE_NAME, "."])
def test_a_cache_that_may_not_be_read_is_one_warning(run, shared, right, secret):
    (shared / secret).chmod(0o600)

    ran = run(faults=[as_user(NOBODY)])

    assert (ran.code, ran.head, ran.from_cache, len(ran.warnings)) == (0, right, 0, 1)
    assert count(shared) == 40


@pytest.mark.accepts("C3", "C5")
@needs_root
def test_a_broken_cache_of_another_user_is_one_warning_and_stays(run, shared, right):
    (shared / FILE_NAME).write_bytes(b"not a database, not at all " * 50)

    ran = run(faults=[as_user(NOBODY)])

    assert (ran.code, ran.head, len(ran.warnings)) == (0, right, 1)
    assert set_aside(shared) == []


HOMELESS = {"HOME": None, "XDG_CACHE_HOME": None, "ZSCLIP_CACHE_DIR": None}


@pytest.mark.accepts("C3")
@needs_root
@pytest.mark.parametrize("home", [None, "/", "/nonexistent", "/dev/null"])
def test_without_a_home_that_can_be_written_the_cache_is_in_memory(run, right, home, tmp_path):
    here = tmp_path / "here"
    here.mkdir(mode=0o777)
    here.chmod(0o777)
    faults = [as_user(NO_ONE), environment({**HOMELESS, "HOME": home}), ChangeFolder(here)]

    ran = run(cache=None, faults=faults)

    assert (ran.code, ran.head, len(ran.warnings)) == (0, right, 1)
    assert "cache not used" in ran.stderr
    assert list(here.iterdir()) == []  # no folder with the name ~


class ChangeFolder:
    """A fault: another working folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self) -> None:
        os.chdir(self._folder)


@pytest.mark.accepts("C3")
@needs_root
@pytest.mark.parametrize("command", ["path", "info", "verify", "clear"])
def test_without_a_home_the_commands_say_how_to_name_a_folder(tmp_path, command):
    faults = [as_user(NO_ONE), environment(HOMELESS)]

    ran = Command(tmp_path, "cache", command, faults=faults).wait()

    assert (ran.code, ran.stdout) == (2, "")
    assert ran.stderr.splitlines() == [
        "error: there is no home folder to keep a cache in",
        "tip: name a folder with --cache-dir or ZSCLIP_CACHE_DIR",
    ]


# full disks


@pytest.mark.accepts("C4")
def test_a_limit_on_the_size_of_files_is_one_warning_and_earlier_rows_stay(run, folder):
    names = [f"thing {n}" for n in range(600)]
    expected = run(names, "--no-cache").head

    ran = run(names, faults=[chunks_of(20), files_of_at_most(200_000)])

    assert (ran.code, ran.head) == (0, expected)
    [warning] = ran.warnings
    assert "cache not written: disk full" in warning
    stored = count(folder)
    assert 100 < stored < 600
    assert_sound(folder)
    assert run(names).from_cache == stored


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.accepts("C4")
@pytest.mark.parametrize("left_bytes", [0, 200_000])
def test_a_full_disk_is_one_warning_and_earlier_rows_stay(run, small_disk, left_bytes):
    names = [f"thing {n}" for n in range(800)]
    expected = run(names, "--no-cache").head
    (small_disk / "ballast").write_bytes(bytes((1 << 20) - left_bytes))

    ran = run(names, cache=small_disk / "cache", faults=[chunks_of(20)])

    assert (ran.code, ran.head) == (0, expected)
    [warning] = ran.warnings
    assert "disk full" in warning or "No space left" in warning
    if left_bytes:
        assert 50 < count(small_disk / "cache") < 800
        assert_sound(small_disk / "cache")


@pytest.mark.accepts("C4")
def test_a_compiled_model_that_the_disk_has_no_room_for_leaves_nothing(small_disk):
    target = small_disk / "compiled" / "abc"

    with pytest.raises(OSError, match="No space left"):
        compiled.make(target, lambda folder: (folder / "image.onnx").write_bytes(bytes(2 << 20)))

    assert {path.name for path in target.parent.iterdir()} == {"abc.lock"}


# broken files


@pytest.mark.accepts("C5")
@pytest.mark.parametrize("kind", ["garbage", "half", "zeros", "folder", "linked"])
def test_what_is_broken_is_moved_aside_and_rebuilt_with_one_warning(run, folder, right, kind):
    run()
    path = folder / FILE_NAME
    content = path.read_bytes()
    broken = {"half": content[: len(content) // 2], "zeros": bytes(len(content))}.get(
        kind, b"not a database, not at all " * 500
    )
    if kind == "folder":
        path.unlink()
        path.mkdir()
        (path / "precious").write_bytes(broken)
    elif kind == "linked":
        (folder.parent / "elsewhere").mkdir()
        real = folder.parent / "elsewhere" / "real.sqlite3"
        path.unlink()
        path.symlink_to(real)
        real.write_bytes(broken)
    else:
        path.write_bytes(broken)

    ran = run()

    assert (ran.code, ran.head) == (0, right)
    [warning] = ran.warnings
    assert "cache was broken" in warning and ".corrupt-" in warning
    if kind == "linked":
        [aside] = (folder.parent / "elsewhere").glob("real.sqlite3.corrupt-*")
        assert path.is_symlink() and real.is_file()
    else:
        [aside] = set_aside(folder)
    kept = aside / "precious" if kind == "folder" else aside
    assert kept.read_bytes() == broken
    assert run().from_cache == len(NAMES)
    assert_sound(folder)


@pytest.mark.accepts("C5")
def test_a_file_of_no_bytes_is_filled(run, folder, right):
    folder.mkdir()
    (folder / FILE_NAME).touch()  # as SQLite itself makes it first

    ran = run()

    assert (ran.code, ran.head, ran.warnings) == (0, right, [])
    assert run().from_cache == len(NAMES)


@pytest.mark.accepts("C5")
def test_a_link_to_a_device_is_one_warning_and_the_device_stays(run, folder, right):
    folder.mkdir()
    (folder / FILE_NAME).symlink_to("/dev/full")

    ran = run()

    assert (ran.code, ran.head, len(ran.warnings)) == (0, right, 1)
    assert Path("/dev/full").is_char_device()


@pytest.mark.accepts("C5")
def test_a_link_to_a_folder_is_moved_aside_and_the_folder_stays(run, folder, right, tmp_path):
    folder.mkdir()
    (tmp_path / "photos").mkdir()
    (folder / FILE_NAME).symlink_to(tmp_path / "photos")

    ran = run()

    assert (ran.code, ran.head, len(ran.warnings)) == (0, right, 1)
    assert (tmp_path / "photos").is_dir() and run().from_cache == len(NAMES)


def test_a_cache_behind_a_link_is_used(run, folder, tmp_path):
    folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (folder / FILE_NAME).symlink_to(tmp_path / "elsewhere" / "real.sqlite3")

    run()

    assert run().from_cache == len(NAMES)
    assert (tmp_path / "elsewhere" / "real.sqlite3").stat().st_size > 10_000


# damaged rows: in this process, many at once


@pytest.fixture
def in_process(model, folder):
    """Build a head of some names; returns what `build` does."""

    def build_in_process(names=NAMES, *, templates="photo", name=model):
        with fake_engines():
            opened = load_model(name, cache_dir=folder)
            classes = [(name,) for name in names]
            return build(classes, model=opened, templates=load_templates(templates))

    return build_in_process


@pytest.mark.accepts("C6")
@pytest.mark.parametrize("column", ["vector", "key", "digest"])
def test_a_class_with_a_flipped_bit_is_computed_again(in_process, folder, column, tried):
    right = in_process().head.digest
    pristine = (folder / FILE_NAME).read_bytes()
    with database(folder) as db:
        values = [row[0] for row in db.execute(f"SELECT {column} FROM classes")]
    chance = random.Random(column)

    for _ in range(20):
        content, value = bytearray(pristine), chance.choice(values)
        start = chance.choice([n for n in positions(pristine, value)])
        content[start + chance.randrange(len(value))] ^= 1 << chance.randrange(8)
        (folder / FILE_NAME).write_bytes(content)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", ZsclipWarning)
            built = in_process()

        assert built.head.digest == right
        # a key is in the table and in its index, and only one of them is read
        assert built.cached == len(NAMES) - 1 or (column, built.cached) == ("key", len(NAMES))
        assert len(warned) == 0 or column == "key"  # an index that does not fit is a broken file
        assert in_process().cached == len(NAMES)
    tried(20)


def positions(content: bytes, value: bytes) -> list[int]:
    """Where a value is in a file."""
    found = [content.find(value)]
    while found[-1] >= 0:
        found.append(content.find(value, found[-1] + 1))
    return found[:-1]


@pytest.mark.accepts("C6")
def test_a_bit_flipped_anywhere_in_the_file_changes_no_head(in_process, folder, tried):
    right = in_process().head.digest
    pristine = (folder / FILE_NAME).read_bytes()
    chance = random.Random(6)
    times = 2000 if LONG else 60

    for _ in range(times):
        content = bytearray(pristine)
        for _ in range(chance.choice([1, 1, 100])):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        (folder / FILE_NAME).write_bytes(content)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", ZsclipWarning)
            assert in_process().head.digest == right
        TextCache(folder).verify()

        assert len(warned) <= 1, [str(w.message) for w in warned]
    tried(times)


@pytest.mark.accepts("C5")
@pytest.mark.parametrize("table", ["classes", "facts"])
def test_a_cache_with_other_tables_is_moved_aside(run, folder, right, table):
    run()
    with database(folder) as db:
        db.execute(f"ALTER TABLE {table} RENAME COLUMN key TO ley")

    ran = run()

    assert (ran.code, ran.head, len(ran.warnings), len(set_aside(folder))) == (0, right, 1, 1)
    assert run().from_cache == len(NAMES)


@pytest.mark.accepts("C5")
def test_a_cache_so_broken_that_sqlite_cannot_say_it_is_moved_aside(run, folder, right):
    run()
    content = (folder / FILE_NAME).read_bytes()
    start = content.index(b"facts", content.index(b"CREATE TABLE facts") - 20)
    damaged = content[:start] + b"\xff\xfe" + content[start + 2 :]
    damaged = damaged.replace(b"CREATE TABLE facts", b"CREATE TABLE 'acts")
    (folder / FILE_NAME).write_bytes(damaged)

    ran = run()

    assert (ran.code, ran.head, len(ran.warnings)) == (0, right, 1)
    assert [path.read_bytes() for path in set_aside(folder)] == [damaged]


@pytest.mark.accepts("C6")
@pytest.mark.parametrize("value", ["'[900.0, null]'", "'x'", "CAST(x'fffe' AS TEXT)", "7"])
def test_a_changed_fact_is_not_believed(in_process, folder, value):
    right = in_process().head
    with database(folder) as db:
        changed = db.execute(f"UPDATE facts SET value = {value} WHERE key LIKE '%scale%'")
        assert changed.rowcount == 1

    head = in_process().head

    assert (head.scale, head.digest) == (right.scale, right.digest)


@pytest.mark.accepts("C11")
@pytest.mark.parametrize(
    "vector",
    [
        np.full(DIMENSION, np.nan),
        np.full(DIMENSION, np.inf),
        np.full(DIMENSION, 3e38),
        np.zeros(DIMENSION),
        np.eye(DIMENSION)[0] * 1.01,
        np.eye(DIMENSION // 2)[0],
        np.eye(DIMENSION * 2)[0],
        np.zeros(0),
    ],
    ids=["nan", "infinite", "huge", "zero", "long", "half size", "double size", "no size"],
)
def test_a_poisoned_row_is_computed_again(in_process, folder, vector):
    right = in_process().head.digest
    with database(folder) as db:
        keys = [row[0] for row in db.execute("SELECT key FROM classes LIMIT 3")]
    rows = [Row(key, "m@1", "poisoned", vector.astype(np.float32)) for key in keys]
    TextCache(folder).save(rows)  # with a right digest

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        built = in_process()

    assert (built.head.digest, built.cached) == (right, len(NAMES) - 3)
    assert in_process().cached == len(NAMES)


# schemas

OLDER = """
CREATE TABLE classes (
    key BLOB PRIMARY KEY, model TEXT NOT NULL, class_name TEXT NOT NULL,
    dimension INTEGER NOT NULL, vector BLOB NOT NULL, digest BLOB NOT NULL, created REAL NOT NULL
);
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL, created REAL NOT NULL);
INSERT INTO facts VALUES ('a', 'b', 0);
PRAGMA user_version = 1;
"""


@pytest.mark.accepts("C7")
def test_a_cache_of_an_older_schema_is_rebuilt(run, folder, right):
    folder.mkdir()
    with database(folder) as db:
        db.executescript(OLDER)

    ran = run()

    assert (ran.code, ran.head, ran.warnings) == (0, right, [])
    assert run().from_cache == len(NAMES)
    assert_sound(folder)


@pytest.mark.accepts("C7")
def test_ten_processes_rebuild_a_cache_of_an_older_schema_once(start, folder, right):
    folder.mkdir()
    with database(folder) as db:
        db.executescript(OLDER)

    ended = [
        builder.wait() for builder in [start(faults=[chunks_of(4), PATIENT]) for _ in range(10)]
    ]

    assert [(one.code, one.head, one.warnings) for one in ended] == [(0, right, [])] * 10
    assert count(folder) == len(NAMES)


@pytest.mark.accepts("C7")
def test_a_cache_of_a_newer_schema_is_left_alone_with_both_versions_named(run, folder, right):
    run()
    with database(folder) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = (folder / FILE_NAME).read_bytes()

    ran = run()

    assert (ran.code, ran.head) == (0, right)
    [warning] = ran.warnings
    assert f"schema {SCHEMA_VERSION + 1}" in warning and f"schema {SCHEMA_VERSION}" in warning
    assert (folder / FILE_NAME).read_bytes() == before


# other models and templates


@pytest.mark.accepts("C8")
def test_weights_that_are_replaced_under_the_same_name_are_a_miss(in_process, model, run, tmp_path):
    old = in_process()
    weights = model / "open_clip_model.safetensors"
    before = weights.stat()
    others = write_model(tmp_path / "other", seed=1) / weights.name
    weights.write_bytes(others.read_bytes())
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))  # so that nobody sees it
    now = weights.stat()
    assert (now.st_size, now.st_ino) == (before.st_size, before.st_ino)

    new = in_process()

    assert (new.cached, new.head.digest != old.head.digest) == (0, True)
    assert new.head.digest.startswith(run(NAMES, "--no-cache").head)


@pytest.mark.accepts("C8")
def test_another_order_of_templates_is_a_miss(in_process, tmp_path):
    for name, texts in {"one": ("the {}", "a {}"), "other": ("a {}", "the {}")}.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(texts))
    in_process(templates=str(tmp_path / "one.txt"))

    assert in_process(templates=str(tmp_path / "other.txt")).cached == 0
    assert in_process(templates=str(tmp_path / "one.txt")).cached == len(NAMES)


@pytest.mark.accepts("C8")
@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer_kwargs": {"clean": "canonicalize"}},
        {"context_length": 25},
        {"width": 32},
    ],
    ids=["tokenizer", "context length", "architecture"],
)
def test_another_configuration_under_the_same_name_is_a_miss(in_process, model, change):
    import json

    in_process()
    path = model / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"] |= change
    path.write_text(json.dumps(config))

    assert in_process().cached == 0


def test_a_model_in_a_folder_whose_name_is_not_utf_8_is_cached(in_process, model, tmp_path):
    odd = tmp_path / os.fsdecode(b"odd \xff name")
    try:
        model.rename(odd)
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")

    in_process(name=odd)

    assert in_process(name=odd).cached == len(NAMES)


# locks


@pytest.mark.accepts("C9")
@pytest.mark.parametrize("lock", ["EXCLUSIVE", "IMMEDIATE"])
def test_a_cache_that_stays_locked_is_one_warning(run, folder, right, lock):
    run(NAMES[:20])
    with database(folder) as other:
        other.execute(f"BEGIN {lock}")
        ran = run(faults=[busy_timeout(0.1), chunks_of(4)])

    assert (ran.code, ran.head) == (0, right)
    [warning] = ran.warnings
    assert "locked" in warning
    assert count(folder) == 20 and set_aside(folder) == []


@pytest.mark.accepts("C10")
def test_without_locks_ten_processes_get_right_heads(run, start, folder, right, tried):
    faults = [chunks_of(4), sqlite_without_locks, flock_fails]

    ended = [builder.wait() for builder in [start(faults=faults) for _ in range(10)]]

    assert [(one.code, one.head) for one in ended] == [(0, right)] * 10
    assert (run().code, run().head) == (0, right)
    tried(10)


@pytest.mark.accepts("C10", "C5")
def test_without_locks_a_broken_cache_is_moved_aside(run, folder, right):
    folder.mkdir()
    (folder / FILE_NAME).write_bytes(b"not a database, not at all " * 50)

    ran = run(faults=[flock_fails])

    assert (ran.code, ran.head, len(ran.warnings)) == (0, right, 1)
    assert len(set_aside(folder)) == 1 and run().from_cache == len(NAMES)


@pytest.mark.accepts("C10")
def test_the_file_needs_no_write_ahead_log(run, folder):
    run()

    assert (folder / FILE_NAME).read_bytes()[18:20] == b"\x01\x01"  # the versions without WAL
    assert {path.name for path in folder.iterdir()} == {FILE_NAME}


@pytest.mark.accepts("C3")
def test_a_cache_folder_that_vanishes_during_the_run_is_no_fault(folder, in_process, monkeypatch):
    right = in_process().head.digest
    shutil.rmtree(folder)
    monkeypatch.setattr("zsclip.head_builder.CHUNK_PROMPTS", 10)
    save = TextCache.save

    def save_and_vanish(cache, rows):
        save(cache, rows)
        shutil.rmtree(folder)

    monkeypatch.setattr(TextCache, "save", save_and_vanish)

    assert in_process().head.digest == right


# commands


@pytest.mark.accepts("C12")
def test_verify_lists_what_is_broken_and_exits_1(zsclip, run, folder):
    run()
    sound = zsclip("cache", "verify", "--cache-dir", folder)
    with database(folder) as db:
        db.execute("UPDATE classes SET digest = x'00' WHERE class_name = 'thing 7'")
        db.execute("UPDATE facts SET value = 'x' WHERE key LIKE '%scale%'")

    ran = zsclip("cache", "verify", "--cache-dir", folder)

    assert (sound.code, sound.stdout, sound.stderr) == (0, "", "0 broken rows\n")
    row, fact = ran.stdout.splitlines()
    assert (ran.code, ran.stderr) == (1, "2 broken rows\n")
    assert row.endswith(": thing 7") and fact.startswith("fact: logit_scale|")


@pytest.mark.accepts("C6", "C12")
def test_verify_finds_a_flipped_bit_in_a_compiled_model(zsclip, folder):
    def write(place: Path) -> None:
        (place / "image.onnx").write_bytes(b"weights")
        compiled.write_about(place, **COMPILED)

    compiled.make(folder / "compiled" / "abc", write)
    sound = zsclip("cache", "verify", "--cache-dir", folder)
    (folder / "compiled" / "abc" / "image.onnx").write_bytes(b"weighus")

    ran = zsclip("cache", "verify", "--cache-dir", folder)

    assert (sound.code, ran.code) == (0, 1)
    assert ran.stdout == f"{folder / 'compiled' / 'abc' / 'image.onnx'}\n"
    assert "1 broken files of compiled models" in ran.stderr


@pytest.mark.accepts("C12")
@pytest.mark.parametrize("kind", ["garbage", "half", "folder"])
def test_verify_says_that_the_file_is_broken_and_changes_nothing(zsclip, run, folder, kind):
    run()
    path = folder / FILE_NAME
    content = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(content[: len(content) // 2] if kind == "half" else b"garbage" * 500)

    ran = zsclip("cache", "verify", "--cache-dir", folder)

    assert ran.code == 1 and ran.stdout.startswith(f"{path}: ")
    assert [p.name for p in folder.iterdir()] == [FILE_NAME]


@pytest.mark.accepts("C12")
def test_clear_deletes_the_file_where_path_says(zsclip, run, folder):
    run()
    path = Path(zsclip("cache", "path", "--cache-dir", folder).stdout.strip())
    existed = path.is_file()

    cleared = zsclip("cache", "clear", "--cache-dir", folder)

    assert (existed, path.exists(), cleared.code) == (True, False, 0)
    assert run().from_cache == 0


@pytest.mark.accepts("C12")
@needs_root
def test_clear_says_what_cannot_be_deleted(shared, tmp_path):
    ran = Command(tmp_path, "cache", "clear", "--cache-dir", shared, faults=[as_user(NOBODY)])
    ended = ran.wait()

    assert ended.code == 5
    assert ended.stderr == f"error: cannot delete {shared / FILE_NAME}: Permission denied\n"
    assert count(shared) == 40
