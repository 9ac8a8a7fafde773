"""Readings of a grid of sensors, cell by cell; the cells of one stretch of time are read side by side."""

import os
import time

from databricks.labs.community_connector.interface import LakeflowConnect, SupportsPartitionedStream
from databricks.labs.community_connector.sources.sensor_grid.grid import CELLS, readings
from pyspark.sql.types import LongType, StringType, StructField, StructType


class SensorGridLakeflowConnect(LakeflowConnect, SupportsPartitionedStream):
    def __init__(self, options: dict[str, str]) -> None:
        super().__init__(options)
        self.asked: set[str] = set()

    def list_tables(self) -> list[str]:
        return ["readings", "cells"]

    def is_partitioned(self, table_name: str) -> bool:
        return table_name == "readings"

    def get_table_schema(self, table_name: str, table_options: dict[str, str]) -> StructType:
        if table_name == "cells":
            return StructType([StructField("cell", StringType()), StructField("seq", LongType())])
        return StructType(
            [
                StructField("cell", StringType(), False),
                StructField("tick", LongType(), False),
                StructField("value", LongType()),
                StructField("pid", LongType()),
            ]
        )

    def read_table_metadata(self, table_name: str, table_options: dict[str, str]) -> dict:
        if table_name == "cells":
            return {"primary_keys": ["cell"], "cursor_field": "seq", "ingestion_type": "cdc"}
        return {"primary_keys": ["cell", "tick"], "cursor_field": "tick", "ingestion_type": "append"}

    def read_table(self, table_name: str, start_offset: dict, table_options: dict[str, str]):
        assert table_name == "cells", "readings are read by cell"
        rows = [{"cell": cell, "seq": 1} for cell in CELLS] if start_offset == {} else []
        return rows, {"listed": True}

    def latest_offset(self, table_name, table_options, start_offset=None):
        tick = (start_offset or {}).get("tick", 0)
        # Three ticks to a stretch, nine in all.
        return {"tick": min(tick + 3, 9), "why": None}

    def get_partitions(self, table_name, table_options, start_offset=None, end_offset=None):
        assert start_offset is not None and end_offset is not None, "a stream is not read as a batch"
        low, high = start_offset.get("tick", 0), end_offset["tick"]
        return [{"cell": cell, "ticks": [low, high], "nested": {"none": None}} for cell in CELLS]

    def read_partition(self, table_name, partition, table_options):
        place = table_options.get("meeting_place")
        if place:
            with open(os.path.join(place, f"{os.getpid()}"), "w", encoding="utf-8"):
                pass
        until = time.monotonic() + 20
        while place and len(os.listdir(place)) < 2:
            if time.monotonic() > until:
                raise TimeoutError("the cells are read one after the other")
            time.sleep(0.01)
        for tick, value in readings(partition["cell"], *partition["ticks"]):
            yield {"cell": partition["cell"], "tick": tick, "value": value, "pid": os.getpid()}
