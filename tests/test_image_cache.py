"""The image cache: what is not whole or of something else is a miss, and it fails no run."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import PIL
import pytest
from cache_processes import (
    Command,
    fake_engines,
    files_of_at_most,
    open_folder,  # noqa: F401 (a fixture)
    write_model,
)
from PIL import Image

from zsclip import cache_file
from zsclip.cli import main
from zsclip.decoding import DEFAULT
from zsclip.errors import UsageError, ZsclipWarning
from zsclip.image_cache import (
    FILE_NAME,
    SCHEMA_VERSION,
    ImageCache,
    ImageRow,
    KnownPictures,
    fingerprint,
)


def unit(seed, dimension=16):
    vector = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    return vector / np.linalg.norm(vector)


def row(number, **facts):
    return ImageRow(number.to_bytes(32, "big"), unit(number), **facts)


@pytest.fixture
def cache(tmp_path):
    cache = ImageCache(tmp_path / "cache")
    yield cache
    cache.close()


def numbers(cache, *wanted, **options):
    """What the cache has of these rows, by number."""
    found = cache.load([row(n).key for n in wanted], dimension=16, **options)
    return [n for n in wanted if row(n).key in found]


def execute(cache, statement, *values):
    with contextlib.closing(sqlite3.connect(cache.path)) as db, db:
        db.execute(statement, values)


# what is stored comes back


def test_a_stored_row_comes_back_to_the_bit(cache):
    cache.save([row(1), row(2, frames=7, truncated=True)], model="m@1")

    found = cache.load([row(1).key, row(2).key], dimension=16)

    for number, frames, truncated in ((1, None, False), (2, 7, True)):
        one = found[row(number).key]
        assert np.array_equal(one.features, unit(number)) and one.features.dtype == np.float32
        assert (one.frames, one.truncated) == (frames, truncated)


def test_an_unknown_key_is_a_miss(cache):
    cache.save([row(1)], model="m@1")

    assert numbers(cache, 2) == []


def test_a_row_of_another_dimension_is_a_miss(cache):
    cache.save([row(1)], model="m@1")

    assert cache.load([row(1).key], dimension=17) == {}


def test_rows_that_are_newer_than_asked_for_are_not_found(cache):
    cache.save([row(1)], model="m@1")
    newest = cache.newest()
    cache.save([row(2)], model="m@1")

    assert numbers(cache, 1, 2, newest=newest) == [1]
    assert numbers(cache, 1, 2) == [1, 2]


def test_another_process_can_write_while_the_file_stays_open(cache):
    cache.save([row(1)], model="m@1")
    other = ImageCache(cache.path.parent, patience_s=0)

    other.save([row(2)], model="m@1")
    other.close()

    assert numbers(cache, 1, 2) == [1, 2]


def test_nothing_to_do_opens_no_file(cache):
    cache.save([], model="m@1")
    found = cache.load([], dimension=16)

    assert found == {} and not cache.path.exists()


# what is not whole is a miss


@pytest.mark.accepts("C6")
def test_a_flipped_bit_is_a_miss(cache):
    cache.save([row(1), row(2)], model="m@1")
    broken = bytearray(unit(1).tobytes())
    broken[5] ^= 1
    execute(cache, "UPDATE pictures SET vector = ? WHERE key = ?", bytes(broken), row(1).key)

    assert numbers(cache, 1, 2) == [2]


@pytest.mark.accepts("C11")
@pytest.mark.parametrize(
    "vector",
    [unit(1) * 1.01, unit(1) * 0, np.full(16, np.nan, np.float32), np.full(16, np.inf, np.float32)],
    ids=["long", "zero", "nan", "inf"],
)
def test_features_without_unit_length_are_a_miss(cache, vector):
    cache.save([ImageRow(row(1).key, vector.astype(np.float32))], model="m@1")

    assert numbers(cache, 1) == []


@pytest.mark.parametrize("column", ["frames", "truncated", "dimension", "vector", "digest"])
@pytest.mark.parametrize("value", [7, "text", b"", b"xyz", 1.5])
def test_a_column_with_something_else_is_a_miss(cache, column, value):
    cache.save([row(1)], model="m@1")
    execute(cache, f"UPDATE pictures SET {column} = ?", value)

    assert numbers(cache, 1) == []


def test_a_row_under_another_key_is_a_miss(cache):
    cache.save([row(1)], model="m@1")
    execute(cache, "UPDATE pictures SET key = ?", row(2).key)

    assert numbers(cache, 2) == []


def test_a_broken_row_is_replaced(cache):
    cache.save([row(1)], model="m@1")
    execute(cache, "UPDATE pictures SET digest = x'00'")

    cache.save([row(1)], model="m@1")

    assert numbers(cache, 1) == [1] and cache.verify() == []


# what changes features is in the key


@pytest.fixture
def known(cache, fake_model):
    """Pictures known of the fake model, decoded as usual unless told: `known(exact=True)`."""

    def make(*, local=fake_model.local, precision="fp32", **decoding):
        return KnownPictures(cache, local, decoding=DEFAULT.but(**decoding), precision=precision)

    return make


def test_a_key_is_of_the_content_not_of_the_name(known):
    assert known().key(b"abc") == known().key(b"abc") != known().key(b"abd")


@pytest.mark.accepts("C8")
@pytest.mark.parametrize(
    "other",
    [
        {"decode": "fast"},
        {"exact": True},
        {"background": "black"},
        {"fit": "views"},
        {"max_pixels": 1000},
        {"precision": "bf16"},
    ],
    ids=str,
)
def test_another_way_to_decode_or_encode_is_a_miss(known, other):
    assert known(**other).key(b"abc") != known().key(b"abc")


@pytest.mark.parametrize("same", [{"max_bytes": 1000}, {"background": "#fff"}], ids=str)
def test_what_does_not_change_features_is_not_in_the_key(known, same):
    assert known(**same).key(b"abc") == known().key(b"abc")


@pytest.mark.accepts("C8")
def test_other_weights_architecture_or_preprocessing_are_a_miss(known, fake_model):
    local, config = fake_model.local, fake_model.local.config
    smaller = replace(config.preprocess, size=config.preprocess.size // 2)
    others = [
        replace(local, digest="0" * 64),
        replace(local, config=replace(config, model_cfg={**config.model_cfg, "quick_gelu": 7})),
        replace(local, config=replace(config, preprocess=smaller)),
    ]

    keys = {known(local=other).key(b"abc") for other in [local, *others]}

    assert len(keys) == 4


def test_another_pillow_is_a_miss(known, monkeypatch):
    before = known().key(b"abc")

    monkeypatch.setattr(PIL, "__version__", "0")

    assert known().key(b"abc") != before


def test_arrays_are_told_apart_by_shape_and_from_files(known):
    wide = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    pictures = [wide, wide.reshape(4, 2, 3), wide.reshape(4, 6), wide.tobytes()]

    keys = [known().key(picture) for picture in pictures]

    assert len(set(keys)) == 4 and known().key(wide.copy()) == keys[0]


def test_pillows_pictures_and_arrays_of_other_types_have_no_key(known):
    assert known().key(Image.new("RGB", (2, 2))) is None
    assert known().key(np.zeros((2, 2), np.float32)) is None


def test_what_there_is_of_a_cut_file_is_found_only_where_that_is_allowed(known):
    key = known().key(b"abc")
    known().save([ImageRow(key, unit(1, 64), truncated=True)])

    assert known(allow_truncated=True).find(key) is not None
    assert known().find(key) is None


def test_a_pass_finds_what_was_there_when_it_began(known):
    began = known()
    key = began.key(b"abc")
    began.save([ImageRow(key, unit(1, 64))])

    assert began.find(key) is None and known().find(key) is not None
    assert list(began.load([key])) == [key]


def test_a_fingerprint_is_of_what_changes_features_only(fake_model):
    def of(**decoding):
        return fingerprint(fake_model.local, decoding=DEFAULT.but(**decoding), precision="fp32")

    assert of() == of(max_pixels=1000, allow_truncated=True) != of(exact=True)


# broken files, and files that cannot be used


@pytest.mark.accepts("C5")
@pytest.mark.parametrize("damage", ["garbage", "half", "zeroed page", "folder"])
def test_a_broken_file_is_moved_aside_with_one_warning(cache, damage):
    cache.save([row(n) for n in range(500)], model="m@1")
    cache.close()
    content = cache.path.read_bytes()
    if damage == "folder":
        cache.path.unlink()
        cache.path.mkdir()
    else:
        cache.path.write_bytes(
            {
                "garbage": b"not a database, not at all " * 100,
                "half": content[: len(content) // 2],
                "zeroed page": content[:4096] + bytes(4096 * 8) + content[4096 * 9 :],
            }[damage]
        )

    with pytest.warns(ZsclipWarning, match=r"moved to images\.sqlite3\.corrupt-") as caught:
        numbers(cache, *range(500))
        cache.save([row(1)], model="m@1")

    assert len(caught) == 1 and numbers(cache, 1) == [1]


def test_a_file_that_breaks_while_it_is_open_is_moved_aside(cache):
    cache.save([row(n) for n in range(500)], model="m@1")
    assert numbers(cache, 1) == [1]
    size_bytes = cache.path.stat().st_size
    with cache.path.open("r+b") as file:
        file.write(bytes(size_bytes))

    with pytest.warns(ZsclipWarning, match="moved to") as caught:
        found = numbers(cache, *range(500))
        cache.save([row(1)], model="m@1")

    assert len(caught) == 1 and found == [] and numbers(cache, 1) == [1]


def test_a_file_that_another_process_deletes_while_it_is_open_is_made_anew(cache):
    cache.save([row(1)], model="m@1")
    assert numbers(cache, 1) == [1]
    ImageCache(cache.path.parent).clear()

    cache.save([row(2)], model="m@1")

    assert numbers(cache, 1, 2) == [2] and cache.path.is_file()


def test_a_good_file_is_not_moved_aside_for_a_broken_one_that_was_in_its_place(cache):
    cache.save([row(n) for n in range(500)], model="m@1")
    assert numbers(cache, 1) == [1]
    aside = cache.path.rename(cache.path.with_name("aside"))
    with ImageCache(cache.path.parent)._file.opened():  # a new file in its place
        pass
    size_bytes = aside.stat().st_size
    with aside.open("r+b") as file:
        file.write(bytes(size_bytes))

    cache.save([row(1)], model="m@1")

    assert numbers(cache, 1) == [1]
    assert not [name for name in os.listdir(cache.path.parent) if "corrupt" in name]


@pytest.mark.accepts("C7")
def test_a_newer_schema_is_not_used(cache):
    cache.save([row(1)], model="m@1")
    execute(cache, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")

    with pytest.warns(ZsclipWarning, match=f"schema {SCHEMA_VERSION + 1}") as caught:
        assert numbers(cache, 1) == []
        cache.save([row(2)], model="m@1")

    assert len(caught) == 1


@pytest.mark.accepts("C9")
def test_a_locked_file_is_waited_for_once(cache, monkeypatch):
    monkeypatch.setattr(cache_file, "BUSY_TIMEOUT_S", 0.05)
    cache.save([row(1)], model="m@1")
    locked = ImageCache(cache.path.parent)
    with contextlib.closing(sqlite3.connect(cache.path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.warns(ZsclipWarning, match="locked") as caught:
            assert numbers(locked, 1) == []
        with mock.patch.object(sqlite3, "connect", side_effect=AssertionError("asked again")):
            assert numbers(locked, 1) == []

    assert len(caught) == 1 and numbers(cache, 1) == [1]


@pytest.mark.accepts("C10")
def test_the_journal_is_not_a_wal(cache):
    cache.save([row(1)], model="m@1")

    with contextlib.closing(sqlite3.connect(cache.path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)


@pytest.fixture
def read_only(open_folder):  # noqa: F811
    """A cache with one row that its user may read only."""
    cache = ImageCache(open_folder / "shared")
    cache.save([row(1)], model="m@1")
    cache.close()
    cache.path.chmod(0o444)
    cache.path.parent.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield ImageCache(cache.path.parent)
    if root:
        os.seteuid(0)
    cache.path.parent.chmod(0o755)


@pytest.mark.accepts("C3")
def test_a_read_only_cache_is_read_and_not_written_with_one_warning(read_only):
    with pytest.warns(ZsclipWarning, match="cache not written") as caught:
        read_only.save([row(2)], model="m@1")
        read_only.save([row(3)], model="m@1")

    assert len(caught) == 1 and numbers(read_only, 1, 2, 3) == [1]


# upkeep


def test_upkeep_of_a_cache_that_is_not_there_makes_none(cache):
    assert (cache.verify(), cache.prune(older_than_days=0), cache.info().pictures) == ([], 0, {})
    cache.clear()

    assert not cache.path.exists()


@pytest.mark.accepts("C12")
def test_verify_names_broken_pictures(cache):
    cache.save([row(1), row(2)], model="m@1")
    execute(cache, "UPDATE pictures SET digest = x'00' WHERE key = ?", row(2).key)

    assert cache.verify() == ["m@1: picture 000000000000"]


def test_info_counts_pictures_per_model(cache):
    cache.save([row(1), row(2)], model="m@1")
    cache.save([row(3)], model="other@2")

    info = cache.info()

    assert info.pictures == {"m@1": 2, "other@2": 1}
    assert (info.path, info.size_bytes) == (cache.path, cache.path.stat().st_size)


def test_prune_deletes_what_is_older_or_broken(cache):
    cache.save([row(n) for n in (1, 2, 3)], model="m@1")
    execute(cache, "UPDATE pictures SET created = created - 86400 * 10 WHERE key = ?", row(1).key)
    execute(cache, "UPDATE pictures SET digest = x'00' WHERE key = ?", row(2).key)

    deleted = cache.prune(older_than_days=5)

    assert deleted == 2 and numbers(cache, 1, 2, 3) == [3]


def test_clear_deletes_the_file(cache):
    cache.save([row(1)], model="m@1")

    cache.clear()

    assert not cache.path.exists() and numbers(cache, 1) == []


# by the command line


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model")


@pytest.fixture
def photos(tmp_path):
    """40 pictures, each of another colour."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(40):
        Image.new("RGB", (8, 8), (6 * number, 0, 90)).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def arguments(tmp_path, model, photos):
    return [
        "classify", photos, "--labels", "cat,dog,car", "-t", "photo", "--model", model, "--json",
        "--batch-size", "4", "--cache-dir", tmp_path / "cache",
    ]  # fmt: skip


