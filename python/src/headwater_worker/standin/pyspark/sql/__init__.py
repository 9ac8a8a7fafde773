"""`Row`, and names for annotations. There is no Spark session here."""

from __future__ import annotations

from typing import Any, NoReturn

from .types import Row

__all__ = ["DataFrame", "Row", "SparkSession"]

_NOT_HERE = (
    "PySpark is not installed, and Headwater runs connectors without it; it brings along only pyspark.sql.types and "
    "what a data source is declared with. A connector that needs more names pyspark as a requirement."
)


class _NotHere(type):
    def __getattr__(cls, name: str) -> NoReturn:
        raise AttributeError(f"pyspark.sql.{cls.__name__}.{name} is not here: {_NOT_HERE}")

    def __call__(cls, *_arguments: Any, **_named: Any) -> NoReturn:
        raise RuntimeError(f"there is no pyspark.sql.{cls.__name__} here: {_NOT_HERE}")


class SparkSession(metaclass=_NotHere):
    """For annotations, and for the question whether there is a session."""

    @classmethod
    def getActiveSession(cls) -> None:
        """`None`: there is none."""
        return


class DataFrame(metaclass=_NotHere):
    """For annotations."""


def __getattr__(name: str) -> NoReturn:
    if name.startswith("__"):
        raise AttributeError(name)
    raise ImportError(f"pyspark.sql.{name} is not here: {_NOT_HERE}")
