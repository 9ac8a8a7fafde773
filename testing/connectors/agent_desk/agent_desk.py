from databricks.labs.community_connector.interface import (
    AgentError,
    AgentOperation,
    ErrorCode,
    LakeflowConnect,
    Parameter,
    SupportsIngestionAgent,
)
from pyspark.sql.types import LongType, StringType, StructField, StructType


class AgentDeskLakeflowConnect(LakeflowConnect, SupportsIngestionAgent):
    """Offers operations of its own to agents."""

    ROWS = [{"id": n, "title": f"note {n}"} for n in range(1, 8)]

    def list_tables(self):
        return ["notes"]

    def get_table_schema(self, table_name, table_options):
        if table_name != "notes":
            raise ValueError(f"unknown table {table_name}")
        return StructType([StructField("id", LongType(), False), StructField("title", StringType())])

    def read_table_metadata(self, table_name, table_options):
        return {"primary_keys": ["id"], "cursor_field": "id", "ingestion_type": "cdc", "about": "notes"}

    def read_table(self, table_name, start_offset, table_options):
        after = (start_offset or {}).get("after", 0)
        rows = [row for row in self.ROWS if row["id"] > after][:3]
        return iter(rows), {"after": rows[-1]["id"]} if rows else start_offset

    def agent_operations(self):
        return {
            "search": AgentOperation(
                name="search",
                description="Finds notes by their title.",
                parameters=[
                    Parameter(name="text", type="string", description="What to look for.", required=True),
                    Parameter(name="limit", type="integer", description="How many at most."),
                ],
                handler=self._search,
            ),
            "refuse": AgentOperation(
                name="refuse", description="Never works.", parameters=[], handler=self._refuse
            ),
        }

    def _search(self, text, limit=2):
        print("searching for", text)
        found = [row for row in self.ROWS if text in row["title"]]
        return {"notes": found[:limit], "total": len(found)}

    def _refuse(self):
        raise AgentError(ErrorCode.PERMISSION_DENIED, "nobody may do this")
