"""A stand-in where PySpark is not installed: `pyspark.sql.types`, and the base classes of `pyspark.sql.datasource`.

This is not PySpark: it has no Spark session and runs no query. For that, install `pyspark` into the connector's
environment.
"""

from __future__ import annotations

from typing import NoReturn

__version__ = "4.0.0+headwater.standin"


def __getattr__(name: str) -> NoReturn:
    if name.startswith("__"):
        raise AttributeError(name)
    raise ImportError(
        f"pyspark.{name} is not here: PySpark is not installed, and Headwater brings along only pyspark.sql.types "
        "and what a data source is declared with. Connectors that need more name pyspark as a requirement."
    )
