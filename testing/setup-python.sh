#!/usr/bin/env bash
# Makes the Python environment that the tests and checks of python/ run in: the packages of python-requirements.txt, for
# the Python that PYTHON names (3.11 or newer). It stands in a cache folder, named after the packages and that Python.
# Nothing is done when it is there already. Prints the folder.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${HEADWATER_TEST_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or HEADWATER_TEST_CACHE}/.cache}/headwater}
python=${PYTHON:-python3}

fail() {
    echo "error: $1" >&2
    echo "hint: $2" >&2
    exit 1
}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "no Python 3.11 or newer as '$python'" "install one, or name it: PYTHON=/path/to/python3.11 $0"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "'$python' cannot make virtual environments" "install its venv package (python3-venv on Debian and Ubuntu)"

key=$( (cat "$here/python-requirements.txt" && "$python" -c 'import sys; print(sys.version, sys.base_prefix)') |
    { sha256sum 2>/dev/null || shasum -a 256; } | cut -c1-16)
env="$cache/python-$key"

if [ ! -e "$env/complete" ]; then
    mkdir -p "$cache" || fail "cannot make $cache" "set HEADWATER_TEST_CACHE to a folder that can be written"
    work=$(mktemp -d "$cache/.python-new.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    "$python" -m venv "$work"
    "$work/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/python-requirements.txt" >&2 ||
        fail "the packages of $here/python-requirements.txt could not be installed" "see pip's message above; behind a proxy set HTTPS_PROXY, or pip's own index options"
    touch "$work/complete"
    chmod 755 "$work"
    # Another run may have been quicker; its environment is as good.
    mv -T "$work" "$env" 2>/dev/null || [ -e "$env/complete" ] || mv "$work" "$env"
fi
echo "$env"
