"""The contract of community connectors, as Headwater brings it along.

Other parts of a connector's own repository, under the same path, are found behind these modules.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
__version__ = "0.1.0"
