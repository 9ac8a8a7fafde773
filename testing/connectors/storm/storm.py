"""Reads slowly enough to be killed in the middle of anything.

Each read of a stream ends after a few records, so that a run makes many commits. `delay` is in seconds.
"""

import time

from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import LongType, StringType, StructField, StructType


class StormLakeflowConnect(LakeflowConnect):
    def __init__(self, options):
        super().__init__(options)
        self.delay = float(options.get("delay", "0"))
        self.steps = int(options.get("steps", "8"))

    def list_tables(self):
        return ["stream", "snapshot", "changes"]

    def get_table_schema(self, table_name, table_options):
        return StructType(
            [
                StructField("id", LongType(), False),
                StructField("version", LongType(), False),
                StructField("text", StringType(), True),
            ]
        )

    def read_table_metadata(self, table_name, table_options):
        kind = {"stream": "append", "snapshot": "snapshot", "changes": "cdc_with_deletes"}[table_name]
        return {"primary_keys": ["id"], "cursor_field": "version", "ingestion_type": kind}

    def _slowly(self, rows):
        for row in rows:
            time.sleep(self.delay)
            yield row

    def read_table(self, table_name, start_offset, table_options):
        step = (start_offset or {}).get("step", 0)
        if table_name == "snapshot":
            rows = [{"id": step * 10 + i, "version": 1, "text": "é" * i} for i in range(10)]
            return self._slowly(rows), {"step": step + 1} if step + 1 < self.steps else None
        if step == self.steps:
            return iter([]), start_offset
        first = step * 10
        if table_name == "stream":
            rows = [{"id": first + i, "version": first + i, "text": str(step)} for i in range(10)]
        else:
            # Ten keys, each changed once in every step.
            rows = [{"id": i, "version": first + i, "text": f"step {step}"} for i in range(10)]
        return self._slowly(rows), {"step": step + 1, "none": None}

    def read_table_deletes(self, table_name, start_offset, table_options):
        done = start_offset.get("deletes", 0)
        if done == self.steps:
            return iter([]), start_offset
        # An even key goes after the last change of it; an odd one was deleted before that, and is back.
        last = (self.steps - 1) * 10
        version = last + 5 if done % 2 else last + 100
        rows = [{"id": done % 10, "version": version - 100 if done % 2 else version}]
        return self._slowly(rows), {"deletes": done + 1}
