"""The types of Spark SQL that a schema is made of, with Spark's JSON form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

__all__ = [
    "ArrayType",
    "AtomicType",
    "BinaryType",
    "BooleanType",
    "ByteType",
    "CalendarIntervalType",
    "CharType",
    "DataType",
    "DateType",
    "DayTimeIntervalType",
    "DecimalType",
    "DoubleType",
    "FloatType",
    "FractionalType",
    "IntegerType",
    "IntegralType",
    "LongType",
    "MapType",
    "NullType",
    "NumericType",
    "Row",
    "ShortType",
    "StringType",
    "StructField",
    "StructType",
    "TimestampNTZType",
    "TimestampType",
    "VarcharType",
    "VariantType",
    "VariantVal",
    "YearMonthIntervalType",
]


class DataType:
    """Base of all types. Two are equal when they are of the same class with the same contents."""

    _name: ClassVar[str] = ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __hash__(self) -> int:
        return hash(str(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.__dict__ == other.__dict__

    def __ne__(self, other: object) -> bool:
        return not self == other

    @classmethod
    def typeName(cls) -> str:
        """Name of the type in JSON, without its parameters."""
        return cls._name or cls.__name__.removesuffix("Type").lower()

    def simpleString(self) -> str:
        """The type as SQL writes it."""
        return self.typeName()

    def jsonValue(self) -> Any:
        """The type as JSON values."""
        return self.typeName()

    def json(self) -> str:
        """The type as JSON text."""
        return json.dumps(self.jsonValue(), separators=(",", ":"), sort_keys=True)

    def needConversion(self) -> bool:
        """Whether values need conversion on their way to Spark."""
        return False

    def toInternal(self, obj: Any) -> Any:
        """The value as Spark keeps it."""
        return obj

    def fromInternal(self, obj: Any) -> Any:
        """The value as Python has it."""
        return obj

    @classmethod
    def fromDDL(cls, ddl: str) -> DataType:
        """The type that SQL writes so; a list of columns is a struct."""
        from ._ddl import parse

        return parse(ddl)


class NullType(DataType):
    """Only null."""

    _name = "void"


class AtomicType(DataType):
    """Types that are not made of others."""


class NumericType(AtomicType):
    """Numbers."""


class IntegralType(NumericType):
    """Whole numbers."""


class FractionalType(NumericType):
    """Numbers with a fraction."""


class StringType(AtomicType):
    """Text."""

    def __init__(self, collation: str = "UTF8_BINARY") -> None:
        self.collation = collation

    def __repr__(self) -> str:
        return "StringType()" if self.isUTF8BinaryCollation() else f"StringType('{self.collation}')"

    def isUTF8BinaryCollation(self) -> bool:
        """Whether texts are compared by their bytes."""
        return self.collation == "UTF8_BINARY"

    def simpleString(self) -> str:
        return "string" if self.isUTF8BinaryCollation() else f"string collate {self.collation}"


class CharType(AtomicType):
    """Text of a fixed length."""

    def __init__(self, length: int) -> None:
        self.length = length

    def simpleString(self) -> str:
        return f"char({self.length})"

    def jsonValue(self) -> str:
        return f"char({self.length})"

    def __repr__(self) -> str:
        return f"CharType({self.length})"


class VarcharType(AtomicType):
    """Text of a greatest length."""

    def __init__(self, length: int) -> None:
        self.length = length

    def simpleString(self) -> str:
        return f"varchar({self.length})"

    def jsonValue(self) -> str:
        return f"varchar({self.length})"

    def __repr__(self) -> str:
        return f"VarcharType({self.length})"


class BinaryType(AtomicType):
    """Bytes."""


class BooleanType(AtomicType):
    """True or false."""


class DateType(AtomicType):
    """A day."""


class TimestampType(AtomicType):
    """An instant."""


class TimestampNTZType(AtomicType):
    """A date and time without a zone."""

    _name = "timestamp_ntz"


class DecimalType(FractionalType):
    """Decimal numbers of `precision` digits, `scale` of them behind the point."""

    def __init__(self, precision: int = 10, scale: int = 0) -> None:
        self.precision = precision
        self.scale = scale
        self.hasPrecisionInfo = True

    def simpleString(self) -> str:
        return f"decimal({self.precision},{self.scale})"

    def jsonValue(self) -> str:
        return f"decimal({self.precision},{self.scale})"

    def __repr__(self) -> str:
        return f"DecimalType({self.precision},{self.scale})"


class DoubleType(FractionalType):
    """Floats of 64 bits."""


class FloatType(FractionalType):
    """Floats of 32 bits."""


class ByteType(IntegralType):
    """Integers of 8 bits."""

    def simpleString(self) -> str:
        return "tinyint"


class ShortType(IntegralType):
    """Integers of 16 bits."""

    def simpleString(self) -> str:
        return "smallint"


class IntegerType(IntegralType):
    """Integers of 32 bits."""

    def simpleString(self) -> str:
        return "int"


class LongType(IntegralType):
    """Integers of 64 bits."""

    def simpleString(self) -> str:
        return "bigint"


class _IntervalType(AtomicType):
    _fields: ClassVar[tuple[str, ...]] = ()
    _default: ClassVar[tuple[int, int]] = (0, 0)

    def __init__(self, startField: int | None = None, endField: int | None = None) -> None:
        if startField is None and endField is None:
            startField, endField = self._default
        elif startField is None:
            raise ValueError("an interval with an end field needs a start field")
        elif endField is None:
            endField = startField
        for field in (startField, endField):
            if field not in range(len(self._fields)):
                raise ValueError(f"{field} is no field of {type(self).__name__}")
        self.startField: int = startField
        self.endField: int = endField

    def simpleString(self) -> str:
        start, end = self._fields[self.startField], self._fields[self.endField]
        return f"interval {start}" if start == end else f"interval {start} to {end}"

    def jsonValue(self) -> str:
        return self.simpleString()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.startField}, {self.endField})"


class DayTimeIntervalType(_IntervalType):
    """Days to seconds."""

    DAY, HOUR, MINUTE, SECOND = 0, 1, 2, 3
    _fields = ("day", "hour", "minute", "second")
    _default = (0, 3)


class YearMonthIntervalType(_IntervalType):
    """Years and months."""

    YEAR, MONTH = 0, 1
    _fields = ("year", "month")
    _default = (0, 1)


class CalendarIntervalType(DataType):
    """Months, days and microseconds."""

    _name = "interval"


class VariantType(AtomicType):
    """Any JSON."""


class VariantVal:
    """Any JSON as a value, in Spark's binary form; one that was read from JSON keeps its text as well."""

    def __init__(self, value: bytes, metadata: bytes) -> None:
        self._bytes: tuple[bytes, bytes] | None = (bytes(value), bytes(metadata))
        self._json: str | None = None

    @classmethod
    def parseJson(cls, json_str: str) -> VariantVal:
        """The variant from JSON text."""
        variant = cls.__new__(cls)
        json.loads(json_str)
        variant._bytes = None
        variant._json = json_str.strip()
        return variant

    def _binary(self) -> tuple[bytes, bytes]:
        from ._variant import encode

        if self._bytes is None:
            self._bytes = encode(json.loads(self._json or "null"))
        return self._bytes

    @property
    def value(self) -> bytes:
        """The value in binary form."""
        return self._binary()[0]

    @property
    def metadata(self) -> bytes:
        """The names of the value's members in binary form."""
        return self._binary()[1]

    def toPython(self) -> Any:
        """The variant as Python values."""
        if self._json is not None:
            return json.loads(self._json)
        from ._variant import decode

        return decode(*self._binary())

    def toJson(self, zone_id: str = "UTC") -> str:
        """The variant as JSON text."""
        if self._json is None:
            from ._variant import json_value

            self._json = json.dumps(self.toPython(), separators=(",", ":"), ensure_ascii=False, default=json_value)
        return self._json

    def __str__(self) -> str:
        return self.toJson()

    def __repr__(self) -> str:
        return f"VariantVal({self.value!r}, {self.metadata!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VariantVal) and self._binary() == other._binary()

    def __hash__(self) -> int:
        return hash(self._binary())


