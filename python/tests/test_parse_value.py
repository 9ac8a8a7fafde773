"""`parse_value` against the conversions observed on the reference."""

from __future__ import annotations

import datetime
import math
import struct
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

import pytest
import vectors
from pyspark.sql.types import (
    ArrayType,
    DataType,
    DecimalType,
    FloatType,
    MapType,
    StructType,
    TimestampType,
    VariantVal,
    _parse_datatype_json_value,
)

from databricks.labs.community_connector.libs.utils import parse_value


def landed(value: Any, kind: DataType) -> Any:
    """The value as a table would hold it, in a form that can be compared."""
    if value is None:
        return None
    if isinstance(kind, StructType):
        return {field.name: landed(value[field.name], field.dataType) for field in kind}
    if isinstance(kind, ArrayType):
        return [landed(item, kind.elementType) for item in value]
    if isinstance(kind, MapType):
        return {str(landed(k, kind.keyType)): landed(v, kind.valueType) for k, v in value.items()}
    if isinstance(kind, DecimalType):
        if value.is_nan():
            return None
        shift = Decimal(1).scaleb(-kind.scale)
        return value.quantize(shift, context=Context(prec=kind.precision, rounding=ROUND_HALF_EVEN))
    if isinstance(value, float):
        if isinstance(kind, FloatType) and math.isfinite(value):
            value = struct.unpack("f", struct.pack("f", value))[0]
        return "nan" if math.isnan(value) else value.hex()
    if isinstance(value, datetime.datetime) and isinstance(kind, TimestampType):
        return value.astimezone(datetime.timezone.utc)
    return value


def expected(line: dict[str, Any], kind: DataType) -> Any:
    value = line.get("value")
    if isinstance(kind, MapType) and value is not None:
        pairs = {str(vectors.decode(k)): v for k, v in (pair["$tuple"] for pair in value)}
        return {k: landed(vectors.decode(v), kind.valueType) for k, v in pairs.items()}
    return landed(vectors.decode(value), kind)


# What the reference refuses and we take, because the meaning is plain and nothing is lost.
BEYOND = {
    ("integer", "'1e3'"), ("long", "'1e3'"), ("date", "'2024'"), ("date", "datetime.date(2024, 1, 5)"),
    ("timestamp", "datetime.date(2024, 1, 5)"),
}  # fmt: skip


def check(line: dict[str, Any]) -> str | None:
    kind = _parse_datatype_json_value(line["type"])
    value = vectors.decode(line["in"])
    error = line.get("error")
    name = (
        kind.simpleString().replace("bigint", "long").replace("int", "integer")
        if "<" not in kind.simpleString()
        else ""
    )
    beyond = (name, repr(value)) in BEYOND or (isinstance(kind, StructType) and _is_partly_empty(value))
    try:
        parsed = parse_value(value, kind)
    except (ValueError, ArithmeticError, OSError) as failure:
        return None if error is not None else f"{line}: {failure!r}"
    if error is not None:
        # Such a value does not fit the table; that is not for `parse_value` to find.
        fits = beyond or error.startswith("does not fit")
        return None if fits else f"{line}: {parsed!r}, expected {error}"
    if isinstance(parsed, VariantVal) or "variant" in str(line["type"]):
        return None
    got, expect = landed(parsed, kind), expected(line, kind)
    return None if got == expect and type(got) is type(expect) else f"{line}: {got!r}, expected {expect!r}"


def _is_partly_empty(value: Any) -> bool:
    return value in ({}, {"a": {}})


@pytest.mark.parametrize("origin", ["json", "py"])
def test_values_convert_as_on_the_reference(origin: str) -> None:
    failures = [failure for line in vectors.lines(origin) if (failure := check(line))]
    assert not failures, "\n".join(failures)
