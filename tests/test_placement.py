"""One file under another name: never over another, never lost."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sort_faults import faulty

from zsclip.errors import PictureError
from zsclip.sorting import placement, source_files
from zsclip.sorting.placement import Action, Placement

CONTENT = b"a picture" * 1000
MTIME_NS = 1_600_000_000_123_456_789


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a picture and an empty folder."""
    source = tmp_path / "a.jpg"
    source.write_bytes(CONTENT)
    source.chmod(0o640)
    os.utime(source, ns=(MTIME_NS, MTIME_NS))
    (tmp_path / "cat").mkdir()
    return tmp_path


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system at /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


def wanted(source: Path, folder: Path, action: Action, name: str = "a.jpg") -> Placement:
    return Placement(
        action,
        source=str(source),
        target=str(folder / name),
        part=str(folder / ".zsclip-sort-1.part"),
        stamp=source_files.stamp_of(str(source), moves=action == "move"),
    )


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_link_leads_to_the_picture_by_its_whole_path(here: Path) -> None:
    placement.place(wanted(here / "a.jpg", here / "cat", "link"))

    assert os.readlink(here / "cat" / "a.jpg") == str(here / "a.jpg")
    assert (here / "cat" / "a.jpg").read_bytes() == CONTENT


def test_a_copy_has_content_mode_and_time(here: Path) -> None:
    placement.place(wanted(here / "a.jpg", here / "cat", "copy"))

    copied = here / "cat" / "a.jpg"
    assert copied.read_bytes() == CONTENT
    assert stat.S_IMODE(copied.stat().st_mode) == 0o640
    assert copied.stat().st_mtime_ns == MTIME_NS
    assert (here / "a.jpg").stat().st_nlink == 1
    assert names(here / "cat") == ["a.jpg"]


def test_a_copy_of_a_link_is_a_file(here: Path) -> None:
    (here / "b.jpg").symlink_to("a.jpg")

    placement.place(wanted(here / "b.jpg", here / "cat", "copy", "b.jpg"))

    assert not (here / "cat" / "b.jpg").is_symlink()
    assert (here / "cat" / "b.jpg").read_bytes() == CONTENT


def test_a_move_is_the_same_file(here: Path) -> None:
    number = (here / "a.jpg").stat().st_ino

    placement.place(wanted(here / "a.jpg", here / "cat", "move"))

    assert (here / "cat" / "a.jpg").stat().st_ino == number
    assert not (here / "a.jpg").exists()


def test_a_move_to_another_file_system_keeps_what_it_can(here: Path, elsewhere: Path) -> None:
    if os.geteuid() == 0:
        os.chown(here / "a.jpg", 12345, 54321)

    before = (here / "a.jpg").stat()
    placement.place(wanted(here / "a.jpg", elsewhere, "move"))

    moved = (elsewhere / "a.jpg").stat()
    assert (elsewhere / "a.jpg").read_bytes() == CONTENT
    kept = ("st_mode", "st_mtime_ns", "st_uid", "st_gid")
    assert [getattr(moved, name) for name in kept] == [getattr(before, name) for name in kept]
    assert not (here / "a.jpg").exists()
    assert names(elsewhere) == ["a.jpg"]


@pytest.mark.parametrize("action", placement.ACTIONS)
@pytest.mark.parametrize("refused", [(), ("link",)], ids=["", "no second names"])
def test_nothing_is_replaced(here: Path, action: Action, refused: tuple[str, ...]) -> None:
    (here / "cat" / "a.jpg").write_bytes(b"older")

    with faulty(refused=refused), pytest.raises(FileExistsError):
        placement.place(wanted(here / "a.jpg", here / "cat", action))

    assert (here / "cat" / "a.jpg").read_bytes() == b"older"
    assert (here / "a.jpg").read_bytes() == CONTENT
    assert names(here / "cat") == ["a.jpg"]


def test_nothing_is_replaced_on_another_file_system(here: Path, elsewhere: Path) -> None:
    (elsewhere / "a.jpg").symlink_to("nowhere")

    with pytest.raises(FileExistsError):
        placement.place(wanted(here / "a.jpg", elsewhere, "move"))

    assert os.readlink(elsewhere / "a.jpg") == "nowhere"
    assert (here / "a.jpg").read_bytes() == CONTENT


@pytest.mark.parametrize("action", ["copy", "move"])
def test_it_works_on_a_file_system_without_second_names(here: Path, action: Action) -> None:
    with faulty(refused=("link",)):
        placement.place(wanted(here / "a.jpg", here / "cat", action))

    assert (here / "cat" / "a.jpg").read_bytes() == CONTENT
    assert (here / "a.jpg").exists() == (action == "copy")
    assert names(here / "cat") == ["a.jpg"]


@pytest.mark.parametrize("refused", [(), ("link",)], ids=["", "no second names"])
def test_what_may_not_be_removed_is_not_moved(here: Path, refused: tuple[str, ...]) -> None:
    placed = wanted(here / "a.jpg", here / "cat", "move")

    with faulty(refused=refused, stays=placed.source), pytest.raises(PictureError) as raised:
        placement.place(placed)

    assert raised.value.code == "permission"
    assert (here / "a.jpg").read_bytes() == CONTENT
    assert names(here / "cat") == []


def test_what_may_not_be_removed_is_not_moved_to_another_file_system(
    here: Path, elsewhere: Path
) -> None:
    placed = wanted(here / "a.jpg", elsewhere, "move")

    with faulty(stays=placed.source), pytest.raises(PictureError):
        placement.place(placed)

    assert (here / "a.jpg").read_bytes() == CONTENT
    assert names(elsewhere) == []


