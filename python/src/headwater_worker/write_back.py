"""Runs a connector's test-only class `WriteBack`, which changes the source, behind the worker's protocol.

The class stands beside the connector and has nothing to do with its reading. `open` makes an instance with the
connection's options; `list_tables` names the tables that it can change; the operations `insert`, `update` and `delete`
do so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

from . import values
from .arguments import Arguments
from .errors import RequestError
from .options import Options
from .plain import plain
from .redact import Redactor
from .session import Session

CLASS = "WriteBack"
OPERATIONS = {
    "insert": "Makes a record; gives the values of its primary keys.",
    "update": "Changes a record.",
    "delete": "Deletes a record.",
}


class WriteBackSession(Session):
    """Answers the calls that change the source; those that read are unknown."""

    def __init__(self, arguments: Arguments, redact: Redactor, file: str) -> None:
        super().__init__(arguments, redact)
        self._file = file

    @property
    def own_files(self) -> str | None:
        return os.path.dirname(self._file)

    def call(self, request: dict[str, Any]) -> Any:
        known = ("hello", "open", "list_tables", "test_connection", "agent_operations", "agent")
        if request.get("call") not in known:
            raise RequestError("unknown_call", f"{CLASS} does not answer {request.get('call')}")
        return super().call(request)

    def _call_open(self, request: dict[str, Any]) -> Any:
        self._connector, self._opened = None, False
        options = request.get("options") or {}
        if not isinstance(options, dict):
            raise RequestError("protocol", "options is not an object")
        self._redact.learn(options, request.get("secrets") or [])
        # The file may import the connector's own modules.
        self.place()
        self._connector = load_class(self._file)(Options(options))
        self._opened = True
        return {"connector": CLASS, "abilities": ["agent"]}

    def _call_test_connection(self, _request: dict[str, Any]) -> Any:
        return None

    def _call_list_tables(self, _request: dict[str, Any]) -> Any:
        return values.names(self._connector.tables(), "tables")

    def _call_agent_operations(self, _request: dict[str, Any]) -> Any:
        return {name: {"description": text, "parameters": []} for name, text in OPERATIONS.items()}

    def _call_agent(self, request: dict[str, Any]) -> Any:
        operation, arguments = request.get("operation"), request.get("arguments") or {}
        if operation not in OPERATIONS:
            raise RequestError("bug", f"{CLASS} has no operation {operation!r}")
        method = getattr(self._connector, operation, None)
        given = [arguments.get("table")] + ([] if operation == "insert" else [arguments.get("key")])
        try:
            if not callable(method):
                raise NotImplementedError
            told = method(*given)
        except NotImplementedError:
            return {"unsupported": True}
        if operation != "insert":
            return {}
        if not isinstance(told, Mapping):
            raise RequestError(
                "bug", f"{CLASS}.insert gave {type(told).__name__}: it has to give the primary keys by name"
            )
        return {"key": plain(dict(told))}


def load_class(file: str) -> Any:
    """The class in a file."""
    spec = spec_from_file_location("headwater_write_back", file)
    if spec is None or spec.loader is None or not os.path.isfile(file):
        raise RequestError("bug", f"{file} is not a Python file")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, CLASS, None)
    if not isinstance(found, type):
        raise RequestError("bug", f"{file} has no class {CLASS}")
    return found
