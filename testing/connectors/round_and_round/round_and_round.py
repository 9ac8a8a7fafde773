"""Never comes to an end: its offsets alternate."""
from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import LongType, StructField, StructType


class RoundAndRound(LakeflowConnect):
    def list_tables(self):
        return ["ping_pong", "pages"]

    def get_table_schema(self, table_name, table_options):
        return StructType([StructField("n", LongType())])

    def read_table_metadata(self, table_name, table_options):
        kind = "append" if table_name == "ping_pong" else "snapshot"
        return {"primary_keys": ["n"], "cursor_field": "n", "ingestion_type": kind}

    def read_table(self, table_name, start_offset, table_options):
        other = {"ping": 2, "pong": 1}
        turn = "pong" if (start_offset or {}).get("turn") == "ping" else "ping"
        return iter([{"n": other[turn]}]), {"turn": turn, "round": 1.0}
