"""Fetches with threads, and leaves some behind."""

import queue
import threading
from concurrent.futures import ThreadPoolExecutor

from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import LongType, StringType, StructField, StructType


class ThreadedLakeflowConnect(LakeflowConnect):
    def __init__(self, options):
        super().__init__(options)
        self.never = threading.Event()
        # Refreshes its token "every now and then", for ever.
        threading.Thread(target=self.never.wait, daemon=True).start()
        # And one that nobody marked as a daemon: Python would wait for it at the end.
        threading.Thread(target=self.never.wait, daemon=False).start()
        assert threading.current_thread() is threading.main_thread()

    def list_tables(self):
        with ThreadPoolExecutor(4) as pool:
            return sorted(pool.map(str.lower, ["POOL", "QUEUE"]))

    def get_table_schema(self, table, options):
        return StructType([StructField("n", LongType()), StructField("by", StringType())])

    def read_table_metadata(self, table, options):
        return {"primary_keys": ["n"], "ingestion_type": "snapshot"}

    def read_table(self, table, start, options):
        return getattr(self, "_" + table)(), None

    def _pool(self):
        pool = ThreadPoolExecutor(8)  # never shut down
        for record in pool.map(lambda n: {"n": n, "by": threading.current_thread().name[:20]}, range(500)):
            record["by"] = "pool" if record["by"].startswith("ThreadPool") else record["by"]
            yield record

    def _queue(self):
        waiting = queue.Queue(maxsize=3)

        def fill():
            for n in range(200):
                print("fetched", n)
                waiting.put({"n": n, "by": "queue"})
            waiting.put(None)

        threading.Thread(target=fill).start()
        return iter(waiting.get, None)
