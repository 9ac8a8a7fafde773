"""Standard input and output, kept for the protocol alone.

Everything else in the process sees an empty standard input, and a standard output that goes where standard error goes.
"""

from __future__ import annotations

import json
import os
import sys
from _queue import SimpleQueue
from _thread import allocate_lock, get_ident, start_new_thread
from typing import Any

_READ_BYTES = 1 << 16


class Channel:
    """Requests in, messages out. Messages are written whole, by any thread."""

    def __init__(self) -> None:
        self._in = os.dup(0)
        self._out = os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        self._lock = allocate_lock()
        self._main = get_ident()
        self._writing = False
        self._requests: SimpleQueue[bytes | None] = SimpleQueue()
        self.interrupted = False
        os.register_at_fork(after_in_child=self._forked)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                # What is printed must be in the log before the process is killed, whatever characters it has.
                stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]

    def _forked(self) -> None:
        """A child that the connector forks must not speak the protocol, nor keep its pipes open."""
        for fd in (self._in, self._out):
            os.close(fd)
        self._out = -1
        self._lock = allocate_lock()

    @property
    def closed(self) -> bool:
        """Whether this process is a fork of the worker."""
        return self._out < 0

    def start_reading(self) -> None:
        """Takes requests in from now on; the process ends with its input, whatever it is doing then."""
        start_new_thread(self._read, ())

    def _read(self) -> None:
        begun: list[bytes] = []
        while got := os.read(self._in, _READ_BYTES):
            begun.append(got)
            if b"\n" in got:
                *lines, rest = b"".join(begun).split(b"\n")
                begun = [rest]
                for line in lines:
                    self._requests.put(line)
        end_process(0)

    def next_request(self) -> bytes:
        """The next line of input."""
        while True:
            line = self._requests.get()
            if line:
                return line

    def send(self, message: dict[str, Any], body: bytes | None = None) -> None:
        """Writes a message, and its body where there is one."""
        line = json.dumps(message, separators=(",", ":")).encode()
        self.send_parts([line, b"\n"] if body is None else [line, b"\n", body, b"\n"])

    def send_parts(self, parts: list[Any]) -> None:
        """Writes what makes a whole message. An interrupt waits until it is out."""
        if self.closed:
            raise OSError("a process that the connector forked has no channel")
        main = get_ident() == self._main
        if main:
            self._writing = True
        try:
            with self._lock:
                self._write_all(parts)
        except BrokenPipeError:
            end_process(1)
        finally:
            if main:
                self._writing = False
        if main and self.interrupted:
            # It came inside the message, or the connector has swallowed it.
            raise KeyboardInterrupt

    def _write_all(self, parts: list[Any]) -> None:
        left = sum(map(len, parts))
        while True:
            done = os.writev(self._out, parts)
            left -= done
            if not left:
                return
            while done >= len(parts[0]):
                done -= len(parts.pop(0))
            parts[0] = memoryview(parts[0])[done:]

    @property
    def writing(self) -> bool:
        """Whether the main thread is inside a message."""
        return self._writing


def end_process(code: int) -> None:
    """Ends at once: neither the connector's threads nor its exit handlers keep the process."""
    flushed = allocate_lock()
    flushed.acquire()

    def flush() -> None:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass
        flushed.release()

    # Another thread may hold the streams, and nobody may read them any more: that must not keep us either.
    start_new_thread(flush, ())
    flushed.acquire(timeout=0.2)
    os._exit(code)
