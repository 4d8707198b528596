"""SIGINT and SIGTERM: the first ends the run in good order, a second one at once.

Python hears a signal only between two of its own steps, and a batch in an engine may take long. So
a thread hears them, too: it ends the process at the second signal, and soon after a SIGTERM.
Rows are flushed one by one, none is lost by that.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from typing import NoReturn

GRACE_S = 1.5
"""From SIGTERM to the end, at most."""


class Terminated(BaseException):
    """SIGTERM arrived."""


def install() -> None:
    """Hear SIGTERM, and what the main thread does not come to hear."""
    heard, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGTERM, _terminate)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(heard,), daemon=True, name="zsclip-signals").start()


def _terminate(*_: object) -> NoReturn:
    raise Terminated


def _listen(heard: int) -> None:
    number = os.read(heard, 1)[0]
    patience_s = GRACE_S if number == signal.SIGTERM else None
    if select.select([heard], [], [], patience_s)[0]:
        number = os.read(heard, 1)[0]
    os._exit(128 + number)
