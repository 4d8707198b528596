"""The text cache: what is not whole is a miss, what cannot be written is one warning."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import warnings
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from cache_processes import open_folder  # noqa: F401 (a fixture)

from zsclip import cache_file
from zsclip.cache import SCHEMA_VERSION, Row, TextCache, key_of
from zsclip.cache_file import CacheFile
from zsclip.errors import ZsclipWarning


def unit(seed, dimension=16):
    vector = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    return vector / np.linalg.norm(vector)


def row(number, *, model="m@1"):
    return Row(key_of({"n": number, "m": model}), model, f"class {number}", unit(number))


@pytest.fixture
def cache(tmp_path):
    return TextCache(tmp_path / "cache")


def path_of(cache) -> Path:
    assert cache.path is not None
    return cache.path


def execute(cache, statement, *values):
    with sqlite3.connect(path_of(cache)) as db:
        db.execute(statement, values)
    db.close()


def vectors(cache, *numbers):
    """What the cache has of these rows, by number."""
    found = cache.load([row(n).key for n in numbers], dimension=16)
    return {n: found[row(n).key] for n in numbers if row(n).key in found}


# what is stored comes back


def test_a_stored_vector_comes_back_to_the_bit(cache):
    cache.save([row(1), row(2)])

    found = vectors(cache, 1, 2)

    assert all(np.array_equal(found[n], unit(n)) and found[n].dtype == np.float32 for n in (1, 2))


def test_a_new_object_reads_what_another_wrote(cache):
    cache.save([row(1)])

    assert vectors(TextCache(path_of(cache).parent), 1)


def test_an_unknown_key_is_a_miss(cache):
    cache.save([row(1)])

    assert vectors(cache, 2) == {}


def test_an_empty_cache_has_nothing(cache):
    assert vectors(cache, 1) == {}


def test_a_row_of_the_same_key_is_replaced(cache):
    cache.save([row(1)])
    cache.save([Row(row(1).key, "m@1", "class 1", unit(9))])

    assert np.array_equal(vectors(cache, 1)[1], unit(9))


def test_many_keys_can_be_loaded_at_once(cache):
    cache.save([row(n) for n in range(3000)])

    assert len(vectors(cache, *range(3000))) == 3000


def test_a_cache_in_memory_writes_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = TextCache(None)

    cache.save([row(1)])
    cache.facts["a"] = "b"

    assert vectors(cache, 1) and cache.facts["a"] == "b" and os.listdir(tmp_path) == []


@pytest.mark.accepts("C10")
def test_the_journal_is_not_a_wal(cache):
    cache.save([row(1)])

    db = sqlite3.connect(path_of(cache))
    mode = db.execute("PRAGMA journal_mode").fetchone()[0]
    db.close()
    assert mode == "delete"


def test_the_folder_of_the_cache_may_have_odd_characters(tmp_path):
    cache = TextCache(tmp_path / "a #?%41 b")

    cache.save([row(1)])

    assert vectors(cache, 1) and path_of(cache).is_file()
    assert os.listdir(tmp_path) == ["a #?%41 b"]


# what is not whole is a miss


@pytest.mark.accepts("C6")
def test_a_flipped_bit_is_a_miss(cache):
    cache.save([row(1), row(2)])
    broken = bytearray(unit(1).tobytes())
    broken[5] ^= 1
    execute(cache, "UPDATE classes SET vector = ? WHERE key = ?", bytes(broken), row(1).key)

    assert list(vectors(cache, 1, 2)) == [2]


@pytest.mark.accepts("C11")
@pytest.mark.parametrize(
    "vector",
    [unit(1) * 1.01, unit(1) * 0, np.full(16, np.nan, np.float32), np.full(16, np.inf, np.float32)],
    ids=["long", "zero", "nan", "inf"],
)
def test_a_vector_without_unit_length_is_a_miss(cache, vector):
    cache.save([Row(row(1).key, "m@1", "class 1", vector.astype(np.float32))])

    assert vectors(cache, 1) == {}


@pytest.mark.parametrize("column", ["dimension", "vector", "digest"])
@pytest.mark.parametrize("value", [7, "text", b"", b"xyz", 1.5])
def test_a_column_with_something_else_is_a_miss(cache, column, value):
    cache.save([row(1)])
    execute(cache, f"UPDATE classes SET {column} = ?", value)

    assert vectors(cache, 1) == {}


def test_a_vector_under_another_key_is_a_miss(cache):
    cache.save([row(1)])
    execute(cache, "UPDATE classes SET key = ?", row(2).key)

    assert vectors(cache, 2) == {}


# broken files


@pytest.mark.parametrize("damage", ["garbage", "half", "zeroed page"])
def test_a_broken_file_is_moved_aside_and_rebuilt_with_one_warning(cache, damage):
    cache.save([row(n) for n in range(500)])
    content = path_of(cache).read_bytes()
    broken = {
        "garbage": b"not a database, not at all " * 100,
        "half": content[: len(content) // 2],
        "zeroed page": content[:4096] + bytes(4096 * 8) + content[4096 * 9 :],
    }[damage]
    path_of(cache).write_bytes(broken)
    fresh = TextCache(path_of(cache).parent)

    with pytest.warns(ZsclipWarning, match="moved to") as caught:
        fresh.load([row(n).key for n in range(500)], dimension=16)
        fresh.save([row(1)])
    aside = [p for p in path_of(cache).parent.iterdir() if ".corrupt-" in p.name]

    assert len(caught) == 1
    assert [path.read_bytes() for path in aside] == [broken]
    assert list(vectors(TextCache(path_of(cache).parent), 1)) == [1]


def test_an_empty_file_is_a_new_cache(cache):
    path_of(cache).parent.mkdir()
    path_of(cache).touch()

    cache.save([row(1)])

    assert list(vectors(cache, 1)) == [1]


def test_a_second_broken_file_does_not_overwrite_the_first(cache):
    for content in (b"first, not a database" * 50, b"second, not a database" * 50):
        path_of(cache).parent.mkdir(exist_ok=True)
        path_of(cache).write_bytes(content)
        with pytest.warns(ZsclipWarning, match="moved to"):
            TextCache(path_of(cache).parent).load([row(1).key], dimension=16)

    aside = [p.read_bytes()[:5] for p in path_of(cache).parent.iterdir() if "corrupt" in p.name]
    assert sorted(aside) == [b"first", b"secon"]


@pytest.mark.accepts("C5")
def test_a_cache_that_another_process_rebuilt_meanwhile_is_not_moved_aside(cache, monkeypatch):
    cache.save([row(1)])
    whole = path_of(cache).rename(path_of(cache).with_name("whole"))
    path_of(cache).write_bytes(b"not a database, not at all " * 100)

    class Late(cache_file.FileLock):
        def __enter__(self):
            whole.replace(path_of(cache))  # the other process was faster
            return super().__enter__()

    monkeypatch.setattr(cache_file, "FileLock", Late)

    found = vectors(TextCache(path_of(cache).parent), 1)

    assert list(found) == [1]
    assert not [p for p in path_of(cache).parent.iterdir() if "corrupt" in p.name]


@pytest.mark.accepts("C5")
def test_a_cache_that_another_process_moves_aside_while_it_is_open_is_opened_anew(cache):
    cache.save([row(1)])
    file = CacheFile(path_of(cache), tables={}, version=SCHEMA_VERSION)
    calls = []

    def write(db):
        calls.append(db.execute("SELECT count(*) FROM classes").fetchone()[0])
        if len(calls) == 1:
            path_of(cache).rename(path_of(cache).with_name("aside"))
            TextCache(path_of(cache).parent).save([row(2), row(3)])
        db.execute("DELETE FROM classes")
        return "done"

    assert (file.run(write, None), calls) == ("done", [1, 2])


def test_a_newer_schema_is_not_used_and_both_versions_are_named(cache):
    cache.save([row(1)])
    execute(cache, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = path_of(cache).read_bytes()
    fresh = TextCache(path_of(cache).parent)

    with pytest.warns(
        ZsclipWarning, match=f"schema {SCHEMA_VERSION + 1}.*schema {SCHEMA_VERSION}"
    ) as caught:
        found = fresh.load([row(1).key], dimension=16)
        fresh.save([row(2)])

    assert (found, len(caught)) == ({}, 1)
    assert path_of(cache).read_bytes() == before


# caches that cannot be written


@pytest.fixture
def as_nobody():
    """Root may write anywhere: be somebody else meanwhile."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.fixture
