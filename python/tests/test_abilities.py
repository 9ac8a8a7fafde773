"""Partitions, namespaces, deletes and operations for agents, through the worker."""

from __future__ import annotations

from pathlib import Path

import pytest
from client import worker, write

PARTITIONED = """
class Parts(Base, SupportsPartitionedStream):
    def is_partitioned(self, table_name):
        return table_name != "whole"
    def latest_offset(self, table_name, table_options, start_offset=None):
        return {"at": (start_offset or {}).get("at", 0) + 10}
    def get_partitions(self, table_name, table_options, start_offset=None, end_offset=None):
        if start_offset is None and end_offset is None:
            return [{"all": True, "step": table_options.get("STEP")}]
        return [{"from": n, "to": n + 5} for n in range(start_offset.get("at", 0), end_offset["at"], 5)]
    def read_partition(self, table_name, partition, table_options):
        return ({"id": n} for n in range(partition["from"], partition["to"]))
    def read_table_deletes(self, table_name, start_offset, table_options):
        return [{"id": 3}], {"deleted": (start_offset or {}).get("deleted", 0) + 1}
"""


def test_partitions_of_a_stream(tmp_path: Path) -> None:
    with worker("--path", write(tmp_path / "parts", parts=PARTITIONED)) as client:
        assert client.open()["abilities"] == ["partition", "partitioned_stream"]
        assert client.result("is_partitioned", table="t") is True
        assert client.result("is_partitioned", table="whole") is False
        assert client.result("latest_offset", table="t", start={"at": 5}, options={}) == {"at": 15}
        parts = client.result("get_partitions", table="t", options={}, start={"at": 5}, end={"at": 15})
        assert parts == [{"from": 5, "to": 10}, {"from": 10, "to": 15}]
        whole = client.result("get_partitions", table="t", options={"step": "2"}, start=None, end=None)
        assert whole == [{"all": True, "step": "2"}]
        message = client.call("read_partition", table="t", partition=parts[1], options={})
        assert message["end"] is None and client.records() == [{"id": n} for n in range(10, 15)]
        assert client.read("t", {}, "read_table_deletes") == ([{"id": 3}], {"deleted": 1})


def test_partitions_of_a_batch_and_defaults(tmp_path: Path) -> None:
    text = """
class Parts(Base, SupportsPartition):
    def get_partitions(self, table_name, table_options):
        return [{"n": 1}, {"n": {2}}] if table_name == "bad" else [{"n": 1}]
    def read_partition(self, table_name, partition, table_options):
        return [{"id": partition["n"]}]
"""
    with worker("--path", write(tmp_path / "parts", parts=text)) as client:
        assert client.open()["abilities"] == ["partition"]
        assert client.result("is_partitioned", table="t") is True
        assert client.result("get_partitions", table="t", options={}, start=None, end=None) == [{"n": 1}]
        error = client.error("get_partitions", table="bad", options={}, start=None, end=None)
        assert error["kind"] == "bug" and "partition 1['n']" in error["message"]
        assert client.error("latest_offset", table="t", start={}, options={})["kind"] == "unknown_call"


NAMESPACED = """
class Spaces(Base, SupportsNamespaces):
    def list_namespaces(self, prefix=None):
        return [["a"], ["b"]] if prefix is None else [[*prefix, "x"]]
    def list_tables_in_namespace(self, namespace):
        return [".".join(namespace)]
    def read_table(self, table_name, start_offset, table_options):
        return ({"id": i, "v": {1, 2}} for i in range(5)), {"n": 5}

"""


def test_namespaces(tmp_path: Path) -> None:
    with worker("--path", write(tmp_path / "spaces", spaces=NAMESPACED)) as client:
        assert client.open()["abilities"] == ["namespaces"]
        assert client.result("list_namespaces", prefix=[]) == [["a"], ["b"]]
        assert client.result("list_namespaces", prefix=["a"]) == [["a", "x"]]
        assert client.result("list_tables_in_namespace", namespace=["a", "x"]) == ["a.x"]


AGENT = (
    NAMESPACED
    + """
class Agent(Spaces, SupportsIngestionAgent):
    def agent_operations(self):
        about = Parameter("term", "string", "What to look for.", required=True)
        return {"find": AgentOperation("find", "Finds things.", [about], self._find)}
    def _find(self, term):
        if term == "none":
            raise AgentError(ErrorCode.NOT_FOUND, "nothing called none")
        return {"found": (term, 1)}
"""
)


def test_operations_for_agents(tmp_path: Path) -> None:
    with worker("--path", write(tmp_path / "agent", agent=AGENT)) as client:
        assert client.open()["abilities"] == ["namespaces", "agent"]
        operations = client.result("agent_operations")
        own = {"name": "term", "type": "string", "description": "What to look for.", "required": True}
        assert operations["find"] == {"description": "Finds things.", "parameters": [own]}
        assert {"list_objects", "read_table", "get_object_metadata", "validate_connection"} < set(operations)

        def run(operation: str, **arguments: object) -> object:
            return client.result("agent", operation=operation, arguments=arguments)

        assert run("list_operations") == operations
        assert run("find", term="x") == {"found": ["x", 1]}
        assert run("list_objects") == {"namespaces": [["a"], ["b"]]}
        assert run("list_objects", namespace=["a"]) == {"namespaces": [["a", "x"]], "tables": ["a"]}
        assert run("validate_connection") == {"valid": True, "tables": 1}
        read = run("read_table", table="t", limit=2)
        assert read == {"records": [{"id": 0, "v": [1, 2]}, {"id": 1, "v": [1, 2]}], "complete": False, "offset": None}
        read = run("read_table", table="t", limit=5)
        assert isinstance(read, dict) and read["complete"] and read["offset"] == {"n": 5}
        metadata = run("get_object_metadata", table="t")
        assert isinstance(metadata, dict) and metadata["schema"]["fields"][0]["name"] == "id"


@pytest.mark.parametrize(
    ("operation", "arguments", "kind", "code"),
    [
        ("find", {"term": "none"}, "rejected", "NOT_FOUND"),
        ("lose", {}, "exception", "UNSUPPORTED_OPERATION"),
        ("read_table", {}, "rejected", "INVALID_ARGUMENT"),
        ("read_table", {"table": "t", "limit": -1}, "rejected", "INVALID_ARGUMENT"),
        ("read_table", {"table": "t", "rows": 1}, "rejected", "INVALID_ARGUMENT"),
        ("list_objects", {"namespace": "a"}, "rejected", "INVALID_ARGUMENT"),
    ],
)
def test_operations_that_fail(tmp_path: Path, operation: str, arguments: object, kind: str, code: str) -> None:
    with worker("--path", write(tmp_path / "agent", agent=AGENT)) as client:
        client.open()
        error = client.error("agent", operation=operation, arguments=arguments)
        assert (error["kind"], error["code"]) == (kind, code), error
        assert client.result("list_tables") == ["t"]


def test_a_connection_is_tested_by_the_connectors_own_method(tmp_path: Path) -> None:
    text = """
class Own(Base):
    def read_table(self, table_name, start_offset, table_options):
        return [], {}
    def test_connection(self):
        if self.options.get("fail") == "raise":
            raise PermissionError("no entry")
        return {"status": "error", "message": "bad token"} if self.options.get("fail") else {"status": "success"}
"""
    with worker("--path", write(tmp_path / "own", own=text)) as client:
        client.open()
        assert client.result("test_connection") is None
        client.open(fail="yes")
        assert "bad token" in client.error("test_connection")["message"]
        client.open(fail="raise")
        assert client.error("test_connection")["class"] == "PermissionError"
