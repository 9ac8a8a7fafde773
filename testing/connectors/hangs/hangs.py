import threading
import time

from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import LongType, StructField, StructType


class HangsLakeflowConnect(LakeflowConnect):
    def list_tables(self):
        return ["sleeps", "waits", "deaf", "quick"]

    def get_table_schema(self, table_name, table_options):
        return StructType([StructField("n", LongType())])

    def read_table_metadata(self, table_name, table_options):
        return {"primary_keys": ["n"], "ingestion_type": "snapshot" if table_name == "quick" else "append"}

    def read_table(self, table_name, start_offset, table_options):
        if table_name == "quick":
            return [{"n": 1}], {}
        if table_name == "waits":
            threading.Event().wait()  # waits: for ever
        return self.rows(table_name), {}

    def rows(self, table_name):
        yield {"n": 1}
        while True:
            try:
                time.sleep(3600)  # sleeps: between retries
            except KeyboardInterrupt:
                if table_name != "deaf":
                    raise
