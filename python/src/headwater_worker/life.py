"""Signs of life: memory, requests sent to the source, and the connector's line that is running."""

from __future__ import annotations

import os
import sys
from _thread import allocate_lock, get_ident, start_new_thread
from collections.abc import Callable
from time import monotonic
from types import ModuleType
from typing import Any

from .errors import is_own, shown
from .hooks import when_imported

ALIVE_SECONDS = 5.0
# The first one comes early, so that a call with a short time limit has said where it is before the limit is over.
_FIRST_SECONDS = 1.0
_TICK_SECONDS = 0.25


class RequestCounter:
    """Counts the HTTP requests of the process, whatever library sends them over the standard one."""

    def __init__(self) -> None:
        self.count = 0
        when_imported("http.client", self._watch)

    def _watch(self, module: ModuleType) -> None:
        connection: Any = module.HTTPConnection
        put = connection.putrequest

        def putrequest(this: Any, *arguments: Any, **named: Any) -> Any:
            self.count += 1
            return put(this, *arguments, **named)

        connection.putrequest = putrequest


def rss_bytes() -> int | None:
    """Memory of the process that is in use."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def line_running(thread: int, own_folder: str) -> str | None:
    """The innermost line of the connector that a thread is in."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        file = frame.f_code.co_filename
        if is_own(file, own_folder):
            return f"{shown(file, own_folder)}:{frame.f_lineno} in {frame.f_code.co_name}"
        frame = frame.f_back
    return None


class Heart:
    """Beats while a call is open, in a thread of its own."""

    def __init__(self, beat: Callable[[], None], tick: Callable[[], None]) -> None:
        self._beat = beat
        self._tick = tick
        self._asleep = allocate_lock()
        self._asleep.acquire()
        self._busy = False
        start_new_thread(self._run, ())

    def start(self) -> None:
        """A call begins."""
        self._busy = True
        if self._asleep.locked():
            self._asleep.release()

    def stop(self) -> None:
        """The call has ended."""
        self._busy = False

    def _run(self) -> None:
        pause = allocate_lock()
        pause.acquire()
        while True:
            self._asleep.acquire()
            next_beat = monotonic() + _FIRST_SECONDS
            while self._busy:
                pause.acquire(timeout=_TICK_SECONDS)
                if not self._busy:
                    break
                self._tick()
                if monotonic() >= next_beat:
                    self._beat()
                    next_beat = monotonic() + ALIVE_SECONDS


def main_thread() -> int:
    """Identity of the thread that calls this."""
    return get_ident()
