"""Reads Delta tables with readers that are not ours, for the tests.

One process serves a whole test binary, so that starting Spark is paid once. It takes one JSON object a line on stdin
and answers with one a line on stdout: `{"id": .., "ok": ..}` or `{"id": .., "error": ..}`. It ends when stdin does.

    {"id": 1, "op": "read", "reader": "deltalake|polars|pyarrow|spark", "path": .., "version": .., "storage_options": {..}}

Operations: `versions`, `read`, `schema`, `log`, `detail`, `stats`, `encodings`, `sql` (see the functions of these names).
Values have one form for all readers, by the table's own schema: integers, booleans and text as they are; floats as
the bits of a double (`f64:..`, all NaN alike), decimals as text, binary as hex, dates as days and timestamps as
microseconds since 1970, maps as sorted pairs, variants as their JSON.
"""

import datetime
import decimal
import json
import math
import os
import struct
import sys
import urllib.parse

os.environ["TZ"] = "UTC"
ENVIRONMENT = sys.prefix
EPOCH_DAY = datetime.date(1970, 1, 1)
EPOCH = datetime.datetime(1970, 1, 1)
MICROSECOND = datetime.timedelta(microseconds=1)


# --- one form for the values of all readers ---------------------------------------------------------------------------


def canonical(value, data_type):
    """The value in the form that the module's head describes. `data_type` is Delta's JSON form of its type."""
    if value is None:
        return None
    if isinstance(data_type, dict):
        kind = data_type["type"]
        if kind == "struct":
            value = value.asDict(recursive=False) if hasattr(value, "asDict") else value
            return {f["name"]: canonical(value[f["name"]], f["type"]) for f in data_type["fields"]}
        if kind == "array":
            return [canonical(v, data_type["elementType"]) for v in value]
        if kind == "map":
            pairs = [
                [canonical(k, data_type["keyType"]), canonical(v, data_type["valueType"])] for k, v in map_pairs(value)
            ]
            return {"map": sorted(pairs, key=json.dumps)}
        raise ValueError(f"unknown type {data_type}")
    if data_type in ("float", "double"):
        value = float(value)
        return "f64:nan" if math.isnan(value) else "f64:" + struct.pack(">d", value).hex()
    if data_type.startswith("decimal"):
        scale = int(data_type.rstrip(")").split(",")[1])
        with decimal.localcontext() as context:
            context.prec = 60
            return "dec:" + format(decimal.Decimal(value).quantize(decimal.Decimal(1).scaleb(-scale)), "f")
    if data_type == "binary":
        return "hex:" + bytes(value).hex()
    if data_type == "date":
        return (value - EPOCH_DAY).days
    if data_type in ("timestamp", "timestamp_ntz"):
        if value.tzinfo is not None:
            value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        return (value - EPOCH) // MICROSECOND
    if data_type == "variant":
        if isinstance(value, dict):  # a reader that shows the encoded parts instead of the value
            return {"encoded": ["hex:" + bytes(value[part]).hex() for part in ("metadata", "value")]}
        return {"variant": json.loads(value.toJson())}
    return value


def map_pairs(value):
    if isinstance(value, dict):
        return list(value.items())
    return [(v["key"], v["value"]) if isinstance(v, dict) else tuple(v) for v in value]


def canonical_rows(rows, schema):
    return [{f["name"]: canonical(row[f["name"]], f["type"]) for f in schema["fields"]} for row in rows]


def bare(schema):
    """A schema without the metadata of its fields: names, types and nullability at every depth."""
    if isinstance(schema, list):
        return [bare(s) for s in schema]
    if isinstance(schema, dict):
        return {k: bare(v) for k, v in schema.items() if k != "metadata"}
    return schema


# --- deltalake ---------------------------------------------------------------------------------------------------------


def delta_table(request):
    import deltalake

    return deltalake.DeltaTable(
        request["path"], version=request.get("version"), storage_options=request.get("storage_options")
    )


def deltalake_read(request):
    import deltalake
    import pyarrow

    table = delta_table(request)
    rows = deltalake.QueryBuilder().register("t", table).execute("select * from t").read_all()
    return pyarrow.table(rows).to_pylist(), json.loads(table.schema().to_json())


