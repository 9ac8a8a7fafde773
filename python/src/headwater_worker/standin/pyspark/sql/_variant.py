"""Spark's binary form of variants, as Parquet's specification of the encoding has it."""

from __future__ import annotations

import datetime
import struct
from base64 import b64encode
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

_EPOCH = datetime.datetime(1970, 1, 1)
_INTEGERS = {3: 1, 4: 2, 5: 4, 6: 8}
_DECIMALS = {8: 4, 9: 8, 10: 16}
_MOST_DIGITS = 38


def decode(value: bytes, metadata: bytes) -> Any:
    """The value as Python has it."""
    try:
        return _value(value, 0, _names(metadata))
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"these bytes are no variant: {error}") from None


def json_value(value: Any) -> Any:
    """What stands in JSON for a value that JSON lacks."""
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value)


def encode(value: Any) -> tuple[bytes, bytes]:
    """Value and metadata of what `json.loads` gives."""
    names: dict[str, int] = {}
    encoded = _encoded(value, names)
    texts = [name.encode() for name in names]
    size = _width(max(len(texts), sum(map(len, texts))))
    metadata = bytes([1 | (size - 1) << 6]) + len(texts).to_bytes(size, "little")
    return encoded, metadata + _offsets(texts, size) + b"".join(texts)


def _number(data: bytes, at: int, size: int, signed: bool = False) -> int:
    return int.from_bytes(_slice(data, at, size), "little", signed=signed)


def _slice(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise IndexError("they end too early")
    return data[at : at + size]


def _names(metadata: bytes) -> list[str]:
    if not metadata or metadata[0] & 0x0F != 1:
        raise ValueError("these bytes are no variant's metadata of version 1")
    size = (metadata[0] >> 6) + 1
    count = _number(metadata, 1, size)
    starts = 1 + size
    texts = starts + (count + 1) * size
    places = [texts + _number(metadata, starts + i * size, size) for i in range(count + 1)]
    return [metadata[start:end].decode() for start, end in pairwise(places)]


def _value(data: bytes, at: int, names: list[str]) -> Any:
    basic, info = data[at] & 3, data[at] >> 2
    if basic == 0:
        return _primitive(data, at + 1, info)
    if basic == 1:
        return _slice(data, at + 1, info).decode()
    is_object = basic == 2
    is_large = info >> (4 if is_object else 2) & 1
    offset_size, id_size = (info & 3) + 1, (info >> 2 & 3) + 1 if is_object else 0
    count_size = 4 if is_large else 1
    count = _number(data, at + 1, count_size)
    ids = at + 1 + count_size
    offsets = ids + count * id_size
    values = offsets + (count + 1) * offset_size
    items = [_value(data, values + _number(data, offsets + i * offset_size, offset_size), names) for i in range(count)]
    if not is_object:
        return items
    return {names[_number(data, ids + i * id_size, id_size)]: item for i, item in enumerate(items)}


def _primitive(data: bytes, at: int, kind: int) -> Any:
    if kind < 3:
        return (None, True, False)[kind]
    if kind in _INTEGERS:
        return _number(data, at, _INTEGERS[kind], signed=True)
    if kind == 7:
        return struct.unpack_from("<d", data, at)[0]
    if kind in _DECIMALS:
        unscaled = _number(data, at + 1, _DECIMALS[kind], signed=True)
        return Decimal((unscaled < 0, tuple(map(int, str(abs(unscaled)))), -data[at]))
    if kind == 11:
        return _EPOCH.date() + datetime.timedelta(days=_number(data, at, 4, signed=True))
    if kind in (12, 13):
        moment = _EPOCH + datetime.timedelta(microseconds=_number(data, at, 8, signed=True))
        return moment.replace(tzinfo=datetime.timezone.utc) if kind == 12 else moment
    if kind == 14:
        return struct.unpack_from("<f", data, at)[0]
    if kind in (15, 16):
        size = _number(data, at, 4)
        found = _slice(data, at + 4, size)
        return found if kind == 15 else found.decode()
    if kind == 20:
        return UUID(bytes=_slice(data, at, 16))
    raise ValueError(f"a variant of kind {kind} is not known")


def _width(largest: int) -> int:
    return max(1, (largest.bit_length() + 7) // 8)


def _offsets(items: list[bytes], size: int) -> bytes:
    found, end = bytearray(size), 0
    for item in items:
        end += len(item)
        found += end.to_bytes(size, "little")
    return bytes(found)


def _encoded(value: Any, names: dict[str, int]) -> bytes:
    if value is None or isinstance(value, bool):
        return bytes([(0 if value is None else 1 if value else 2) << 2])
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return bytes([7 << 2]) + struct.pack("<d", value)
    if isinstance(value, str):
        text = value.encode()
        return bytes([len(text) << 2 | 1]) + text if len(text) < 64 else b"\x40" + struct.pack("<I", len(text)) + text
    if isinstance(value, dict):
        for name in value:
            names.setdefault(name, len(names))
        keys = sorted(value, key=lambda name: name.encode())
        items = [_encoded(value[name], names) for name in keys]
        id_size = _width(max((names[name] for name in keys), default=0))
        ids = b"".join(names[name].to_bytes(id_size, "little") for name in keys)
        return _container(items, ids, 2, id_size - 1 << 2, 4)
    return _container([_encoded(item, names) for item in value], b"", 3, 0, 2)


def _container(items: list[bytes], ids: bytes, basic: int, info: int, large_bit: int) -> bytes:
    size = _width(sum(map(len, items)))
    is_large = len(items) > 255
    info |= size - 1 | is_large << large_bit
    count = len(items).to_bytes(4 if is_large else 1, "little")
    return bytes([info << 2 | basic]) + count + ids + _offsets(items, size) + b"".join(items)


def _integer(value: int) -> bytes:
    for kind, size in _INTEGERS.items():
        if -(1 << size * 8 - 1) <= value < 1 << size * 8 - 1:
            return bytes([kind << 2]) + value.to_bytes(size, "little", signed=True)
    if len(str(abs(value))) <= _MOST_DIGITS:
        return bytes([10 << 2, 0]) + value.to_bytes(16, "little", signed=True)
    return bytes([7 << 2]) + struct.pack("<d", float(value))
