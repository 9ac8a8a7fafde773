"""Connectors as data sources of Spark."""

from pkgutil import extend_path

from .lakeflow_datasource import LakeflowSource
from .registry import find_data_source, register

__path__ = extend_path(__path__, __name__)

__all__ = ["LakeflowSource", "find_data_source", "register"]
