import logging
import os
import subprocess
import sys
import warnings

from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import IntegerType, StructField, StructType

print("chatty: at import")
log = logging.getLogger("chatty.client")


class ChattyLakeflowConnect(LakeflowConnect):
    def __init__(self, options):
        super().__init__(options)
        print("chatty: in the constructor", options.get("tableName"))
        os.write(1, b'{"id":1,"result":"chatty: straight to the descriptor"}\n')
        sys.__stdout__.write("chatty: to the first stdout\n")
        sys.stdout.buffer.write(b"chatty: bytes \xff\xfe\n")

    def list_tables(self):
        print("chatty: lists")
        return ["words"]

    def get_table_schema(self, table, options):
        print("chatty: schema", end="")  # no end of the line
        return StructType([StructField("n", IntegerType())])

    def read_table_metadata(self, table, options):
        return {"ingestion_type": "append"}

    def read_table(self, table, start, options):
        if start:
            return [], start

        def words():
            for n in range(3):
                print("chatty: word", n, flush=True)
                if n == 0:
                    subprocess.run(["/bin/echo", "chatty: from a child"], check=True)
                    os.system("echo chatty: from a shell")
                    log.warning("chatty: a warning of the logger")
                    log.debug("chatty: too fine to be seen")
                    warnings.warn("chatty: a warning of python", stacklevel=1)
                    sys.stderr.write("chatty: to stderr\n")
                    print("x" * 100_000)
                yield {"n": n}

        return words(), {"done": True}
