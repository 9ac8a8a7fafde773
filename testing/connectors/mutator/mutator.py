"""Changes what it was given and what it has returned, reuses one record for all rows, and keeps state."""

import atexit

from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import LongType, StringType, StructField, StructType

INSTANCES = []


class MutatorLakeflowConnect(LakeflowConnect):
    schema = None
    rows_given = 0

    def __init__(self, options):
        super().__init__(options)
        INSTANCES.append(self)
        self.table = None
        self.offset = {}
        options["added"] = "by the constructor"
        options.pop("tableName", None)

    def _is_mine(self, table):
        # One instance is for one table.
        if self.table not in (None, table):
            raise AssertionError(f"this instance is for {self.table}, not for {table}")
        self.table = table

    def list_tables(self):
        return ["one", "two"]

    def get_table_schema(self, table, options):
        self._is_mine(table)
        options["page"] = "overwritten"
        if self.schema is None:
            self.schema = StructType([StructField("n", LongType()), StructField("text", StringType())])
        return self.schema

    def read_table_metadata(self, table, options):
        self._is_mine(table)
        options.clear()
        self.meta = {"primary_keys": ["n"], "cursor_field": "n", "ingestion_type": "append"}
        return self.meta

    def read_table(self, table, start, options):
        self._is_mine(table)
        assert options.get("page") == "2", options
        # What was returned before changes now.
        self.schema.add("late", StringType())
        self.meta["ingestion_type"] = "nonsense"
        first = start.pop("n", 0)
        count = min(int(options.pop("page")), 6 - first)
        self.offset = {"n": first + count}
        return self._rows(first, count), self.offset

    def _rows(self, first, count):
        record = {"n": 0, "text": []}
        for n in range(first + 1, first + count + 1):
            # It was right when it was returned.
            self.offset["n"] = -n
            record["n"] = n
            record["text"].append(n)
            yield record
            record["n"] = -1


atexit.register(INSTANCES.clear)
