"""Threads that work through items: what takes too long is given up, the others go on."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import wait

import pytest

from zsclip import thread_pool
from zsclip.thread_pool import GivenUp, ThreadPool

SOON_S = 20
"""Far more than anything here takes."""


class Work:
    """Items that are `stuck` end when they are let go; all others at once, as themselves."""

    def __init__(self):
        self.go = threading.Event()
        self.threads, self.begun = [], threading.Semaphore(0)

    def __call__(self, item):
        self.threads.append(threading.current_thread())
        self.begun.release()
        if item == "stuck":
            self.go.wait(SOON_S)
        if item == "broken":
            raise ValueError("no such thing")
        return item


@pytest.fixture
def work():
    work = Work()
    yield work
    work.go.set()


@pytest.fixture
def pool_of(work):
    """Start pools that end with the test."""
    pools = []

    def start(threads, timeout_s):
        pools.append(ThreadPool(work, threads=threads, timeout_s=timeout_s, name="tested"))
        return pools[-1]

    yield start
    for pool in pools:
        pool.stop()


def given_up(future):
    return isinstance(future.exception(SOON_S), GivenUp)


def test_each_item_gets_its_answer(pool_of):
    pool = pool_of(3, 0)

    futures = [pool.submit(n) for n in range(200)]

    assert [future.result(SOON_S) for future in futures] == list(range(200))


def test_what_work_raises_is_raised_where_the_answer_is_waited_for(pool_of):
    pool = pool_of(1, 0.5)

    with pytest.raises(ValueError, match="no such thing"):
        pool.submit("broken").result(SOON_S)
    assert pool.submit(1).result(SOON_S) == 1


@pytest.mark.parametrize("threads", [1, 3])
def test_an_item_that_takes_too_long_is_given_up_and_those_after_it_are_done(pool_of, threads):
    pool = pool_of(threads, 0.1)

    stuck = [pool.submit("stuck") for _ in range(threads)]
    others = [pool.submit(n) for n in range(20)]

    assert [future.result(SOON_S) for future in others] == list(range(20))
    assert all(given_up(future) for future in stuck)
    assert "took longer than 0.1 s" in str(stuck[0].exception())


def test_time_in_the_queue_does_not_count():
    pool = ThreadPool(lambda _: time.sleep(0.1), threads=1, timeout_s=0.3, name="tested")

    futures = [pool.submit(n) for n in range(5)]

    assert [future.exception(SOON_S) for future in futures] == [None] * 5
    pool.stop()


def test_without_a_limit_nothing_is_given_up(pool_of, work):
    stuck = pool_of(1, 0).submit("stuck")

    wait([stuck], 0.3)
    work.go.set()

    assert stuck.result(SOON_S) == "stuck"


def test_a_process_that_was_suspended_loses_no_item(pool_of, work, monkeypatch):
    now_s = time.monotonic
    hours = threading.Event()
    monkeypatch.setattr(
        thread_pool.time, "monotonic", lambda: now_s() + (9999 if hours.is_set() else 0)
    )
    pool = pool_of(1, 2)
    stuck = pool.submit("stuck")

    hours.set()  # the clock goes on, the process does not
    wait([stuck], 0.5)  # two ticks
    work.go.set()

    assert stuck.result(SOON_S) == "stuck"


def test_the_answer_of_a_thread_that_was_given_up_is_dropped_and_the_thread_ends(pool_of, work):
    pool = pool_of(1, 0.05)
    stuck = pool.submit("stuck")
    assert given_up(stuck)

    work.go.set()
    work.threads[0].join(SOON_S)

    assert not work.threads[0].is_alive() and given_up(stuck)
    assert pool.submit(1).result(SOON_S) == 1


def test_no_more_threads_are_replaced_than_allowed_and_what_waits_is_given_up(
    pool_of, work, monkeypatch
):
    monkeypatch.setattr(thread_pool, "MOST_REPLACED", 3)
    before = threading.active_count()
    pool = pool_of(2, 0.05)

    stuck = [pool.submit("stuck") for _ in range(5)]
    waiting = [pool.submit(n) for n in range(9)]

    assert all(given_up(future) for future in stuck + waiting)
    assert "5 before it do not come to an end" in str(waiting[0].exception())
    assert len(work.threads) == 5 and threading.active_count() - before <= 6


def test_threads_that_come_back_work_on(pool_of, work, monkeypatch):
    monkeypatch.setattr(thread_pool, "MOST_REPLACED", 0)
    pool = pool_of(2, 0.05)
    stuck = [pool.submit("stuck") for _ in range(2)]
    assert all(given_up(future) for future in stuck)

    work.go.set()

    for _ in range(200):  # those that were queued before the first came back are given up
        future = pool.submit(1)
        if not given_up(future):
            break
    assert future.result() == 1


def test_a_system_without_more_threads_is_borne(pool_of, work, monkeypatch):
    pool = pool_of(2, 0.05)

    def none_left(*_, **__):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPool, "_start", none_left)
    stuck = pool.submit("stuck")

    assert given_up(stuck)
    assert [pool.submit(n).result(SOON_S) for n in range(5)] == list(range(5))


def test_stopped_threads_end_and_leave_what_is_queued(work):
    before = set(threading.enumerate())
    pool = ThreadPool(work, threads=2, timeout_s=5, name="tested")
    stuck = [pool.submit("stuck") for _ in range(2)]
    waiting = pool.submit(1)
    started = set(threading.enumerate()) - before
    assert work.begun.acquire(timeout=SOON_S) and work.begun.acquire(timeout=SOON_S)

    pool.stop()
    work.go.set()
    for thread in started:
        thread.join(SOON_S)

    assert len(started) == 3 and not any(thread.is_alive() for thread in started)
    assert [future.result(SOON_S) for future in stuck] == ["stuck"] * 2
    assert not waiting.done()


def test_the_interpreter_ends_while_a_thread_is_stuck():
    code = """if True:
        import time
        from zsclip.thread_pool import GivenUp, ThreadPool
        pool = ThreadPool(lambda item: time.sleep(600), threads=2, timeout_s=0.05, name="tested")
        error = pool.submit(1).exception(60)
        print(type(error).__name__)
    """

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "GivenUp\n", "")
