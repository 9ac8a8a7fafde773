"""Checks what a connector's calls return, apart from records."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from .errors import ContractError

OFFSET_DEPTH = 64


def exact_json(value: Any, what: str) -> Any:
    """`value` as JSON carries it, exactly: for offsets and partitions, which come back later.

    A copy: some connectors go on with the same object while their records are still being read.
    """
    _check(value, what, 0)
    return json.loads(json.dumps(value))


def _check(value: Any, path: str, depth: int) -> None:
    if value is None or isinstance(value, (str, int)):
        return
    if depth > OFFSET_DEPTH:
        raise ContractError(f"{path[:200]} is nested more than {OFFSET_DEPTH} levels deep")
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise ContractError(f"{path} is {value}, which JSON cannot carry")
    elif isinstance(value, dict):
        for key, member in value.items():
            if key is not None and not isinstance(key, (str, int, float)):
                raise ContractError(f"{path} has a key of type {type(key).__name__}, which JSON cannot carry")
            _check(member, f"{path}[{key!r}]", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]", depth + 1)
    else:
        raise ContractError(f"{path} is of type {type(value).__name__}, which JSON cannot carry")


def records_and_offset(returned: Any, call: str) -> tuple[Any, Any]:
    """The pair that a read returns, with its offset checked."""
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        shape = f" of {len(returned)}" if isinstance(returned, (tuple, list)) else ""
        kind = type(returned).__name__
        raise ContractError(f"{call} returned a {kind}{shape}, and not a pair of records and offset")
    records, offset = returned
    return records_of(records, call), exact_json(offset, "the offset")


def records_of(records: Any, call: str) -> Any:
    """Something to iterate over; no records at all for `None`."""
    if records is None:
        return []
    if isinstance(records, (str, bytes, dict)) or not isinstance(records, Iterable):
        raise ContractError(f"{call} returned records of type {type(records).__name__}, and not an iterator of dicts")
    return records


def names(returned: Any, call: str) -> list[str]:
    """A list of names."""
    if isinstance(returned, (str, bytes, dict)) or not isinstance(returned, Iterable):
        raise ContractError(f"{call} returned a {type(returned).__name__}, and not a list of names")
    found = list(returned)
    for name in found:
        if not isinstance(name, str):
            raise ContractError(f"{call} returned {name!r} among the names, which is no text")
    return found


def namespaces(returned: Any) -> list[list[str]]:
    """A list of paths."""
    if isinstance(returned, (str, bytes, dict)) or not isinstance(returned, Iterable):
        raise ContractError(f"list_namespaces returned a {type(returned).__name__}, and not a list of lists of names")
    return [names([path] if isinstance(path, str) else path, "list_namespaces") for path in returned]


def partitions(returned: Any) -> list[dict[str, Any]]:
    """A list of descriptors."""
    if isinstance(returned, (str, bytes, dict)) or not isinstance(returned, Iterable):
        raise ContractError(f"get_partitions returned a {type(returned).__name__}, and not a list of dicts")
    found = list(returned)
    for index, partition in enumerate(found):
        if not isinstance(partition, dict):
            raise ContractError(f"partition {index} is of type {type(partition).__name__}, and not a dict")
        exact_json(partition, f"partition {index}")
    return found


def schema(returned: Any) -> Any:
    """The JSON form of a `StructType`."""
    value = returned
    if hasattr(returned, "jsonValue"):
        value = returned.jsonValue()
    elif isinstance(returned, str):
        try:
            value = json.loads(returned)
        except ValueError:
            value = None
    if not isinstance(value, dict) or value.get("type") != "struct" or not isinstance(value.get("fields"), list):
        raise ContractError(f"get_table_schema returned a {type(returned).__name__}, and not a StructType")
    return _plain(value)


def metadata(returned: Any) -> Any:
    """An object."""
    if not isinstance(returned, dict):
        raise ContractError(f"read_table_metadata returned a {type(returned).__name__}, and not a dict")
    return _plain(returned)


def _plain(value: Any) -> Any:
    # Not needed before the first call, and neither are the modules that it takes.
    from .plain import plain

    return plain(value)
