"""Says which options it was given, and how."""
import json

from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import StringType, StructField, StructType


class OptionCases(LakeflowConnect):
    def __init__(self, options):
        super().__init__(options)
        assert isinstance(options, dict)
        self.given = options

    def list_tables(self):
        return ["constructor", "call", "lookups"]

    def get_table_schema(self, table_name, table_options):
        return StructType([StructField("name", StringType(), False), StructField("value", StringType())])

    def read_table_metadata(self, table_name, table_options):
        return {"primary_keys": ["name"], "ingestion_type": "snapshot"}

    def read_table(self, table_name, start_offset, table_options):
        if table_name == "lookups":
            return list(self._lookups(table_options)), None
        given = self.given if table_name == "constructor" else table_options
        # By iteration and by `**`: the spelling of the caller.
        spelled = {**given}
        assert sorted(spelled) == sorted(given.keys()) == sorted(k for k, _ in given.items())
        assert all(type(value) is str for value in spelled.values()), spelled
        return [{"name": name, "value": value} for name, value in spelled.items()], None

    def _lookups(self, table_options):
        found = {
            "lower": self.given["basesite"],
            "upper": self.given["BASESITE"],
            "get": self.given.get("BaseSITE"),
            "missing": self.given.get("nothing", "default"),
            "contains": "tablename" in self.given and "TABLENAME" in self.given,
            "list": json.loads(table_options["fields"])[1]["x"],
            "of_the_call": table_options.get("PAGESIZE"),
            "ours": [k for k in ("scd_type", "primary_keys", "sequence_by", "cluster_by") if k in self.given or k in table_options],
            "not_of_the_connection": table_options.get("baseSite"),
        }
        for name, value in found.items():
            yield {"name": name, "value": None if value is None else str(value)}
