"""What a connector implements: `LakeflowConnect`, and mixins for optional abilities."""

from pkgutil import extend_path

from .agent_protocol import AgentError, AgentOperation, ErrorCode, Parameter
from .lakeflow_connect import LakeflowConnect
from .supports_ingestion_agent import SupportsIngestionAgent
from .supports_namespaces import SupportsNamespaces
from .supports_partition import SupportsPartition, SupportsPartitionedStream

__path__ = extend_path(__path__, __name__)

__all__ = [
    "AgentError",
    "AgentOperation",
    "ErrorCode",
    "LakeflowConnect",
    "Parameter",
    "SupportsIngestionAgent",
    "SupportsNamespaces",
    "SupportsPartition",
    "SupportsPartitionedStream",
]
