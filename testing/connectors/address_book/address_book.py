"""An address book that knows who was struck out, and since when."""

from typing import Dict, Iterator, List, Tuple

from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import LongType, StringType, StructField, StructType

CHANGES = [
    {"book": "a", "id": 1, "version": 1, "name": "Ada", "town": "London"},
    {"book": "a", "id": 2, "version": 2, "name": "Grace", "town": "New York"},
    {"book": "b", "id": 1, "version": 3, "name": "Emmy", "town": "Erlangen"},
    {"book": "a", "id": 3, "version": 5, "name": "Sofja", "town": None},
    {"book": "a", "id": 2, "version": 6, "name": "Grace", "town": "Arlington"},
    # struck out at 4, and back
    {"book": "b", "id": 1, "version": 8, "name": "Emmy", "town": "Bryn Mawr"},
]
STRUCK_OUT = [
    {"book": "b", "id": 1, "version": 4},
    {"book": "a", "id": 1, "version": 7},
    {"book": "z", "id": 9, "version": 9},
]


class AddressBookLakeflowConnect(LakeflowConnect):
    def list_tables(self) -> List[str]:
        return ["people"]

    def get_table_schema(self, table_name: str, table_options: Dict[str, str]) -> StructType:
        return StructType(
            [
                StructField("book", StringType(), False),
                StructField("id", LongType(), False),
                StructField("version", LongType(), False),
                # Deletions do not have a name, and the schema holds for them as well.
                StructField("name", StringType(), False),
                StructField("town", StringType(), True),
            ]
        )

    def read_table_metadata(self, table_name: str, table_options: Dict[str, str]) -> Dict:
        return {
            "primary_keys": ["book", "id"],
            "cursor_field": "version",
            "ingestion_type": "cdc_with_deletes",
        }

    def read_table(self, table_name, start_offset, table_options) -> Tuple[Iterator[Dict], Dict]:
        if set(start_offset) - {"upserts"}:
            raise AssertionError(f"an offset of other flows: {start_offset}")
        after = start_offset.get("upserts", 0)
        rows = [row for row in CHANGES if row["version"] > after][:2]
        return iter(rows), {"upserts": rows[-1]["version"]} if rows else start_offset

    def read_table_deletes(self, table_name, start_offset, table_options) -> Tuple[Iterator[Dict], Dict]:
        if set(start_offset) - {"struck_out"}:
            raise AssertionError(f"an offset of other flows: {start_offset}")
        after = start_offset.get("struck_out", 0)
        rows = [row for row in STRUCK_OUT if row["version"] > after]
        return (dict(row) for row in rows), {"struck_out": 9}
