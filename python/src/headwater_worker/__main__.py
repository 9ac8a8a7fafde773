"""`python -m headwater_worker`."""

import sys

# `-m` puts the current folder first; a file there must not stand in for a module of the connector's environment.
if not sys.flags.safe_path:
    del sys.path[0]

from headwater_worker.start import main

main(sys.argv[1:])
