import os
import sys
from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import LongType, StructField, StructType


class Dies(LakeflowConnect):
    def list_tables(self):
        return ["exits", "leaves", "killed", "healthy"]

    def get_table_schema(self, table_name, table_options):
        return StructType([StructField("n", LongType())])

    def read_table_metadata(self, table_name, table_options):
        return {"primary_keys": ["n"], "ingestion_type": "snapshot" if table_name == "healthy" else "append"}

    def read_table(self, table_name, start_offset, table_options):
        if table_name == "healthy":
            return [{"n": 1}], {}
        return self.rows(table_name), {"done": 1}

    def rows(self, table_name):
        yield {"n": 1}
        if table_name == "exits":
            sys.stderr.write("dies: native code gives up\n")
            sys.stderr.flush()
            os._exit(3)
        if table_name == "leaves":
            sys.exit("dies: good bye")
        os.kill(os.getpid(), 9)
