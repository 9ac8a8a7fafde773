"""A small Headwater: drives a worker process over the protocol, and checks its framing."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SRC = Path(__file__).resolve().parent.parent / "src"
SECONDS = 30.0


class WorkerEnded(Exception):
    """The worker's output ended."""


class Client:
    """One worker."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headwater_worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(SRC), "TZ": "UTC", "HEADWATER_PROTOCOL": "1", **environment},
        )
        self.number = 0
        self.logs: list[dict[str, Any]] = []
        self.alive: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self._got = b""

    def send(self, call: str, **members: Any) -> int:
        """Sends a request."""
        self.number += 1
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"id": self.number, "call": call, **members}).encode() + b"\n")
        self.process.stdin.flush()
        return self.number

    def _fill(self) -> None:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], SECONDS)
        assert ready, f"nothing came for {SECONDS} s; log: {self.stderr()}"
        got = os.read(self.process.stdout.fileno(), 1 << 20)
        if not got:
            raise WorkerEnded
        self._got += got

    def _line(self) -> bytes:
        while b"\n" not in self._got:
            self._fill()
        line, _, self._got = self._got.partition(b"\n")
        return line

    def _body(self, size: int) -> bytes:
        while len(self._got) < size + 1:
            self._fill()
        body, end, self._got = self._got[:size], self._got[size : size + 1], self._got[size + 1 :]
        assert end == b"\n", "a body must end with a line break"
        return body

    def messages(self) -> Iterator[dict[str, Any]]:
        """Messages as they come; bodies are kept apart."""
        while True:
            message = json.loads(self._line())
            assert isinstance(message, dict)
            if "bytes" in message:
                body = self._body(message["bytes"])
                assert len(json.loads(body)) == message["records"]
                self.bodies.append(body)
            yield message

    def answer(self) -> dict[str, Any]:
        """The end of the request that is open."""
        for message in self.messages():
            if "log" in message:
                self.logs.append(message["log"])
            elif "alive" in message:
                self.alive.append(message["alive"])
            elif "bytes" in message:
                assert message["id"] == self.number
            else:
                assert message["id"] == self.number
                return message
        raise WorkerEnded

    def call(self, call: str, **members: Any) -> dict[str, Any]:
        """Sends a request and waits for its end."""
        self.bodies.clear()
        self.send(call, **members)
        return self.answer()

    def result(self, call: str, **members: Any) -> Any:
        """The result of a request that succeeds."""
        message = self.call(call, **members)
        assert "result" in message, message
        return message["result"]

    def error(self, call: str, **members: Any) -> dict[str, Any]:
        """The error of a request that fails."""
        message = self.call(call, **members)
        assert "error" in message, message
        error: dict[str, Any] = message["error"]
        return error

    def open(self, secrets: tuple[str, ...] = (), **options: str) -> Any:
        """`hello` if it is the first call, and `open`."""
        if self.number == 0:
            assert self.result("hello", protocols=[1], headwater="0.0.0")["protocol"] == 1
        return self.result("open", options=options, secrets=list(secrets), table=None)

    def read(self, table: str, start: Any = None, call: str = "read_table", **more: Any) -> tuple[list[Any], Any]:
        """Records and end of a read that succeeds."""
        message = self.call(call, table=table, start=start, options={}, **more)
        assert "end" in message, message
        return self.records(), message["end"]

    def records(self) -> list[Any]:
        """The records of the last read."""
        return [record for body in self.bodies for record in json.loads(body)]

    def stderr(self) -> str:
        """What the worker has written to its standard error."""
        self.log.seek(0)
        return self.log.read().decode()

    def wait_for_stderr(self, text: str) -> str:
        """Waits until the log holds a text."""
        end = time.monotonic() + SECONDS
        while text not in self.stderr():
            assert time.monotonic() < end, f"{text!r} is not in the log: {self.stderr()}"
            select.select([], [], [], 0.01)
        return self.stderr()

    def interrupt(self) -> None:
        """As Headwater cancels: to the whole group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> int:
        """Ends the worker's input, and waits for its end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(SECONDS)


@contextmanager
def worker(*arguments: str | Path, **environment: str) -> Iterator[Client]:
    """A worker that is ended with the test."""
    client = Client(*map(str, arguments), **environment)
    try:
        yield client
    finally:
        if client.process.poll() is None:
            client.process.kill()
        client.process.wait()
        for stream in (client.process.stdin, client.process.stdout):
            if stream is not None:
                stream.close()
        client.log.close()


HEADER = """
from databricks.labs.community_connector.interface import *
from pyspark.sql.types import *

class Base(LakeflowConnect):
    def list_tables(self):
        return ["t"]
    def get_table_schema(self, table_name, table_options):
        return StructType([StructField("id", LongType())])
    def read_table_metadata(self, table_name, table_options):
        return {"primary_keys": ["id"], "cursor_field": None, "ingestion_type": "snapshot"}

"""


def write(folder: Path, **files: str) -> Path:
    """Writes Python files, each behind the header; `__` in a name stands for a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(HEADER + text, encoding="utf-8")
    return folder
