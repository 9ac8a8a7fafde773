"""Reads a pipeline spec: a connection, and the tables that are read through it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_OURS = frozenset(
    (
        "scd_type", "primary_keys", "sequence_by", "cluster_by", "include_columns", "exclude_columns",
        "track_history_columns", "track_history_except_columns", "tombstone_retention", "deletion_vectors",
        "on_bad_record",
    )
)  # fmt: skip
_SCD_TYPES = ("SCD_TYPE_1", "SCD_TYPE_2", "APPEND_ONLY")


class SpecParser:
    """Checks a spec (a mapping or JSON text) when it is made, and answers questions about it.

    Both forms are understood: `connection_name` and `objects` at the top, or within `ingestion_definition`.

    Raises `ValueError` that names the field, and what is wrong with it.
    """

    def __init__(self, spec: Mapping[str, Any] | str) -> None:
        top = _mapping(_parsed(spec), "the spec")
        nested = top.get("ingestion_definition")
        self._spec = top if nested is None else _mapping(nested, "ingestion_definition")
        self._top = top
        self._connection = _text(self._spec.get("connection_name"), "connection_name")
        self._shared = _configuration(self._spec.get("table_configuration"), "table_configuration")
        self._tables: dict[str, dict[str, Any]] = {}
        objects = self._spec.get("objects")
        if not isinstance(objects, list) or not objects:
            raise ValueError("objects must be a list with at least one table")
        for index, item in enumerate(objects):
            self._add(item, f"objects[{index}]")

    def _add(self, item: Any, at: str) -> None:
        entry = _mapping(item, at)
        if "table" not in entry:
            if "schema" in entry:
                raise ValueError(f"{at} is a schema; here only tables are understood, name each with `table`")
            raise ValueError(f"{at} must have a member `table`")
        table = _mapping(entry["table"], f"{at}.table")
        name = _text(table.get("source_table"), f"{at}.table.source_table")
        if name in self._tables:
            raise ValueError(f"{at}.table.source_table names {name!r} a second time")
        for field in ("destination_catalog", "destination_schema", "destination_table"):
            if table.get(field) is not None:
                _text(table[field], f"{at}.table.{field}")
        own = _configuration(table.get("table_configuration"), f"{at}.table.table_configuration")
        merged = {**self._shared, **own}
        _scd_type(merged, f"{at}.table.table_configuration.scd_type")
        self._tables[name] = {**table, "table_configuration": merged}

    def connection_name(self) -> str:
        """Name of the connection."""
        return self._connection

    def get_table_list(self) -> list[str]:
        """Names of the source's tables, in the spec's order."""
        return list(self._tables)

    def get_table_configurations(self) -> dict[str, dict[str, str]]:
        """The options of each table that are meant for the connector, by table."""
        return {name: self.get_table_configuration(name) for name in self._tables}

    def get_table_configuration(self, table_name: str) -> dict[str, str]:
        """The options of a table that are meant for the connector, as texts; lists and objects as JSON."""
        options = self._table(table_name)["table_configuration"]
        return {
            name: _option(value) for name, value in options.items() if name.lower() not in _OURS and value is not None
        }

    def get_scd_type(self, table_name: str) -> str | None:
        """SCD_TYPE_1, SCD_TYPE_2 or APPEND_ONLY; `None` where the spec does not say."""
        return _scd_type(self._table(table_name)["table_configuration"], "scd_type")

    def get_primary_keys(self, table_name: str) -> list[str] | None:
        """Columns that name a row; `None` where the spec does not say."""
        return self._columns(table_name, "primary_keys")

    def get_sequence_by(self, table_name: str) -> str | None:
        """Column that orders changes; `None` where the spec does not say."""
        value = self._setting(table_name, "sequence_by")
        return None if value is None else _text(value, f"sequence_by of table {table_name!r}")

    def get_cluster_by(self, table_name: str) -> list[str] | None:
        """Columns that the table is clustered by; `None` where the spec does not say."""
        return self._columns(table_name, "cluster_by")

    def get_full_destination_table_name(self, table_name: str) -> str:
        """Where the table lands: catalog, schema and name, as far as the spec says them, joined with dots."""
        table = self._table(table_name)
        catalog = table.get("destination_catalog") or self._top.get("catalog")
        schema = table.get("destination_schema") or self._top.get("schema") or self._top.get("target")
        name = table.get("destination_table") or table_name
        if catalog and not schema:
            raise ValueError(f"table {table_name!r} has a destination_catalog, and no destination_schema")
        return ".".join(part for part in (catalog, schema, name) if part)

    def _table(self, name: str) -> dict[str, Any]:
        if name not in self._tables:
            raise ValueError(f"the spec has no table {name!r}; it has {', '.join(self._tables)}")
        return self._tables[name]

    def _setting(self, table_name: str, setting: str) -> Any:
        return _find(self._table(table_name)["table_configuration"], setting)

    def _columns(self, table_name: str, setting: str) -> list[str] | None:
        value = self._setting(table_name, setting)
        if value is None:
            return None
        what = f"{setting} of table {table_name!r}"
        if isinstance(value, str):
            text = value.strip()
            value = _parsed(text) if text.startswith("[") else [part.strip() for part in text.split(",")]
        if not isinstance(value, list) or not value:
            raise ValueError(f"{what} must be a list of column names, or one text with commas")
        return [_text(name, what) for name in value]


def _parsed(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError as error:
        raise ValueError(f"this is no JSON: {error}") from None


def _mapping(value: Any, at: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{at} must be an object, and is {_kind(value)}")
    for key in value:
        if not isinstance(key, str):
            raise ValueError(f"{at} has the key {key!r}, which is no text")
    return dict(value)


def _configuration(value: Any, at: str) -> dict[str, Any]:
    found = {} if value is None else _mapping(value, at)
    spelled: dict[str, str] = {}
    for name in found:
        other = spelled.setdefault(name.lower(), name)
        if other != name:
            raise ValueError(f"{at} has {other!r} and {name!r}, which differ only by case")
    return found


def _text(value: Any, at: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{at} must be a text that is not empty, and is {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    if value is None:
        return "missing"
    return "empty" if value == "" else f"a {type(value).__name__}"


def _find(configuration: dict[str, Any], setting: str) -> Any:
    return next((value for name, value in configuration.items() if name.lower() == setting), None)


def _scd_type(configuration: dict[str, Any], at: str) -> str | None:
    value = _find(configuration, "scd_type")
    if value is None:
        return None
    if not isinstance(value, str) or value.upper() not in _SCD_TYPES:
        raise ValueError(f"{at} must be one of {', '.join(_SCD_TYPES)}, and is {value!r}")
    return value.upper()


def _option(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
