"""Wants `{}` for a stream and `None` for what is read at once, and says what it got."""
from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import StringType, StructField, StructType

KINDS = {"snapshot": None, "append": {}, "cdc": {}, "cdc_with_deletes": {}}


class FirstStartsLakeflowConnect(LakeflowConnect):
    def list_tables(self):
        return list(KINDS)

    def get_table_schema(self, table_name, table_options):
        return StructType([StructField("id", StringType(), False), StructField("seq", StringType(), False)])

    def read_table_metadata(self, table_name, table_options):
        if table_name == "snapshot":
            return {"primary_keys": ["id"], "ingestion_type": "snapshot"}
        return {"primary_keys": ["id"], "cursor_field": "seq", "ingestion_type": table_name}

    def read_table(self, table_name, start_offset, table_options):
        if start_offset == {"end": True}:
            return iter([]), {"end": True}
        if start_offset != KINDS[table_name] or type(start_offset) is not type(KINDS[table_name]):
            raise ValueError(f"{table_name} starts at {KINDS[table_name]!r}, not at {start_offset!r}")
        return iter([{"id": repr(start_offset), "seq": "1"}, {"id": "gone", "seq": "2"}]), {"end": True}

    def read_table_deletes(self, table_name, start_offset, table_options):
        if start_offset not in ({}, {"deletes": 0}):
            raise ValueError(f"deletes start at {{}}, not at {start_offset!r}")
        return iter([{"id": "gone", "seq": "3"}]), {"deletes": 0}
