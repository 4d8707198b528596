"""Compiled models on disk: whole or not there, whatever happens to who writes them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import pytest

from zsclip.engines import compiled
from zsclip.errors import ModelError, OutputError

FACTS = {
    "model": "small@0123ab",
    "weights": "0" * 64,
    "architecture": "small",
    "logit_scale": 100.0,
    "logit_bias": None,
    "text_cfg": {"width": 16},
    "pad_token": None,
    "convolves": False,
    "made_with": {"torch": "2.0"},
    "notes": [],
}


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "compiled" / "abc"


def write(folder: Path) -> None:
    """What `compile_into` leaves, in small."""
    (folder / compiled.IMAGE_TOWER).write_bytes(b"image tower")
    (folder / compiled.TEXT_TOWER).write_bytes(b"text")
    compiled.write_about(folder, **FACTS)


def names_beside(target: Path) -> set[str]:
    """All that is in the folder of compiled models, without locks, which stay."""
    return {path.name for path in target.parent.glob("*") if path.suffix != ".lock"}


# make


def test_what_was_written_is_in_its_place(target):
    compiled.make(target, write)

    about = compiled.read(target)
    assert names_beside(target) == {"abc"}
    assert (about.model, about.logit_scale, about.text_cfg) == (
        "small@0123ab",
        100.0,
        {"width": 16},
    )
    assert about.files == {compiled.IMAGE_TOWER: 11, compiled.TEXT_TOWER: 4}
    assert about.size_bytes == 15


def test_nothing_is_in_its_place_before_all_is_written(target):
    seen = []

    def look(folder: Path) -> None:
        write(folder)
        seen.append((target.exists(), compiled.is_whole(target)))

    compiled.make(target, look)

    assert seen == [(False, False)]
    assert compiled.is_whole(target)


def test_what_is_there_is_not_written_again(target):
    compiled.make(target, write)

    compiled.make(target, lambda folder: pytest.fail("written again"))


@pytest.mark.parametrize("problem", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_who_fails_to_write_leaves_nothing(target, problem):
    def fail(folder: Path) -> None:
        write(folder)
        raise problem

    with pytest.raises(problem):
        compiled.make(target, fail)

    assert names_beside(target) == set()
    compiled.make(target, write)
    assert compiled.is_whole(target)


def test_what_is_not_whole_is_replaced(target):
    compiled.make(target, write)
    (target / "of another time").touch()
    (target / compiled.TEXT_TOWER).unlink()

    compiled.make(target, write)

    assert compiled.is_whole(target)
    assert not (target / "of another time").exists()


def test_a_cache_folder_that_is_a_file_cannot_be_written(target):
    target.parent.parent.write_text("not a folder")

    with pytest.raises(OSError):
        compiled.make(target, write)


@pytest.mark.parametrize("problem", [NotImplementedError, PermissionError(13, "denied")])
def test_a_folder_without_locks_cannot_be_written(target, monkeypatch, problem):
    def refuse(self: object) -> None:
        raise problem

    monkeypatch.setattr(filelock.FileLock, "_acquire", refuse)

    with pytest.raises(OSError):
        compiled.make(target, write)

    assert names_beside(target) == set()


# other processes

WRITER = """
import sys, time
from pathlib import Path
from zsclip.engines import compiled

def write(folder):
    print("writing", flush=True)
    (folder / "image.onnx").write_bytes(b"half")
    sys.stdin.readline()  # the test decides when, or kills
    compiled.write_about(folder, **{facts})

compiled.make(Path(sys.argv[1]), write)
"""


def start_writer(target: Path) -> subprocess.Popen[str]:
    """A process that is in the middle of writing, until it reads a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER.replace("{facts}", repr(FACTS)), str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(60)


