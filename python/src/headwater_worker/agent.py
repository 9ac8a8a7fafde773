"""Operations for agents: the built-in ones, and those of the connector."""

from __future__ import annotations

from itertools import islice
from typing import Any

from databricks.labs.community_connector.interface.agent_protocol import AgentError, ErrorCode

from . import values
from .options import Options
from .plain import as_mapping, plain

DEFAULT_LIMIT = 100
MOST_RECORDS = 10_000

_TABLE = {"name": "table", "type": "string", "description": "Name of the table.", "required": True}
_OPTIONS = {"name": "options", "type": "object", "description": "The table's options.", "required": False}
_NAMESPACE = {"name": "namespace", "type": "array", "description": "Path of a namespace.", "required": False}
_LIMIT = {"name": "limit", "type": "integer", "description": "Most records to return.", "required": False}
_OFFSET = {"name": "offset", "type": "object", "description": "Offset to read from.", "required": False}

_BUILT_IN: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "list_objects": ("Tables, and namespaces where the source has them.", [_NAMESPACE]),
    "read_table": ("The first records of a table, and the offset behind them.", [_TABLE, _LIMIT, _OFFSET, _OPTIONS]),
    "get_object_metadata": ("Schema, keys, cursor and kind of a table.", [_TABLE, _OPTIONS]),
    "validate_connection": ("Whether the source answers with the connection's options.", []),
    "list_operations": ("These operations.", []),
}


def operations(connector: Any) -> dict[str, Any]:
    """Every operation by name: what it is for, and its parameters."""
    told: dict[str, Any] = {
        name: {"description": text, "parameters": parameters} for name, (text, parameters) in _BUILT_IN.items()
    }
    for name, operation in _own(connector).items():
        told[name] = _described(operation)
    return told


def _own(connector: Any) -> dict[str, Any]:
    ask = getattr(connector, "agent_operations", None)
    found = ask() if callable(ask) else None
    return dict(found) if isinstance(found, dict) else {}


def _described(operation: Any) -> dict[str, Any]:
    to_dict = getattr(operation, "to_dict", None)
    if callable(to_dict):
        found, told = as_mapping(to_dict())
        if found:
            return plain(told)  # type: ignore[no-any-return]
    parameters = getattr(operation, "parameters", None) or []
    if isinstance(parameters, dict):
        parameters = [{"name": name, **(as_mapping(p)[1] or vars(p))} for name, p in parameters.items()]
    else:
        parameters = [as_mapping(p)[1] or dict(vars(p)) for p in parameters]
    return {"description": str(getattr(operation, "description", "") or ""), "parameters": plain(parameters)}


def run(connector: Any, abilities: list[str], operation: Any, arguments: Any) -> Any:
    """The result of an operation, as JSON values."""
    if not isinstance(operation, str) or not isinstance(arguments, dict):
        raise AgentError(ErrorCode.INVALID_ARGUMENT, "an operation is a name with an object of arguments")
    own = _own(connector)
    if operation in own:
        return plain(_run_own(operation, own[operation], arguments))
    if operation not in _BUILT_IN:
        known = ", ".join(sorted({*_BUILT_IN, *own}))
        message = f"there is no operation {operation!r}; there are {known}"
        raise AgentError(ErrorCode.UNSUPPORTED_OPERATION, message)
    known_names = {parameter["name"] for parameter in _BUILT_IN[operation][1]}
    for name in arguments:
        if name not in known_names:
            raise AgentError(ErrorCode.INVALID_ARGUMENT, f"{operation} takes no argument {name!r}")
    return plain(_Operations(connector, abilities).run(operation, arguments))


def _run_own(name: str, operation: Any, arguments: dict[str, Any]) -> Any:
    for attribute in ("handler", "func", "function", "fn", "callback", "run", "execute"):
        handler = getattr(operation, attribute, None)
        if callable(handler):
            return handler(**arguments)
    if callable(operation):
        return operation(**arguments)
    raise AgentError(ErrorCode.UNSUPPORTED_OPERATION, f"operation {name!r} has nothing to call")


class _Operations:
    """The built-in operations, made of the contract's methods."""

    def __init__(self, connector: Any, abilities: list[str]) -> None:
        self._connector = connector
        self._abilities = abilities

    def run(self, operation: str, arguments: dict[str, Any]) -> Any:
        return getattr(self, operation)(**arguments)

    def list_operations(self) -> Any:
        return operations(self._connector)

    def validate_connection(self) -> Any:
        test = getattr(self._connector, "test_connection", None)
        if callable(test):
            told = test()
            return {"valid": told is None or bool(told), "details": told}
        return {"valid": True, "tables": len(values.names(self._connector.list_tables(), "list_tables"))}

    def list_objects(self, namespace: Any = None) -> Any:
        if "namespaces" not in self._abilities:
            if namespace:
                raise AgentError(ErrorCode.INVALID_ARGUMENT, "this source has no namespaces")
            return {"tables": values.names(self._connector.list_tables(), "list_tables")}
        if namespace is not None and not isinstance(namespace, list):
            raise AgentError(ErrorCode.INVALID_ARGUMENT, "namespace is a list of names")
        if not namespace:
            return {"namespaces": values.namespaces(self._connector.list_namespaces())}
        return {
            "namespaces": values.namespaces(self._connector.list_namespaces(namespace)),
            "tables": values.names(self._connector.list_tables_in_namespace(namespace), "list_tables_in_namespace"),
        }

    def get_object_metadata(self, table: Any = None, options: Any = None) -> Any:
        name, given = _table(table), _options(options)
        return {
            "table": name,
            "schema": values.schema(self._connector.get_table_schema(name, given)),
            "metadata": values.metadata(self._connector.read_table_metadata(name, given)),
        }

    def read_table(self, table: Any = None, limit: Any = None, offset: Any = None, options: Any = None) -> Any:
        name, given = _table(table), _options(options)
        most = DEFAULT_LIMIT if limit is None else limit
        if isinstance(most, bool) or not isinstance(most, int) or not 0 <= most <= MOST_RECORDS:
            raise AgentError(ErrorCode.INVALID_ARGUMENT, f"limit is a number from 0 to {MOST_RECORDS}")
        start = offset
        if start is None:
            kind = values.metadata(self._connector.read_table_metadata(name, given)).get("ingestion_type")
            start = None if kind == "snapshot" else {}
        records, end = values.records_and_offset(self._connector.read_table(name, start, given), "read_table")
        source = iter(records)
        taken = list(islice(source, most))
        complete = next(source, None) is None
        # Behind a part of the records the offset would not be true.
        return {"records": taken, "complete": complete, "offset": end if complete else None}


def _table(table: Any) -> str:
    if not isinstance(table, str) or not table:
        raise AgentError(ErrorCode.INVALID_ARGUMENT, "table is missing")
    return table


def _options(options: Any) -> Options:
    if options is None:
        return Options()
    if not isinstance(options, dict):
        raise AgentError(ErrorCode.INVALID_ARGUMENT, "options is an object of texts")
    return Options({str(k): v if isinstance(v, str) else plain_text(v) for k, v in options.items()})


def plain_text(value: Any) -> str:
    """An option's value that was given as something else than text."""
    import json

    return json.dumps(value)
