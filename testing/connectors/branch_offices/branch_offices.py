"""Every office has departments, every department its tables."""
from typing import Any, Iterator, Optional

from databricks.labs.community_connector.interface import LakeflowConnect, SupportsNamespaces
from pyspark.sql import types as T

TREE = {
    "oslo": {"sales": ["deals", "leads"], "it": ["assets"]},
    "rome": {"sales": ["deals"]},
    "empty": {},
}


class BranchOffices(LakeflowConnect, SupportsNamespaces):
    def __init__(self, options: dict[str, str]) -> None:
        super().__init__(options)
        if options.get("isDeleteFlow") is not None or options.get("scd_type") is not None:
            raise ValueError("these are not options of mine")

    def list_namespaces(self, prefix: Optional[list[str]] = None) -> list[list[str]]:
        if not prefix:
            return [[office] for office in TREE]
        if len(prefix) == 1:
            return [prefix + [department] for department in TREE[prefix[0]]]
        return []

    def list_tables_in_namespace(self, namespace: list[str]) -> list[str]:
        if len(namespace) < 2:
            return []
        office, department = namespace
        return [f"{office}_{department}_{table}" for table in TREE[office][department]]

    def list_tables(self) -> list[str]:
        return [
            table
            for office, departments in TREE.items()
            for department in departments
            for table in self.list_tables_in_namespace([office, department])
        ]

    def get_table_schema(self, table_name: str, table_options: dict[str, str]) -> T.StructType:
        return T.StructType([T.StructField("id", T.LongType(), False), T.StructField("of", T.StringType())])

    def read_table_metadata(self, table_name: str, table_options: dict[str, str]) -> dict[str, Any]:
        return {"primary_keys": ["id"], "ingestion_type": "snapshot", "cursor_field": None}

    def read_table(self, table_name: str, start_offset: Any, table_options: dict[str, str]) -> tuple[Iterator[dict], dict]:
        return iter([{"id": 1, "of": table_name}, {"id": 2, "of": table_options.get("note")}]), {}