@pytest.fixture
def classify(capfd, arguments):
    """Classify in this process; the lines of both streams."""

    def run(*options):
        with fake_engines():
            code = main([str(argument) for argument in (*arguments, *options)])
        captured = capfd.readouterr()
        assert code == 0, captured.err
        return captured.out.splitlines(), captured.err.splitlines()

    return run


@pytest.fixture
def expected(classify, tmp_path):
    """The rows of a run with a cache of its own."""
    rows, _ = classify("--cache-images", "--cache-dir", tmp_path / "other")
    return rows


def pictures_in(tmp_path):
    info = ImageCache(tmp_path / "cache").info()
    return sum(info.pictures.values())


def test_rows_are_the_same_with_and_without(classify, tmp_path):
    without, _ = classify()
    first, _ = classify("--cache-images")
    second, _ = classify("--cache-images")

    assert first == second and pictures_in(tmp_path) == 40
    for one, other in zip(map(json.loads, without), map(json.loads, first), strict=True):
        assert one["path"] == other["path"]
        assert abs(one["score"] - other["score"]) < 1e-4


def test_without_the_option_no_picture_is_kept(classify, tmp_path):
    classify()

    assert not (tmp_path / "cache" / FILE_NAME).exists()


def test_a_picture_with_other_content_is_classified_anew(classify, photos):
    before, _ = classify("--cache-images")
    Image.new("RGB", (8, 8), "white").save(photos / "07.png")

    after, _ = classify("--cache-images")

    assert [n for n in range(40) if before[n] != after[n]] == [7]


