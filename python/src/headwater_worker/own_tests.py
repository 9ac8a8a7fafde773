"""Runs a connector's own tests with pytest, as the connector itself runs: importable by its full path, with the schema
types that it knows, and led to the simulator where there is one.

    python -m headwater_worker.own_tests FOLDER TESTS [ARGUMENT_OF_PYTEST ...]
"""

from __future__ import annotations

import os
import sys

from .loader import place_of
from .simulated import lead_from_environment


def main(given: list[str]) -> int:
    """Runs the tests; gives pytest's exit code."""
    if len(given) < 2:
        print("usage: python -m headwater_worker.own_tests FOLDER TESTS [ARGUMENT_OF_PYTEST ...]", file=sys.stderr)
        return 2
    folder, *arguments = given
    lead_from_environment()
    # Behind everything else, so that the real package is taken where there is one.
    sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "standin"))
    place_of(os.path.realpath(folder), None, None, None)
    import pytest

    return int(pytest.main(["-q", "-p", "no:cacheprovider", *arguments]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
