"""Tables that are read in parts, several at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any


class SupportsPartition(ABC):
    """A table can be split into partitions, each read on its own, perhaps by another instance in another process."""

    @abstractmethod
    def get_partitions(self, table_name: str, table_options: dict[str, str]) -> list[dict[str, Any]]:
        """Descriptors of all partitions, as JSON values."""

    @abstractmethod
    def read_partition(
        self, table_name: str, partition: dict[str, Any], table_options: dict[str, str]
    ) -> Iterator[dict[str, Any]]:
        """Records of one partition."""


class SupportsPartitionedStream(SupportsPartition):
    """What lies between two offsets of a stream can be split into partitions as well."""

    def is_partitioned(self, table_name: str) -> bool:
        """Whether this table is read by partitions; one that is not is read by `read_table`."""
        return True

    @abstractmethod
    def latest_offset(
        self, table_name: str, table_options: dict[str, str], start_offset: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The offset up to which the table can be read now; `start_offset` itself when there is nothing new."""

    @abstractmethod
    def get_partitions(
        self,
        table_name: str,
        table_options: dict[str, str],
        start_offset: dict[str, Any] | None = None,
        end_offset: dict[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """Descriptors of the partitions between two offsets; of the whole table when both are `None`."""
