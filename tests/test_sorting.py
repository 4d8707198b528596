"""Pictures into folders by label and back again: nothing is lost or doubled, wherever it stops."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sort_faults
from cache_processes import Command, fake_engines, write_model
from conftest import Ran
from sort_faults import faulty

from zsclip.errors import OutputError, PictureErrorCode, UsageError
from zsclip.inputs import Input
from zsclip.results import Failure, Result
from zsclip.sorting import sort_log, sort_records, sort_target, sort_undo, source_files
from zsclip.sorting.placement import Action
from zsclip.sorting.sort_history import Earlier
from zsclip.sorting.sort_undo import Undone
from zsclip.sorting.sorter import Sorted, Sorter

LONG = os.environ.get("ZSCLIP_LONG_TESTS") == "1"
POINTS = 9
"""Points of each way to sort at which it is killed; all of them in long tests."""
UNDO_POINTS = 3
FOLDERS = sort_target.folders_of(["cat", "dog"])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "sorted"


@contextmanager
def sorting(
    into: Path, action: Action = "move", *, run: str = "run", **options: Any
) -> Iterator[Sorter]:
    """A sorter that comes to its end, unless something is raised."""
    settles = not options.get("dry_run", False)
    with (
        closing(Earlier(into, settles=settles)) as earlier,
        closing(Sorter(into, FOLDERS, action, earlier=earlier, run=run, **options)) as sorter,
    ):
        yield sorter
        sorter.finish()


def picture(path: Path, content: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.fsencode(path) if content is None else content)
    return path


def result(path: Path, label: str | None = "cat", code: PictureErrorCode | None = None) -> Result:
    if code is not None:
        return Result(str(path), "error", "model", "head", error=Failure(code, "message"))
    score = 0.9
    return Result(str(path), "ok", "model", "head", label, score, 0.3, score_kind="softmax")


def sort(into: Path, action: Action, *results: Result, **options: Any) -> list[Sorted]:
    with sorting(into, action, **options) as sorter:
        return [sorter.place(item) for item in results]


def undo(into: Path) -> list[Undone]:
    """Undo the runs of a folder, newest first."""
    return [one for log in reversed(sort_log.paths_in(into)) for one in sort_undo.undo(log)]


def tree(folder: Path) -> dict[str, str]:
    """What is below a folder: name -> content, or where a link leads; no logs."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_dir():
            found[f"{name}/"] = ""
        elif not path.name.startswith(sort_log.PREFIX):
            found[name] = path.read_bytes().decode("latin-1")
    return found


def files(folder: Path) -> list[str]:
    return [name for name in tree(folder) if not name.endswith("/")]


# where pictures go


def test_pictures_go_into_folders_of_their_labels(photos: Path, into: Path) -> None:
    a, b = picture(photos / "a.jpg"), picture(photos / "b.jpg")

    rows = sort(into, "move", result(a, "cat"), result(b, "dog"))

    assert [row.target for row in rows] == [f"{into}/cat/a.jpg", f"{into}/dog/b.jpg"]
    assert files(into) == ["cat/a.jpg", "dog/b.jpg"]
    assert files(photos) == []


def test_a_rejected_picture_goes_into_other(photos: Path, into: Path) -> None:
    sort(into, "move", result(picture(photos / "a.jpg"), None))

    assert files(into) == ["other/a.jpg"]


def test_an_answer_that_is_none_of_the_labels_goes_into_other(photos: Path, into: Path) -> None:
    sort(into, "move", result(picture(photos / "a.jpg"), "none of these"))

    assert files(into) == ["other/a.jpg"]


def test_a_broken_picture_goes_into_unreadable_and_keeps_its_error(
    photos: Path, into: Path
) -> None:
    (row,) = sort(into, "move", result(picture(photos / "a.jpg"), code="truncated"))

    assert files(into) == ["unreadable/a.jpg"]
    assert row.error == Failure("truncated", "message")
    assert row.action == "move"


