"""The base class of every connector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql.types import StructType


class LakeflowConnect(ABC):
    """Reads the tables of one source.

    A new instance is made for each update and each table. `options` are the connection's options, the table's options
    and `tableName` in one dictionary of texts; it keeps the caller's spelling and is looked up without regard to case.
    """

    def __init__(self, options: dict[str, str]) -> None:
        self.options = options

    @abstractmethod
    def list_tables(self) -> list[str]:
        """Names of the tables that can be read."""

    @abstractmethod
    def get_table_schema(self, table_name: str, table_options: dict[str, str]) -> StructType:
        """Schema of the records of a table, deleted ones included."""

    @abstractmethod
    def read_table_metadata(self, table_name: str, table_options: dict[str, str]) -> dict[str, Any]:
        """`primary_keys`, `cursor_field` and `ingestion_type` (snapshot, cdc, cdc_with_deletes, append) of a table."""

    def read_table(
        self, table_name: str, start_offset: dict[str, Any] | None, table_options: dict[str, str]
    ) -> tuple[Iterator[dict[str, Any]], dict[str, Any] | None]:
        """Records behind `start_offset`, and the offset that is reached once all of them have been taken.

        A stream starts at `{}`, a snapshot at `None`. A stream has ended when the offset that comes back equals the
        one that was passed; a snapshot also when it is `None` or `{}`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement read_table")

    def read_table_deletes(
        self, table_name: str, start_offset: dict[str, Any] | None, table_options: dict[str, str]
    ) -> tuple[Iterator[dict[str, Any]], dict[str, Any] | None]:
        """As `read_table`, for deleted records: their keys and cursor. Tables of type `cdc_with_deletes` have it."""
        raise NotImplementedError(f"{type(self).__name__} does not implement read_table_deletes")
