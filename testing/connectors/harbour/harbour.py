"""Ships of a harbour, from a file beside the code."""

import importlib.metadata
import json
from pathlib import Path

from databricks.labs.community_connector.interface import LakeflowConnect
from databricks.labs.community_connector.libs.utils import parse_value
from databricks.labs.community_connector.sources.harbour.helpers import tonnage
from databricks.labs.community_connector.sources.harbour.harbour_schemas import SCHEMAS, SUPPORTED


class HarbourBase(LakeflowConnect):
    """Not a connector by itself: `read_table` is missing."""

    def list_tables(self):
        return SUPPORTED.copy()


class HarbourLakeflowConnect(HarbourBase):
    def __init__(self, options):
        super().__init__(options)
        with (Path(__file__).parent / "data" / "ships.json").open(encoding="utf-8") as ships:
            self._ships = json.load(ships)

    def get_table_schema(self, table_name, table_options):
        return SCHEMAS[table_name]

    def read_table_metadata(self, table_name, table_options):
        return {"primary_keys": ["imo"], "cursor_field": "seen", "ingestion_type": "cdc"}

    def read_table(self, table_name, start_offset, table_options):
        if table_name == "framework":
            version = importlib.metadata.version("lakeflow-community-connectors")
            assert tuple(map(int, version.split(".")[:2])) >= (0, 1), version
            return iter([{"imo": 1, "seen": "2024-01-01"}]), {}
        if start_offset:
            return iter([]), start_offset
        seen = SCHEMAS["ships"]["seen"].dataType
        for ship in self._ships:
            # Some convert by themselves, with the framework's own function.
            assert parse_value(ship["seen"], seen).year == 2024
        return ({**ship, "tonnes": tonnage(ship)} for ship in self._ships), {"read": len(self._ships)}
