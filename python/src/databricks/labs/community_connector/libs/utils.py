"""Conversion of source values to the types of a schema."""

from __future__ import annotations

import binascii
import datetime
import json
import re
from base64 import b64decode
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql.types import DataType

_TRUE = frozenset(("t", "true", "yes", "y", "1"))
_FALSE = frozenset(("f", "false", "no", "n", "0", ""))
_DATE_FORMATS = ("%Y-%m-%d", "%m/%d/%Y", "%d-%m-%Y", "%Y/%m/%d")
_TIMESTAMP_FORMATS = ("%Y-%m-%d %H:%M:%S", "%Y/%m/%d %H:%M:%S")
_PARTIAL_DATE = re.compile(r"(\d{4})(?:-(\d{2}))?")
# Newer versions of Python read midnight at the end of a day; the table must not depend on the version.
_HOUR_24 = re.compile(r"[T ]24(?::|$)")


def parse_value(value: Any, data_type: DataType) -> Any:
    """`value` as a value of `data_type`; `None` stays `None`.

    Whether a number is in the range of its type, and the precision and scale of a decimal, is for the table to check.

    Raises `ValueError`, `ArithmeticError` or `OSError`, or a subclass of one, where the value cannot be converted.
    """
    if value is None:
        return None
    for kind in type(data_type).__mro__:
        convert = _CONVERSIONS.get(kind.__name__)
        if convert is not None:
            return convert(value, data_type)
    raise ValueError(f"values of type {data_type} are not supported")


def _unfit(value: Any, data_type: Any) -> ValueError:
    shown = repr(value)
    shown = shown if len(shown) <= 100 else shown[:100] + "…"
    return ValueError(f"{shown} ({type(value).__name__}) is no {data_type.simpleString()}")


def _null(value: Any, data_type: Any) -> Any:
    raise _unfit(value, data_type)


def _string(value: Any, _type: Any) -> str:
    return value if isinstance(value, str) else str(value)


def _limited_string(value: Any, data_type: Any) -> str:
    text = _string(value, data_type)
    if len(text) > data_type.length:
        raise _unfit(value, data_type)
    return text


def _integer(value: Any, data_type: Any) -> int:
    if isinstance(value, (int, float)):
        return int(value)
    if not isinstance(value, str):
        raise _unfit(value, data_type)
    if "." in value:
        return int(float(value))
    try:
        return int(value)
    except ValueError:
        number = float(value) if "e" in value.lower() else float("nan")
        if number.is_integer():
            return int(number)
        raise _unfit(value, data_type) from None


def _float(value: Any, data_type: Any) -> float:
    if isinstance(value, (int, float, str, Decimal)):
        return float(value)
    raise _unfit(value, data_type)


def _decimal(value: Any, _type: Any) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(str(value))


def _boolean(value: Any, _type: Any) -> bool:
    if isinstance(value, str):
        low = value.lower()
        return True if low in _TRUE else low not in _FALSE
    return bool(value)


def _date(value: Any, data_type: Any) -> datetime.date:
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return value
    if not isinstance(value, str):
        raise _unfit(value, data_type)
    for form in _DATE_FORMATS:
        try:
            return datetime.datetime.strptime(value, form).date()
        except ValueError:
            continue
    partial = _PARTIAL_DATE.fullmatch(value)
    if partial:
        return datetime.date(int(partial[1]), int(partial[2] or 1), 1)
    return _iso(value, data_type).date()


def _iso(value: str, data_type: Any) -> datetime.datetime:
    if _HOUR_24.search(value):
        raise _unfit(value, data_type)
    try:
        return datetime.datetime.fromisoformat(value)
    except ValueError:
        raise _unfit(value, data_type) from None


def _instant(value: Any, data_type: Any) -> datetime.datetime:
    if isinstance(value, datetime.datetime):
        return value
    if isinstance(value, datetime.date):
        return datetime.datetime(value.year, value.month, value.day)
    if isinstance(value, (int, float)):
        return datetime.datetime.fromtimestamp(value, datetime.timezone.utc)
    if not isinstance(value, str):
        raise _unfit(value, data_type)
    try:
        return _iso(value, data_type)
    except ValueError:
        for form in _TIMESTAMP_FORMATS:
            try:
                return datetime.datetime.strptime(value, form)
            except ValueError:
                continue
        raise


def _timestamp(value: Any, data_type: Any) -> datetime.datetime:
    instant = _instant(value, data_type)
    return instant.replace(tzinfo=datetime.timezone.utc) if instant.tzinfo is None else instant


def _timestamp_ntz(value: Any, data_type: Any) -> datetime.datetime:
    return _instant(value, data_type).replace(tzinfo=None)


def _binary(value: Any, _type: Any) -> bytes:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, list):
        try:
            return bytes(value)
        except TypeError as error:
            raise ValueError(f"a list is no binary: {error}") from None
    if not isinstance(value, str):
        return str(value).encode("utf-8")
    try:
        return b64decode(value)
    except (binascii.Error, ValueError):
        pass
    try:
        return bytes.fromhex(value)
    except ValueError:
        return value.encode("utf-8")


def _variant(value: Any, data_type: Any) -> Any:
    from pyspark.sql.types import VariantVal

    if isinstance(value, VariantVal):
        return value
    if isinstance(value, str):
        json.loads(value)
        text = value
    elif isinstance(value, (dict, list, int, float)):
        text = json.dumps(value)
    else:
        raise _unfit(value, data_type)
    return VariantVal.parseJson(text)


def _struct(value: Any, data_type: Any) -> Any:
    from pyspark.sql.types import Row

    if isinstance(value, tuple) and hasattr(value, "asDict"):
        value = value.asDict()
    if not isinstance(value, dict):
        raise _unfit(value, data_type)
    values = []
    for field in data_type.fields:
        if field.name not in value and not field.nullable:
            raise ValueError(f"field {field.name!r} is missing, and cannot be null")
        values.append(parse_value(value.get(field.name), field.dataType))
    row = Row(*values)
    row.__fields__ = data_type.fieldNames()
    return row


def _array(value: Any, data_type: Any) -> list[Any]:
    if isinstance(value, (list, tuple, set, frozenset)):
        return [parse_value(item, data_type.elementType) for item in value]
    if not data_type.containsNull:
        raise _unfit(value, data_type)
    return [parse_value(value, data_type.elementType)]


def _map(value: Any, data_type: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise _unfit(value, data_type)
    keys, values = data_type.keyType, data_type.valueType
    return {parse_value(key, keys): parse_value(member, values) for key, member in value.items()}


# By the name of the type's class, so that PySpark's own types and ours will do.
_CONVERSIONS: dict[str, Callable[[Any, Any], Any]] = {
    "NullType": _null,
    "CharType": _limited_string,
    "VarcharType": _limited_string,
    "StringType": _string,
    "ByteType": _integer,
    "ShortType": _integer,
    "IntegerType": _integer,
    "LongType": _integer,
    "FloatType": _float,
    "DoubleType": _float,
    "DecimalType": _decimal,
    "BooleanType": _boolean,
    "DateType": _date,
    "TimestampType": _timestamp,
    "TimestampNTZType": _timestamp_ntz,
    "BinaryType": _binary,
    "VariantType": _variant,
    "StructType": _struct,
    "ArrayType": _array,
    "MapType": _map,
}