def test_no_cache_for_images_without_a_cache(zsclip, arguments):
    ran = zsclip(*arguments, "--cache-images", "--no-cache")

    assert (ran.code, ran.stderr.splitlines()[0]) == (
        UsageError.exit_code,
        "error: --cache-images needs the cache; leave out --no-cache",
    )


@pytest.mark.accepts("C3")
def test_a_cache_that_cannot_be_written_is_one_warning_and_the_same_rows(
    classify, expected, tmp_path
):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / FILE_NAME).symlink_to("/dev/full")  # for root, too

    rows, messages = classify("--cache-images")

    assert rows == expected
    assert sum(line.startswith("warning: cache not") for line in messages) == 1


@pytest.mark.accepts("C4")
def test_a_full_disk_is_one_warning_and_the_same_rows(classify, expected, tmp_path, arguments):
    full = Command(tmp_path, *arguments, "--cache-images", faults=[files_of_at_most(24_000)]).wait()

    assert (full.code, full.stdout.splitlines()) == (0, expected)
    assert [("not written: disk full" in line) for line in full.warnings] == [True]
    assert 0 < pictures_in(tmp_path) < 40 and ImageCache(tmp_path / "cache").verify() == []
    assert classify("--cache-images")[0] == expected


def write_to(pipe: Path, save, cache, rows, **options) -> None:
    save(cache, rows, **options)
    with pipe.open("ab", buffering=0) as stream:
        stream.write(bytes([len(rows)]))


