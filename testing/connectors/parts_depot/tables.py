from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DecimalType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
)


@dataclass(frozen=True)
class Table:
    """What is known of a table without asking the depot."""

    schema: StructType
    ingestion_type: str
    primary_keys: list[str] = field(default_factory=list)
    cursor_field: str | None = None

    def metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = {"primary_keys": self.primary_keys, "ingestion_type": self.ingestion_type}
        if self.cursor_field:
            found["cursor_field"] = self.cursor_field
        return found


SIZE = StructType([StructField("width", IntegerType()), StructField("height", IntegerType())])

TABLES: dict[str, Table] = {
    "parts": Table(
        StructType()
        .add("sku", StringType(), False)
        .add("price", DecimalType(10, 2))
        .add("size", SIZE)
        .add("labels", ArrayType(StringType()))
        .add("stock", MapType(StringType(), LongType()))
        .add("listed", BooleanType()),
        "snapshot",
        ["sku"],
    ),
    "movements": Table(
        StructType([StructField("seq", LongType(), False), StructField("sku", StringType()), StructField("moved", LongType())]),
        "append",
        ["seq"],
        "seq",
    ),
}
