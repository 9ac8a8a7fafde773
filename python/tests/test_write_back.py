"""The class that changes the source for tests, behind the worker's protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from client import Client, worker

from headwater_worker.loader import modules_in

CONNECTOR = """
from databricks.labs.community_connector.interface import LakeflowConnect


class DeskLakeflowConnect(LakeflowConnect):
    pass
"""
WRITE_BACK = """
from databricks.labs.community_connector.sources.desk import desk


class WriteBack:
    def __init__(self, options):
        assert desk.DeskLakeflowConnect is not None
        self.token = options["TOKEN"]
        self.made = {}

    def tables(self):
        return ["tickets", "log"]

    def insert(self, table):
        print("to the log, not to the protocol")
        self.made[len(self.made) + 1] = 1
        return {"id": len(self.made), "table": table} if table == "tickets" else 5

    def update(self, table, key):
        if table == "log":
            raise NotImplementedError
        self.made[key["id"]] += 1

    def delete(self, table, key):
        raise PermissionError(f"{self.token} may not delete {key['id']}")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    desk = tmp_path / "desk"
    (desk / "simulator").mkdir(parents=True)
    (desk / "desk.py").write_text(CONNECTOR)
    (desk / "simulator" / "write_back.py").write_text(WRITE_BACK)
    return desk


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    with worker("--path", folder, "--write-back", folder / "simulator" / "write_back.py") as started:
        started.result("hello", protocols=[1])
        yield started


def test_records_are_made_changed_and_deleted(client: Client) -> None:
    opened = client.result("open", options={"token": "sesame-street"}, secrets=["token"])
    assert opened == {"connector": "WriteBack", "abilities": ["agent"]}
    assert client.result("list_tables") == ["tickets", "log"]
    assert set(client.result("agent_operations")) == {"insert", "update", "delete"}

    def change(operation: str, table: str, key: object = None) -> dict[str, object]:
        return client.call("agent", operation=operation, arguments={"table": table, "key": key})

    key = {"id": 1, "table": "tickets"}
    assert change("insert", "tickets")["result"] == {"key": key}
    assert change("update", "tickets", key)["result"] == {}
    assert change("update", "log", key)["result"] == {"unsupported": True}
    assert "primary keys by name" in str(change("insert", "log")["error"])
    assert "has no operation 'drop'" in str(change("drop", "log")["error"])
    told = str(change("delete", "tickets", key)["error"])
    assert "may not delete 1" in told and "sesame-street" not in told
    assert client.error("read_table", table="tickets", start={}, options={})["kind"] == "unknown_call"


@pytest.mark.parametrize("text", ["x = 1", "WriteBack = 5"])
def test_a_file_without_the_class_is_named(folder: Path, client: Client, text: str) -> None:
    (folder / "simulator" / "write_back.py").write_text(text)
    told = client.error("open", options={}, secrets=[])
    assert "write_back.py has no class WriteBack" in told["message"]


def test_a_file_that_is_not_there_is_named(folder: Path, client: Client) -> None:
    (folder / "simulator" / "write_back.py").unlink()
    assert "is not a Python file" in client.error("open", options={}, secrets=[])["message"]


def test_what_stands_beside_is_no_part_of_the_connector(folder: Path) -> None:
    assert modules_in(str(folder)) == ["desk"]
