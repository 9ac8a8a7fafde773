from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import LongType, StringType, StructField, StructType, TimestampType

INNER = StructType([StructField("in.ner", LongType()), StructField("in ner", LongType()), StructField("$", LongType())])


class OddNamesLakeflowConnect(LakeflowConnect):
    def list_tables(self):
        return ["Sheet 1.$data"]

    def get_table_schema(self, table_name, table_options):
        return (
            StructType()
            .add("user.id", LongType(), False, {"comment": "with a dot"})
            .add("changed at", TimestampType(), False)
            .add("$ref", StringType())
            .add("naïve=`x`;{y}(z),\t\n", StringType(), True)
            .add("a.b.c", INNER)
        )

    def read_table_metadata(self, table_name, table_options):
        return {
            "primary_keys": ["user.id"],
            "cursor_field": "changed at",
            "ingestion_type": "cdc",
            "description": "extra keys are welcome",
            "rate_limit": {"per_minute": 60, "burst": None},
            "owner": ("a", "tuple"),
            "supports_deletes": False,
        }

    def read_table(self, table_name, start_offset, table_options):
        if start_offset:
            return [], start_offset
        rows = [
            {
                "user.id": 1,
                "changed at": "2024-01-01 00:00:00",
                "$ref": "r",
                "naïve=`x`;{y}(z),\t\n": "odd",
                "a.b.c": {"in.ner": 1, "in ner": 2, "$": 3},
            },
            {"user.id": 2, "changed at": "2024-01-01T00:00:01", "user": {"id": 5}},
            {"user.id": 1, "changed at": "2024-01-02", "$ref": "s"},
        ]
        return rows, {"done": True}
