"""Python values as JSON values: what lands is what `COERCION` rules for the Python value say.

| Python | JSON |
|---|---|
| datetime, date, time, timedelta, Decimal, UUID, and whatever is not named here | text, as `str()` |
| bytes | base64 |
| tuple, set, other iterables of values | list (sets in order, so that the same set is always the same list) |
| mapping, `Row`, dataclass, pydantic model | object |
| Enum | its value |
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

_TEXT = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta, Decimal)


def convert(value: Any) -> Any:
    """One step from a value that is no JSON towards one that is; what it holds may need steps of its own."""
    if isinstance(value, _TEXT):
        # Missing times of data frames are instances of datetime, and unequal to themselves.
        return None if _is_missing_time(value) else str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        from binascii import b2a_base64

        return b2a_base64(value, newline=False).decode("ascii")
    if isinstance(value, (set, frozenset)):
        return _in_order(value)
    found, mapping = as_mapping(value)
    if found:
        return mapping
    if isinstance(value, (float, int, str)):
        return _bare(value)
    if isinstance(value, tuple):
        return list(value)
    return _by_module(value)


def _is_missing_time(value: Any) -> bool:
    return isinstance(value, datetime.datetime) and value != value


def _bare(value: Any) -> Any:
    enum = sys.modules.get("enum")
    if enum is not None and isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, str):
        return str.__str__(value)
    return float(value) if isinstance(value, float) else int(value)


def _in_order(values: Any) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:
        return sorted(values, key=lambda value: (type(value).__name__, repr(value)))


def _by_module(value: Any) -> Any:
    kind = type(value)
    enum = sys.modules.get("enum")
    if enum is not None and isinstance(value, enum.Enum):
        return value.value
    module = kind.__module__.partition(".")[0]
    if module == "numpy":
        return value.tolist()
    if module == "pandas" and kind.__name__ == "NAType":
        return None
    if kind.__module__ in ("builtins", "collections", "itertools") and hasattr(kind, "__iter__"):
        return list(value)
    return str(value)


def as_mapping(value: Any) -> tuple[bool, dict[Any, Any]]:
    """Whether a value stands for an object, and its members."""
    if isinstance(value, dict):
        return True, dict(value)
    if isinstance(value, Mapping):
        return True, dict(value.items())
    kind = type(value)
    if isinstance(value, tuple) and hasattr(kind, "asDict"):
        return True, value.asDict(True)  # type: ignore[attr-defined]
    if hasattr(kind, "__dataclass_fields__"):
        import dataclasses

        return True, {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(kind, "__attrs_attrs__"):
        return True, {field.name: getattr(value, field.name) for field in kind.__attrs_attrs__}
    if hasattr(kind, "model_dump") and hasattr(kind, "model_fields"):
        return True, value.model_dump()
    if hasattr(kind, "__fields__") and callable(getattr(kind, "dict", None)):  # pydantic before version 2
        return True, value.dict()
    return False, {}


def key_text(key: Any) -> str:
    """A key of an object as text."""
    if isinstance(key, str):
        return str.__str__(key) if type(key) is str else str(_bare(key))
    if key is None:
        return "null"
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, float):
        return float.__repr__(key)
    if isinstance(key, int):
        return int.__repr__(key)
    text = convert(key)
    return text if isinstance(text, str) else str(key)


def plain(value: Any, _depth: int = 0) -> Any:
    """The value with nothing in it but dict (with texts as keys), list, str, int, float, bool and None."""
    kind = type(value)
    if kind is str or kind is int or kind is float or value is None or kind is bool:
        return value
    if _depth > 200:
        raise ValueError("nested more than 200 levels deep, or holds itself")
    if kind is dict:
        return {key_text(key): plain(member, _depth + 1) for key, member in value.items()}
    if kind is list or kind is tuple:
        return [plain(item, _depth + 1) for item in value]
    return plain(convert(value), _depth + 1)
