"""`zsclip sort` through `main([...])`, with the fake engine; faults in processes of their own."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cache_processes import (
    NOBODY,
    Command,
    as_user,
    fake_engines,
    files_of_at_most,
    open_folder,  # noqa: F401 (a fixture)
    write_model,
)
from conftest import Ran
from PIL import Image
from sort_faults import load_modules

from zsclip.encoders import Model
from zsclip.results import Result
from zsclip.sorting import sort_log
from zsclip.sorting.sorter import Sorted, Sorter

Run = Callable[..., Ran]
Make = Callable[..., Path]
LABELS = ("--labels", "cat,dog,bird")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@pytest.fixture
def run(zsclip: Run, fake_model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`zsclip sort` in an empty folder, with the fake engine as its model."""
    monkeypatch.setattr("zsclip.cli.request.load_model", lambda *args, **kwargs: fake_model)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: zsclip("sort", *arguments)


@pytest.fixture
def photos(picture: Make) -> Path:
    """Three pictures and one that is none."""
    for name, colour in (("a.png", "red"), ("b.png", "green"), ("below/a.png", "blue")):
        picture(f"photos/{name}", colour)
    Path("photos/broken.jpg").write_bytes(b"<html>")
    return Path("photos")


def files(folder: Path | str) -> list[str]:
    paths = Path(folder).rglob("*")
    return sorted(str(path.relative_to(folder)) for path in paths if path.is_file())


def everything() -> list[str]:
    """Files here; what the cache has is nobody's business."""
    return [name for name in files(".") if not name.startswith("cache/")]


def contents(*folders: Path) -> Counter[bytes]:
    """How often each content is there, logs and links not counted."""
    return Counter(
        path.read_bytes()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and not path.name.startswith(sort_log.PREFIX)
    )


def log_of(folder: Path | str) -> Path:
    (log,) = sort_log.paths_in(Path(folder))
    return log


# rows and tables


def test_a_row_tells_what_was_done(run: Run, photos: Path) -> None:
    ran = run(photos, *LABELS, "--into", "sorted", "--move")

    assert ran.code == 3
    assert [row["path"] for row in ran.rows] == [
        "photos/a.png", "photos/b.png", "photos/below/a.png", "photos/broken.jpg",
    ]  # fmt: skip
    first, last = ran.rows[0], ran.rows[-1]
    assert list(first) == [
        "path", "status", "label", "score", "score_kind", "action", "target",
    ]  # fmt: skip
    assert first["target"] == f"sorted/{first['label']}/a.png"
    assert (first["status"], first["action"], first["score_kind"]) == ("ok", "move", "softmax")
    assert last["target"] == "sorted/unreadable/broken.jpg"
    assert last["error"] == {
        "code": "unrecognized",
        "message": "not a supported image (looks like HTML)",
    }
    assert all(Path(str(row["target"])).is_file() for row in ran.rows)
    assert files("photos") == []


def test_stderr_ends_with_a_command_that_undoes_it(run: Run, photos: Path) -> None:
    into = Path("with 'blanks")
    before = contents(photos)
    ran = run(photos, *LABELS, "--into", into, "--move")

    line = ran.stderr.splitlines()[-1]
    undone = run(*shlex.split(line.removeprefix("undo: zsclip sort ")))

    assert line.startswith("undo: zsclip sort --undo ")
    assert undone.code == 0
    assert undone.stderr == "4 taken back\n"
    assert [row["action"] for row in undone.rows] == ["restore"] * 4
    assert {str(row["path"]) for row in undone.rows} == {
        str(path.resolve()) for path in photos.rglob("*.*")
    }
    assert contents(photos) == before
    assert not into.exists()


def test_a_table_has_from_to_label_and_score(run: Run, photos: Path) -> None:
    ran = run(photos, *LABELS, "--into", "sorted", "--link", "--format", "table")

    header, *lines = ran.stdout.splitlines()
    assert header.split() == ["picture", "to", "label", "softmax"]
    assert len(lines) == 4
    path, target, label, score = lines[0].split()
    assert (path, target) == ("photos/a.png", f"sorted/{label}/a.png")
    assert 0 < float(score) <= 1
    assert lines[3].split() == ["photos/broken.jpg", "sorted/unreadable/broken.jpg"]


def test_a_dry_run_shows_what_a_run_does_then(run: Run, photos: Path) -> None:
    before = everything()

    told = run(photos, *LABELS, "--into", "sorted", "--copy", "--dry-run")

    assert everything() == before
    assert not Path("sorted").exists()
    assert "undo" not in told.stderr
    done = run(photos, *LABELS, "--into", "sorted", "--copy")
    assert told.code == done.code == 3
    assert [row.pop("dry_run") for row in told.rows] == [True] * 4
    assert [row | {"dry_run": True} for row in done.rows] == told.rows