def read_only_cache(open_folder):  # noqa: F811
    cache = TextCache(open_folder / "shared")
    cache.save([row(1)])
    path_of(cache).chmod(0o444)
    path_of(cache).parent.chmod(0o555)
    yield TextCache(path_of(cache).parent)
    path_of(cache).parent.chmod(0o755)


@pytest.mark.accepts("C3")
def test_a_read_only_cache_is_read(read_only_cache, as_nobody):
    assert list(vectors(read_only_cache, 1)) == [1]


@pytest.mark.accepts("C3")
def test_a_read_only_cache_is_not_written_with_one_warning(read_only_cache, as_nobody):
    with pytest.warns(ZsclipWarning, match="cache not") as caught:
        read_only_cache.save([row(2)])
        read_only_cache.facts["a"] = "b"

    assert len(caught) == 1


@pytest.mark.accepts("C3")
def test_a_folder_that_cannot_be_made_is_one_warning(open_folder, as_nobody):  # noqa: F811
    cache = TextCache(open_folder / "cache")

    with pytest.warns(ZsclipWarning, match="cache not used") as caught:
        cache.save([row(1)])
        assert vectors(cache, 1) == {}

    assert len(caught) == 1


def test_a_locked_cache_is_one_warning(cache, monkeypatch):
    cache.save([row(1)])
    monkeypatch.setattr(cache_file, "BUSY_TIMEOUT_S", 0.05)
    other = sqlite3.connect(path_of(cache))
    other.execute("BEGIN EXCLUSIVE")

    with pytest.warns(ZsclipWarning, match="locked") as caught:
        cache.save([row(2)])
    other.close()

    next_run = TextCache(path_of(cache).parent)
    assert len(caught) == 1 and list(vectors(next_run, 1, 2)) == [1]


