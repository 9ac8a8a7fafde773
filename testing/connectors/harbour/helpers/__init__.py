from ..harbour_schemas import SUPPORTED
from .weights import tonnage

__all__ = ["SUPPORTED", "tonnage"]
