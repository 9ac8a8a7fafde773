# Everything that a connector needs in one file, for clusters on which nothing can be installed.
# Written by a merge script; do not edit.

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any, Iterator
import json

from pyspark.sql.datasource import DataSource, DataSourceReader, SimpleDataSourceStreamReader
from pyspark.sql.types import *


def register_lakeflow_source(spark):
    """Registers the source, with all classes inside this function."""

    # --- the framework -----------------------------------------------------------------------------------------
    class LakeflowConnect(ABC):
        def __init__(self, options: dict[str, str]) -> None:
            self.options = options

        @abstractmethod
        def list_tables(self) -> list[str]: ...

        @abstractmethod
        def get_table_schema(self, table_name: str, table_options: dict[str, str]) -> StructType: ...

        @abstractmethod
        def read_table_metadata(self, table_name: str, table_options: dict[str, str]) -> dict: ...

        @abstractmethod
        def read_table(self, table_name: str, start_offset: dict, table_options: dict[str, str]): ...

    # --- the source --------------------------------------------------------------------------------------------
    class _Pager:
        def __init__(self, size: int) -> None:
            self.size = size

        def page(self, rows: list, after: int) -> list:
            return [row for row in rows if row["id"] > after][: self.size]

    class WeatherStationsLakeflowConnect(LakeflowConnect):
        ROWS = [{"id": n, "name": f"station {n}", "opened": f"19{50 + n}-01-0{n}"} for n in range(1, 8)]

        def __init__(self, options: dict[str, str]) -> None:
            super().__init__(options)
            self.pager = _Pager(int(options.get("page", 3)))

        def list_tables(self) -> list[str]:
            return ["stations"]

        def get_table_schema(self, table_name, table_options):
            return StructType(
                [
                    StructField("id", LongType(), False),
                    StructField("name", StringType(), True),
                    StructField("opened", DateType(), True),
                ]
            )

        def read_table_metadata(self, table_name, table_options):
            return {"primary_keys": ["id"], "cursor_field": "id", "ingestion_type": "cdc"}

        def read_table(self, table_name, start_offset, table_options) -> tuple[Iterator[dict], dict]:
            after = start_offset.get("after", 0) if start_offset else 0
            rows = self.pager.page(self.ROWS, after)
            return iter(rows), {"after": rows[-1]["id"]} if rows else start_offset

    LakeflowConnectImpl = WeatherStationsLakeflowConnect

    # --- the data source ---------------------------------------------------------------------------------------
    class LakeflowStreamReader(SimpleDataSourceStreamReader):
        def __init__(self, options, schema, lakeflow_connect):
            self.options, self.schema, self.lakeflow_connect = options, schema, lakeflow_connect

        def initialOffset(self):
            return {}

        def read(self, start):
            return self.lakeflow_connect.read_table(self.options["tableName"], start, self.options)

    class LakeflowSource(DataSource):
        def __init__(self, options):
            self.options = options
            self.lakeflow_connect = LakeflowConnectImpl(options)

        @classmethod
        def name(cls):
            return "lakeflow_connect"

        def schema(self):
            return self.lakeflow_connect.get_table_schema(self.options["tableName"], self.options)

        def simpleStreamReader(self, schema):
            return LakeflowStreamReader(self.options, schema, self.lakeflow_connect)

    spark.dataSource.register(LakeflowSource)
