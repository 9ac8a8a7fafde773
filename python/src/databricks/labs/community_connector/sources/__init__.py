"""Where connector packages live: each is a package `sources.<name>`."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