def pyarrow_read(request):
    """The way of `to_pyarrow_table`, `to_pyarrow_dataset` and `to_pandas`."""
    table = delta_table(request)
    return table.to_pyarrow_table().to_pylist(), json.loads(table.schema().to_json())


def deltalake_detail(request):
    table = delta_table(request)
    protocol = table.protocol()
    metadata = table.metadata()
    return {
        "version": table.version(),
        "files": len(table.file_uris()),
        "properties": dict(metadata.configuration),
        "transactions": {a: table.transaction_version(a) for a in request.get("apps", [])},
        "reader_features": sorted(protocol.reader_features or []),
        "writer_features": sorted(protocol.writer_features or []),
    }


# --- Polars ------------------------------------------------------------------------------------------------------------


def polars_read(request):
    import polars

    options = {"storage_options": request["storage_options"]} if request.get("storage_options") else {}
    frame = polars.scan_delta(request["path"], version=request.get("version"), **options).collect()
    # Polars has no schema of Delta's own form to offer: names in order are its part, the types come from the log.
    schema = json.loads(delta_table(request).schema().to_json())
    if frame.columns != [f["name"] for f in schema["fields"]]:
        raise ValueError(f"columns are {frame.columns}")
    return frame.to_dicts(), schema


# --- Spark -------------------------------------------------------------------------------------------------------------

SPARK = None


def spark():
    global SPARK
    if SPARK is None:
        from pyspark.sql import SparkSession

        folder = os.path.join(ENVIRONMENT, "delta-jars")
        jars = sorted(os.path.join(folder, jar) for jar in os.listdir(folder))
        settings = {
            "spark.jars": ",".join(jars),
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.memory": "1g",
            "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Duser.timezone=UTC",
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.shuffle.partitions": "1",
            "spark.databricks.delta.snapshotPartitions": "1",
            "spark.databricks.delta.delta.log.cacheSize": "1",
            "spark.sql.catalogImplementation": "in-memory",
            "spark.sql.warehouse.dir": os.path.join(os.environ.get("TMPDIR", "/tmp"), "headwater-spark-warehouse"),
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
        }
        builder = SparkSession.builder.master("local[1]").appName("readers")
        for key, value in settings.items():
            builder = builder.config(key, value)
        SPARK = builder.getOrCreate()
        SPARK.sparkContext.setLogLevel("ERROR")
    return SPARK


def spark_frame(request):
    session = spark()
    # Tests write the same path again and again; Spark keeps logs that it has seen.
    session._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    reader = session.read.format("delta")
    if request.get("version") is not None:
        reader = reader.option("versionAsOf", request["version"])
    return reader.load(request["path"])


def spark_read(request):
    frame = spark_frame(request)
    return [row.asDict(recursive=False) for row in frame.collect()], json.loads(frame.schema.json())


def spark_snapshot(path):
    session = spark()
    log = session._jvm.org.apache.spark.sql.delta.DeltaLog
    log.clearCache()
    return log.forTable(session._jsparkSession, path).update(False, session._jvm.scala.Option.empty(), session._jvm.scala.Option.empty())


def spark_detail(request):
    snapshot = spark_snapshot(request["path"])
    described = spark().sql(f"DESCRIBE DETAIL delta.`{request['path']}`").collect()[0]

    def each(items):
        iterator = items.iterator()
        while iterator.hasNext():
            yield iterator.next()

    return {
        "version": snapshot.version(),
        "files": described["numFiles"],
        "bytes": described["sizeInBytes"],
        "properties": dict(described["properties"]),
        "cluster_by": list(described["clusteringColumns"] or []),
        "transactions": {t.appId(): t.version() for t in each(snapshot.setTransactions())},
        "domains": {d.domain(): d.configuration() for d in each(snapshot.domainMetadata()) if not d.removed()},
    }


# --- the log and the files, taken apart --------------------------------------------------------------------------------


