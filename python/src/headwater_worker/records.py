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
from .printed import TextColumns

FRAME_RECORDS = 1_000
FRAME_BYTES = 512 * 1024
FRAME_SECONDS = 0.25
BODY_LIMIT = 64 * 1024 * 1024

# Records that are taken one by one before it is looked again whether a list is being handed out.
_LOOK_EVERY = 32
_FIRST_PIECE = 100
_GENERATOR: Any = type(_ for _ in ())
_LIST_ITERATOR: Any = type(iter([]))
_CAN_SKIP = hasattr(_LIST_ITERATOR, "__setstate__")


def list_behind(iterator: Any) -> Any:
    """The iterator over a list that gives an iterator's next records, where it is known that nothing else does.

    A generator that stands in `yield from` runs no code of its own until what it hands out is used up. So the rest of
    a list can be taken at once, and it is as if it had been taken one by one.
    """
    while type(iterator) is _GENERATOR:
        iterator = iterator.gi_yieldfrom
    return iterator if type(iterator) is _LIST_ITERATOR and _CAN_SKIP else None


class Pump:
    """Takes the records of one read at a time.

    What an iterator yields is encoded at once, one by one: some connectors change or reuse a record after they have
    yielded it. A list is final, and is encoded in pieces, which costs half; so is one that a generator hands out whole.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = allocate_lock()
        # Written over again and again: memory that is new to the process costs more than the encoding.
        self._buffer = BytesIO()
        self._waiting = 0
        # Records of this read that have been sent.
        self._sent = 0
        self._text = TextColumns(())
        self._request: int | None = None
        self._since = 0.0
        # The main thread is in the connector, and what waits is whole.
        self._pulling = False
        # Another thread may be sending what waits. Together these two spare a lock for each record.
        self._overdue = False

    def run(self, request: int, records: Iterable[Any], encode: Encoder, text: Iterable[str] = ()) -> None:
        """Takes every record, once, and sends it. `text` names the columns of the table that take text."""
        self._request = request
        self._sent = 0
        self._text = TextColumns(text)
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
        write, in_record = self._buffer.write, self._text.look()
        size, stop = 0, 1
        iterator = iter(records)
        self._pulling = True
        for record in iterator:
            self._pulling = False
            if self._overdue:
                with self._lock:
                    size = 0
            if type(record) is not dict:
                record = _object(record, self._sent + self._waiting)
            if in_record is not None:
                record = in_record(record)
            text = encode(record)
            write(text)
            write(b",")
            size += len(text)
            self._waiting = waiting = self._waiting + 1
            if waiting >= stop or size > FRAME_BYTES:
                handed_out = list_behind(iterator)
                if handed_out is not None:
                    size = self._take_rest(handed_out, size, encode)
                if size > FRAME_BYTES or self._waiting >= FRAME_RECORDS:
                    self._send_waiting()
                    size = 0
                # Where one page is handed out whole, the next one is.
                stop = min(FRAME_RECORDS, self._waiting + (_LOOK_EVERY if handed_out is None else 1))
            self._pulling = True

    def _take_rest(self, handed_out: Any, size: int, encode: Encoder) -> int:
        """Takes what a list's iterator has left, and leaves it used up; gives the size of what waits then."""
        _, (records, *_), *at = handed_out.__reduce__()
        place = at[0] if at else len(records)
        fits = _FIRST_PIECE
        while place < len(records):
            part = records[place : place + max(1, min(fits, FRAME_RECORDS - self._waiting))]
            body = encode(self._text.in_records(_objects(part, self._sent + self._waiting)))
            self._buffer.write(memoryview(body)[1:-1])
            self._buffer.write(b",")
            place += len(part)
            handed_out.__setstate__(place)
            size += len(body)
            self._waiting += len(part)
            if size > FRAME_BYTES or self._waiting >= FRAME_RECORDS:
                self._send_waiting()
                size = 0
            fits = (FRAME_BYTES - size) * len(part) // len(body)
        return size

    def _take_list(self, records: Any, encode: Encoder) -> None:
        piece, at = _FIRST_PIECE, 0
        while at < len(records):
            part = records[at : at + piece]
            body = encode(self._text.in_records(_objects(part, at)))
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
        self._sent += count
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


def _objects(records: Any, first: int) -> Any:
    if set(map(type, records)) == {dict}:
        return records
    return [r if type(r) is dict else _object(r, first + i) for i, r in enumerate(records)]


def _object(record: Any, index: int) -> dict[Any, Any]:
    found, members = as_mapping(record)
    if not found:
        raise ContractError(f"record {index} of the read is of type {type(record).__name__}, and not a dict")
    return members