@pytest.mark.accepts("C9")
def test_a_locked_cache_is_never_moved_aside(cache, monkeypatch):
    cache.save([row(1)])
    monkeypatch.setattr(cache_file, "BUSY_TIMEOUT_S", 0.05)
    other = sqlite3.connect(path_of(cache))
    other.execute("BEGIN EXCLUSIVE")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cache.load([row(1).key], dimension=16)
    other.close()

    assert not [p for p in path_of(cache).parent.iterdir() if "corrupt" in p.name]


# upkeep


def test_verify_names_broken_rows(cache):
    cache.save([row(1), row(2)])
    execute(cache, "UPDATE classes SET digest = x'00' WHERE key = ?", row(2).key)

    assert cache.verify() == ["m@1: class 2"]


def test_info_counts_rows_per_model(cache):
    cache.save([row(1), row(2), row(3, model="other@2")])

    info = cache.info()

    assert info.classes == {"m@1": 2, "other@2": 1}
    assert (info.path, info.size_bytes) == (path_of(cache), path_of(cache).stat().st_size)


def test_info_of_an_empty_cache_counts_nothing(cache):
    assert cache.info().classes == {}


def test_prune_deletes_what_is_older(cache):
    cache.save([row(1), row(2)])
    execute(cache, "UPDATE classes SET created = created - 86400 * 10 WHERE key = ?", row(1).key)

    deleted = cache.prune(older_than_days=5)

    assert deleted == 1 and list(vectors(cache, 1, 2)) == [2]


