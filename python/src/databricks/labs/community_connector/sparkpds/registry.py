"""Finds the data source of a connector package, and registers it with Spark."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .lakeflow_datasource import LakeflowSource

_SOURCES = "databricks.labs.community_connector.sources"


def find_data_source(name: str) -> type[LakeflowSource]:
    """The data source that `sources.<name>` exports: a subclass of `LakeflowSource` with its connector's class."""
    package_name = name if "." in name else f"{_SOURCES}.{name}"
    try:
        package = import_module(package_name)
    except ModuleNotFoundError as error:
        if error.name is None or not package_name.startswith(error.name):
            raise
        raise ValueError(f"there is no connector {name!r}: no package {package_name}") from error
    found = [value for value in vars(package).values() if isinstance(value, type) and _names_connector(value)]
    unique = list(dict.fromkeys(found))
    if len(unique) != 1:
        names = ", ".join(sorted(value.__name__ for value in unique)) or "none"
        raise ValueError(f"{package_name} must export one subclass of LakeflowSource, and exports {names}")
    return unique[0]


def _names_connector(value: type) -> bool:
    return issubclass(value, LakeflowSource) and value._lakeflow_connect_cls is not None


def register(spark: Any, name: str | type[LakeflowSource]) -> None:
    """Registers the data source of a connector with a Spark session."""
    source = find_data_source(name) if isinstance(name, str) else name
    if spark is None:
        raise RuntimeError("there is no Spark session to register with; `headwater run <spec>` needs none")
    spark.dataSource.register(source)