@pytest.mark.parametrize("code", ["not_found", "permission", "is_directory", "not_regular"])
def test_what_is_no_readable_file_stays(photos: Path, into: Path, code: PictureErrorCode) -> None:
    (row,) = sort(into, "move", result(picture(photos / "a.jpg"), code=code))

    assert row.action is None
    assert files(photos) == ["a.jpg"]
    assert not into.exists()


def test_a_picture_that_has_gone_meanwhile_is_an_error(photos: Path, into: Path) -> None:
    (row,) = sort(into, "move", result(photos / "gone.jpg", "cat"))

    assert row.error == Failure("not_found", "no such file")
    assert row.target is None


def test_pictures_of_one_name_get_numbers_also_where_they_are_equal(
    photos: Path, into: Path
) -> None:
    same = [picture(photos / name / "a.jpg", b"same") for name in ("1", "2", "3")]

    sort(into, "copy", *map(result, same))

    assert files(into) == ["cat/a (2).jpg", "cat/a (3).jpg", "cat/a.jpg"]


def test_what_is_in_the_way_stays(photos: Path, into: Path) -> None:
    picture(into / "cat" / "a.jpg", b"older")
    (into / "cat" / "a (2).jpg").symlink_to("nowhere")

    sort(into, "move", result(picture(photos / "a.jpg", b"newer")))

    assert tree(into)["cat/a.jpg"] == "older"
    assert tree(into)["cat/a (3).jpg"] == "newer"


