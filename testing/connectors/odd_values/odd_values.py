from collections import OrderedDict, namedtuple
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from uuid import UUID

from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import (
    ArrayType, BinaryType, DateType, DecimalType, DoubleType, LongType, MapType, StringType, StructField, StructType,
    TimestampType,
)

Point = namedtuple("Point", "x y")


class Colour(IntEnum):
    RED = 1


class Text(str):
    pass


def columns(**types):
    return StructType([StructField(name, data_type, True) for name, data_type in types.items()])


TABLES = {
    "integers": (
        columns(id=LongType(), exact=DecimalType(38, 0), text=StringType()),
        [
            {"id": 2**63 - 1, "exact": 10**37 + 1, "text": 2**200},
            {"id": -(2**63), "exact": -(10**38) + 1, "text": -(2**64)},
            {"id": Colour.RED, "exact": 1, "text": Colour.RED},
        ],
    ),
    "floats": (
        columns(id=LongType(), x=DoubleType(), text=StringType()),
        [
            {"id": 1, "x": 0.1 + 0.2, "text": 1e16},
            {"id": 2, "x": 5e-324, "text": float("nan")},
            {"id": 3, "x": -1.7976931348623157e308, "text": float("-inf")},
            {"id": 4, "x": Decimal("1.50"), "text": -0.0},
        ],
    ),
    "not_numbers": (
        columns(id=LongType(), x=DoubleType()),
        [{"id": 1, "x": float("nan")}, {"id": 2, "x": float("inf")}, {"id": 3, "x": None}],
    ),
    "times": (
        columns(id=LongType(), at=TimestampType(), day=DateType(), text=StringType()),
        [
            {"id": 1, "at": datetime(2024, 1, 5, 10, 11, 12), "day": "2024-01-05", "text": date(2024, 1, 5)},
            {
                "id": 2,
                "at": datetime(2024, 1, 5, 10, tzinfo=timezone(timedelta(hours=5, minutes=30))),
                "day": None,
                "text": datetime(2024, 1, 5, 10, 11, 12, 5, tzinfo=timezone.utc),
            },
        ],
    ),
    "bytes": (
        columns(id=LongType(), b=BinaryType(), d=DecimalType(10, 2)),
        [
            {"id": 1, "b": b"\x00\xff", "d": Decimal("1.50")},
            {"id": 2, "b": bytearray(b"ab"), "d": Decimal("1E+5")},
            {"id": 3, "b": memoryview(b"abc"), "d": "7"},
        ],
    ),
    "containers": (
        columns(
            id=LongType(),
            u=StringType(),
            items=ArrayType(LongType()),
            only=ArrayType(StringType()),
            of=MapType(StringType(), StringType()),
            text=StringType(),
        ),
        [
            {
                "id": 1,
                "u": UUID("12345678-1234-5678-1234-567812345678"),
                "items": (1, "2", 3.0),
                "only": ["x"],
                "of": {1: True, "k": None, 2.5: [1, None]},
                "text": {"a": [1, None, True], "b": 1.0},
            },
            OrderedDict(id=2, u=Text("text"), items=[], only=[Text("y")], of=OrderedDict(z="z"), text=Point(1, "2")),
        ],
    ),
    "texts": (
        columns(id=LongType(), text=StringType()),
        [
            {"id": 1, "text": "\U0001f600 \u2028 \x00 \x7f \\ \" é 漢字"},
            {"id": 2, "text": ""},
            {"id": 3, "text": "x" * 200_000},
        ],
    ),
    # Half a pair, as JavaScript cuts it: no column of a lake can hold it.
    "half_pairs": (columns(id=LongType(), text=StringType()), [{"id": 1, "text": "fine"}, {"id": 2, "text": "cut \ud83d"}]),
    "sets": (columns(id=LongType(), one=StringType()), [{"id": 1, "one": {"x"}}, {"id": 2, "one": frozenset()}]),
}


class OddValuesConnect(LakeflowConnect):
    def list_tables(self):
        return list(TABLES)

    def get_table_schema(self, table_name, table_options):
        return TABLES[table_name][0]

    def read_table_metadata(self, table_name, table_options):
        return {"primary_keys": ["id"], "ingestion_type": "snapshot"}

    def read_table(self, table_name, start_offset, table_options):
        return iter(TABLES[table_name][1]), {}
