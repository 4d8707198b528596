"""Try one input on a target, and keep what breaks a promise.

The bytes that are being tried, and how many were, are in a mapped file that outlives the process:
an input that kills it, or that the alarm clock ends, is found there.
"""

from __future__ import annotations

import hashlib
import mmap
import resource
import signal
import struct
import sys
import tempfile
import traceback
from pathlib import Path

from fuzz.targets import Target

TIME_LIMIT_S = 10.0
"""For one input, before the process is ended."""
MEMORY_LIMIT_BYTES = 300 << 20
"""By which one input may raise the most that the process has had."""
_HEADER = struct.Struct("<QQ")


class Diary:
    """What a process is trying now, and how many inputs it has tried."""

    def __init__(self, path: Path, largest_bytes: int) -> None:
        if not path.exists():
            path.write_bytes(bytes(_HEADER.size + largest_bytes))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def write(self, content: bytes) -> None:
        """Another input is being tried."""
        self._map[_HEADER.size : _HEADER.size + len(content)] = content
        self._map[: _HEADER.size] = _HEADER.pack(self.count + 1, len(content))

    @property
    def count(self) -> int:
        """Inputs so far."""
        count: int = _HEADER.unpack(self._map[: _HEADER.size])[0]
        return count

    @property
    def last(self) -> bytes:
        """The last input."""
        size = _HEADER.unpack(self._map[: _HEADER.size])[1]
        return self._map[_HEADER.size : _HEADER.size + size]


class Attempts:
    """Calls a target, with an alarm clock and an eye on the memory.

    Args:
        folder: for findings.
        scratch: for the files that the target reads.
        time_limit_s: after it SIGALRM ends the process, whatever it does.

    Attributes:
        findings: the files in which they are kept, one for each kind and place.
    """

    def __init__(
        self,
        target: Target,
        folder: Path,
        diary: Diary,
        *,
        scratch: Path,
        time_limit_s: float = TIME_LIMIT_S,
    ) -> None:
        self._target = target
        self._folder = folder
        self._scratch = scratch
        self._diary = diary
        self._time_limit_s = time_limit_s
        self.findings: list[Path] = []

    def __call__(self, content: bytes) -> str:
        """What became of an input, in a word that is the same for inputs of a kind."""
        content = bytes(content[: self._target.largest_bytes])
        self._diary.write(content)
        before = peak_memory_bytes()
        error = None
        signal.setitimer(signal.ITIMER_REAL, self._time_limit_s)
        try:
            outcome = self._target.run(content, self._scratch)
        except Exception as raised:
            error = raised
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if error is not None:
            outcome = place_of(error)
            report = "".join(traceback.format_exception(error))
            self._keep(content, type(error).__name__, outcome, report)
        grown = peak_memory_bytes() - before
        if grown > MEMORY_LIMIT_BYTES:
            self._keep(content, "memory", outcome, f"{grown:,} bytes")
        return outcome

    def _keep(self, content: bytes, kind: str, place: str, report: str) -> None:
        path = keep(self._folder, content, kind, place)
        if path not in self.findings:
            self.findings.append(path)
            print(path, flush=True)
            print(f"{path}: {report}", file=sys.stderr, flush=True)


def keep(folder: Path, content: bytes, kind: str, place: str) -> Path:
    """Write an input that broke a promise; of those of one kind and place the smallest."""
    digest = hashlib.sha256(place.encode(errors="replace")).hexdigest()[:10]
    path = folder / f"{kind}-{digest}"
    if not path.exists() or len(content) < path.stat().st_size:
        path.write_bytes(content)
    return path


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for small files, in memory where the system has such a place."""
    in_memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=in_memory if in_memory.is_dir() else None)


def place_of(error: Exception) -> str:
    """Type, file and line of what was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} {Path(last.filename).name}:{last.lineno}"


def peak_memory_bytes() -> int:
    """The most memory that this process has had at once."""
    if sys.platform == "linux":  # where getrusage counts what the parent had, too
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
