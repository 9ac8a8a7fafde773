#!/usr/bin/env bash
# Makes the Python environment that the tests read Delta tables with: the packages of requirements.txt and the jars of
# spark-jars.txt. It stands in a cache folder, named after the content of those files, and `readers-venv` beside it
# is a link to the newest. Nothing is done when it is there already. Prints the folder.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${HEADWATER_TEST_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or HEADWATER_TEST_CACHE}/.cache}/headwater}
python=${PYTHON:-python3}
inputs=(requirements.txt spark-jars.txt)

fail() {
    echo "error: $1" >&2
    echo "hint: $2" >&2
    exit 1
}

key=$( (cd "$here" && cat "${inputs[@]}") | { sha256sum 2>/dev/null || shasum -a 256; } | cut -c1-16)
env="$cache/readers-$key"

link() {
    # A new link is renamed over the old one, so that a test that starts meanwhile sees one or the other.
    ln -sfn "readers-$key" "$cache/.readers-link.$$"
    "$env/bin/python" -c 'import os, sys; os.replace(sys.argv[1], sys.argv[2])' "$cache/.readers-link.$$" "$cache/readers-venv"
    echo "$env"
}

if [ -e "$env/complete" ]; then
    [ "$(readlink "$cache/readers-venv" 2>/dev/null)" = "readers-$key" ] && echo "$env" || link
    exit 0
fi

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    fail "no Python 3.10 or newer as '$python'" "install one, or name it: PYTHON=/path/to/python3.11 $0"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "'$python' cannot make virtual environments" "install its venv package (python3-venv on Debian and Ubuntu)"
java=${JAVA_HOME:+$JAVA_HOME/bin/}java
"$java" -version >/dev/null 2>&1 ||
    fail "no Java as '$java'" "Spark needs a JDK of version 17 or 21: install one, or set JAVA_HOME"

mkdir -p "$cache" || fail "cannot make $cache" "set HEADWATER_TEST_CACHE to a folder that can be written"
work=$(mktemp -d "$cache/.readers-new.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "making $env (about 500 MB of downloads, once)" >&2
"$python" -m venv "$work"
"$work/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile -r "$here/requirements.txt" >&2 ||
    fail "the packages of $here/requirements.txt could not be installed" "see pip's message above; behind a proxy set HTTPS_PROXY, or pip's own index options"

# The jars of Spark bring Ivy; it goes by its own defaults for where jars come from.
spark_jars=$("$work/bin/python" -c 'import os, pyspark; print(os.path.join(os.path.dirname(pyspark.__file__), "jars"))')
while IFS=: read -r group artifact version; do
    case $group in '' | '#'*) continue ;; esac
    "$java" -cp "$spark_jars/*" org.apache.ivy.Main -error -settings "$here/ivy.xml" -cache "$work/ivy" -notransitive \
        -types jar -confs default -dependency "$group" "$artifact" "$version" \
        -retrieve "$work/delta-jars/[artifact]-[revision].[ext]" >"$work/ivy.log" 2>&1 &&
        [ -s "$work/delta-jars/$artifact-$version.jar" ] || {
        cat "$work/ivy.log" >&2
        fail "the jar $group:$artifact:$version could not be fetched" "see the message above; behind a proxy pass it in JAVA_TOOL_OPTIONS (-Dhttps.proxyHost, -Dhttps.proxyPort)"
    }
done <"$here/spark-jars.txt"
rm -rf "$work/ivy" "$work/ivy.log"

for input in "${inputs[@]}"; do cp "$here/$input" "$work/$input"; done
touch "$work/complete"
# Another run may have been quicker; its environment is as good.
chmod 755 "$work"
mv -T "$work" "$env" 2>/dev/null || [ -e "$env/complete" ] || mv "$work" "$env"
link