def test_names_that_are_not_utf8_are_told_in_bytes(run: Run, photos: Path) -> None:
    name = os.fsdecode(b"photos/\xff.png")
    os.rename("photos/a.png", name)

    ran = run(name, *LABELS, "--into", "sorted", "--move", "-q")

    (row,) = ran.rows
    assert row["path"] == r"photos/\xff.png"
    assert str(row["target"]).endswith(r"/\xff.png")
    assert {"path_b64", "target_b64"} <= row.keys()
    assert run("--undo", log_of("sorted")).code == 0
    assert os.path.exists(name)


def test_quiet_says_what_failed_only(run: Run, photos: Path) -> None:
    ran = run(photos, *LABELS, "--into", "sorted", "--copy", "-q")

    assert ran.stderr == (
        "zsclip: photos/broken.jpg: not a supported image (looks like HTML) [unrecognized]\n"
    )


# where pictures go


def test_a_threshold_sends_pictures_into_other(run: Run, photos: Path) -> None:
    ran = run("photos/a.png", *LABELS, "--into", "sorted", "--copy", "--min-score", "2")

    assert ran.code == 0
    assert files("sorted")[1:] == ["other/a.png"]


def test_hostile_labels_stay_in_the_target(run: Run, photos: Path) -> None:
    labels = ["../up", "/etc", "..", ".hidden", "A/B", "Other", "a:b", "CON."]
    Path("labels.txt").write_text("\n".join(labels))
    before = set(everything())

    ran = run(photos, "-L", "labels.txt", "--into", "sorted", "--copy")

    assert ran.code == 3
    made = set(everything()) - before
    assert len(made) == 5
    assert all(name.startswith("sorted/") for name in made)
    assert "warning: folders that are not called like their labels: '../up' is '_up'" in ran.stderr
    assert ", and 3 more" in ran.stderr


def test_groups_are_folders_where_they_are_asked_for(run: Run, photos: Path) -> None:
    Path("labels.csv").write_text("label,group\ncat,animals\ndog,animals\n")

    ran = run("photos/a.png", "-L", "labels.csv", "--group", "--into", "sorted", "--copy")

    assert ran.rows[0]["target"] == "sorted/animals/a.png"


def test_a_single_label_is_warned_of(run: Run, photos: Path) -> None:
    command = (photos, "--labels", "cat", "--into", "sorted", "--link", "--dry-run")

    assert "warning: one label only: every picture goes into its folder" in run(*command).stderr
    assert "warning" not in run(*command, "--min-cosine", "0").stderr


@pytest.mark.parametrize(
    ("name", "folder"), [((), "other"), (("--other-name", "None of these"), "None of these")]
)
def test_what_is_something_else_has_a_folder(
    run: Run, photos: Path, name: tuple[str, ...], folder: str
) -> None:
    ran = run(
        "photos/a.png", *LABELS, "--into", "sorted", "--copy", "-t", "none",
        "--other", *name, "--other-below", "1",
    )  # fmt: skip

    assert ran.rows[0]["target"] == f"sorted/{folder}/a.png"


