"""The connector as a data source of Spark, as far as that goes without Spark."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from client import write
from pyspark.sql.types import LongType, StringType, StructField, StructType

from databricks.labs.community_connector.interface import LakeflowConnect, SupportsPartitionedStream
from databricks.labs.community_connector.sparkpds import LakeflowSource, find_data_source, register


class Shop(LakeflowConnect, SupportsPartitionedStream):
    """Three pages of two rows, or two partitions."""

    def __init__(self, options: dict[str, str]) -> None:
        super().__init__(options)
        self.lock = threading.Lock()

    def list_tables(self) -> list[str]:
        return ["paged", "parts"]

    def is_partitioned(self, table_name: str) -> bool:
        return table_name == "parts"

    def get_table_schema(self, table_name: str, table_options: dict[str, str]) -> StructType:
        return StructType([StructField("id", LongType(), False), StructField("name", StringType())])

    def read_table_metadata(self, table_name: str, table_options: dict[str, str]) -> dict[str, Any]:
        return {}

    def read_table(self, table_name: str, start_offset: Any, table_options: dict[str, str]) -> Any:
        page = (start_offset or {}).get("page", 0)
        if page == 3:
            return iter([{"id": "6"}]), start_offset
        return iter([{"id": str(2 * page)}, {"id": 2 * page + 1, "name": 5}]), {"page": page + 1}

    def latest_offset(self, table_name: str, table_options: dict[str, str], start_offset: Any = None) -> dict[str, Any]:
        return {"page": 4}

    def get_partitions(
        self, table_name: str, table_options: dict[str, str], start_offset: Any = None, end_offset: Any = None
    ) -> list[dict[str, Any]]:
        return [{"n": 1}, {"n": 2}]

    def read_partition(
        self, table_name: str, partition: dict[str, Any], table_options: dict[str, str]
    ) -> Iterator[dict[str, Any]]:
        return iter([{"id": partition["n"]}])


class ShopDataSource(LakeflowSource):
    """As a package's `__init__` declares it."""

    _lakeflow_connect_cls = Shop


def batch(table: str) -> list[Any]:
    source = ShopDataSource({"TABLEname": table})
    reader = pickle.loads(pickle.dumps(source.reader(source.schema())))
    return [row for part in reader.partitions() for row in reader.read(pickle.loads(pickle.dumps(part)))]


def test_a_batch_reads_all_pages_or_all_partitions() -> None:
    assert [row[0] for row in batch("paged")] == [0, 1, 2, 3, 4, 5, 6]
    assert batch("paged")[1].asDict() == {"id": 1, "name": "5"}
    assert [row[0] for row in batch("parts")] == [1, 2]


def test_a_stream_reads_from_offset_to_offset() -> None:
    source = ShopDataSource({"tableName": "paged"})
    reader = source.simpleStreamReader(source.schema())
    rows, end = reader.read(reader.initialOffset())
    assert [row[0] for row in rows] == [0, 1] and end == {"page": 1}
    assert [row[0] for row in reader.readBetweenOffsets({"page": 1}, {"page": 2})] == [2, 3]
    with pytest.raises(NotImplementedError):
        source.streamReader(source.schema())
    parts = ShopDataSource({"tableName": "parts"})
    stream = parts.streamReader(parts.schema())
    latest = stream.latestOffset()
    read = [row[0] for part in stream.partitions(stream.initialOffset(), latest) for row in stream.read(part)]
    assert read == [1, 2] and latest == {"page": 4}


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match="tableName"):
        ShopDataSource({}).schema()
    with pytest.raises(TypeError, match="_lakeflow_connect_cls"):
        LakeflowSource({})
    with pytest.raises(ValueError, match="no connector 'missing'"):
        find_data_source("missing")
    with pytest.raises(RuntimeError, match="headwater run"):
        register(None, ShopDataSource)


def test_a_package_is_found_by_its_name_and_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import databricks.labs.community_connector.sources as sources

    folder = write(tmp_path / "shop_package", core="")
    (folder / "__init__.py").write_text(
        "from databricks.labs.community_connector.sparkpds import LakeflowSource\n"
        "class PackageSource(LakeflowSource):\n    _lakeflow_connect_cls = object\n"
    )
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(tmp_path)])
    registered: list[Any] = []

    class Spark:
        class dataSource:
            register = registered.append

    register(Spark(), "shop_package")
    assert [source.__name__ for source in registered] == ["PackageSource"]
