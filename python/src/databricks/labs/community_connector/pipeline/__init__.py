"""Pipelines of connectors."""

from pkgutil import extend_path

from .ingestion_pipeline import ingest

__path__ = extend_path(__path__, __name__)

__all__ = ["ingest"]
