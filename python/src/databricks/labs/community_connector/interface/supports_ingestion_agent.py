"""Connectors that offer operations to agents."""

from __future__ import annotations

from .agent_protocol import AgentOperation


class SupportsIngestionAgent:
    """Adds operations of the connector's own to the built-in ones (`list_objects`, `read_table`,
    `get_object_metadata`, `validate_connection`, `list_operations`)."""

    def agent_operations(self) -> dict[str, AgentOperation]:
        """The connector's own operations by name."""
        return {}
