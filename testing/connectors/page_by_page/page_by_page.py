from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import LongType, StructField, StructType


class PageByPageLakeflowConnect(LakeflowConnect):
    """Snapshots that come in pages; each table ends them in another way."""

    PAGES = 5

    def list_tables(self):
        return ["none", "empty", "equal", "last_page_empty"]

    def get_table_schema(self, table_name, table_options):
        return StructType([StructField("n", LongType())])

    def read_table_metadata(self, table_name, table_options):
        return {"primary_keys": ["n"], "ingestion_type": "snapshot"}

    def read_table(self, table_name, start_offset, table_options):
        page = 0 if start_offset is None else start_offset["page"]
        rows = [{"n": page * 3 + i} for i in range(3)]
        if table_name == "last_page_empty" and page == self.PAGES - 1:
            rows = []
        if page < self.PAGES - 1:
            return (row for row in rows), {"page": page + 1}
        return (row for row in rows), {"none": None, "empty": {}, "equal": start_offset, "last_page_empty": None}[table_name]
