"""Tells as JSON what the connector at argv[1] needs, with the extras of argv[2:]. Runs nothing of it."""

import ast
import json
import os
import sys
from importlib.util import find_spec

COMPANIONS = {"requests": "requests", "pydantic": "pydantic", "yaml": "pyyaml", "jwt": "pyjwt[crypto]"}
SKIPPED = {"tests", "test", "docs", "build", "dist", "node_modules", "venv", "site-packages"}
MOST_FILES = 2000


def normal(name):
    return "".join("-" if c in "_." else c for c in name.lower())


def project(folder, extras):
    told = {"dependencies": None, "extras": [], "unknown_extras": [], "requires_python": None, "error": None}
    try:
        with open(os.path.join(folder, "pyproject.toml"), "rb") as file:
            import tomllib

            top = tomllib.load(file)
    except FileNotFoundError:
        told["unknown_extras"] = list(extras)
        return told
    except (OSError, ValueError) as error:
        told["error"] = f"{type(error).__name__}: {error}"
        return told
    table = top.get("project")
    if not isinstance(table, dict):
        if "poetry" in (top.get("tool") or {}) and not os.path.exists(os.path.join(folder, "requirements.txt")):
            told["error"] = "it names its dependencies under [tool.poetry] only"
        told["unknown_extras"] = list(extras)
        return told
    requires = table.get("requires-python")
    told["requires_python"] = requires if isinstance(requires, str) else None
    if "dependencies" not in (table.get("dynamic") or []):
        listed = table.get("dependencies", [])
        if not isinstance(listed, list) or any(not isinstance(d, str) for d in listed):
            told["error"] = "[project] dependencies is not a list of texts"
            return told
        told["dependencies"] = listed
    optional = {normal(name): listed for name, listed in (table.get("optional-dependencies") or {}).items()}
    for extra in extras:
        if normal(extra) in optional:
            told["extras"] += [str(d) for d in optional[normal(extra)]]
        else:
            told["unknown_extras"].append(extra)
    return told


class Imports(ast.NodeVisitor):
    """Names of the modules imported, but for those whose absence the code copes with."""

    def __init__(self):
        self.names = set()

    def visit_Try(self, node):
        for part in [*node.handlers, *node.orelse, *node.finalbody]:
            self.visit(part)

    def visit_Import(self, node):
        self.names.update(alias.name.partition(".")[0] for alias in node.names)

    def visit_ImportFrom(self, node):
        if node.level == 0 and node.module:
            self.names.add(node.module.partition(".")[0])


def python_files(path):
    if os.path.isfile(path):
        yield path
        return
    count = 0
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(f for f in folders if f not in SKIPPED and not f.startswith((".", "__pycache__")))
        for file in sorted(files):
            if file.endswith(".py"):
                count += 1
                if count > MOST_FILES:
                    return
                yield os.path.join(folder, file)


def imported(path):
    imports = Imports()
    for file in python_files(path):
        try:
            with open(file, "rb") as source:
                imports.visit(ast.parse(source.read()))
        except (OSError, SyntaxError, ValueError, RecursionError):
            continue  # what is wrong with it is said when it is imported
    return imports.names


def pip_version():
    from importlib.metadata import PackageNotFoundError, version

    try:
        return [int(part) for part in version("pip").split(".")[:2]]
    except (PackageNotFoundError, ValueError):
        return None


def main():
    path, extras = sys.argv[1], sys.argv[2:]
    told = project(path if os.path.isdir(path) else os.path.dirname(path), extras)
    names = imported(path)
    used = [name for name in COMPANIONS if name in names]
    told["companions"] = [COMPANIONS[name] for name in used]
    told["missing"] = [COMPANIONS[name] for name in used if find_spec(name) is None]
    told["pip"] = pip_version()
    print(json.dumps(told))


main()
