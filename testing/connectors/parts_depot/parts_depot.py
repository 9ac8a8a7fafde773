from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from databricks.labs.community_connector.interface.lakeflow_connect import LakeflowConnect
from pyspark.sql.types import StructType

from . import stock
from .tables import TABLES, Table


class PartsDepotLakeflowConnect(LakeflowConnect):
    """Reads the depot. Everything is small, so that lists do."""

    def __init__(self, options: dict[str, str]) -> None:
        super().__init__(options)
        self._shelf: str = options["shelf"]

    def _table(self, name: str) -> Table:
        try:
            return TABLES[name]
        except KeyError:
            raise ValueError(f"Unsupported table: {name!r}. Supported: {', '.join(TABLES)}") from None

    def list_tables(self) -> list[str]:
        return list(TABLES)

    def get_table_schema(self, table_name: str, table_options: dict[str, str]) -> StructType:
        return self._table(table_name).schema

    def read_table_metadata(self, table_name: str, table_options: dict[str, str]) -> dict[str, Any]:
        return self._table(table_name).metadata()

    def read_table(
        self, table_name: str, start_offset: dict[str, Any] | None, table_options: dict[str, str]
    ) -> tuple[Iterator[dict[str, Any]] | list[dict[str, Any]], dict[str, Any]]:
        self._table(table_name)
        if table_name == "parts":
            return stock.parts(self._shelf), {}
        after = int((start_offset or {}).get("after", 0))
        rows = stock.movements(after, int(table_options.get("batch", "2")))
        return rows, {"after": rows[-1]["seq"]} if rows else (start_offset or {})