@pytest.mark.parametrize("action", placement.ACTIONS)
def test_a_picture_that_is_gone_is_its_own_fault(here: Path, action: Action) -> None:
    with pytest.raises(PictureError) as raised:
        wanted(here / "gone.jpg", here / "cat", action)

    assert raised.value.code == "not_found"


@pytest.mark.parametrize("action", ["copy", "move"])
def test_a_picture_that_goes_meanwhile_leaves_nothing(here: Path, action: Action) -> None:
    placed = wanted(here / "a.jpg", here / "cat", action)
    (here / "a.jpg").unlink()

    with pytest.raises(PictureError) as raised:
        placement.place(placed)

    assert raised.value.code == "not_found"
    assert names(here / "cat") == []


def test_a_picture_that_changes_while_it_is_copied_stays(
    here: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_block = source_files.read_block

    def read_and_change(source: int) -> bytes:
        block = read_block(source)
        (here / "a.jpg").write_bytes(b"edited")
        return block

    monkeypatch.setattr(source_files, "read_block", read_and_change)

    with pytest.raises(PictureError, match="changed while it was being copied"):
        placement.place(wanted(here / "a.jpg", elsewhere, "move"))

    assert (here / "a.jpg").read_bytes() == b"edited"
    assert names(elsewhere) == []


def test_a_new_file_at_the_old_place_is_not_removed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(_: object) -> None:
        (here / "new").write_bytes(b"new")
        os.rename(here / "new", here / "a.jpg")

    monkeypatch.setattr(placement, "sync_folder", replace)

    placement.place(wanted(here / "a.jpg", here / "cat", "move"))

    assert (here / "cat" / "a.jpg").read_bytes() == CONTENT
    assert (here / "a.jpg").read_bytes() == b"new"


def test_a_picture_that_another_process_moves_is_left_to_it(here: Path) -> None:
    placed = wanted(here / "a.jpg", here / "cat", "move")

    with source_files.locked(placed.source), pytest.raises(PictureError, match="just being moved"):
        placement.place(placed)

    assert (here / "a.jpg").exists()
    assert names(here / "cat") == []


def test_a_picture_that_was_moved_while_it_was_opened_is_gone(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = wanted(here / "a.jpg", here / "cat", "move")
    monkeypatch.setattr("fcntl.flock", lambda *_: os.rename(here / "a.jpg", here / "cat" / "b.jpg"))

    with pytest.raises(PictureError, match="was just moved"):
        placement.place(placed)

    assert names(here / "cat") == ["b.jpg"]


def test_it_works_on_a_file_system_without_locks(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)

    placement.place(wanted(here / "a.jpg", here / "cat", "move"))

    assert names(here / "cat") == ["a.jpg"]


@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
def test_only_files_are_moved(here: Path, kind: str) -> None:
    path = here / kind
    make: dict[str, Callable[[], object]] = {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to("a.jpg"),
    }
    make[kind]()

    with pytest.raises(PictureError) as raised:
        source_files.stamp_of(str(path), moves=True)

    assert raised.value.code == "not_regular"


def test_a_copy_that_gets_no_space_leaves_nothing(here: Path) -> None:
    placed = wanted(here / "a.jpg", here / "cat", "copy")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(CONTENT) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            placement.place(placed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert names(here / "cat") == []


def test_no_copy_is_begun_that_cannot_fit(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.statvfs_result((4096, 4096, 100, 1, 1, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)

    with faulty() as faults, pytest.raises(OSError, match="No space left"):
        placement.place(wanted(here / "a.jpg", here / "cat", "copy"))

    assert faults.steps == 1  # the one that makes sure that nothing is left over


@pytest.mark.parametrize("action", placement.ACTIONS)
def test_there_is_nothing_to_settle_where_nothing_was_begun(here: Path, action: Action) -> None:
    assert not placement.settle(wanted(here / "a.jpg", here / "cat", action))

    assert (here / "a.jpg").read_bytes() == CONTENT


@pytest.mark.parametrize("action", placement.ACTIONS)
def test_what_is_somebody_elses_is_not_taken_for_placed(here: Path, action: Action) -> None:
    placed = wanted(here / "a.jpg", here / "cat", action)
    shutil.copystat(here / "a.jpg", here / "cat")
    (here / "cat" / "a.jpg").write_bytes(CONTENT[::-1])
    os.utime(here / "cat" / "a.jpg", ns=(MTIME_NS, MTIME_NS))

    assert not placement.settle(placed)

    assert (here / "cat" / "a.jpg").read_bytes() == CONTENT[::-1]
    assert (here / "a.jpg").read_bytes() == CONTENT


def test_a_move_that_has_both_names_is_ended(here: Path) -> None:
    placed = wanted(here / "a.jpg", here / "cat", "move")
    os.link(here / "a.jpg", here / "cat" / "a.jpg")

    assert placement.settle(placed)

    assert not (here / "a.jpg").exists()
    assert (here / "cat" / "a.jpg").read_bytes() == CONTENT


def test_a_name_that_was_taken_for_a_file_is_given_back(here: Path) -> None:
    placed = wanted(here / "a.jpg", here / "cat", "move")
    (here / "cat" / "a.jpg").write_bytes(os.fsencode(Path(placed.part).name))

    assert not placement.settle(placed)

    assert names(here / "cat") == []
    assert (here / "a.jpg").read_bytes() == CONTENT
