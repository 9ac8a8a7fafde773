"""The same upsert by the Python package `deltalake`: a copy of a table, and a MERGE into it.

copy  TABLE PARQUET...   writes a table with the rows of the files, in their order
merge TABLE PARQUET      merges the rows of a file by id, the greater seq wins

Prints figures as a line of JSON.
"""

import json
import resource
import sys
import time


def copy(table, files):
    import pyarrow as pa
    import pyarrow.parquet as pq
    from deltalake import write_deltalake

    schema = pq.ParquetFile(files[0]).schema_arrow.remove_metadata()
    batches = (batch.cast(schema) for file in files for batch in pq.ParquetFile(file).iter_batches(65_536))
    write_deltalake(table, pa.RecordBatchReader.from_batches(schema, batches))
    return {}


def merge(table, files):
    import pyarrow.parquet as pq
    from deltalake import DeltaTable

    source = pq.read_table(files[0])
    started = time.monotonic()
    metrics = (
        DeltaTable(table)
        .merge(source, "target.id = source.id", source_alias="source", target_alias="target")
        .when_matched_update_all("source.seq > target.seq")
        .when_not_matched_insert_all()
        .execute()
    )
    return {"wall_secs": time.monotonic() - started, "metrics": metrics}


command, table, *files = sys.argv[1:]
started = time.monotonic()
figures = {"copy": copy, "merge": merge}[command](table, files)
usage = resource.getrusage(resource.RUSAGE_SELF)
figures.setdefault("wall_secs", time.monotonic() - started)
figures["cpu_secs"] = usage.ru_utime + usage.ru_stime
figures["peak_rss_bytes"] = usage.ru_maxrss * 1024
print(json.dumps(figures))