def test_a_name_that_another_run_takes_meanwhile_is_not_replaced(
    photos: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = sort_log.SortLog.begin

    def begin_late(log: sort_log.SortLog, *arguments: Any, **options: Any) -> Any:
        if not (into / "cat" / "a.jpg").exists():
            picture(into / "cat" / "a.jpg", b"faster")
        return begin(log, *arguments, **options)

    monkeypatch.setattr(sort_log.SortLog, "begin", begin_late)

    sort(into, "move", result(picture(photos / "a.jpg", b"slower")))

    assert tree(into) == {"cat/": "", "cat/a.jpg": "faster", "cat/a (2).jpg": "slower"}


def test_a_dry_run_tells_the_same_and_changes_nothing(photos: Path, into: Path) -> None:
    picture(into / "cat" / "a.jpg", b"older")
    results = [result(picture(photos / n / "a.jpg")) for n in ("1", "2")]
    before = tree(into.parent)

    told = sort(into, "move", *results, dry_run=True)

    assert tree(into.parent) == before
    assert list(into.iterdir()) == [into / "cat"]
    assert sort(into, "move", *results) == told


@pytest.mark.parametrize(
    "name", ["with\nnewline.jpg", "-rf", "'; rm.jpg", "猫.jpg", b"\xff\xfe.jpg"]
)
def test_names_stay_as_they_are(photos: Path, into: Path, name: str | bytes) -> None:
    path = picture(photos / os.fsdecode(name), b"content")
    before = tree(into.parent)

    sort(into, "move", result(path))

    assert os.listdir(os.fsencode(into / "cat")) == [os.fsencode(name)]
    assert [one.error for one in undo(into)] == [None]
    assert tree(into.parent) == before


def test_a_relative_picture_is_linked_by_its_whole_path(
    photos: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(photos / "a.jpg")
    monkeypatch.chdir(photos)

    sort(into, "link", result(Path("a.jpg")))

    assert (into / "cat" / "a.jpg").readlink() == photos.resolve() / "a.jpg"


def test_a_target_that_cannot_be_written_stops_the_run(photos: Path, into: Path) -> None:
    picture(into / "cat", b"a file in the place of a folder")

    with pytest.raises(OutputError, match=r"cat/a\.jpg: Not a directory"):
        sort(into, "move", result(picture(photos / "a.jpg")))

    assert files(photos) == ["a.jpg"]


def test_a_file_system_without_links_is_named(photos: Path, into: Path) -> None:
    with faulty(refused=("symlink",)), pytest.raises(OutputError) as raised:
        sort(into, "link", result(picture(photos / "a.jpg")))

    assert raised.value.tip == "this file system has no links; use --copy"


def test_a_log_that_cannot_be_made_leaves_no_folder(photos: Path, into: Path) -> None:
    with faulty(refused=("rename",)), pytest.raises(OutputError, match="cannot write"):
        sort(into, "move", result(picture(photos / "a.jpg")))

    assert tree(into.parent) == {"photos/": "", "photos/a.jpg": str(photos / "a.jpg")}


# what is to be sorted


def waiting(sorter: Sorter, *paths: Path) -> list[str | None]:
    return [item.path for item in sorter.waiting(Input(str(path), str(path)) for path in paths)]


def test_a_picture_that_is_named_twice_is_sorted_once(photos: Path, into: Path) -> None:
    path = picture(photos / "a.jpg")

    with sorting(into) as sorter:
        assert waiting(sorter, path, photos / ".." / "photos" / "a.jpg") == [str(path)]

    assert sorter.passed.twice == 1


@pytest.mark.parametrize("action", ["copy", "link"])
def test_what_was_sorted_is_not_sorted_again(photos: Path, into: Path, action: Action) -> None:
    a, b = picture(photos / "a.jpg"), picture(photos / "b.jpg")
    sort(into, action, result(a))

    with sorting(into, action) as sorter:
        assert waiting(sorter, a, b) == [str(b)]

    assert sorter.passed.before == 1
    assert sorter.passed.otherwise == sorter.passed.absent == 0


def test_a_picture_that_has_changed_is_copied_again(photos: Path, into: Path) -> None:
    path = picture(photos / "a.jpg")
    sort(into, "copy", result(path))
    path.write_bytes(b"edited")

    with sorting(into, "copy") as sorter:
        assert waiting(sorter, path) == [str(path)]


def test_a_new_picture_of_the_name_of_one_that_was_moved_is_sorted(
    photos: Path, into: Path
) -> None:
    path = picture(photos / "a.jpg")
    sort(into, "move", result(path))
    picture(photos / "a.jpg")

    with sorting(into, "move") as sorter:
        assert waiting(sorter, path) == [str(path)]


def test_pictures_that_were_sorted_otherwise_or_are_not_there_are_counted(
    photos: Path, into: Path
) -> None:
    path = picture(photos / "a.jpg")
    sort(into, "copy", result(path))
    (into / "cat" / "a.jpg").unlink()

    with sorting(into, "copy", run="other labels") as sorter:
        waiting(sorter, path)

    assert (sorter.passed.otherwise, sorter.passed.absent) == (1, 1)


def test_pictures_of_the_target_are_refused(into: Path) -> None:
    path = picture(into / "cat" / "a.jpg")

    with sorting(into) as sorter, pytest.raises(UsageError, match="where pictures are put"):
        waiting(sorter, path)


def test_a_failed_input_is_handed_on(photos: Path, into: Path) -> None:
    failed = Input("*.jpg", Failure("not_found", "nothing matches"))

    with sorting(into) as sorter:
        assert list(sorter.waiting([failed, Input("a\0b", "a\0b")])) == [
            failed,
            Input("a\0b", "a\0b"),
        ]


@pytest.mark.parametrize("way", ["inside", "the same", "around", "through a link"])
def test_folders_in_which_sorted_pictures_would_be_found_are_refused(
    photos: Path, tmp_path: Path, way: str
) -> None:
    (tmp_path / "shortcut").symlink_to(photos)
    (photos / "below").mkdir()
    searched, target = {
        "inside": (photos, photos / "sorted"),
        "the same": (photos, photos),
        "around": (photos / "below", photos),
        "through a link": (photos, tmp_path / "shortcut" / "sorted"),
    }[way]

    with pytest.raises(UsageError, match="--into"):
        sort_target.check_apart([str(searched)], target)


def test_folders_side_by_side_are_taken(photos: Path, tmp_path: Path) -> None:
    target = tmp_path / "photos-sorted"

    sort_target.check_apart([str(photos), str(tmp_path / "none")], target)  # raises nothing

    assert not target.exists()


# undo


def test_undo_puts_moved_pictures_back(photos: Path, into: Path) -> None:
    a, b = picture(photos / "a.jpg"), picture(photos / "below" / "b.jpg")
    before, number = tree(into.parent), a.stat().st_ino
    sort(into, "move", result(a), result(b, "dog"))

    rows = undo(into)

    assert [(row.path, row.action) for row in rows] == [(str(b), "restore"), (str(a), "restore")]
    assert tree(into.parent) == before
    assert a.stat().st_ino == number
    assert not into.exists()


@pytest.mark.parametrize("action", ["copy", "link"])
def test_undo_removes_copies_and_links(photos: Path, into: Path, action: Action) -> None:
    path = picture(photos / "a.jpg")
    before = tree(into.parent)
    sort(into, action, result(path))

    rows = undo(into)

    assert [row.action for row in rows] == ["remove"]
    assert tree(into.parent) == before


def test_undo_makes_a_folder_again_that_has_gone(photos: Path, into: Path) -> None:
    path = picture(photos / "below" / "a.jpg")
    sort(into, "move", result(path))
    path.parent.rmdir()

    undo(into)

    assert path.exists()


def test_undo_leaves_folders_and_files_that_it_did_not_make(photos: Path, into: Path) -> None:
    picture(into / "cat" / "mine.jpg")
    sort(into, "move", result(picture(photos / "a.jpg")), result(picture(photos / "b.jpg"), "dog"))

    undo(into)

    assert files(into) == ["cat/mine.jpg"]
    assert list(into.iterdir()) == [into / "cat"]


def test_undo_does_not_overwrite(photos: Path, into: Path) -> None:
    a, b = picture(photos / "a.jpg", b"old"), picture(photos / "b.jpg", b"")
    sort(into, "move", result(a), result(b))
    picture(a, b"new")
    picture(b, b"")

    rows = undo(into)

    assert [row.error and row.error[0] for row in rows] == ["taken", "taken"]
    assert tree(photos) == {"a.jpg": "new", "b.jpg": ""}
    assert tree(into)["cat/a.jpg"] == "old"


def test_undo_can_be_repeated_when_what_was_in_its_way_has_gone(photos: Path, into: Path) -> None:
    path = picture(photos / "a.jpg", b"old")
    sort(into, "move", result(path))
    picture(path, b"")
    undo(into)
    undo(into)
    path.unlink()

    (row,) = undo(into)

    assert row.error is None
    assert path.read_bytes() == b"old"
    assert not into.exists()


def test_undo_moves_an_edited_picture_back_as_it_is(photos: Path, into: Path) -> None:
    path = picture(photos / "a.jpg")
    sort(into, "move", result(path))
    (into / "cat" / "a.jpg").write_bytes(b"edited")

    undo(into)

    assert path.read_bytes() == b"edited"


def test_undo_reports_a_picture_that_is_not_where_it_was_put(photos: Path, into: Path) -> None:
    sort(into, "move", result(picture(photos / "a.jpg")))
    (into / "cat" / "a.jpg").rename(into / "cat" / "b.jpg")

    (row,) = undo(into)

    assert row.error is not None and row.error[0] == "gone"
    assert files(into) == ["cat/b.jpg"]


def test_undo_keeps_a_copy_that_was_changed(photos: Path, into: Path) -> None:
    sort(into, "copy", result(picture(photos / "a.jpg")))
    (into / "cat" / "a.jpg").write_bytes(b"edited")

    (row,) = undo(into)

    assert row.error is not None and row.error[0] == "changed"
    assert tree(into)["cat/a.jpg"] == "edited"


@pytest.mark.parametrize(
    ("loss", "code"),
    [("removed", "no_original"), ("edited", "changed"), ("a link to the copy", "no_original")],
)
def test_undo_keeps_a_copy_that_is_the_last(photos: Path, into: Path, loss: str, code: str) -> None:
    path = picture(photos / "a.jpg", b"content")
    sort(into, "copy", result(path))
    path.unlink()
    if loss == "edited":
        path.write_bytes(b"another")
    elif loss == "a link to the copy":
        path.symlink_to(into / "cat" / "a.jpg")

    (row,) = undo(into)

    assert row.error is not None and row.error[0] == code
    assert tree(into)["cat/a.jpg"] == "content"


@pytest.mark.parametrize("action", ["copy", "link"])
def test_undo_passes_over_what_was_removed_by_hand(
    photos: Path, into: Path, action: Action
) -> None:
    sort(into, action, result(picture(photos / "a.jpg")))
    (into / "cat" / "a.jpg").unlink()

    (row,) = undo(into)

    assert (row.action, row.error) == (None, None)
    assert not into.exists()


def test_undo_keeps_what_has_taken_the_place_of_a_link(photos: Path, into: Path) -> None:
    sort(into, "link", result(picture(photos / "a.jpg")))
    (into / "cat" / "a.jpg").unlink()
    picture(into / "cat" / "a.jpg", b"mine")

    (row,) = undo(into)

    assert row.error is not None and row.error[0] == "changed"
    assert tree(into)["cat/a.jpg"] == "mine"


def test_undo_works_where_the_target_was_moved(photos: Path, into: Path) -> None:
    path = picture(photos / "a.jpg")
    sort(into, "move", result(path))
    into.rename(into.parent / "elsewhere")

    undo(into.parent / "elsewhere")

    assert path.exists()


def test_what_was_undone_can_be_sorted_again(photos: Path, into: Path) -> None:
    a, b = picture(photos / "a.jpg"), picture(photos / "b.jpg")
    sort(into, "copy", result(a), result(b))
    b.unlink()
    undo(into)

    with sorting(into, "copy") as sorter:
        assert waiting(sorter, a) == [str(a)]


def test_runs_into_one_folder_are_undone_one_by_one(photos: Path, into: Path) -> None:
    a, b = picture(photos / "a.jpg"), picture(photos / "b.jpg")
    sort(into, "move", result(a))
    (first,) = sort_log.paths_in(into)
    sort(into, "move", result(b))

    list(sort_undo.undo(first))

    assert files(photos) == ["a.jpg"]
    assert files(into) == ["cat/b.jpg"]


# the log


def test_a_log_that_grows_is_not_undone(photos: Path, into: Path) -> None:
    with sorting(into) as sorter:
        sorter.place(result(picture(photos / "a.jpg")))
        (log,) = sort_log.paths_in(into)

        with pytest.raises(UsageError, match="another process is writing to it"):
            list(sort_undo.undo(log))


def test_runs_at_one_time_have_logs_of_their_own(photos: Path, into: Path) -> None:
    with sorting(into) as one, sorting(into) as other:
        one.place(result(picture(photos / "1" / "a.jpg")))
        other.place(result(picture(photos / "2" / "a.jpg")))

    assert files(into) == ["cat/a (2).jpg", "cat/a.jpg"]
    assert len(sort_log.paths_in(into)) == 2


@pytest.mark.parametrize("late", ["before it is locked", "before it has a name"])
def test_a_log_that_another_run_takes_for_remains_is_made_again(
    photos: Path, into: Path, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    lock, times = sort_log._lock, iter([True])

    def lock_late(descriptor: int) -> bool:
        if next(times, False):
            for path in into.glob("*.new"):
                path.unlink()
            return late == "before it has a name" and lock(descriptor)
        return lock(descriptor)

    monkeypatch.setattr(sort_log, "_lock", lock_late)

    sort(into, "move", result(picture(photos / "a.jpg")))

    assert len(sort_log.paths_in(into)) == 1
    assert files(into) == ["cat/a.jpg"]
    assert [row.error for row in undo(into)] == [None]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}\n",
        b"[]\n",
        b"text\n",
        b"\xff\n",
        b'{"zsclip_sort":2,"id":"a","run":"b","made_folder":true}\n',
        b'{"zsclip_sort":1,"id":"../a","run":"b","made_folder":true}\n',
        b'HEADER{"done":1}\n',
        b'HEADER{"folder":".."}\n',
        b'HEADER{"folder":"/etc"}\n',
        b'HEADER{"else":1}\n',
        b'HEADER{"begun":1,"action":"eat","source":"/a","target":"b/c","label":null,"score":null,'
        b'"size_bytes":1,"mtime_ns":1}\n',
        b'HEADER{"begun":1,"action":"move","source":"/a","target":"../c","label":null,'
        b'"score":null,"size_bytes":1,"mtime_ns":1}\n',
    ],
)
def test_what_is_no_log_is_refused(tmp_path: Path, content: bytes) -> None:
    header = b'{"zsclip_sort":1,"id":"a","run":"b","made_folder":true}\n'
    log = tmp_path / f"{sort_log.PREFIX}x.jsonl"
    log.write_bytes(content.replace(b"HEADER", header))

    with pytest.raises(UsageError, match=r"is not a log of 'zsclip sort'"):
        list(sort_undo.undo(log))

    assert log.exists()