def log_actions(path):
    """Live `add` actions by path, and the newest metadata, replayed from the log by hand."""
    import pyarrow.parquet

    log = os.path.join(path, "_delta_log")
    names = sorted(os.listdir(log))
    start, adds, metadata = -1, {}, None
    for name in reversed(names):
        if name.endswith(".checkpoint.parquet"):
            start = int(name[:20])
            for row in pyarrow.parquet.read_table(os.path.join(log, name), columns=["add", "metaData"]).to_pylist():
                if row["add"] and row["add"]["path"]:
                    adds[row["add"]["path"]] = row["add"]
                if row["metaData"] and row["metaData"]["schemaString"]:
                    metadata = row["metaData"]
            break
    for name in names:
        if name.endswith(".json") and name[:20].isdigit() and int(name[:20]) > start:
            removed, added = [], []
            with open(os.path.join(log, name), encoding="utf-8") as commit:
                for line in commit:
                    action = json.loads(line, parse_float=decimal.Decimal)
                    if "remove" in action:
                        removed.append(action["remove"]["path"])
                    if "add" in action:
                        added.append(action["add"])
                    if "metaData" in action:
                        metadata = action["metaData"]
            for gone in removed:
                adds.pop(gone, None)
            for add in added:
                adds[add["path"]] = add
    return adds, metadata


def log(request):
    """The commits that stand in the log as JSON, oldest first: `[[version, [action, ..]], ..]`."""
    folder = os.path.join(request["path"], "_delta_log")
    commits = []
    for name in sorted(os.listdir(folder)):
        if name.endswith(".json") and name[:20].isdigit():
            with open(os.path.join(folder, name), encoding="utf-8") as commit:
                commits.append([int(name[:20]), [json.loads(line) for line in commit]])
    return commits


def leaves(fields, logical=(), physical=()):
    """The primitive columns outside lists and maps, as (logical path, physical path, type)."""
    for field in fields:
        name = field.get("metadata", {}).get("delta.columnMapping.physicalName", field["name"])
        here, there = (*logical, field["name"]), (*physical, name)
        kind = field["type"]
        if isinstance(kind, dict) and kind["type"] == "struct":
            yield from leaves(kind["fields"], here, there)
        else:
            yield here, there, kind


def dig(value, path):
    for part in path:
        if value is None:
            return None
        value = value.get(part)
    return value


def comparable(value, kind):
    """A value of a file in a form that orders as Delta orders it."""
    if kind in ("float", "double"):
        return float(value)
    if kind in ("timestamp", "timestamp_ntz", "date"):
        return canonical(value, kind)
    if isinstance(kind, str) and kind.startswith("decimal"):
        return decimal.Decimal(value)
    return value


