"""A connector as most are written: fetch a page with `requests`, hand out what is in it, go to the next."""

import requests

from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DoubleType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)


class PagesLakeflowConnect(LakeflowConnect):
    def __init__(self, options):
        self.base_url = options["base_url"]
        self.session = requests.Session()

    def list_tables(self):
        return ["items", "items_again"]

    def get_table_schema(self, table_name, table_options):
        user = StructType(
            [
                StructField("login", StringType()),
                StructField("id", LongType()),
                StructField("type", StringType()),
                StructField("site_admin", BooleanType()),
            ]
        )
        label = StructType([StructField("id", LongType()), StructField("name", StringType())])
        return StructType(
            [
                StructField("id", LongType()),
                StructField("node_id", StringType()),
                StructField("title", StringType()),
                StructField("state", StringType()),
                StructField("locked", BooleanType()),
                StructField("comments", LongType()),
                StructField("score", DoubleType()),
                StructField("created_at", TimestampType()),
                StructField("updated_at", TimestampType()),
                StructField("closed_at", TimestampType()),
                StructField("user", user),
                StructField("labels", ArrayType(label)),
                StructField("body", StringType()),
            ]
        )

    def read_table_metadata(self, table_name, table_options):
        return {"primary_keys": ["id"], "cursor_field": "updated_at", "ingestion_type": "append"}

    def read_table(self, table_name, start_offset, table_options):
        if start_offset and start_offset.get("done"):
            return [], start_offset
        return self._records(), {"done": True}

    def _records(self):
        path = "/items/1.json"
        while path:
            page = self.session.get(self.base_url + path).json()
            yield from page["data"]
            path = page["next"]
