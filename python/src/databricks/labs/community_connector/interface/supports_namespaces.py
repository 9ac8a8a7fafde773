"""Sources whose tables lie in namespaces (databases, schemas, sites)."""

from __future__ import annotations

from abc import ABC, abstractmethod


class SupportsNamespaces(ABC):
    """The source's tables can be found by walking its namespaces."""

    @abstractmethod
    def list_namespaces(self, prefix: list[str] | None = None) -> list[list[str]]:
        """Namespaces directly below `prefix` (the top without one), each as its full path."""

    @abstractmethod
    def list_tables_in_namespace(self, namespace: list[str]) -> list[str]:
        """Names of the tables in one namespace."""