def bound(text, kind):
    """A bound of the log's statistics in the form of `comparable`."""
    if kind in ("float", "double"):
        return float(text)
    if kind == "date":
        return (datetime.date.fromisoformat(text) - EPOCH_DAY).days
    if kind in ("timestamp", "timestamp_ntz"):
        return canonical(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")), kind)
    if isinstance(kind, str) and kind.startswith("decimal"):
        return decimal.Decimal(text)
    return text


def wrong_bounds(low, high, values, kind):
    """Why the bounds of a column do not hold, or None. Bounds may differ from the truth where Delta lets them: text is
    cut, and timestamps are cut down to milliseconds, the greatest too. Everything else has to be the truth itself. A
    bound that is no number, such as infinity, is left out."""
    values = [v for v in values if not (isinstance(v, float) and math.isnan(v))]
    if not values:
        return None
    least, most = min(values), max(values)
    low = least if low is None else bound(low, kind)
    high = most if high is None else bound(high, kind)
    if kind == "string":
        if low > least or not least.startswith(low):
            return f"min is {low!r}, the least is {least!r}"
        if high < most or (len(high) > len(most) and high != most):
            return f"max is {high!r}, the greatest is {most!r}"
        return None
    if kind in ("timestamp", "timestamp_ntz"):
        holds = least - 999 <= low <= least and most - 999 <= high <= most
    else:
        holds = (low, high) == (least, most)
    if not holds:
        return f"bounds are {low!r} and {high!r}, the values {least!r} and {most!r}"
    return None


def stats(request):
    """Compares the statistics of each live file with the file. Returns the problems, and what was compared."""
    import pyarrow
    import pyarrow.parquet

    path = request["path"]
    adds, metadata = log_actions(path)
    schema = json.loads(metadata["schemaString"])
    problems, bounded, rows = [], set(), 0
    for name, add in sorted(adds.items()):
        file = os.path.join(path, urllib.parse.unquote(name))
        if os.path.getsize(file) != add["size"]:
            problems.append(f"{name}: size is {os.path.getsize(file)}, the log says {add['size']}")
        said = json.loads(add["stats"] or "null", parse_float=decimal.Decimal)
        if said is None:
            problems.append(f"{name}: no statistics")
            continue
        records = pyarrow.parquet.ParquetFile(file).read().to_pylist()
        rows += len(records)
        if said.get("numRecords") != len(records):
            problems.append(f"{name}: numRecords is {said.get('numRecords')}, the file holds {len(records)}")
        for logical, physical, kind in leaves(schema["fields"]):
            column = ".".join(logical)
            raw = [dig(record, physical) for record in records]
            nulls = dig(said.get("nullCount"), physical)
            if nulls is not None and nulls != sum(v is None for v in raw):
                problems.append(f"{name}: nullCount of {column} is {nulls}, not {sum(v is None for v in raw)}")
            low, high = dig(said.get("minValues"), physical), dig(said.get("maxValues"), physical)
            if low is None and high is None:
                continue
            values = [comparable(v, kind) for v in raw if v is not None]
            why = wrong_bounds(low, high, values, kind)
            if why:
                problems.append(f"{name}: {column}: {why}")
            bounded.add(column)
    return {"problems": problems, "bounded": sorted(bounded), "files": len(adds), "rows": rows}


def encodings(request):
    """The encodings of each column's pages, over all live files, and the codecs."""
    import pyarrow.parquet

    adds, _ = log_actions(request["path"])
    found, codecs = {}, set()
    for name in adds:
        footer = pyarrow.parquet.ParquetFile(os.path.join(request["path"], urllib.parse.unquote(name))).metadata
        for group in range(footer.num_row_groups):
            for column in range(footer.num_columns):
                chunk = footer.row_group(group).column(column)
                found.setdefault(chunk.path_in_schema, set()).update(chunk.encodings)
                codecs.add(chunk.compression)
    return {"columns": {k: sorted(v) for k, v in found.items()}, "codecs": sorted(codecs)}


# --- the server --------------------------------------------------------------------------------------------------------

READ = {"deltalake": deltalake_read, "polars": polars_read, "pyarrow": pyarrow_read, "spark": spark_read}
DETAIL = {"deltalake": deltalake_detail, "spark": spark_detail}


def read(request):
    """All rows, and the reader's own schema."""
    rows, schema = READ[request["reader"]](request)
    return {"rows": canonical_rows(rows, schema), "schema": bare(schema)}


def schema(request):
    """The reader's own schema, nothing read."""
    if request["reader"] == "spark":
        return bare(json.loads(spark_frame(request).schema.json()))
    return bare(json.loads(delta_table(request).schema().to_json()))


def detail(request):
    """Version, properties, transactions, features: what the reader makes of the log."""
    return DETAIL[request["reader"]](request)


def sql(request):
    """Runs statements with Spark, for tables that somebody else has written."""
    for statement in request["statements"]:
        spark().sql(statement).collect()


def versions(_request):
    """What is installed."""
    import deltalake
    import polars
    import pyarrow
    import pyspark

    jars = os.listdir(os.path.join(ENVIRONMENT, "delta-jars"))
    return {
        "deltalake": deltalake.__version__,
        "polars": polars.__version__,
        "pyarrow": pyarrow.__version__,
        "spark": pyspark.__version__,
        "delta_jars": sorted(jars),
    }


OPERATIONS = {f.__name__: f for f in (versions, read, schema, log, detail, stats, encodings, sql)}


def main():
    # Libraries that print must not disturb the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"id": request["id"], "ok": OPERATIONS[request["op"]](request)}
        except BaseException as problem:  # a panic of a native library is no Exception
            if isinstance(problem, KeyboardInterrupt):
                raise
            answer = {"id": request["id"], "error": f"{type(problem).__name__}: {problem}"}
        answers.write(json.dumps(answer, allow_nan=False) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