def test_after_a_killed_process_the_next_one_writes_anew(target):
    kill(start_writer(target))
    assert names_beside(target) == {"abc.unfinished"}

    compiled.make(target, write)

    assert names_beside(target) == {"abc"}
    assert compiled.read(target).files == {compiled.IMAGE_TOWER: 11, compiled.TEXT_TOWER: 4}


def test_who_is_stopped_while_it_writes_is_not_waited_for_without_end(target, monkeypatch):
    process = start_writer(target)
    process.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(compiled, "LOCK_TIMEOUT_S", 0.1)

    with pytest.raises(OSError, match="could not be acquired"):
        compiled.make(target, write)
    with pytest.raises(OutputError, match="could not be acquired"):
        compiled.remove(target)

    kill(process)


def test_what_a_killed_process_left_of_another_model_is_swept(target):
    kill(start_writer(target.with_name("other")))

    compiled.make(target, write)

    assert names_beside(target) == {"abc"}


def test_what_a_living_process_writes_is_not_swept(target):
    other = target.with_name("other")
    process = start_writer(other)

    compiled.make(target, write)
    swept = names_beside(target)
    process.communicate("go on\n", timeout=60)

    assert swept == {"abc", "other.unfinished"}
    assert process.returncode == 0
    assert compiled.is_whole(other)


def test_of_two_that_write_at_once_one_waits_and_uses_what_the_other_wrote(target):
    process = start_writer(target)
    written = []
    waiter = threading.Thread(target=compiled.make, args=(target, written.append))

    waiter.start()
    waiter.join(0.3)
    waited = waiter.is_alive()
    process.communicate("go on\n", timeout=60)
    waiter.join(60)

    assert waited and not waiter.is_alive()
    assert written == []
    assert compiled.read(target).files == {compiled.IMAGE_TOWER: 4}


def test_after_a_killed_process_the_one_that_waits_writes(target):
    process = start_writer(target)
    waiter = threading.Thread(target=compiled.make, args=(target, write))

    waiter.start()
    waiter.join(0.3)
    kill(process)
    waiter.join(60)

    assert compiled.read(target).files == {compiled.IMAGE_TOWER: 11, compiled.TEXT_TOWER: 4}


# read


def cut_a_file(folder: Path) -> None:
    (folder / compiled.IMAGE_TOWER).write_bytes(b"image")


def delete_a_file(folder: Path) -> None:
    (folder / compiled.TEXT_TOWER).unlink()


def delete_about(folder: Path) -> None:
    (folder / compiled.ABOUT).unlink()


def rewrite_about(change):
    def rewrite(folder: Path) -> None:
        path = folder / compiled.ABOUT
        path.write_bytes(change(json.loads(path.read_text())))

    return rewrite


@pytest.mark.parametrize(
    "damage",
    [
        cut_a_file,
        delete_a_file,
        delete_about,
        rewrite_about(lambda about: b""),
        rewrite_about(lambda about: b"\xff\xfe"),
        rewrite_about(lambda about: json.dumps(about).encode()[:-9]),
        rewrite_about(lambda about: b"[1, 2]"),
        rewrite_about(lambda about: b"null"),
        rewrite_about(lambda about: json.dumps(about | {"of a later version": 1}).encode()),
        rewrite_about(lambda about: json.dumps({"model": "small", "files": {}}).encode()),
        rewrite_about(lambda about: json.dumps(about | {"files": ["image.onnx"]}).encode()),
        rewrite_about(lambda about: json.dumps(about | {"files": None}).encode()),
        rewrite_about(lambda about: json.dumps(about | {"logit_scale": 900.0}).encode()),
    ],
)
def test_what_is_damaged_is_not_whole_and_made_anew(target, damage):
    compiled.make(target, write)
    damage(target)

    assert not compiled.is_whole(target)
    with pytest.raises(ModelError, match=str(target)):
        compiled.read(target)

    compiled.make(target, write)
    assert compiled.is_whole(target)


