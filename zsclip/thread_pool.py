"""Threads that work through items; one that takes too long on an item is given up and replaced.

Python cannot stop a thread from outside: one that is given up goes on until its work ends, and what
it finds is dropped. All are daemons, so that the interpreter ends without them, unlike those of
concurrent.futures. Knows nothing about pictures.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

MOST_REPLACED = 16
"""Threads that may be left behind at a time; each keeps the memory of its item."""
_LONGEST_TICK_S = 1.0

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class GivenUp(Exception):
    """An item took too long, or no thread was left to work on it."""


@dataclass(eq=False, slots=True)
class _Task(Generic[Item, Answer]):
    item: Item
    future: Future[Answer] = field(default_factory=Future)
    started_s: float = 0.0


class ThreadPool(Generic[Item, Answer]):
    """Calls `work` with each item, in threads.

    Time counts from when a thread begins with an item, by a clock that stands still while the
    process is suspended. When MOST_REPLACED threads are left behind those that get stuck are not
    replaced; when all are stuck, the items that wait are given up, too, after the same time. A
    thread that comes back takes its place again.

    Args:
        threads: how many work at a time.
        timeout_s: how long an item may take; 0 is for ever.
        name: of the threads.
    """

    def __init__(
        self, work: Callable[[Item], Answer], *, threads: int, timeout_s: float, name: str
    ) -> None:
        self._work = work
        self._threads = threads
        self._timeout_s = timeout_s
        self._name = name
        self._tasks: queue.SimpleQueue[_Task[Item, Answer] | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._lock = threading.Lock()  # of all below
        self._running: set[_Task[Item, Answer]] = set()
        self._left_behind = 0
        self._vacant = 0  # of those left behind, how many were not replaced
        self._clock_s = 0.0
        self._last_thread_seen_s = 0.0
        for _ in range(threads):
            self._start(self._run)
        if timeout_s:
            self._start(self._watch)

    def submit(self, item: Item) -> Future[Answer]:
        """Queue an item; its future ends with the answer, what `work` raised, or GivenUp."""
        task: _Task[Item, Answer] = _Task(item)
        self._tasks.put(task)
        return task.future

    def stop(self) -> None:
        """Let threads end as soon as they can, and leave what is queued."""
        self._stopped.set()
        for _ in range(self._threads):
            self._tasks.put(None)

    def _start(self, target: Callable[[], None]) -> None:
        threading.Thread(target=target, daemon=True, name=self._name).start()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None and not self._stopped.is_set():
            with self._lock:
                task.started_s = self._clock_s
                self._running.add(task)
            try:
                hand_over = partial(task.future.set_result, self._work(task.item))
            except BaseException as error:  # raised where the answer is waited for
                hand_over = partial(task.future.set_exception, error)
            if not self._finish(task, hand_over):
                return
            del task, hand_over  # nothing is kept while this thread waits

    def _finish(self, task: _Task[Item, Answer], hand_over: Callable[[], None]) -> bool:
        """Hand over the answer, unless it is too late; whether the thread is to go on."""
        with self._lock:
            if task in self._running:
                self._running.remove(task)
                hand_over()
                return True
            self._left_behind -= 1
            if not self._vacant or self._stopped.is_set():
                return False
            self._vacant -= 1
            return True

    def _watch(self) -> None:
        tick_s = min(_LONGEST_TICK_S, self._timeout_s / 10)
        before_s = time.monotonic()
        while not self._stopped.wait(tick_s):
            now_s = time.monotonic()
            with self._lock:
                # a longer tick is that of a process that was stopped: no item's fault
                self._clock_s += min(now_s - before_s, 2 * tick_s)
                self._give_up_late()
                self._give_up_waiting()
            before_s = now_s

    def _give_up_late(self) -> None:
        for task in list(self._running):
            if self._clock_s - task.started_s > self._timeout_s:
                self._running.remove(task)
                self._vacant += not self._replace()
                self._left_behind += 1
                task.future.set_exception(GivenUp(f"took longer than {self._timeout_s:g} s"))

    def _replace(self) -> bool:
        if self._left_behind >= MOST_REPLACED:
            return False
        try:
            self._start(self._run)
        except RuntimeError:  # the system has no more threads
            return False
        return True

    def _give_up_waiting(self) -> None:
        """When no thread is left: end what has waited as long as an item may take."""
        if self._vacant < self._threads:
            self._last_thread_seen_s = self._clock_s
        if self._clock_s - self._last_thread_seen_s <= self._timeout_s:
            return
        self._last_thread_seen_s = self._clock_s
        with contextlib.suppress(queue.Empty):
            while (task := self._tasks.get_nowait()) is not None:
                late = GivenUp(f"not tried: {self._left_behind} before it do not come to an end")
                task.future.set_exception(late)
