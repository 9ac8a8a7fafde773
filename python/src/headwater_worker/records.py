"""Sends the records of a read, in frames, while the connector still makes them."""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Iterable
from io import BytesIO
from time import monotonic
from typing import Any

from .channel import Channel
from .encode import Encoder
from .errors import ContractError
from .plain import as_mapping

FRAME_RECORDS = 1_000
FRAME_BYTES = 512 * 1024
FRAME_SECONDS = 0.25
BODY_LIMIT = 64 * 1024 * 1024


class Pump:
    """Takes the records of one read at a time.

    What an iterator yields is encoded at once, one by one: some connectors change or reuse a record after they have
    yielded it. A list is final, and is encoded in pieces, which costs half.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = allocate_lock()
        # Written over again and again: memory that is new to the process costs more than the encoding.
        self._buffer = BytesIO()
        self._waiting = 0
        self._request: int | None = None
        self._since = 0.0
        # The main thread is in the connector, and what waits is whole.
        self._pulling = False
        # Another thread may be sending what waits. Together these two spare a lock for each record.
        self._overdue = False

    def run(self, request: int, records: Iterable[Any], encode: Encoder) -> None:
        """Takes every record, once, and sends it."""
        self._request = request
        self._since = monotonic()
        try:
            if type(records) is list or type(records) is tuple:
                self._take_list(records, encode)
            else:
                self._take_each(records, encode)
                self._send_waiting()
        finally:
            with self._lock:
                self._pulling = False
                self._request = None
                self._waiting = 0
                self._buffer.seek(0)

    def _take_each(self, records: Iterable[Any], encode: Encoder) -> None:
        write = self._buffer.write
        size = 0
        self._pulling = True
        for index, record in enumerate(records):
            self._pulling = False
            if self._overdue:
                with self._lock:
                    size = 0
            if type(record) is not dict:
                record = _object(record, index)
            text = encode(record)
            write(text)
            write(b",")
            size += len(text)
            self._waiting += 1
            if size > FRAME_BYTES or self._waiting >= FRAME_RECORDS:
                self._send_waiting()
                size = 0
            self._pulling = True

    def _take_list(self, records: Any, encode: Encoder) -> None:
        piece, at = 100, 0
        while at < len(records):
            part = records[at : at + piece]
            if set(map(type, part)) != {dict}:
                part = [r if type(r) is dict else _object(r, at + i) for i, r in enumerate(part)]
            body = encode(part)
            if len(body) > 2 * FRAME_BYTES and len(part) > 1:
                piece = max(1, len(part) // 2)
                continue
            self._frame([body], len(part))
            at += len(part)
            piece = min(FRAME_RECORDS, max(1, len(part) * FRAME_BYTES // len(body)))

    def send_overdue(self) -> None:
        """Sends what has waited while the connector was busy with the next record. Another thread calls this."""
        self._overdue = True
        try:
            if self._pulling and self._waiting and monotonic() - self._since >= FRAME_SECONDS:
                with self._lock:
                    # If the main thread has gone on in between, it is writing a record now.
                    if self._pulling:
                        self._send()
        finally:
            self._overdue = False

    def _send_waiting(self) -> None:
        with self._lock:
            self._send()

    def _send(self) -> None:
        count, self._waiting = self._waiting, 0
        end = self._buffer.tell() - 1
        self._buffer.seek(0)
        self._since = monotonic()
        if count:
            with self._buffer.getbuffer() as written:
                self._frame([b"[", written[:end], b"]"], count)

    def _frame(self, body: list[Any], count: int) -> None:
        size = sum(map(len, body))
        if size > BODY_LIMIT:
            raise ContractError(f"a record is larger than {BODY_LIMIT >> 20} MiB as JSON")
        request = self._request
        if request is not None:
            head = b'{"id":%d,"records":%d,"bytes":%d}\n' % (request, count, size)
            self._channel.send_parts([head, *body, b"\n"])


def _object(record: Any, index: int) -> dict[Any, Any]:
    found, members = as_mapping(record)
    if not found:
        raise ContractError(f"record {index} of the read is of type {type(record).__name__}, and not a dict")
    return members
