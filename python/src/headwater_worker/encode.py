"""Records as JSON text: by orjson where the environment has it, else by the standard library, to the same effect.

orjson writes NaN and the infinities as `null`, and refuses integers beyond 64 bits, keys that are no text and lone
surrogates. Refused records are written by the standard library. A `null` may be a NaN: where there are more of them
than of None, the record's floats are looked at.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from decimal import Decimal
from operator import countOf
from typing import Any

from .plain import convert, plain

Encoder = Callable[[Any], bytes]


def exact(value: Any) -> bytes:
    """Any value, by the standard library; pure ASCII, NaN and infinities by their names in Python."""
    return json.dumps(plain(value), separators=(",", ":")).encode("ascii")


def _standard() -> Encoder:
    import json.encoder as library
    from sys import modules

    make: Any = vars(library)["c_make_encoder"]
    if make is None:
        return exact
    to_chunks = make(None, convert, library.encode_basestring_ascii, None, ":", ",", False, False, True)

    def encode(value: Any) -> bytes:
        # The standard library writes any tuple as a list, and a row is one. The stand-in tells whether there are rows.
        if getattr(modules.get("pyspark.sql.types"), "rows_made", True) and "pyspark.sql.types" in modules:
            return exact(value)
        try:
            return "".join(to_chunks(value, 0)).encode("ascii")
        except (TypeError, ValueError, RecursionError):
            return exact(value)

    return encode


# Values of these types are never written as `null`, apart from None itself.
_NEVER_NULL = frozenset(
    (str, int, bool, type(None), bytes, bytearray, datetime.datetime, datetime.date, datetime.time, Decimal)
)


def all_finite(value: Any) -> bool:
    """Whether a value surely holds no NaN and no infinity, at any depth."""
    kind = type(value)
    if kind is dict:
        members = value.values()
    elif kind is list or kind is tuple:
        members = value
    elif kind is float:
        return bool(value - value == 0.0)
    else:
        return kind in _NEVER_NULL
    for member in members:
        kind = type(member)
        if kind is float:
            if member - member != 0.0:
                return False
        elif kind not in _NEVER_NULL and not all_finite(member):
            return False
    return True


def _fast() -> Encoder:
    import orjson

    options = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS
    dumps = orjson.dumps
    # Keys whose values have been None: where each `null` of a record is one of theirs, there is no other to look for.
    learned: list[str] = []

    def encode(value: Any) -> bytes:
        try:
            text: bytes = dumps(value, convert, options)
        except (TypeError, ValueError, RecursionError):
            if type(value) is list and len(value) > 1:
                # One record must not make all of them slow.
                return b"[" + b",".join(map(encode, value)) + b"]"
            return exact(value)
        nulls = text.count(b"null")
        if nulls:
            found = 0
            if type(value) is dict:
                for key in learned:
                    if value.get(key, 0) is None:
                        found += 1
            else:
                for key in learned:
                    found += len([0 for record in value if record.get(key, 0) is None])
            if found != nulls and not are_nones(nulls, value, learned) and not all_finite(value):
                return exact(value)
        return text

    return encode


_MOST_LEARNED = 16
_LOOKED_AT = 10


def are_nones(nulls: int, value: Any, learned: list[str]) -> bool:
    """Whether all `null`s of a record, or of a list of records, are values of theirs that are None."""
    try:
        if type(value) is not dict:
            for record in value[:_LOOKED_AT]:
                learn(record, learned)
            return nulls == sum(countOf(record.values(), None) for record in value)
        learn(value, learned)
        return nulls == countOf(value.values(), None)
    except Exception:  # a value that cannot be compared, such as an array
        return False


def learn(record: dict[Any, Any], learned: list[Any]) -> None:
    """Adds the keys of a record whose values are None."""
    if len(learned) < _MOST_LEARNED:
        learned += [key for key, member in record.items() if member is None and key not in learned]


def choose(prefer: str | None = None) -> Encoder:
    """The encoder for this environment; `prefer` is `orjson` or `json`."""
    if prefer != "json":
        try:
            return _fast()
        except ImportError:
            if prefer is not None:
                raise
    return _standard()
