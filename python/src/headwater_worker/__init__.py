"""The process that runs a Python connector for Headwater; it speaks the worker protocol on stdin and stdout."""

__version__ = "0.1.0"
PROTOCOL_VERSIONS = (1,)
