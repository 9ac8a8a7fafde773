import http.client
import json
import os
import threading
import time
from urllib.parse import urlsplit

from databricks.labs.community_connector.interface import LakeflowConnect, SupportsPartition
from pyspark.sql.types import LongType, StringType, StructField, StructType


class BoundSession(LakeflowConnect, SupportsPartition):
    """Holds a connection, a lock, a lambda and an open file: nothing that could be sent to another process.

    The table `rooms` is read in parts only.
    """

    def __init__(self, options):
        self.options = options
        self._lock = threading.Lock()
        self._log = open(os.devnull, "w")
        self._pick = lambda record: {"id": record["id"], "name": record["name"].title()}
        self._connection = http.client.HTTPConnection(urlsplit(options["URL"]).netloc, timeout=10)
        self._token = self._ask("/login")["token"]

    def __getstate__(self):
        raise TypeError("a session cannot be pickled")

    def __deepcopy__(self, memo):
        raise TypeError("a session cannot be copied")

    def _ask(self, path):
        with self._lock:
            self._connection.request("GET", path)
            response = self._connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise ConnectionError(f"{path}: {response.status}")
            return json.loads(body)

    def list_tables(self):
        return ["rooms", "floors"]

    def get_table_schema(self, table_name, table_options):
        return StructType(
            [StructField("id", LongType()), StructField("name", StringType()), StructField("pid", LongType())]
        )

    def read_table_metadata(self, table_name, table_options):
        return {"primary_keys": ["id"], "ingestion_type": "snapshot"}

    def is_partitioned(self, table_name):
        # The constructor's options say for which table this instance is.
        return table_name == "rooms" and self.options["tablename"] == "rooms"

    def get_partitions(self, table_name, table_options):
        return [{"floor": floor, "of": {"token": self._token, "nothing": None}} for floor in self._ask("/floors")]

    def read_partition(self, table_name, partition, table_options):
        if "meeting_place" in table_options:
            self._meet(table_options["meeting_place"], str(partition["floor"]))
        for record in self._ask(f"/rooms/{partition['floor']}?token={partition['of']['token']}"):
            yield {**self._pick(record), "pid": os.getpid()}

    def read_table(self, table_name, start_offset, table_options):
        if table_name == "rooms":
            raise NotImplementedError("rooms are read by floor")
        return ({"id": floor} for floor in self._ask("/floors")), None

    @staticmethod
    def _meet(place, name):
        """Waits until the part of another process has begun."""
        with open(os.path.join(place, f"{os.getpid()}"), "w", encoding="utf-8") as mark:
            mark.write(name)
        until = time.monotonic() + 20
        while len(os.listdir(place)) < 2:
            if time.monotonic() > until:
                raise TimeoutError("the parts are read one after the other")
            time.sleep(0.01)