@pytest.mark.parametrize("place", ["abc", "abc.unfinished"])
def test_what_lies_in_the_way_is_replaced(target, place):
    target.parent.mkdir(parents=True)
    target.with_name(place).write_text("not a folder")

    compiled.make(target, write)

    assert compiled.is_whole(target)


def test_a_flipped_bit_is_found_by_who_looks_for_it(target, tmp_path):
    compiled.make(target, write)
    sound = compiled.verify(tmp_path / "cache")
    (target / compiled.IMAGE_TOWER).write_bytes(b"image towes")

    assert sound == []
    assert compiled.verify(tmp_path / "cache") == [str(target / compiled.IMAGE_TOWER)]


def test_what_is_not_there_is_not_whole(target):
    assert not compiled.is_whole(target)


# where


def test_all_that_the_content_rests_on_is_in_the_name(tiny_local, tmp_path, monkeypatch):
    from dataclasses import replace

    config = tiny_local.config
    larger = replace(config, preprocess=replace(config.preprocess, size=config.preprocess.size * 2))
    gelu = not config.model_cfg.get("quick_gelu", False)
    places = {
        compiled.place(tmp_path, tiny_local),
        compiled.place(tmp_path, replace(tiny_local, digest="0" * 64)),
        compiled.place(tmp_path, replace(tiny_local, config=larger)),
        compiled.place(
            tmp_path,
            replace(
                tiny_local,
                config=replace(config, model_cfg={**config.model_cfg, "quick_gelu": gelu}),
            ),
        ),
    }
    monkeypatch.setattr(compiled, "VERSION", compiled.VERSION + 1)
    places.add(compiled.place(tmp_path, tiny_local))

    assert len(places) == 5
    assert {place.parent for place in places} == {tmp_path / "compiled"}


def test_a_model_has_one_place_whatever_it_is_called(tiny_local, tmp_path):
    from dataclasses import replace

    from zsclip.models import resolve

    other = replace(tiny_local, source=resolve("ViT-B/32"), weights=tmp_path / "moved.safetensors")

    assert compiled.place(tmp_path, other) == compiled.place(tmp_path, tiny_local)


# stored, remove, clear


def test_what_is_stored_is_what_is_whole(target, tmp_path):
    compiled.make(target, write)
    compiled.make(target.with_name("damaged"), write)
    cut_a_file(target.with_name("damaged"))

    assert set(compiled.stored(tmp_path / "cache")) == {target}
    assert compiled.stored(tmp_path / "none") == {}


def test_one_is_removed_and_the_others_stay(target):
    compiled.make(target, write)
    compiled.make(target.with_name("other"), write)

    compiled.remove(target)
    compiled.remove(target)  # nothing is there: no fault

    assert names_beside(target) == {"other"}


def test_what_cannot_be_deleted_is_said(target, monkeypatch):
    compiled.make(target, write)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.rmtree", refuse)

    with pytest.raises(OutputError, match="Permission denied"):
        compiled.remove(target)


def test_all_are_cleared_also_what_is_damaged_or_left_by_killed_processes(target):
    compiled.make(target, write)
    compiled.make(target.with_name("damaged"), write)
    cut_a_file(target.with_name("damaged"))
    kill(start_writer(target.with_name("killed")))

    compiled.clear(target.parent.parent)

    assert names_beside(target) == set()


def test_who_clears_waits_for_who_writes(target):
    process = start_writer(target)
    clearer = threading.Thread(target=compiled.clear, args=(target.parent.parent,))

    clearer.start()
    clearer.join(0.3)
    waited = clearer.is_alive()
    process.communicate("go on\n", timeout=60)
    clearer.join(60)

    assert waited and process.returncode == 0
    assert names_beside(target) == set()


def test_clearing_a_folder_without_compiled_models_is_no_fault(tmp_path):
    compiled.clear(tmp_path)
    (tmp_path / "compiled").write_text("a file")
    compiled.clear(tmp_path)

    assert os.listdir(tmp_path) == ["compiled"]
