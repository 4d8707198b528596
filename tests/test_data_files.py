"""Where packaged files lie, and files that are replaced whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from zsclip import data_files
from zsclip.data_files import opened, replacing


def test_the_prompts_are_found():
    folder = data_files.prompts_folder()

    assert (folder / "templates" / "imagenet80.yaml").is_file()


def test_the_prompts_in_the_package_come_first(tmp_path, monkeypatch):
    (tmp_path / "prompts").mkdir()
    monkeypatch.setattr(data_files, "DATA", tmp_path)

    assert data_files.prompts_folder() == tmp_path / "prompts"


def test_names_are_those_of_yaml_files_sorted(tmp_path):
    for name in ("b.yaml", "a.yaml", "c.txt"):
        (tmp_path / name).touch()

    assert data_files.names(tmp_path) == ["a", "b"]


def test_open_clip_is_found_without_importing_it():
    code = (
        "import sys; from zsclip.data_files import open_clip_folder;"
        "assert (open_clip_folder() / 'model_configs').is_dir();"
        "sys.exit('open_clip.model' in sys.modules or 'torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_replaced_file_holds_the_new_content(tmp_path):
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")

    with replacing(path) as file:
        file.write(b"new")

    assert path.read_bytes() == b"new"


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")

    with replacing(path) as file:
        file.write(b"half")
        file.flush()
        during = path.read_bytes()

    assert during == b"old"


@pytest.mark.parametrize("problem", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, problem):
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")

    with pytest.raises(type(problem)), replacing(path) as file:
        file.write(b"half")
        raise problem

    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["out.bin"]


def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    usual = tmp_path / "usual"
    usual.touch()

    with replacing(tmp_path / "out.bin") as file:
        file.write(b"x")

    mode = stat.S_IMODE((tmp_path / "out.bin").stat().st_mode)
    assert mode == stat.S_IMODE(usual.stat().st_mode)


def test_a_missing_folder_is_an_os_error(tmp_path):
    with pytest.raises(OSError), replacing(tmp_path / "none" / "out.bin"):
        pass


def test_a_link_stays_and_what_it_points_at_is_replaced(tmp_path):
    target = tmp_path / "target.bin"
    target.write_bytes(b"old")
    link = tmp_path / "link.bin"
    link.symlink_to(target)

    with replacing(link) as file:
        file.write(b"new")

    assert link.is_symlink() and target.read_bytes() == b"new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_gets_the_bytes_and_stays_a_pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    with replacing(path) as file:
        file.write(b"rows")

    assert os.read(reader, 10) == b"rows" and stat.S_ISFIFO(path.stat().st_mode)
    os.close(reader)


def test_a_device_is_written_to_and_not_replaced():
    with replacing(Path(os.devnull)) as file:
        file.write(b"nothing")

    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_links_in_a_circle_are_refused(tmp_path):
    link = tmp_path / "link.bin"
    link.symlink_to(link)

    with pytest.raises(OSError), replacing(link):
        pass

    assert link.is_symlink() and os.listdir(tmp_path) == ["link.bin"]


@pytest.mark.parametrize("write", [replacing, opened])
@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}", "link"])
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no such names here")
def test_an_open_file_gets_what_follows_and_stays(tmp_path, write, name):
    with (tmp_path / "all.txt").open("wb") as rest:
        path = Path(name.format(rest.fileno()))
        if name == "link":
            path = tmp_path / "link"
            path.symlink_to(f"/dev/fd/{rest.fileno()}")
        rest.write(b"before ")
        rest.flush()

        with write(path) as file:
            file.write(b"rows ")

        rest.write(b"after")

    assert (tmp_path / "all.txt").read_bytes() == b"before rows after"


def test_a_folder_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(IsADirectoryError), replacing(tmp_path):
        raise AssertionError("it was opened")
