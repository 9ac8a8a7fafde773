from pyspark.sql.types import DoubleType, LongType, StringType, StructField, StructType, TimestampType

SUPPORTED = ["ships", "framework"]
SCHEMAS = {
    "ships": StructType(
        [
            StructField("imo", LongType(), False),
            StructField("name", StringType(), True),
            StructField("seen", TimestampType(), False),
            StructField("tonnes", DoubleType(), True),
        ]
    ),
    "framework": StructType([StructField("imo", LongType(), False), StructField("seen", TimestampType(), False)]),
}