def _checked(data_type: Any, what: str) -> DataType:
    if not isinstance(data_type, DataType):
        hint = ", with parentheses" if isinstance(data_type, type) and issubclass(data_type, DataType) else ""
        raise TypeError(f"{what} must be an instance of DataType{hint}, and is {data_type!r}")
    return data_type


class ArrayType(DataType):
    """Lists."""

    def __init__(self, elementType: DataType, containsNull: bool = True) -> None:
        self.elementType = _checked(elementType, "elementType")
        self.containsNull = containsNull

    def simpleString(self) -> str:
        return f"array<{self.elementType.simpleString()}>"

    def __repr__(self) -> str:
        return f"ArrayType({self.elementType}, {self.containsNull})"

    def jsonValue(self) -> dict[str, Any]:
        element = self.elementType.jsonValue()
        return {"type": "array", "elementType": element, "containsNull": self.containsNull}

    @classmethod
    def fromJson(cls, json: dict[str, Any]) -> ArrayType:
        """The type from its JSON values."""
        return cls(_from_json_value(json["elementType"]), json["containsNull"])


class MapType(DataType):
    """Objects whose keys are data."""

    def __init__(self, keyType: DataType, valueType: DataType, valueContainsNull: bool = True) -> None:
        self.keyType = _checked(keyType, "keyType")
        self.valueType = _checked(valueType, "valueType")
        self.valueContainsNull = valueContainsNull

    def simpleString(self) -> str:
        return f"map<{self.keyType.simpleString()},{self.valueType.simpleString()}>"

    def __repr__(self) -> str:
        return f"MapType({self.keyType}, {self.valueType}, {self.valueContainsNull})"

    def jsonValue(self) -> dict[str, Any]:
        return {
            "type": "map",
            "keyType": self.keyType.jsonValue(),
            "valueType": self.valueType.jsonValue(),
            "valueContainsNull": self.valueContainsNull,
        }

    @classmethod
    def fromJson(cls, json: dict[str, Any]) -> MapType:
        """The type from its JSON values."""
        return cls(_from_json_value(json["keyType"]), _from_json_value(json["valueType"]), json["valueContainsNull"])


