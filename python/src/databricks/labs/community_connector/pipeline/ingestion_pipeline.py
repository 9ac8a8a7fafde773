"""`ingest`: where a pipeline's code begins on Spark. Headwater runs the spec itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..libs.spec_parser import SpecParser


def ingest(spark: Any, spec: Mapping[str, Any] | str) -> None:
    """Checks the spec, and says how it is run: this package has no pipelines on Spark.

    Raises `ValueError` for a spec that is wrong, else `RuntimeError`.
    """
    tables = SpecParser(spec).get_table_list()
    found = f"The spec is well-formed ({len(tables)} table{'' if len(tables) == 1 else 's'})."
    if spark is None:
        raise RuntimeError(f"{found} There is no Spark session; run it with `headwater run <spec>`, which needs none.")
    raise RuntimeError(
        f"{found} This package does not run pipelines on Spark: run the spec with `headwater run <spec>`. On Spark it "
        "offers the connector as a data source (sparkpds.register(spark, name), then spark.read.format(...))."
    )
