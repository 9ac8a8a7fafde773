"""Bugs of a tracker on the web, with what was deleted. It is tested against a simulated tracker (`simulator/`)."""

import json
import time
import urllib.parse
import urllib.request

from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import ArrayType, LongType, StringType, StructField, StructType, TimestampType

BASE = "https://api.bugs.example/v1"

PERSON = StructType([StructField("id", LongType(), False), StructField("name", StringType())])
BUG = StructType(
    [
        StructField("id", LongType(), False),
        StructField("title", StringType()),
        StructField("state", StringType()),
        StructField("reporter", PERSON),
        StructField("labels", ArrayType(StringType())),
        StructField("updated_at", TimestampType(), False),
    ]
)
TABLES = {
    "bugs": (BUG, {"primary_keys": ["id"], "cursor_field": "updated_at", "ingestion_type": "cdc_with_deletes"}),
    "people": (PERSON, {"primary_keys": ["id"], "cursor_field": None, "ingestion_type": "snapshot"}),
}


class BugTrackerLakeflowConnect(LakeflowConnect):
    def __init__(self, options):
        super().__init__(options)
        self.token = options["token"].strip()
        # What comes while an update runs is the next one's.
        self.until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def _get(self, path, **query):
        request = urllib.request.Request(f"{BASE}{path}?{urllib.parse.urlencode(query)}")
        request.add_header("Authorization", "Bearer " + self.token)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def _table(self, name):
        if name not in TABLES:
            raise ValueError(f"there is no table {name!r}")
        return TABLES[name]

    def list_tables(self):
        return list(TABLES)

    def get_table_schema(self, table_name, table_options):
        return self._table(table_name)[0]

    def read_table_metadata(self, table_name, table_options):
        return self._table(table_name)[1]

    def read_table(self, table_name, start_offset, table_options):
        self._table(table_name)
        if table_name == "people":
            return iter(self._get("/people")), None
        return self._changed("/bugs", start_offset, table_options)

    def read_table_deletes(self, table_name, start_offset, table_options):
        return self._changed("/deleted_bugs", start_offset, table_options)

    def _changed(self, path, start_offset, table_options):
        """The records from a time on: that time again, because more may have happened in it."""
        given = table_options.get("max_records_per_batch", "1000")
        if not given.isdigit():
            raise ValueError(f"max_records_per_batch is {given!r}, not a number")
        since = (start_offset or {}).get("since", "")
        records = [record for record in self._pages(path, since) if record["updated_at"] <= self.until]
        again = sum(record["updated_at"] == since for record in records)
        most = max(int(given), again + 1)
        while most < len(records) and records[most]["updated_at"] == records[most - 1]["updated_at"]:
            most += 1
        records = records[:most]
        return iter(records), {"since": records[-1]["updated_at"]} if records else start_offset

    def _pages(self, path, since):
        query = {"updated_since": since} if since else {}
        page = 1
        while found := self._get(path, page=page, per_page=5, **query)["bugs"]:
            yield from found
            page += 1
