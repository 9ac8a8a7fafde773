"""`LakeflowSource`: a connector as a Python data source of Spark.

Headwater itself takes nothing from it but the connector's class.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyspark.sql.datasource import (
    DataSource,
    DataSourceReader,
    DataSourceStreamReader,
    InputPartition,
    SimpleDataSourceStreamReader,
)
from pyspark.sql.types import StructType

from headwater_worker.options import Options

from ..interface import LakeflowConnect, SupportsPartition, SupportsPartitionedStream
from ..libs.utils import parse_value

TABLE_NAME = "tableName"


class LakeflowSource(DataSource):
    """A package's `__init__` derives its data source from this, and sets `_lakeflow_connect_cls`."""

    _lakeflow_connect_cls: type[LakeflowConnect] | None = None

    def __init__(self, options: Any) -> None:
        self.options: Options = Options(options)
        self._made: LakeflowConnect | None = None
        if self._lakeflow_connect_cls is None:
            raise TypeError(f"{type(self).__name__} does not set _lakeflow_connect_cls")

    @property
    def connector(self) -> LakeflowConnect:
        """The connector, made when it is first needed in a process: instances need not be picklable."""
        if self._made is None:
            assert self._lakeflow_connect_cls is not None
            self._made = self._lakeflow_connect_cls(self.options)
        return self._made

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}

    @classmethod
    def name(cls) -> str:
        """`lakeflow_connect`, unless a subclass says otherwise."""
        return "lakeflow_connect"

    @property
    def table(self) -> str:
        """The table that is read."""
        table = self.options.get(TABLE_NAME)
        if not table:
            raise ValueError(f"the option {TABLE_NAME} names the table to read, and is missing")
        return str(table)

    def schema(self) -> StructType:
        """The table's schema."""
        return self.connector.get_table_schema(self.table, self.options)

    def reader(self, schema: Any) -> DataSourceReader:
        """Reads the table as it is."""
        return _BatchReader(self, schema)

    def streamReader(self, schema: Any) -> DataSourceStreamReader:
        """Reads a stream by partitions, where the connector has them for this table."""
        connector = self.connector
        if isinstance(connector, SupportsPartitionedStream) and connector.is_partitioned(self.table):
            return _PartitionedStreamReader(self, schema)
        # Spark asks for the simple reader when it gets the base class's own exception.
        return super().streamReader(schema)

    def simpleStreamReader(self, schema: Any) -> SimpleDataSourceStreamReader:
        """Reads a stream in one task."""
        return _StreamReader(self, schema)


class _Part(InputPartition):
    """A descriptor of the connector's; `None` for a whole table."""


class _Reader:
    def __init__(self, source: LakeflowSource, schema: Any) -> None:
        self._source = source
        self._schema = schema

    @property
    def _connector(self) -> Any:
        return self._source.connector

    @property
    def _table(self) -> str:
        return self._source.table

    @property
    def _options(self) -> Options:
        return self._source.options

    def _rows(self, records: Any) -> Iterator[Any]:
        for record in records:
            yield parse_value(record, self._schema)


class _BatchReader(_Reader, DataSourceReader):
    def partitions(self) -> list[InputPartition]:
        connector = self._connector
        if not isinstance(connector, SupportsPartition):
            return [_Part(None)]
        if isinstance(connector, SupportsPartitionedStream) and not connector.is_partitioned(self._table):
            return [_Part(None)]
        return [_Part(part) for part in connector.get_partitions(self._table, self._options)]

    def read(self, partition: InputPartition) -> Iterator[Any]:
        if partition.value is not None:
            records = self._connector.read_partition(self._table, partition.value, self._options)
            yield from self._rows(records)
            return
        offset = None
        while True:
            records, reached = self._connector.read_table(self._table, offset, self._options)
            yield from self._rows(records)
            # A snapshot may go on by offsets; it has ended when no new one comes.
            if not reached or reached == offset:
                return
            offset = reached


class _StreamReader(_Reader, SimpleDataSourceStreamReader):
    def initialOffset(self) -> dict[str, Any]:
        return {}

    def read(self, start: dict[str, Any]) -> tuple[Iterator[Any], dict[str, Any]]:
        records, end = self._connector.read_table(self._table, start, self._options)
        # Spark copies the iterator, which it cannot do with a generator.
        return iter(list(self._rows(records))), end

    def readBetweenOffsets(self, start: dict[str, Any], end: dict[str, Any]) -> Iterator[Any]:
        records, _ = self._connector.read_table(self._table, start, self._options)
        return self._rows(records)


class _PartitionedStreamReader(_Reader, DataSourceStreamReader):
    def __init__(self, source: LakeflowSource, schema: Any) -> None:
        super().__init__(source, schema)
        self._reached: dict[str, Any] = {}

    def initialOffset(self) -> dict[str, Any]:
        return {}

    def latestOffset(self) -> dict[str, Any]:
        self._reached = self._connector.latest_offset(self._table, self._options, self._reached)
        return self._reached

    def partitions(self, start: dict[str, Any], end: dict[str, Any]) -> list[InputPartition]:
        return [_Part(part) for part in self._connector.get_partitions(self._table, self._options, start, end)]

    def read(self, partition: InputPartition) -> Iterator[Any]:
        return self._rows(self._connector.read_partition(self._table, partition.value, self._options))
