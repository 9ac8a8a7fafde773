"""Every table breaks the contract in another way."""

from collections import UserDict
from datetime import datetime

from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import LongType, StructField, StructType

SCHEMA = StructType([StructField("n", LongType())])
FINE = [{"n": 1}]


def deep(levels):
    found = []
    for _ in range(levels):
        found = [found]
    return found


READS = {
    "record_is_text": lambda: (["one"], {}),
    "record_is_list": lambda: (iter([{"n": 1}, [2]]), {}),
    "record_is_none": lambda: ([None], {}),
    "records_is_number": lambda: (5, {}),
    "records_is_dict": lambda: ({"n": 1}, {}),
    "no_pair": lambda: iter(FINE),
    "three": lambda: (FINE, {}, "more"),
    "nothing": lambda: None,
    "offset_with_time": lambda: (FINE, {"at": datetime(2024, 1, 1)}),
    "offset_with_nan": lambda: (FINE, {"at": float("nan")}),
    "offset_with_set": lambda: (FINE, {"seen": {1}}),
    "offset_too_deep": lambda: (FINE, {"d": deep(500)}),
    "stream_without_offset": lambda: (FINE, None),
    "value_of_unknown_class": lambda: ([{"n": object()}], {}),
    "value_in_itself": lambda: ([round_about()], {}),
    "user_dict": lambda: ([UserDict(n=7)], {}),
}


def round_about():
    record = {"n": 1}
    record["self"] = record
    return record


class ContractBreaker(LakeflowConnect):
    def list_tables(self):
        return [*READS, "unknown_type", "no_type", "metadata_is_text", "schema_is_dict", "schema_is_none", "empty_schema",
                "same_column_twice", "key_is_no_column", "no_deletes", "raises_interrupt", "raises_base"]

    def get_table_schema(self, table_name, table_options):
        return {
            "schema_is_dict": {"n": "long"},
            "schema_is_none": None,
            "empty_schema": StructType([]),
            "same_column_twice": StructType([StructField("n", LongType()), StructField("N", LongType())]),
        }.get(table_name, SCHEMA)

    def read_table_metadata(self, table_name, table_options):
        if table_name == "metadata_is_text":
            return "append"
        if table_name == "no_type":
            return {"primary_keys": ["n"]}
        if table_name == "key_is_no_column":
            return {"primary_keys": ["m"], "cursor_field": "n", "ingestion_type": "cdc"}
        if table_name == "no_deletes":
            return {"primary_keys": ["n"], "cursor_field": "n", "ingestion_type": "cdc_with_deletes"}
        if table_name == "user_dict":
            return {"primary_keys": ["n"], "ingestion_type": "snapshot"}
        return {"ingestion_type": "upsert" if table_name == "unknown_type" else "append"}

    def read_table(self, table_name, start_offset, table_options):
        if table_name == "raises_interrupt":
            raise KeyboardInterrupt
        if table_name == "raises_base":
            raise GeneratorExit("why not")
        return READS[table_name]() if table_name in READS else (FINE, {})
