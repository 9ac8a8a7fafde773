"""Base classes of data sources in Python, so that files that declare one can be imported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = [
    "DataSource",
    "DataSourceArrowWriter",
    "DataSourceReader",
    "DataSourceRegistration",
    "DataSourceStreamArrowWriter",
    "DataSourceStreamReader",
    "DataSourceStreamWriter",
    "DataSourceWriter",
    "InputPartition",
    "SimpleDataSourceStreamReader",
    "WriterCommitMessage",
]


class DataSource:
    """A format that Spark can read."""

    def __init__(self, options: dict[str, str]) -> None:
        self.options: dict[str, str] = options

    @classmethod
    def name(cls) -> str:
        """Name of the format."""
        return cls.__name__

    def schema(self) -> Any:
        """Schema of what is read."""
        raise NotImplementedError

    def reader(self, schema: Any) -> DataSourceReader:
        """Reader of a batch."""
        raise NotImplementedError

    def writer(self, schema: Any, overwrite: bool) -> DataSourceWriter:
        """Writer of a batch."""
        raise NotImplementedError

    def streamReader(self, schema: Any) -> DataSourceStreamReader:
        """Reader of a stream by partitions."""
        raise NotImplementedError

    def simpleStreamReader(self, schema: Any) -> SimpleDataSourceStreamReader:
        """Reader of a stream."""
        raise NotImplementedError

    def streamWriter(self, schema: Any, overwrite: bool) -> DataSourceStreamWriter:
        """Writer of a stream."""
        raise NotImplementedError


class InputPartition:
    """What one task reads."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        members = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({members})"


class DataSourceReader:
    """Reads a batch."""

    def pushFilters(self, filters: list[Any]) -> Iterator[Any]:
        """The filters that remain for Spark."""
        return iter(filters)

    def partitions(self) -> list[InputPartition]:
        """The partitions to read."""
        raise NotImplementedError

    def read(self, partition: InputPartition) -> Iterator[Any]:
        """Rows of a partition."""
        raise NotImplementedError


class DataSourceStreamReader:
    """Reads a stream by partitions."""

    def initialOffset(self) -> dict[str, Any]:
        """Where the stream begins."""
        raise NotImplementedError

    def latestOffset(self) -> dict[str, Any]:
        """How far it can be read now."""
        raise NotImplementedError

    def partitions(self, start: dict[str, Any], end: dict[str, Any]) -> list[InputPartition]:
        """The partitions between two offsets."""
        raise NotImplementedError

    def read(self, partition: InputPartition) -> Iterator[Any]:
        """Rows of a partition."""
        raise NotImplementedError

    def commit(self, end: dict[str, Any]) -> None:
        """Told when everything up to `end` has been taken."""

    def stop(self) -> None:
        """Told when the stream ends."""


class SimpleDataSourceStreamReader:
    """Reads a stream in one task."""

    def initialOffset(self) -> dict[str, Any]:
        """Where the stream begins."""
        raise NotImplementedError

    def read(self, start: dict[str, Any]) -> tuple[Iterator[Any], dict[str, Any]]:
        """Rows behind an offset, and the offset behind them."""
        raise NotImplementedError

    def readBetweenOffsets(self, start: dict[str, Any], end: dict[str, Any]) -> Iterator[Any]:
        """Rows between two offsets."""
        raise NotImplementedError

    def commit(self, end: dict[str, Any]) -> None:
        """Told when everything up to `end` has been taken."""


class WriterCommitMessage:
    """What a writing task tells."""


class DataSourceWriter:
    """Writes a batch."""

    def write(self, iterator: Iterator[Any]) -> WriterCommitMessage:
        """Writes the rows of one task."""
        raise NotImplementedError

    def commit(self, messages: list[WriterCommitMessage | None]) -> None:
        """Told when all tasks have written."""

    def abort(self, messages: list[WriterCommitMessage | None]) -> None:
        """Told when one has failed."""


class DataSourceStreamWriter:
    """Writes a stream."""

    def write(self, iterator: Iterator[Any]) -> WriterCommitMessage:
        """Writes the rows of one task."""
        raise NotImplementedError

    def commit(self, messages: list[WriterCommitMessage | None], batchId: int) -> None:
        """Told when all tasks have written."""

    def abort(self, messages: list[WriterCommitMessage | None], batchId: int) -> None:
        """Told when one has failed."""


class DataSourceArrowWriter(DataSourceWriter):
    """Writes a batch of Arrow data."""


class DataSourceStreamArrowWriter(DataSourceStreamWriter):
    """Writes a stream of Arrow data."""


class DataSourceRegistration:
    """Where data sources are registered with a session."""

    def register(self, dataSource: type[DataSource]) -> None:
        """There is no session to register with."""
        raise RuntimeError("there is no Spark session here to register a data source with")
