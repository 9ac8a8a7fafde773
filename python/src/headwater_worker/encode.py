"""Records as JSON text: by orjson where the environment has it, else by the standard library, to the same effect.

orjson writes NaN and the infinities as `null`, and refuses integers beyond 64 bits, keys that are no text and lone
surrogates. Refused records are written by the standard library. A `null` may be a NaN, which a look at the record's
binary floats tells.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from .plain import convert, plain

Encoder = Callable[[Any], bytes]


def exact(value: Any) -> bytes:
    """Any value, by the standard library; pure ASCII, NaN and infinities by their names in Python."""
    return json.dumps(plain(value), separators=(",", ":")).encode("ascii")


def _standard() -> Encoder:
    from json import encoder
    from sys import modules

    make: Any = encoder.c_make_encoder
    if make is None:
        return exact
    to_chunks = make(None, convert, encoder.encode_basestring_ascii, None, ":", ",", False, False, True)

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
    from operator import countOf

    import orjson

    options = (
        orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS
    )
    dumps, binary = orjson.dumps, marshal.dumps
    # A binary float in marshal's form whose exponent is that of NaN and the infinities.
    not_finite = re.compile(rb"g.{6}[\xf0-\xff][\x7f\xff]", re.DOTALL).search

    def nones(value: Any) -> int:
        """How many values are None, of a record or of a list of records; not counting what they hold."""
        if type(value) is dict:
            return countOf(value.values(), None)
        return sum(countOf(record.values(), None) for record in value)

    def all_finite(value: Any, text: bytes) -> bool:
        try:
            # Most often each `null` is a None in the record itself, and counting tells that for little.
            if text.count(b"null") == nones(value):
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
        if b"null" in text and not all_finite(value, text):
            return exact(value)
        return text

    return encode


def choose(prefer: str | None = None) -> Encoder:
    """The encoder for this environment; `prefer` is `orjson` or `json`."""
    if prefer != "json":
        try:
            return _fast()
        except ImportError:
            if prefer is not None:
                raise
    return _standard()
