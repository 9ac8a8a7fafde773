"""Types as SQL writes them: `a INT NOT NULL COMMENT 'x', b ARRAY<STRING>`."""

from __future__ import annotations

import re
from typing import Any

from . import types as t

_NAMES: dict[str, str] = {
    "tinyint": "byte",
    "smallint": "short",
    "int": "integer",
    "bigint": "long",
    "real": "float",
    "dec": "decimal",
    "numeric": "decimal",
    "character": "char",
    "timestamp_ltz": "timestamp",
}
_TOKEN = re.compile(
    r"\s*(?:(`(?:[^`]|``)*`)|('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")|([^\W]\w*)|([<>(),:]))", re.DOTALL
)


def parse(text: str) -> t.DataType:
    """A type, or the fields of a struct."""
    try:
        return _Parser(text).whole_type()
    except ValueError as no_type:
        try:
            return _Parser(text).whole_fields()
        except ValueError as no_fields:
            raise ValueError(f"this is neither a type ({no_type}) nor a list of columns ({no_fields})") from None


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise ValueError(f"{text[at : at + 20]!r} is not understood")
            kind = ("quoted", "text", "word", "sign")[(found.lastindex or 1) - 1]
            self._tokens.append((kind, found[found.lastindex or 1]))
            at = found.end()
        self._at = 0

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "the end")

    def _next(self) -> tuple[str, str]:
        token = self._peek()
        self._at += 1
        return token

    def _take(self, *wanted: str) -> bool:
        """Passes over these words or signs, where all of them are next."""
        here = [value.lower() for kind, value in self._tokens[self._at : self._at + len(wanted)] if kind != "text"]
        if here != list(wanted):
            return False
        self._at += len(wanted)
        return True

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise ValueError(f"{sign!r} was expected instead of {self._peek()[1]!r}")

    def whole_type(self) -> t.DataType:
        """The type that the text is."""
        found = self._type()
        self._end()
        return found

    def whole_fields(self) -> t.StructType:
        """The columns that the text names."""
        found = self._fields(None)
        self._end()
        return found

    def _end(self) -> None:
        if self._at < len(self._tokens):
            raise ValueError(f"{self._peek()[1]!r} was not expected")

    def _fields(self, closing: str | None) -> t.StructType:
        struct = t.StructType()
        if closing is not None and self._take(closing):
            return struct
        while True:
            struct.add(self._field())
            if not self._take(","):
                break
        if closing is not None:
            self._expect(closing)
        return struct

    def _field(self) -> t.StructField:
        kind, name = self._next()
        if kind not in ("word", "quoted"):
            raise ValueError(f"a name was expected instead of {name!r}")
        if kind == "quoted":
            name = name[1:-1].replace("``", "`")
        self._take(":")
        data_type = self._type()
        nullable = not self._take("not", "null")
        metadata: dict[str, Any] = {}
        if self._take("comment"):
            kind, comment = self._next()
            if kind != "text":
                raise ValueError("a comment is a text in quotes")
            metadata["comment"] = re.sub(r"\\(.)", r"\1", comment[1:-1])
        return t.StructField(name, data_type, nullable, metadata)

    def _type(self) -> t.DataType:
        kind, word = self._next()
        if kind != "word":
            raise ValueError(f"a type was expected instead of {word!r}")
        name = word.lower()
        name = _NAMES.get(name, name)
        if name == "array":
            self._expect("<")
            element = self._type()
            self._expect(">")
            return t.ArrayType(element)
        if name == "map":
            self._expect("<")
            key = self._type()
            self._expect(",")
            value = self._type()
            self._expect(">")
            return t.MapType(key, value)
        if name == "struct":
            self._expect("<")
            return self._fields(">")
        if name == "interval":
            return self._interval()
        numbers = self._numbers()
        if name == "decimal":
            return t.DecimalType(*numbers)
        if numbers:
            return t._from_name(f"{name}({','.join(map(str, numbers))})")
        if name == "string" and self._take("collate"):
            return t.StringType(self._next()[1])
        return t._from_name(name)

    def _numbers(self) -> list[int]:
        numbers: list[int] = []
        if self._take("("):
            while True:
                word = self._next()[1]
                if not word.isdecimal():
                    raise ValueError(f"a number was expected instead of {word!r}")
                numbers.append(int(word))
                if not self._take(","):
                    break
            self._expect(")")
        return numbers

    def _interval(self) -> t.DataType:
        if self._peek()[0] != "word":
            return t.CalendarIntervalType()
        name = f"interval {self._next()[1].lower()}"
        if self._take("to"):
            name += f" to {self._next()[1].lower()}"
        return t._from_name(name)