@pytest.mark.parametrize("kind", ["none", "folder", "pipe"])
def test_a_log_must_be_a_file(tmp_path: Path, kind: str) -> None:
    log = tmp_path / "log"
    if kind == "folder":
        log.mkdir()
    elif kind == "pipe":
        os.mkfifo(log)

    with pytest.raises(UsageError, match="log"):
        list(sort_undo.undo(log))


def test_a_last_line_that_was_cut_does_not_count(photos: Path, into: Path) -> None:
    path = picture(photos / "a.jpg")
    sort(into, "move", result(path))
    (log,) = sort_log.paths_in(into)
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"begun":2,"act')

    assert sort_records.read(log).size_bytes == len(whole)
    assert [row.error for row in undo(into)] == [None]


def test_paths_that_are_not_utf8_survive_in_the_log(photos: Path, into: Path) -> None:
    path = picture(photos / os.fsdecode(b"\xff\n\xe2\x80\xa8.jpg"))
    sort(into, "move", result(path))
    (log,) = sort_log.paths_in(into)

    lines = log.read_bytes().decode("utf-8").splitlines()

    assert [json.loads(line) for line in lines]
    entry = sort_records.read(log).entries[1]
    assert entry.source == str(path)
    assert entry.name == path.name


# kills


@dataclass
class Place:
    """Pictures and a target, on one file system or two."""

    root: Path
    photos: Path
    into: Path
    model: Path
    zsclip: Callable[..., Ran]
    refused: tuple[str, ...] = ()
    before: dict[str, str] = field(default_factory=dict)

    def fill(self) -> None:
        """Pictures of three colours, two of one name, an empty one and one that is none."""
        for name, content in PICTURES.items():
            picture(self.photos / name, content)
        self.before = tree(self.photos)

    def command(self, action: str) -> list[object]:
        return [
            "sort", self.photos, f"--{action}", "--into", self.into, "--labels", "a,b,c",
            "--templates", "none", "--model", self.model, "--no-cache", "-q",
        ]  # fmt: skip

    def sort(self, action: str) -> Ran:
        with faulty(refused=self.refused), fake_engines():
            return self.zsclip(*self.command(action))

    def undo(self) -> None:
        """Undo all runs; nothing may stay."""
        with faulty(refused=self.refused):
            assert [row for row in undo(self.into) if row.error is not None] == []

    def killed(self, *command: object, at: int) -> None:
        """Run a command that is killed at a step."""
        options = {"kill_at": at, "refused": self.refused}
        fault = functools.partial(sort_faults.install, options)
        ended = Command(self.root, *command, faults=[fault]).wait()
        assert ended.code == -signal.SIGKILL, ended


