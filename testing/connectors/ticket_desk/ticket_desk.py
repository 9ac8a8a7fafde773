"""Tickets of a help desk. Pages are fetched while the records are being taken, long after the offset was named."""

import json
import urllib.parse
import urllib.request

from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import LongType, StringType, StructField, StructType, TimestampType


class TicketDeskLakeflowConnect(LakeflowConnect):
    def __init__(self, options):
        super().__init__(options)
        self.base = options["base_url"].rstrip("/")
        # An update ends at the instant at which its instance was made.
        self.now = self._get("/now")["now"]

    def _get(self, path, **query):
        url = self.base + path
        if query:
            url += "?" + urllib.parse.urlencode(query)
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)

    def list_tables(self):
        return sorted(self._get("/resources"))

    def get_table_schema(self, table_name, table_options):
        return StructType(
            [
                StructField("id", LongType(), False),
                StructField("subject", StringType(), True),
                StructField("updated_at", TimestampType(), True),
            ]
        )

    def read_table_metadata(self, table_name, table_options):
        return {"primary_keys": ["id"], "cursor_field": "updated_at", "ingestion_type": "cdc"}

    def read_table(self, table_name, start_offset, table_options):
        since = (start_offset or {}).get("since", "")
        if since == self.now:
            return iter(()), start_offset
        return self._walk(table_name, since), {"since": self.now}

    def _walk(self, table, since):
        page = 1
        while page:
            answer = self._get("/" + table, since=since, page=page)
            for record in answer["data"]:
                yield record
            page = answer.get("next")
