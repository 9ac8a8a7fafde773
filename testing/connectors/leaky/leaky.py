import base64
import logging
import urllib.parse

from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import StringType, StructField, StructType


class HTTPError(IOError):
    pass


class LeakyLakeflowConnect(LakeflowConnect):
    """Tells its secret wherever it can."""

    def __init__(self, options):
        super().__init__(options)
        self.token = options["api_token"]
        self.password = options["password"]
        print("leaky: connecting with", self.token, "and", self.password)
        logging.getLogger("leaky").warning("leaky: token=%s", self.token)

    def list_tables(self):
        return ["in_message", "in_url", "in_cause", "in_record", "in_rows", "in_metadata"]

    def get_table_schema(self, table, options):
        return StructType([StructField("a", StringType() if table != "in_record" else __import__("pyspark.sql.types").sql.types.LongType())])

    def read_table_metadata(self, table, options):
        if table == "in_metadata":
            raise PermissionError(f"token {self.token} may not see {table}")
        return {"ingestion_type": "append"}

    def read_table(self, table, start, options):
        if table == "in_message":
            raise HTTPError(f"401 for Authorization: Bearer {self.token}")
        if table == "in_url":
            query = urllib.parse.urlencode({"key": self.token, "pw": self.password})
            raise HTTPError(f"GET https://api.example.org/items?{query} failed: 500")
        if table == "in_cause":
            try:
                raise KeyError(self.password)
            except KeyError as cause:
                basic = base64.b64encode(f"me:{self.password}".encode()).decode()
                raise HTTPError(f"Authorization: Basic {basic}") from cause
        if table == "in_record":
            return iter([{"a": f"no number {self.token}"}]), {}
        return self._rows(), {"at": 1}

    def _rows(self):
        yield {"a": "fine"}
        raise RuntimeError("while paging with " + repr({"token": self.token}))
