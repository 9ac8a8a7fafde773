"""The connector's instance, and the calls that Headwater makes on it."""

from __future__ import annotations

from typing import Any

from . import PROTOCOL_VERSIONS, __version__, values
from .arguments import Arguments
from .errors import RequestError
from .loader import Place, place_of
from .options import Options
from .redact import Redactor


class Read:
    """What a reading call gives: records, and the offset behind them."""

    def __init__(self, records: Any, end: Any) -> None:
        self.records = records
        self.end = end
        # Columns of the table that take text.
        self.text_columns: list[str] = []


class Session:
    """Answers calls. One instance of the connector at a time; each `open` makes a new one."""

    def __init__(self, arguments: Arguments, redact: Redactor) -> None:
        self._arguments = arguments
        self._redact = redact
        self._place: Place | None = None
        self._found: Any = None
        self._connector: Any = None
        self._opened = False
        self._abilities: list[str] = []

    @property
    def own_files(self) -> str | None:
        """Folder or file that the connector's own frames lie in."""
        return None if self._place is None else self._place.own_files

    def call(self, request: dict[str, Any]) -> Any:
        """The result of a request, or its `Read`."""
        name = request.get("call")
        answer = getattr(self, f"_call_{name}", None) if isinstance(name, str) else None
        if answer is None:
            raise RequestError("unknown_call", f"this worker does not know the call {name!r}")
        if name not in ("hello", "spec", "open") and not self._opened:
            raise RequestError("protocol", f"{name} came before a successful open")
        result = answer(request)
        if isinstance(result, Read):
            columns = request.get("text_columns") or []
            result.text_columns = [name for name in columns if isinstance(name, str)]
        return result

    def place(self) -> Place:
        """Where the connector's code is."""
        if self._place is None:
            given = self._arguments
            self._place = place_of(given.path, given.module, given.name, given.repo)
        return self._place

    def found(self) -> Any:
        """The connector's class; its code is imported by the first call."""
        if self._found is None:
            from .discover import find_class

            self._found = find_class(self.place(), self._arguments.class_name)
            self._abilities = self._found.abilities()
        return self._found

    def _call_hello(self, request: dict[str, Any]) -> Any:
        import sys

        offered = request.get("protocols")
        known = [v for v in PROTOCOL_VERSIONS if isinstance(offered, list) and v in offered]
        if not known:
            spoken = ", ".join(map(str, PROTOCOL_VERSIONS))
            raise RequestError("protocol", f"this worker speaks protocol {spoken}, and was offered {offered}")
        name = {"cpython": "CPython", "pypy": "PyPy"}.get(sys.implementation.name, sys.implementation.name)
        return {
            "protocol": max(known),
            "worker": "python",
            "version": __version__,
            "runtime": f"{name} {sys.version.split()[0]}",
        }

    def _call_spec(self, _request: dict[str, Any]) -> Any:
        path = self.place().spec_file
        if path is None:
            return None
        with open(path, encoding="utf-8-sig") as opened:
            return opened.read()

    def _call_open(self, request: dict[str, Any]) -> Any:
        # Nothing of the instance before is kept, not even when the new one cannot be made.
        self._connector, self._opened = None, False
        options = request.get("options") or {}
        if not isinstance(options, dict):
            raise RequestError("protocol", "options is not an object")
        self._redact.learn(options, request.get("secrets") or [])
        found = self.found()
        self._connector = found.cls(Options(options))
        self._opened = True
        return {"connector": found.cls.__name__, "abilities": self._abilities}

    def _call_test_connection(self, _request: dict[str, Any]) -> Any:
        test = getattr(self._connector, "test_connection", None)
        if not callable(test):
            values.names(self._connector.list_tables(), "list_tables")
            return None
        told = test()
        status = told.get("status") if isinstance(told, dict) else None
        if told is False or (isinstance(status, str) and status.lower() in ("error", "failed", "failure")):
            message = told.get("message") if isinstance(told, dict) else None
            raise RequestError("rejected", f"the connector's test of the connection failed: {message or told}")
        return None

    def _call_list_tables(self, _request: dict[str, Any]) -> Any:
        return values.names(self._connector.list_tables(), "list_tables")

    def _call_get_table_schema(self, request: dict[str, Any]) -> Any:
        return values.schema(self._connector.get_table_schema(_table(request), _options(request)))

    def _call_read_table_metadata(self, request: dict[str, Any]) -> Any:
        return values.metadata(self._connector.read_table_metadata(_table(request), _options(request)))

    def _call_read_table(self, request: dict[str, Any]) -> Read:
        return self._read(request, "read_table")

    def _call_read_table_deletes(self, request: dict[str, Any]) -> Read:
        return self._read(request, "read_table_deletes")

    def _read(self, request: dict[str, Any], method: str) -> Read:
        read = getattr(self._connector, method, None)
        if not callable(read):
            raise NotImplementedError(f"{type(self._connector).__name__} has no {method}")
        returned = read(_table(request), request.get("start"), _options(request))
        return Read(*values.records_and_offset(returned, method))

    def _call_is_partitioned(self, request: dict[str, Any]) -> Any:
        self._need("partition", "partitioned_stream")
        ask = getattr(self._connector, "is_partitioned", None)
        return bool(ask(_table(request))) if callable(ask) else True

    def _call_latest_offset(self, request: dict[str, Any]) -> Any:
        self._need("partitioned_stream")
        latest = self._connector.latest_offset(_table(request), _options(request), request.get("start"))
        return values.exact_json(latest, "the latest offset")

    def _call_get_partitions(self, request: dict[str, Any]) -> Any:
        self._need("partition", "partitioned_stream")
        start, end = request.get("start"), request.get("end")
        get = self._connector.get_partitions
        if start is None and end is None and not _needs_more_than(get, 2):
            return values.partitions(get(_table(request), _options(request)))
        return values.partitions(get(_table(request), _options(request), start, end))

    def _call_read_partition(self, request: dict[str, Any]) -> Read:
        self._need("partition", "partitioned_stream")
        records = self._connector.read_partition(_table(request), request.get("partition"), _options(request))
        return Read(values.records_of(records, "read_partition"), None)

    def _call_list_namespaces(self, request: dict[str, Any]) -> Any:
        self._need("namespaces")
        prefix = request.get("prefix") or None
        found = self._connector.list_namespaces() if prefix is None else self._connector.list_namespaces(prefix)
        return values.namespaces(found)

    def _call_list_tables_in_namespace(self, request: dict[str, Any]) -> Any:
        self._need("namespaces")
        found = self._connector.list_tables_in_namespace(request.get("namespace") or [])
        return values.names(found, "list_tables_in_namespace")

    def _call_agent_operations(self, _request: dict[str, Any]) -> Any:
        from . import agent

        return agent.operations(self._connector)

    def _call_agent(self, request: dict[str, Any]) -> Any:
        from . import agent

        return agent.run(self._connector, self._abilities, request.get("operation"), request.get("arguments") or {})

    def _need(self, *abilities: str) -> None:
        if not set(abilities) & set(self._abilities):
            kind = type(self._connector).__name__
            raise RequestError("unknown_call", f"{kind} does not have the ability {' or '.join(abilities)}")


def _table(request: dict[str, Any]) -> str:
    table = request.get("table")
    if not isinstance(table, str):
        raise RequestError("protocol", "table is not a name")
    return table


def _options(request: dict[str, Any]) -> Options:
    return Options(request.get("options") or {})


def _needs_more_than(method: Any, count: int) -> bool:
    """Whether a method has more parameters without a default than `count`."""
    function = getattr(method, "__func__", method)
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    own = 0 if function is method else 1
    return code.co_argcount - own - len(function.__defaults__ or ()) > count  # type: ignore[no-any-return]