def report_saved(pipe: Path) -> None:
    """A fault: after each batch of pictures that is saved, their number goes into a pipe."""
    told = functools.partial(write_to, pipe, ImageCache.save)
    mock.patch.object(ImageCache, "save", lambda *a, **k: told(*a, **k)).start()


@pytest.mark.accepts("C2")
@pytest.mark.parametrize("batches", [1, 2, 4, 7, 9])
def test_after_kill_9_finished_batches_are_kept(classify, expected, tmp_path, arguments, batches):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    report = functools.partial(report_saved, pipe)

    with pipe.open("r+b", buffering=0) as saved:  # for writing, too: no writer is no end
        killed = Command(tmp_path, *arguments, "--cache-images", faults=[report])
        kept = sum(saved.read(1)[0] for _ in range(batches))
        killed.kill()

    cache = ImageCache(tmp_path / "cache")
    assert cache.verify() == [] and kept == 4 * batches <= pictures_in(tmp_path)
    assert classify("--cache-images")[0] == expected
    assert pictures_in(tmp_path) == 40 and cache.verify() == []


@pytest.mark.accepts("C1")
def test_processes_that_classify_the_same_pictures_share_a_cache(expected, tmp_path, arguments):
    ended = [
        command.wait()
        for command in [Command(tmp_path, *arguments, "--cache-images") for _ in range(4)]
    ]

    assert [one.code for one in ended] == [0] * 4
    assert {one.stdout for one in ended} == {"\n".join(expected) + "\n"}
    assert pictures_in(tmp_path) == 40
    assert ImageCache(tmp_path / "cache").verify() == []