def test_a_run_that_is_interrupted_says_how_to_undo_it(
    run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Sorter.place

    def place_one(sorter: Sorter, result: Result) -> Sorted:
        if result.path == "photos/b.png":
            raise KeyboardInterrupt
        return place(sorter, result)

    monkeypatch.setattr(Sorter, "place", place_one)

    ran = run(photos, *LABELS, "--into", "sorted", "--move")

    assert ran.code == 130
    assert ran.stderr.startswith(f"undo: zsclip sort --undo {log_of('sorted')}")


def test_a_list_may_name_pictures(run: Run, photos: Path) -> None:
    Path("list").write_bytes(b"photos/a.png\0photos/b.png\0photos/a.png\0")

    ran = run("--files0-from", "list", *LABELS, "--into", "sorted", "--move")

    assert [row["status"] for row in ran.rows] == ["ok", "ok"]
    assert "1 named more than once" in ran.stderr


# going on


def test_a_second_run_sorts_what_is_new(run: Run, photos: Path, picture: Make) -> None:
    command = (photos, *LABELS, "--into", "sorted", "--copy")
    run(*command)
    picture("photos/new.png")

    ran = run(*command)

    assert [row["path"] for row in ran.rows] == ["photos/new.png"]
    assert ran.code == 0
    assert "4 sorted before\n" in ran.stderr
    assert "warning" not in ran.stderr


def test_other_labels_do_not_sort_again_what_was_sorted(run: Run, photos: Path) -> None:
    run(photos, *LABELS, "--into", "sorted", "--copy")

    ran = run(photos, "--labels", "x,y", "--into", "sorted", "--copy")

    assert ran.rows == []
    assert "warning: of these, 4 by other labels or options; to sort them anew" in ran.stderr


def test_a_run_that_was_stopped_when_all_was_moved_is_ended(run: Run, photos: Path) -> None:
    command = (photos, *LABELS, "--into", "sorted", "--move")
    run(*command)
    log = log_of("sorted")
    log.write_bytes(log.read_bytes().removesuffix(b'{"end":true}\n'))

    again, third = run(*command), run(*command)

    assert (again.code, again.rows) == (0, [])
    assert log.read_bytes().endswith(b'{"end":true}\n')
    assert third.code == 2
    assert "no pictures among the inputs" in third.stderr


def test_a_picture_that_goes_while_others_are_sorted_is_an_error(
    run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Sorter.place

    def place_late(sorter: Sorter, result: Result) -> Sorted:
        if result.path == "photos/b.png":
            os.unlink(result.path)
        return place(sorter, result)

    monkeypatch.setattr(Sorter, "place", place_late)

    ran = run("photos/a.png", "photos/b.png", *LABELS, "--into", "sorted", "--move")

    assert ran.code == 3
    assert ran.rows[1]["error"] == {"code": "not_found", "message": "no such file"}
    assert ran.rows[1]["target"] is None
    assert ran.stderr.startswith("zsclip: photos/b.png: no such file [not_found]\n")


def test_undo_tells_what_it_cannot_take_back(run: Run, photos: Path, picture: Make) -> None:
    run(photos, *LABELS, "--into", "sorted", "--move")
    picture("photos/a.png", "white")

    ran = run("--undo", log_of("sorted"))
    again = run("--undo", log_of("sorted"), "--format", "table")

    assert ran.code == 3
    assert "a.png: its place is taken [taken]\n3 taken back, 1 not\n" in ran.stderr
    assert ran.rows[-1]["error"] == {"code": "taken", "message": "its place is taken"}
    assert (again.code, again.stdout) == (1, "")


# refusals


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("photos --into sorted", "use one of --link, --copy and --move"),
        ("photos --into sorted --link --move", "use one of --link, --copy and --move"),
        ("photos --move", "no target folder named"),
        ("- --into sorted --copy", "a picture on stdin is no file"),
        ("--into sorted --copy", "no pictures named"),
        ("photos --into photos/sorted --move", "--into photos/sorted is in photos"),
        (". --into sorted --move", "--into sorted is in ."),
        ("photos/below --into photos --move", "photos/below is in --into photos"),
        ("photos/a.png --into photos --move", "photos is in --into photos"),
        ("photos --into photos/a.png --copy", "photos/a.png is not a folder"),
        ("photos --into none/sorted --copy", "there is no folder"),
        ("photos --into full --copy", "full/cat is not a folder"),
        ("photos --into sorted --copy --format csv", "--format 'csv' is not one of table, jsonl"),
        ("photos --into sorted --copy --head x", "--head brings its own labels"),
        ("photos --into sorted --copy --cache-images --no-cache", "--cache-images needs"),
        ("--undo log --into sorted", "--undo LOG stands alone"),
        ("--undo log", "log: cannot be read: no such file"),
        ("--undo photos/a.png", "photos/a.png: is not a log of 'zsclip sort'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    run: Run, photos: Path, arguments: str, error: str
) -> None:
    Path("full").mkdir()
    Path("full/cat").write_text("in the way")
    before = everything()

    labels = () if arguments.startswith("--undo") else LABELS
    ran = run(*shlex.split(arguments), *labels)

    assert ran.code == 2, ran.stderr
    assert error in ran.stderr
    assert everything() == before


# processes


@pytest.fixture
def place(open_folder: Path) -> Path:  # noqa: F811
    """A folder for everyone, with a model in it."""
    write_model(open_folder / "model").chmod(0o755)
    return open_folder


@pytest.fixture
def small(place: Path) -> Iterator[Path]:
    """A file system with little space."""
    folder = place / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def command(place: Path, *arguments: object) -> tuple[object, ...]:
    return (
        "sort", *arguments, "--labels", "a,b", "-t", "none", "--model", place / "model",
        "--no-cache",
    )  # fmt: skip


def pictures(folder: Path, *, count: int, colour: str = "red") -> Path:
    """Large pictures, each of another content."""
    folder.mkdir()
    for number in range(count):
        path = folder / f"{number}.ppm"
        Image.new("RGB", (64, 64), colour).save(path)
        path.write_bytes(path.read_bytes() + f"{colour} {number}".encode())
    return folder


@pytest.mark.parametrize("action", ["copy", "move"])
def test_a_full_disk_stops_the_run_and_nothing_is_lost(
    place: Path, small: Path, zsclip: Run, action: str
) -> None:
    photos = pictures(place / "photos", count=8)
    before = contents(photos)
    arguments = command(place, photos, f"--{action}", "--into", small / "sorted")

    ended = Command(place, *arguments).wait()

    assert ended.code == 5
    assert "No space left on device" in ended.stderr
    assert "tip: the same command goes on from here" in ended.stderr
    done = contents(small)
    assert 0 < done.total() < 8
    if action == "move":
        assert contents(photos) + done == before
    log = log_of(small / "sorted")
    subprocess.run(["mount", "-o", "remount,size=1m", str(small)], check=True)
    with fake_engines():
        assert zsclip(*arguments).code == 0
    assert contents(small) == before
    assert zsclip("sort", "--undo", log).code == 0
    assert contents(photos) == before
    assert files(small) == []


def test_a_limit_on_the_size_of_files_stops_the_run_and_nothing_is_lost(
    place: Path, zsclip: Run
) -> None:
    photos = pictures(place / "photos", count=3)
    before = contents(photos)
    arguments = command(place, photos, "--copy", "--into", place / "sorted")

    ended = Command(place, *arguments, faults=[files_of_at_most(8192)]).wait()

    assert ended.code == 5
    assert "File too large" in ended.stderr
    assert contents(place / "sorted") == Counter()
    with fake_engines():
        assert zsclip(*arguments).code == 0
    assert contents(place / "sorted") == before


def test_a_log_that_cannot_grow_stops_the_run(place: Path, zsclip: Run) -> None:
    photos = pictures(place / "photos", count=20)
    before = contents(photos)
    arguments = command(place, photos, "--move", "--into", place / "sorted")

    ended = Command(place, *arguments, faults=[files_of_at_most(2000)]).wait()

    assert ended.code == 5
    assert contents(photos, place / "sorted") == before
    with fake_engines():
        assert zsclip(*arguments).code == 0
    assert contents(place / "sorted") == before
    assert zsclip("sort", "--undo", log_of(place / "sorted")).code == 0
    assert contents(photos) == before


@pytest.mark.parametrize("action", ["copy", "move"])
def test_runs_at_one_time_do_not_overwrite_each_other(place: Path, action: str) -> None:
    colours = ("red", "green", "blue")
    folders = [pictures(place / colour, count=10, colour=colour) for colour in colours]
    before = contents(*folders)
    into = place / "sorted"

    commands = [
        Command(place, *command(place, folder, f"--{action}", "--into", into)) for folder in folders
    ]
    ended = [process.wait() for process in commands]

    assert [one.code for one in ended] == [0, 0, 0], ended
    assert contents(into) == before


def test_runs_at_one_time_move_each_picture_once(place: Path, zsclip: Run) -> None:
    photos = pictures(place / "photos", count=20)
    before = contents(photos)
    into = place / "sorted"

    commands = [Command(place, *command(place, photos, "--move", "--into", into)) for _ in range(2)]
    ended = [process.wait() for process in commands]

    late = [one for one in ended if "no pictures among the inputs" in one.stderr]
    assert len(late) < 2
    assert {one.code for one in ended if one not in late} <= {0, 1, 3}, ended
    assert contents(into) == before
    assert [zsclip("sort", "--undo", log).code for log in sort_log.paths_in(into)] in ([0], [0, 0])
    assert contents(photos) == before


@needs_root
def test_a_target_that_may_not_be_written_is_refused(place: Path) -> None:
    photos = pictures(place / "photos", count=1)
    (place / "sorted").mkdir(mode=0o755)

    arguments = command(place, photos, "--move", "--into", place / "sorted")
    ended = Command(place, *arguments, faults=[load_modules, as_user(NOBODY)]).wait()

    assert ended.code == 5
    assert "permission denied" in ended.stderr
    assert len(files(photos)) == 1


@needs_root
def test_pictures_that_may_not_be_taken_away_stay(place: Path) -> None:
    photos = pictures(place / "photos", count=2)
    (place / "sorted").mkdir()
    (place / "sorted").chmod(0o777)

    arguments = command(place, photos, "--move", "--into", place / "sorted")
    ended = Command(place, *arguments, faults=[load_modules, as_user(NOBODY)]).wait()

    assert ended.code == 1
    assert ended.stderr.count("[permission]") == 2
    assert files(photos) == ["0.ppm", "1.ppm"]
    assert contents(place / "sorted") == Counter()


@needs_root
def test_pictures_of_others_are_moved_where_their_folder_allows_it(place: Path) -> None:
    photos = pictures(place / "photos", count=2)
    before = contents(photos)
    for folder in (photos, place / "sorted"):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)

    arguments = command(place, photos, "--move", "--into", place / "sorted")
    ended = Command(place, *arguments, faults=[load_modules, as_user(NOBODY)]).wait()

    assert ended.code == 0, ended.stderr
    assert contents(place / "sorted") == before
    assert files(photos) == []