def test_prune_deletes_broken_rows_of_any_age(cache):
    cache.save([row(1), row(2)])
    execute(cache, "UPDATE classes SET digest = x'00' WHERE key = ?", row(2).key)

    assert cache.prune(older_than_days=1000) == 1 and cache.verify() == []


def test_prune_gives_the_space_back(cache):
    cache.save([row(n) for n in range(2000)])
    before = path_of(cache).stat().st_size

    cache.prune(older_than_days=-1)

    assert path_of(cache).stat().st_size < before / 4


def test_clear_deletes_the_file(cache):
    cache.save([row(1)])

    cache.clear()

    assert not path_of(cache).exists() and vectors(cache, 1) == {}


def test_clear_of_a_cache_that_is_not_there_is_no_fault(tmp_path):
    TextCache(tmp_path / "none").clear()

    assert not (tmp_path / "none").exists()


def test_clear_of_a_cache_in_memory_forgets(cache):
    memory = TextCache(None)
    memory.save([row(1)])

    memory.clear()

    assert vectors(memory, 1) == {}


# facts


def test_facts_are_a_mapping(cache):
    cache.facts["b"] = "2"
    cache.facts["a"] = "1"
    cache.facts["b"] = "3"

    assert dict(cache.facts) == {"a": "1", "b": "3"} and len(cache.facts) == 2


def test_an_unknown_fact_is_a_key_error(cache):
    with pytest.raises(KeyError):
        cache.facts["none"]


def test_a_fact_can_be_deleted(cache):
    cache.facts["a"] = "1"

    del cache.facts["a"]

    assert "a" not in cache.facts


def test_a_fact_that_another_process_has_deleted_meanwhile_is_no_fault(cache):
    del cache.facts["none"]


# keys

PARTS = {
    "weights": "ab",
    "architecture": "cd",
    "tokenizer": "clip-bpe",
    "context_length": 77,
    "pipeline": 1,
    "truncate": False,
    "prompts": ["a cat", "the cat"],
}


def test_a_key_is_32_bytes_and_does_not_depend_on_the_order_of_parts():
    assert key_of(PARTS) == key_of(dict(reversed(PARTS.items()))) and len(key_of(PARTS)) == 32


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("weights", "aB"),
        ("architecture", ""),
        ("tokenizer", "other"),
        ("context_length", 76),
        ("pipeline", 2),
        ("truncate", True),
        ("prompts", ["the cat", "a cat"]),
        ("prompts", ["a cat", "the cat", ""]),
        ("prompts", ["a cat, the cat"]),
        ("prompts", ["a Cat", "the cat"]),
    ],
)
def test_a_key_changes_with_each_part(part, value):
    assert key_of({**PARTS, part: value}) != key_of(PARTS)


FROZEN = "28cae5a5c18b900797e4b0965b55b478f4f38f98b65b950166fcdc48184ec43a"


def test_a_key_never_changes_between_versions():
    # written down when the cache's schema 1 was made: another key would lose every cache
    assert key_of({"a": 1, "b": ["é"]}).hex() == FROZEN


@pytest.mark.accepts("C9")
def test_a_cache_that_stays_locked_is_waited_for_once(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_file, "BUSY_TIMEOUT_S", 0.05)
    TextCache(tmp_path).facts["a"] = "1"
    locked = TextCache(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "text.sqlite3")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.warns(ZsclipWarning, match="locked") as warned:
            assert locked.load([b"k"], dimension=16) == {}
        connect = Mock(side_effect=AssertionError("asked again"))
        monkeypatch.setattr(cache_file.sqlite3, "connect", connect)
        assert locked.load([b"k"], dimension=16) == {}

    assert len(warned) == 1
    assert not connect.called
