"""The worker's command line. Options of a connection never stand in it."""

from __future__ import annotations

import os
import sys

USAGE = """usage: python -m headwater_worker (--path FOLDER_OR_FILE | --module INSTALLED.MODULE)
           [--name NAME] [--class MODULE:CLASS] [--repo FOLDER] [--describe] [--write-back FILE]

  --path      folder or file of the connector
  --module    a connector that is installed as a package
  --name      its name as sources.<name>, where its modules do not tell
  --class     its class, where there are several; MODULE is a name inside the connector's package or a full name
  --repo      root of the repository it came from: other parts of it are found behind what is brought along
  --describe  print what was found as JSON, and end
  --write-back  run the class WriteBack of this file instead of the connector"""

_VALUES = ("path", "module", "name", "class", "repo", "write-back")


class Arguments:
    """What the command line says."""

    def __init__(self, given: list[str]) -> None:
        values: dict[str, str] = {}
        self.describe = False
        left = list(given)
        while left:
            word = left.pop(0)
            name, equals, value = word.removeprefix("--").partition("=")
            if word == "--describe":
                self.describe = True
            elif word.startswith("--") and name in _VALUES and (equals or left):
                values[name] = value if equals else left.pop(0)
            else:
                wrong_usage(f"unexpected argument: {word}")
        if ("path" in values) == ("module" in values):
            wrong_usage("exactly one of --path and --module is needed")
        path = values.get("path")
        self.path = None if path is None else os.path.realpath(path)
        self.module = values.get("module")
        self.name = values.get("name")
        self.class_name = values.get("class")
        repo = values.get("repo")
        self.repo = None if repo is None else os.path.realpath(repo)
        write_back = values.get("write-back")
        self.write_back = None if write_back is None else os.path.realpath(write_back)


def wrong_usage(why: str) -> None:
    """Ends the process with the usage text."""
    print(f"headwater_worker: {why}\n{USAGE}", file=sys.stderr)
    raise SystemExit(2)
