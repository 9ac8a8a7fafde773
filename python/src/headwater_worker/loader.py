"""Makes a connector's files importable under `databricks.labs.community_connector.sources.<name>`.

The folder of a connector holds its modules directly, while they import each other by that path.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from typing import Any

from .errors import RequestError

SOURCES = "databricks.labs.community_connector.sources"
SPEC_FILE = "connector_spec.yaml"
_CHAIN = os.path.join("databricks", "labs", "community_connector")
_SKIPPED = {
    "tests",
    "test",
    "simulator",
    "docs",
    "build",
    "dist",
    "node_modules",
    "__pycache__",
    "venv",
    "site-packages",
}
_NO_PARTS = {"setup.py", "conftest.py", "noxfile.py", "tasks.py"}
_REFERENCE = re.compile(rb"databricks\.labs\.community_connector\.sources\.(\w+)(?:\.(\w+)|\s+import\s+\(?\s*(\w+))?")
_TEST = re.compile(r"test_|.*_test\.py$")
_DEPTH = 7


class Place:
    """Where a connector's code is, and the name it is imported under."""

    def __init__(self, package: str, folder: str, file: str | None) -> None:
        self.package = package
        self.folder = folder
        # A connector of one file is a module, and has no package around it.
        self.file = file

    @property
    def own_files(self) -> str:
        """What the connector's own frames lie in."""
        return self.file or self.folder

    @property
    def spec_file(self) -> str | None:
        """Path of the connector's `connector_spec.yaml`."""
        path = os.path.join(self.folder, SPEC_FILE)
        return path if os.path.isfile(path) else None


class _Finder:
    """Finds the connector's package; what is in it is found the usual way, by the package's path."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        place = self._place
        if name != place.package:
            return None
        if place.file is not None:
            return spec_from_file_location(name, place.file)
        init = os.path.join(place.folder, "__init__.py")
        if os.path.isfile(init):
            return spec_from_file_location(name, init, submodule_search_locations=[place.folder])
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [place.folder]
        return spec


def place_of(path: str | None, module: str | None, name: str | None, repo: str | None) -> Place:
    """Finds the connector's code without running any of it."""
    if repo is not None:
        for root in _roots(repo):
            if root not in sys.path:
                sys.path.append(root)
    if module is not None:
        return _installed(module)
    assert path is not None
    if os.path.isfile(path):
        if not path.endswith(".py"):
            raise RequestError("no_connector", f"{path} is not a Python file")
        folder, base = os.path.split(path)
        package = f"{SOURCES}.{_identifier(name or base.removesuffix('.py'))}"
        place = Place(package, folder, path)
    elif os.path.isdir(path):
        folder = _package_folder(path, name)
        place = Place(f"{SOURCES}.{_name_of(folder, name)}", folder, None)
    else:
        raise RequestError("no_connector", f"there is no file or folder {path}")
    if place.folder not in sys.path:
        # Behind everything else: some import their helpers as top-level modules.
        sys.path.append(place.folder)
    sys.meta_path.insert(0, _Finder(place))
    return place


def _installed(module: str) -> Place:
    """A package in the environment. Its parents are imported by this, the package itself is not."""
    from importlib.util import find_spec

    try:
        spec = find_spec(module)
    except ImportError as error:
        raise RequestError("no_connector", f"module {module} cannot be found: {error}") from error
    if spec is None:
        raise RequestError("no_connector", f"module {module} is not installed in {sys.prefix}")
    folders = spec.submodule_search_locations
    if folders:
        return Place(module, os.path.realpath(next(iter(folders))), None)
    file = os.path.realpath(spec.origin or "")
    return Place(module, os.path.dirname(file), file)


def _identifier(name: str) -> str:
    found = re.sub(r"\W", "_", name)
    return found if found.isidentifier() else f"_{found}"


