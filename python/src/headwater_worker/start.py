"""Starts the worker and answers requests until its input ends."""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import signal
import sys
from importlib.util import cache_from_source
from typing import TYPE_CHECKING, Any, NoReturn

from .arguments import Arguments
from .channel import Channel, end_process
from .errors import describe
from .life import Heart, RequestCounter, line_running, main_thread, rss_bytes
from .logs import send_logs
from .redact import Redactor
from .session import Read, Session

if TYPE_CHECKING:
    from .records import Pump

# Containers that are made before the garbage collector looks at the youngest. Records are containers by the thousand,
# and none is garbage that only the collector finds: at Python's own 700 it takes a tenth of a read's time.
GC_THRESHOLD = 50_000


def main(given: list[str]) -> NoReturn:
    """Runs the worker."""
    arguments = Arguments(given)
    if sys.dont_write_bytecode:
        compile_own_files()
    # Before the connector's code is loaded, which may set what it likes.
    gc.set_threshold(GC_THRESHOLD, *gc.get_threshold()[1:])
    if os.environ.get("HEADWATER_SIMULATOR"):
        # Before anything can open a connection.
        from .simulated import lead_from_environment

        lead_from_environment()
    # Behind everything else, so that the real package is taken where there is one.
    sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "standin"))
    if arguments.describe:
        from .describe import print_description

        print_description(arguments)
    Worker(arguments).run()


def _session(arguments: Arguments, redact: Redactor) -> Session:
    if arguments.write_back is None:
        return Session(arguments, redact)
    from .write_back import WriteBackSession

    return WriteBackSession(arguments, redact, arguments.write_back)


def compile_own_files() -> None:
    """Compiles the worker's own files, once: where the environment says that Python is to keep no bytecode, each start
    would do it again. What the user has is left alone.
    """
    own = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(own)
    # Among the last that are compiled.
    done = cache_from_source(os.path.join(own, "values.py"))
    if not os.path.exists(done) and os.access(root, os.W_OK):
        from compileall import compile_dir

        compile_dir(root, quiet=2)


class Worker:
    """One request at a time, in the main thread; the connector's code runs there, too."""

    def __init__(self, arguments: Arguments) -> None:
        # A crash in compiled code leaves the lines of Python it came from in the log.
        faulthandler.enable()
        self._channel = Channel()
        self._redact = Redactor()
        self._session = _session(arguments, self._redact)
        self._open = False
        self._thread = main_thread()
        self._counter = RequestCounter()
        self._pump: Pump | None = None
        send_logs(self._channel, self._redact)
        self._heart = Heart(self._beat, self._tick)
        signal.signal(signal.SIGINT, self._on_interrupt)

    def run(self) -> NoReturn:
        """Answers requests."""
        self._channel.start_reading()
        while True:
            line = self._channel.next_request()
            try:
                request = json.loads(line)
                number = request["id"]
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                print(f"headwater_worker: a request that cannot be read: {error}", file=sys.stderr)
                end_process(1)
            self._channel.send(self._answer(number, request))

    def _answer(self, number: int, request: dict[str, Any]) -> dict[str, Any]:
        self._channel.interrupted = False
        self._heart.start()
        try:
            try:
                self._open = True
                answer = self._run(number, request)
            except BaseException as error:  # whatever it is, it is an answer; SystemExit and KeyboardInterrupt as well
                self._open = False
                answer = {"id": number, "error": self._describe(error)}
            finally:
                self._open = False
        except KeyboardInterrupt as error:
            # The interrupt came between the end of the call and this answer.
            self._open = False
            answer = {"id": number, "error": self._describe(error)}
        self._heart.stop()
        self._channel.interrupted = False
        return answer

    def _run(self, number: int, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("call") == "open":
            self._counter.count = 0
        result = self._session.call(request)
        if not isinstance(result, Read):
            return {"id": number, "result": result}
        # Imported by the first read: the first call of a worker is seldom one.
        from .encode import choose
        from .records import Pump

        if self._pump is None:
            self._pump = Pump(self._channel)
        # What an encoder learns of records holds for one table.
        self._pump.run(number, result.records, choose(), result.text_columns)
        return {"id": number, "end": result.end}

    def _describe(self, error: BaseException) -> dict[str, Any]:
        try:
            return describe(error, self._session.own_files, self._redact, self._channel.interrupted)
        except Exception as failure:
            kind = type(error).__name__
            return {"kind": "exception", "class": kind, "message": f"it cannot be shown: {type(failure).__name__}"}

    def _on_interrupt(self, _signal: int, _frame: Any) -> None:
        if not self._open:
            return
        self._channel.interrupted = True
        if not self._channel.writing:
            raise KeyboardInterrupt

    def _beat(self) -> None:
        alive: dict[str, Any] = {"requests": self._counter.count}
        memory = rss_bytes()
        if memory is not None:
            alive["rss_bytes"] = memory
        own = self._session.own_files
        at = None if own is None else line_running(self._thread, own)
        if at is not None:
            alive["at"] = self._redact(at)
        self._channel.send({"alive": alive})

    def _tick(self) -> None:
        if self._pump is not None:
            self._pump.send_overdue()