class StructField(DataType):
    """A named field of a struct."""

    def __init__(
        self, name: str, dataType: DataType, nullable: bool = True, metadata: dict[str, Any] | None = None
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a field must be a text, and is {name!r}")
        self.name = name
        self.dataType = _checked(dataType, f"the type of field {name!r}")
        self.nullable = nullable
        self.metadata: dict[str, Any] = metadata or {}

    def simpleString(self) -> str:
        return f"{self.name}:{self.dataType.simpleString()}"

    def __repr__(self) -> str:
        return f"StructField('{self.name}', {self.dataType}, {self.nullable})"

    def jsonValue(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.dataType.jsonValue(),
            "nullable": self.nullable,
            "metadata": self.metadata,
        }

    @classmethod
    def fromJson(cls, json: dict[str, Any]) -> StructField:
        """The field from its JSON values."""
        return cls(json["name"], _from_json_value(json["type"]), json.get("nullable", True), json.get("metadata"))

    @classmethod
    def typeName(cls) -> str:
        raise TypeError("a StructField has no type name; its dataType has one")


class StructType(DataType):
    """Named fields, in order: the schema of a table, or an object in a column."""

    def __init__(self, fields: list[StructField] | None = None) -> None:
        given = list(fields or [])
        for field in given:
            if not isinstance(field, StructField):
                raise TypeError(f"a StructType is made of StructFields, and not of {field!r}")
        self.fields: list[StructField] = given
        self.names: list[str] = [field.name for field in given]

    def add(
        self,
        field: str | StructField,
        data_type: str | DataType | None = None,
        nullable: bool = True,
        metadata: dict[str, Any] | None = None,
    ) -> StructType:
        """Appends a field, given as such or as name and type (an object, or its name), and returns the struct."""
        if not isinstance(field, StructField):
            if data_type is None:
                raise ValueError(f"field {field!r} needs a type")
            kind = _from_json_value(data_type) if isinstance(data_type, str) else data_type
            field = StructField(field, kind, nullable, metadata)
        self.fields.append(field)
        self.names.append(field.name)
        return self

    def __iter__(self) -> Iterator[StructField]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __contains__(self, key: object) -> bool:
        # Iteration gives fields; a name is looked up as `in struct.names`.
        return any(field == key for field in self.fields)

    def __getitem__(self, key: str | int | slice) -> Any:
        if isinstance(key, str):
            for field in self.fields:
                if field.name == key:
                    return field
            raise KeyError(f"No StructField named {key}")
        if isinstance(key, slice):
            return StructType(self.fields[key])
        if isinstance(key, int):
            return self.fields[key]
        raise TypeError(f"a StructType is indexed by name, number or slice, and not by {key!r}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.fields == other.fields

    __hash__ = DataType.__hash__

    def __repr__(self) -> str:
        return f"StructType([{', '.join(map(str, self.fields))}])"

    def simpleString(self) -> str:
        return f"struct<{','.join(field.simpleString() for field in self.fields)}>"

    def jsonValue(self) -> dict[str, Any]:
        return {"type": "struct", "fields": [field.jsonValue() for field in self.fields]}

    def fieldNames(self) -> list[str]:
        """Names of the fields, as a new list."""
        return list(self.names)

    def treeString(self, maxDepth: int = 2**31 - 1) -> str:
        """The struct as lines of text."""
        lines = ["root"]
        _tree(self, " |", maxDepth, lines)
        return "\n".join(lines) + "\n"

    @classmethod
    def fromJson(cls, json: dict[str, Any]) -> StructType:
        """The struct from its JSON values."""
        return cls([StructField.fromJson(field) for field in json["fields"]])


def _tree(data_type: DataType, prefix: str, depth: int, lines: list[str]) -> None:
    if depth <= 0:
        return
    inner: list[tuple[str, DataType, str]] = []
    if isinstance(data_type, StructType):
        inner = [(f.name, f.dataType, f"nullable = {str(f.nullable).lower()}") for f in data_type.fields]
    elif isinstance(data_type, ArrayType):
        inner = [("element", data_type.elementType, f"containsNull = {str(data_type.containsNull).lower()}")]
    elif isinstance(data_type, MapType):
        nulls = f"valueContainsNull = {str(data_type.valueContainsNull).lower()}"
        inner = [("key", data_type.keyType, ""), ("value", data_type.valueType, nulls)]
    for name, kind, nulls in inner:
        shown = kind.simpleString() if isinstance(kind, DecimalType) else kind.typeName()
        lines.append(f"{prefix}-- {name}: {shown}" + (f" ({nulls})" if nulls else ""))
        _tree(kind, prefix + "    |", depth - 1, lines)


_SIMPLE: dict[str, Callable[[], DataType]] = {
    kind.typeName(): kind
    for kind in (
        StringType, BinaryType, BooleanType, DateType, TimestampType, TimestampNTZType, DoubleType, FloatType,
        ByteType, ShortType, IntegerType, LongType, VariantType, NullType, CalendarIntervalType, DecimalType,
    )
}  # fmt: skip
_SIMPLE |= {"int": IntegerType, "bigint": LongType, "smallint": ShortType, "tinyint": ByteType, "null": NullType}
_SIMPLE |= {"timestamp_ltz": TimestampType}
_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(-?\d+)\s*\)")
_LENGTH = re.compile(r"(var)?char\(\s*(\d+)\s*\)")
_INTERVAL = re.compile(r"interval (\w+)(?: to (\w+))?")


def _from_json_value(value: Any) -> DataType:
    if isinstance(value, str):
        return _from_name(value)
    kinds: dict[str, Any] = {"struct": StructType, "array": ArrayType, "map": MapType}
    kind = value.get("type") if isinstance(value, dict) else None
    if kind in kinds:
        return kinds[kind].fromJson(value)  # type: ignore[no-any-return]
    if kind == "udt":
        return _from_json_value(value["sqlType"])
    raise ValueError(f"this is no type: {value!r}")


def _from_name(name: str) -> DataType:
    if name in _SIMPLE:
        return _SIMPLE[name]()
    if found := _DECIMAL.fullmatch(name):
        return DecimalType(int(found[1]), int(found[2]))
    if found := _LENGTH.fullmatch(name):
        return VarcharType(int(found[2])) if found[1] else CharType(int(found[2]))
    if found := _INTERVAL.fullmatch(name):
        for kind in (DayTimeIntervalType, YearMonthIntervalType):
            fields = kind._fields
            if found[1] in fields and (found[2] or found[1]) in fields:
                return kind(fields.index(found[1]), fields.index(found[2] or found[1]))
    if name.startswith("string collate "):
        return StringType(name.removeprefix("string collate "))
    raise ValueError(f"this is no type: {name!r}")


def _parse_datatype_json_value(json_value: Any) -> DataType:
    """Spark's own name for reading a type from JSON values, which some connectors use."""
    return _from_json_value(json_value)


def _parse_datatype_json_string(json_string: str) -> DataType:
    """Spark's own name for reading a type from JSON text, which some connectors use."""
    return _from_json_value(json.loads(json_string))


# Whether this process has made any row.
rows_made = False


class Row(tuple[Any, ...]):
    """A row: a tuple whose values have names, where it was made with some."""

    def __new__(cls, *values: Any, **named: Any) -> Row:
        if values and named:
            raise ValueError("a Row is made of values or of named values, and not of both")
        global rows_made
        rows_made = True
        row = super().__new__(cls, list(named.values()) if named else values)
        if named:
            row.__fields__ = list(named)
        return row

    __fields__: list[str]

    def __call__(self, *values: Any) -> Row:
        """A row with this one's values as names."""
        if len(values) > len(self):
            raise ValueError(f"a Row of {len(self)} names takes at most as many values, and got {len(values)}")
        row = Row(*values)
        row.__fields__ = [str(name) for name in self]
        return row

    def asDict(self, recursive: bool = False) -> dict[str, Any]:
        """The values by name; rows within them as well, if `recursive`."""
        if not hasattr(self, "__fields__"):
            raise TypeError("Cannot convert a Row class into dict")
        values = [_as_dict(value) for value in self] if recursive else list(self)
        return dict(zip(self.__fields__, values, strict=False))

    def __contains__(self, item: object) -> bool:
        return item in self.__fields__ if hasattr(self, "__fields__") else super().__contains__(item)

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, (int, slice)):
            return super().__getitem__(item)
        try:
            return super().__getitem__(self.__fields__.index(item))
        except (AttributeError, ValueError):
            raise KeyError(item) from None

    def __getattr__(self, item: str) -> Any:
        if item.startswith("__"):
            raise AttributeError(item)
        try:
            return super().__getitem__(self.__fields__.index(item))
        except ValueError:
            raise AttributeError(item) from None

    def __reduce__(self) -> Any:
        if hasattr(self, "__fields__"):
            return _row, (list(self.__fields__), list(self))
        return super().__reduce__()

    def __repr__(self) -> str:
        if hasattr(self, "__fields__"):
            return f"Row({', '.join(f'{n}={v!r}' for n, v in zip(self.__fields__, tuple(self), strict=False))})"
        return f"<Row({', '.join(repr(value) for value in self)})>"


def _row(names: list[str], values: list[Any]) -> Row:
    row = Row(*values)
    row.__fields__ = names
    return row


def _as_dict(value: Any) -> Any:
    if isinstance(value, Row):
        return value.asDict(True)
    if isinstance(value, list):
        return [_as_dict(item) for item in value]
    if isinstance(value, dict):
        return {key: _as_dict(member) for key, member in value.items()}
    return value