# upkeep by the command line


def test_cache_commands_cover_the_image_cache(zsclip, classify, tmp_path):
    classify("--cache-images")
    cache = ("--cache-dir", tmp_path / "cache")
    path = tmp_path / "cache" / FILE_NAME

    info = zsclip("cache", "info", "--json", *cache).rows[0]["images"]
    shown = zsclip("cache", "info", *cache).stdout
    verified = zsclip("cache", "verify", *cache)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE pictures SET digest = x'00' WHERE rowid = 1")
    broken = zsclip("cache", "verify", *cache)
    pruned = zsclip("cache", "prune", *cache)
    cleared = zsclip("cache", "clear", *cache)

    assert zsclip("cache", "path", "--images", *cache).stdout == f"{path}\n"
    assert (info["path"], list(info["pictures"].values())) == (str(path), [40])
    assert f"{path}: {info['size_bytes']:,} bytes\n" in shown
    assert (verified.code, verified.stderr) == (0, "0 broken rows\n")
    assert (broken.code, broken.stderr) == (1, "1 broken rows\n") and ": picture " in broken.stdout
    assert pruned.stderr == "1 rows deleted\n"
    assert cleared.code == 0 and not path.exists()


def test_cache_commands_make_no_image_cache(zsclip, tmp_path):
    cache = ("--cache-dir", tmp_path / "cache")

    for command in ("info", "verify", "prune", "path"):
        assert zsclip("cache", command, *cache).code == 0

    assert not (tmp_path / "cache" / FILE_NAME).exists()
