"""Single files with the framework inlined: `register_lakeflow_source(spark)` defines the classes when it is called."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import CellType, FunctionType, ModuleType
from typing import Any

from .errors import RequestError

_STEPS = 2_000


class _DataSources:
    """Takes what the file registers."""

    def __init__(self) -> None:
        self.registered: list[Any] = []
        self.locals: dict[str, Any] = {}

    def register(self, data_source: Any) -> None:
        """Keeps the data source, and the names in scope where it was registered."""
        self.registered.append(data_source)
        self.locals.update(sys._getframe(1).f_locals)


class _Conf:
    """No settings at all."""

    @staticmethod
    def get(_name: str, default: Any = None) -> Any:
        """The default."""
        return default

    @staticmethod
    def set(_name: str, _value: Any) -> None:
        """Nothing to keep."""


class _StandInSpark:
    """What such a file needs of a Spark session: somewhere to register its data source."""

    def __init__(self) -> None:
        self.dataSource = _DataSources()
        self.conf = _Conf()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"there is no Spark session here: `spark.{name}` is not supported")


def classes_registered_by(module: ModuleType) -> Iterator[list[type]]:
    """The classes among which the connector's is, the surest first: the one that the data source names, those that it
    is made of, those that were in scope where it was registered."""
    spark = _StandInSpark()
    module.register_lakeflow_source(spark)
    sources = spark.dataSource
    if not sources.registered:
        raise RequestError("no_connector", f"register_lakeflow_source in {module.__file__} registers no data source")
    for source in sources.registered:
        named = getattr(source, "_lakeflow_connect_cls", None)
        if isinstance(named, type):
            yield [named]
    yield list(_reachable(sources.registered))
    yield [value for value in sources.locals.values() if isinstance(value, type)]
    yield [value for value in vars(module).values() if isinstance(value, type)]


def _reachable(start: list[Any]) -> Iterator[type]:
    """Classes in the closures of a class's methods, and in those of what these hold."""
    waiting = list(start)
    seen: set[int] = set()
    while waiting and len(seen) < _STEPS:
        value = waiting.pop(0)
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, type):
            yield value
            waiting.extend(base for base in value.__mro__[1:] if base.__module__ == value.__module__)
            waiting.extend(vars(value).values())
        elif isinstance(value, (staticmethod, classmethod)):
            waiting.append(value.__func__)
        elif isinstance(value, property):
            waiting.extend(part for part in (value.fget, value.fset) if part is not None)
        elif isinstance(value, FunctionType):
            waiting.extend(_contents(value.__closure__ or ()))


def _contents(cells: tuple[CellType, ...]) -> Iterator[Any]:
    for cell in cells:
        try:
            yield cell.cell_contents
        except ValueError:  # a name that was never bound
            continue
