"""Records as JSON text: by orjson where the environment has it, else by the standard library, to the same effect.

orjson writes NaN and the infinities as `null`, and refuses integers beyond 64 bits, keys that are no text and lone
surrogates. Refused records are written by the standard library. A `null` may be a NaN, which a look at the record's
binary floats tells.
"""

from __future__ import annotations

import json
from collections.abc import Callable
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


def _fast() -> Encoder:
    import marshal
    import re

    import orjson

    options = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS
    dumps, binary = orjson.dumps, marshal.dumps
    # A binary float in marshal's form whose exponent is that of NaN and the infinities.
    not_finite = re.compile(rb"g.{6}[\xf0-\xff][\x7f\xff]", re.DOTALL).search

    # Keys whose values have been None: where each `null` of a record is one of theirs, there is no other to look for.
    learned: list[str] = []

    def all_finite(value: Any, nulls: int) -> bool:
        try:
            if nulls == nones_in(value, learned):
                return True
            image = binary(value, 2)
        except Exception:
            return False
        return not ((b"\x7f" in image or b"\xff" in image) and not_finite(image))

    def encode(value: Any) -> bytes:
        try:
            text: bytes = dumps(value, convert, options)
        except (TypeError, ValueError, RecursionError):
            return exact(value)
        nulls = text.count(b"null")
        if nulls:
            if type(value) is dict:
                found = 0
                for key in learned:
                    if value.get(key, 0) is None:
                        found += 1
                if found == nulls:
                    return text
            if not all_finite(value, nulls):
                return exact(value)
        return text

    return encode


_MOST_LEARNED = 16


def nones_in(value: Any, learned: list[str]) -> int:
    """How many values are None, of a record or of a list of records; not counting what they hold."""
    if type(value) is dict:
        if len(learned) < _MOST_LEARNED:
            learned += [key for key, member in value.items() if member is None and key not in learned]
        return countOf(value.values(), None)
    return sum(countOf(record.values(), None) for record in value)


def choose(prefer: str | None = None) -> Encoder:
    """The encoder for this environment; `prefer` is `orjson` or `json`."""
    if prefer != "json":
        try:
            return _fast()
        except ImportError:
            if prefer is not None:
                raise
    return _standard()
