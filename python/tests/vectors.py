"""The conversions observed on the reference implementation, as Python values."""

from __future__ import annotations

import base64
import datetime
import json
import struct
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from pyspark.sql.types import VariantVal

FILE = Path(__file__).resolve().parents[2] / "crates/headwater-decode/tests/data/coercion_vectors.jsonl"


def lines(origin: str) -> Iterator[dict[str, Any]]:
    """The vectors whose input is of one origin, `json` or `py`."""
    for text in FILE.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        if line["from"] == origin:
            yield line


def decode(value: Any) -> Any:
    """The Python value that a vector writes."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$f" in value:
        return struct.unpack(">d", bytes.fromhex(value["$f"][1]))[0]
    if "$dec" in value:
        return Decimal(value["$dec"])
    for tag in ("$ts", "$tz"):
        if tag in value:
            return datetime.datetime.fromisoformat(value[tag])
    if "$d" in value:
        return datetime.date.fromisoformat(value["$d"])
    if "$b" in value:
        return base64.b64decode(value["$b"])
    if "$map" in value:
        return {decode(key): decode(member) for key, member in value["$map"]}
    if "$tuple" in value:
        return tuple(decode(item) for item in value["$tuple"])
    if "$set" in value:
        return {decode(item) for item in value["$set"]}
    if "$variant" in value:
        return VariantVal.parseJson(value["$variant"]["json"])
    return {key: decode(member) for key, member in value.items()}