def _pictures() -> Mapping[str, bytes]:
    import io

    from PIL import Image

    def png(colour: str) -> bytes:
        stream = io.BytesIO()
        Image.new("RGB", (8, 8), colour).save(stream, "png")
        return stream.getvalue()

    return {
        "1/a.png": png("red"),
        "2/a.png": png("red") + b"and another one",
        "2/b.png": png("green"),
        "2/empty.png": b"",
        "broken.png": b"<html>",
        "c.png": png("blue"),
    }


PICTURES = _pictures()
WAYS: dict[str, tuple[Action, bool, tuple[str, ...]]] = {
    "link": ("link", False, ()),
    "copy": ("copy", False, ()),
    "copy without second names": ("copy", False, ("link",)),
    "move": ("move", False, ()),
    "move without second names": ("move", False, ("link",)),
    "move to another file system": ("move", True, ()),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(way: str, tmp_path: Path, zsclip: Callable[..., Ran]) -> Iterator[Callable[[], Place]]:
    """A new place for this way to sort; in memory, where nobody waits for a disk."""
    model = write_model(tmp_path / "model")
    _, is_apart, refused = WAYS[way]
    has_memory = os.path.isdir("/dev/shm") and os.access("/dev/shm", os.W_OK)
    memory = Path(tempfile.mkdtemp(dir="/dev/shm" if has_memory else tmp_path))
    if is_apart and memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system at /dev/shm")

    def make() -> Place:
        root = Path(tempfile.mkdtemp(dir=memory))
        photos = Path(tempfile.mkdtemp(dir=tmp_path)) if is_apart else root
        made = Place(root, photos / "photos", root / "sorted", model, zsclip, refused)
        made.fill()
        return made

    yield make
    shutil.rmtree(memory)


def swept(steps: int, points: int) -> Sequence[int]:
    """Points from the first to the last of so many steps."""
    if LONG or steps <= points:
        return range(steps)
    return sorted({round(i * (steps - 1) / (points - 1)) for i in range(points)})


def contents(*folders: Path) -> Counter[bytes]:
    """How often each content is there, in files and through links that lead out of the folders."""
    return Counter(
        path.read_bytes()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(sort_log.PREFIX)
    )


def leftovers(folder: Path) -> list[Path]:
    return [
        path for path in folder.rglob(f"{sort_log.PREFIX}*") if not path.name.endswith(".jsonl")
    ]


def assert_sorted_once(made: Place, action: str) -> None:
    """Each picture is in the target, once; nothing else is, and originals are as they should be."""
    assert contents(made.into) == Counter(PICTURES.values())
    assert leftovers(made.root) == leftovers(made.photos) == []
    if action == "move":
        assert files(made.photos) == []
    else:
        assert tree(made.photos) == made.before


def assert_as_before(made: Place) -> None:
    """Undone: an empty target may be left where a kill came between it and its log."""
    assert tree(made.photos) == made.before
    assert not made.into.exists() or not list(made.into.iterdir())


def test_a_sort_that_is_killed_is_ended_by_the_next_and_undone(
    way: str, place: Callable[[], Place]
) -> None:
    action = WAYS[way][0]
    clean = place()
    with faulty(refused=clean.refused) as faults, fake_engines():
        assert clean.zsclip(*clean.command(action)).code == 3
    assert_sorted_once(clean, action)

    for step in swept(faults.steps, POINTS):
        made = place()
        made.killed(*made.command(action), at=step)
        assert set(contents(made.photos, made.into)) >= set(PICTURES.values()), step

        ran = made.sort(action)

        was_over = ran.code == 2 and "no pictures among the inputs" in ran.stderr
        assert was_over or ran.code in (0, 1, 3), (step, ran.stderr)
        assert_sorted_once(made, action)
        assert len(sort_log.paths_in(made.into)) == 1
        made.undo()
        assert_as_before(made)


def test_a_sort_that_is_killed_is_undone_at_once(way: str, place: Callable[[], Place]) -> None:
    action = WAYS[way][0]
    clean = place()
    with faulty(refused=clean.refused) as faults, fake_engines():
        clean.zsclip(*clean.command(action))

    for step in swept(faults.steps, UNDO_POINTS):
        made = place()
        made.killed(*made.command(action), at=step)

        made.undo()

        assert tree(made.photos) == made.before
        assert files(made.into) == []


def test_an_undo_that_is_killed_is_ended_by_the_next(way: str, place: Callable[[], Place]) -> None:
    action = WAYS[way][0]
    clean = place()
    clean.sort(action)
    (log,) = sort_log.paths_in(clean.into)
    with faulty(refused=clean.refused) as faults:
        list(sort_undo.undo(log))

    for step in swept(faults.steps, UNDO_POINTS):
        made = place()
        made.sort(action)
        (log,) = sort_log.paths_in(made.into)
        made.killed("sort", "--undo", log, at=step)
        assert set(contents(made.photos, made.into)) >= set(PICTURES.values()), step

        made.undo()

        assert_as_before(made)


def test_a_run_that_was_stopped_is_continued_in_its_log(photos: Path, into: Path) -> None:
    a, b = picture(photos / "a.jpg"), picture(photos / "b.jpg")
    before = tree(into.parent)
    with pytest.raises(KeyboardInterrupt), sorting(into, "copy") as sorter:
        sorter.place(result(a))
        raise KeyboardInterrupt

    with sorting(into, "copy") as sorter:
        assert waiting(sorter, a, b) == [str(b)]
        sorter.place(result(b))

    assert len(sort_log.paths_in(into)) == 1
    undo(into)
    assert tree(into.parent) == before


def test_a_run_of_another_kind_leaves_a_log_that_was_stopped(photos: Path, into: Path) -> None:
    with pytest.raises(KeyboardInterrupt), sorting(into, "copy") as sorter:
        sorter.place(result(picture(photos / "a.jpg")))
        raise KeyboardInterrupt

    sort(into, "copy", result(picture(photos / "b.jpg")), run="other labels")

    assert len(sort_log.paths_in(into)) == 2


def begun(photos: Path, into: Path, action: Action) -> sort_log.SortLog:
    """The log of a run that has begun with `a.jpg`, and has stopped."""
    path = picture(photos / "a.jpg")
    (into / "cat").mkdir(parents=True)
    with closing(sort_log.create(into, run="run", made_folder=False)) as log:
        log.begin(
            action, str(path), folder="cat", name="a.jpg", label="cat", score=0.9,
            stamp=source_files.stamp_of(str(path), moves=False),
        )  # fmt: skip
    return log


def test_a_dry_run_settles_nothing(photos: Path, into: Path) -> None:
    log = begun(photos, into, "move")
    os.link(photos / "a.jpg", into / "cat" / "a.jpg")
    before = tree(into.parent), log.path.read_bytes()

    with sorting(into, "move", dry_run=True) as sorter:
        assert waiting(sorter, photos / "a.jpg") == [str(photos / "a.jpg")]

    assert (tree(into.parent), log.path.read_bytes()) == before


def test_what_cannot_be_settled_is_an_error_until_it_can(photos: Path, into: Path) -> None:
    log = begun(photos, into, "copy")
    part = Path(log.placement(log.content.entries[1]).part)
    part.write_bytes(b"part of a picture")

    with faulty(stays=str(part)), pytest.raises(OutputError, match="cannot write"):
        Earlier(into, settles=True)

    with closing(Earlier(into, settles=True)):
        assert not part.exists()