def modules_in(folder: str) -> list[str]:
    """Names of the modules in a package, relative to it, without tests; in order."""
    found = []
    for file in _python_files(folder):
        parts = os.path.relpath(file, folder).removesuffix(".py").split(os.sep)
        if parts[-1] == "__init__":
            parts.pop()
        if all(part.isidentifier() for part in parts):
            found.append(".".join(parts))
    return sorted(found)


def _python_files(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        depth = parent[len(folder) :].count(os.sep)
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        folders[:] = sorted(
            f for f in folders if f not in _SKIPPED and not f.startswith(".") and depth < _DEPTH and f != "egg-info"
        )
        for file in sorted(files):
            if file.endswith(".py") and file not in _NO_PARTS and not _TEST.match(file):
                yield os.path.join(parent, file)


def _read(file: str) -> bytes:
    with open(file, "rb") as opened:
        return opened.read()


def _package_folder(path: str, name: str | None) -> str:
    """The folder with the connector's modules: the one given, else the only one below it that has some."""
    if any(os.path.dirname(file) == path for file in _python_files(path)):
        return path
    folders: list[str] = []
    for file in _python_files(path):
        folder = os.path.dirname(file)
        if b"LakeflowConnect" in _read(file) and not any(is_below(folder, found) for found in folders):
            folders = [found for found in folders if not is_below(found, folder)] + [folder]
    # What a repository brings along of the framework is not a connector.
    sources = [f for f in folders if f"{_CHAIN}{os.sep}sources{os.sep}" in f + os.sep]
    folders = sources or [f for f in folders if _CHAIN not in f]
    if name is not None and len(folders) > 1:
        folders = [f for f in folders if os.path.basename(f) == name] or folders
    if len(folders) == 1:
        return folders[0]
    if not folders:
        raise RequestError(
            "no_connector", f"no Python file in {path} mentions LakeflowConnect: this is no connector's folder"
        )
    names = ", ".join(sorted(os.path.relpath(f, path) for f in folders))
    raise RequestError("no_connector", f"{path} holds several connectors ({names}): name the folder of one of them")


def is_below(folder: str, parent: str) -> bool:
    """Whether a folder is `parent`, or lies in it."""
    return folder == parent or folder.startswith(parent.rstrip(os.sep) + os.sep)


def _name_of(folder: str, name: str | None) -> str:
    """The name its own modules import it by, else that of where it lies, else the one given, else the folder's."""
    own: dict[str, int] = {}
    other: set[str] = set()
    for file in _python_files(folder):
        for source, module, imported in _REFERENCE.findall(_read(file)):
            part = (module or imported).decode()
            there = os.path.join(folder, part)
            if part and (os.path.isfile(there + ".py") or os.path.isdir(there)):
                own[source.decode()] = own.get(source.decode(), 0) + 1
            else:
                other.add(source.decode())
    if own:
        return max(own, key=lambda source: (own[source], source == name, source))
    parent, base = os.path.split(folder)
    if parent.endswith(os.path.join(_CHAIN, "sources")):
        return base
    # A name from the package itself, as long as there is no other source that it can mean.
    if len(other) == 1 and not os.path.isdir(os.path.join(parent, *other)):
        return other.pop()
    return _identifier(name or base)


def _roots(repo: str) -> list[str]:
    """Folders of a repository that hold parts of `databricks.labs.community_connector`."""
    usual = [os.path.join(repo, "src"), repo]
    found = [root for root in usual if os.path.isdir(os.path.join(root, _CHAIN))]
    if found:
        return found
    for parent, folders, _ in os.walk(repo):
        depth = parent[len(repo) :].count(os.sep)
        if os.path.isdir(os.path.join(parent, _CHAIN)):
            found.append(parent)
            folders.clear()
        folders[:] = [f for f in folders if f not in _SKIPPED and not f.startswith(".") and depth < _DEPTH]
    return found


def find_installed_pyspark() -> bool:
    """Whether the environment has the real package."""
    return PathFinder.find_spec("pyspark") is not None
