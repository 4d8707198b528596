"""How many processors there are for us: scheduler, control groups and OMP_NUM_THREADS."""

from __future__ import annotations

import os

import pytest

from zsclip import cpus


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of 64 processors: `machine(cgroup="0::/a", files={"a/cpu.max": "max 100000"})`."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)

    def make(cgroup="", files=None):
        folders = {"proc": tmp_path / "proc", "cgroups": tmp_path / "cgroup"}
        contents = {folders["proc"] / "self" / "cgroup": cgroup}
        contents |= {folders["cgroups"] / name: text for name, text in (files or {}).items()}
        for path, text in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return cpus.usable(**folders)

    return make


def v1(folder, quota, period=100_000):
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}"}


@pytest.mark.accepts("F8")
def test_without_limits_all_that_the_scheduler_allows_are_usable(machine):
    assert machine() == 64


def test_the_answer_of_newer_pythons_is_taken(machine, monkeypatch):
    monkeypatch.setattr(os, "process_cpu_count", lambda: 5, raising=False)

    assert machine() == 5


def test_where_the_scheduler_does_not_say_all_processors_count(machine, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)

    assert machine() == 7


@pytest.mark.accepts("F8")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("200000 100000\n", 2),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("6400000 50000", 64),
        ("max 100000", 64),
        ("", 64),
        ("200000", 64),
        ("200000 0", 64),
        ("two many words", 64),
    ],
)
def test_a_quota_of_version_2_limits(machine, text, expected):
    assert machine("0::/\n", {"cpu.max": text}) == expected


@pytest.mark.accepts("F8")
@pytest.mark.parametrize("limited", ["a/b/cpu.max", "a/cpu.max", "cpu.max"])
def test_a_quota_of_any_group_above_limits_too(machine, limited):
    files = dict.fromkeys(("a/b/cpu.max", "a/cpu.max", "cpu.max"), "max 100000")

    assert machine("0::/a/b\n", files | {limited: "300000 100000"}) == 3


@pytest.mark.accepts("F8")
def test_the_smallest_quota_counts(machine):
    assert machine("0::/a", {"cpu.max": "300000 100000", "a/cpu.max": "800000 100000"}) == 3


@pytest.mark.accepts("F8")
@pytest.mark.parametrize("group", ["/docker/none-such", "/../../user.slice"])
def test_a_group_that_the_container_does_not_see_leaves_its_own_root(machine, group):
    assert machine(f"0::{group}\n", {"cpu.max": "400000 100000"}) == 4


def test_the_quota_of_another_group_does_not_limit(machine):
    assert machine("0::/mine", {"other/cpu.max": "100000 100000"}) == 64


@pytest.mark.accepts("F8")
@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_a_quota_of_version_1_limits(machine, mount):
    lines = "7:memory:/x\n4:cpu,cpuacct:/a\n0::/\n"

    assert machine(lines, v1(f"{mount}/a", 150_000, 50_000)) == 3


def test_a_quota_of_version_1_that_is_none_does_not_limit(machine):
    assert machine("1:cpu:/", v1("cpu", -1)) == 64


def test_a_quota_of_a_controller_with_a_similar_name_does_not_limit(machine):
    assert machine("1:cpuset:/", v1("cpuset", 100_000)) == 64


@pytest.mark.accepts("F8")
@pytest.mark.parametrize(
    ("value", "expected"),
    [("3", 3), (" 2 ", 2), ("4,2", 4), ("99", 64), ("0", 64), ("-1", 64), ("all", 64), ("", 64)],
)
def test_the_user_can_ask_for_fewer_threads(machine, monkeypatch, value, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", value)

    assert machine() == expected


def test_what_cannot_be_read_does_not_limit(tmp_path, machine):
    (tmp_path / "cgroup" / "cpu.max").mkdir(parents=True)

    assert machine("no such lines\n::\n0::/\n\0\n") == 64


def test_this_machine_has_at_least_one(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    assert 1 <= cpus.usable() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags\t\t: fpu avx512_bf16 amx_bf16 amx_tile", True),
        ("flags\t\t: fpu avx512_bf16", False),
        ("vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512_bf16", False),
        ("vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx512_bf16", True),
        ("vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2", False),
        ("Features\t: fp asimd bf16", True),
        ("Features\t: fp asimd", False),
        ("model name\t: bf16", False),
        ("", False),
    ],
)
def test_bf16_is_worth_it_where_the_flags_say_so(tmp_path, line, expected):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\n\nprocessor\t: 1\n")

    assert cpus.multiplies_bf16(proc=tmp_path) is expected


def test_bf16_is_not_worth_it_where_the_processor_says_nothing(tmp_path):
    assert cpus.multiplies_bf16(proc=tmp_path) is False
