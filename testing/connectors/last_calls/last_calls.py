# The last call of a stream (its offset equals the one that was passed) brings rows as well: they count.
from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import StructType, StructField, StringType, LongType

SCHEMA = StructType([StructField("id", StringType(), False), StructField("v", LongType(), False)])


class LastCallsLakeflowConnect(LakeflowConnect):

    def list_tables(self): return ["only_one_call", "tail", "same_object", "list_of_two", "empty"]

    def get_table_schema(self, t, o): return SCHEMA

    def read_table_metadata(self, t, o): return dict(primary_keys=["id"], cursor_field="v", ingestion_type="cdc")

    def read_table(self, t, start, o):
        if t == "only_one_call":
            # the very first call is the last one
            return iter([{"id": "a", "v": 1}, {"id": "b", "v": 2}]), {}
        if t == "same_object":
            return ({"id": i, "v": 1} for i in "xyz"), start
        if t == "list_of_two":
            # a list where others return a tuple
            return [[{"id": "p", "v": 5}], {"at": 5}]
        if t == "empty":
            return iter([]), start
        n = start.get("n", 0)
        rows = [{"id": "t%d" % n, "v": n}]
        return iter(rows), {"n": min(n + 1, 3)}
