"""Finds the connector's class in its code, and what the class can do."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from .errors import RequestError
from .loader import Place, modules_in

METHODS = ("list_tables", "get_table_schema", "read_table_metadata")
_ABILITIES = {
    "SupportsPartition": ("partition", ("get_partitions", "read_partition")),
    "SupportsPartitionedStream": ("partitioned_stream", ("get_partitions", "read_partition", "latest_offset")),
    "SupportsNamespaces": ("namespaces", ("list_namespaces", "list_tables_in_namespace")),
    "SupportsIngestionAgent": ("agent", ("agent_operations",)),
}


class Found:
    """A connector's class, and how it was found."""

    def __init__(self, cls: type, merged: bool, candidates: list[type]) -> None:
        self.cls = cls
        # From a single file with the framework inlined: its base classes are not ours.
        self.merged = merged
        self.candidates = candidates

    def abilities(self) -> list[str]:
        """The optional abilities of the class, as the protocol names them."""
        bases = {base.__name__ for base in self.cls.__mro__}
        return [
            ability
            for mixin, (ability, methods) in _ABILITIES.items()
            if mixin in bases or (self.merged and all(callable(getattr(self.cls, m, None)) for m in methods))
        ]


def find_class(place: Place, wanted: str | None) -> Found:
    """The connector's class; imports its code."""
    if wanted is not None:
        return _named(place, wanted)
    package = _import(place.package)
    exported = _exported(package)
    if exported is not None:
        return Found(exported, False, [exported])
    if callable(getattr(package, "register_lakeflow_source", None)):
        return _merged(package)
    return _searched(place, package)


def _import(name: str) -> ModuleType:
    return import_module(name)


def _exported(package: ModuleType) -> type | None:
    """The class that the package's own `DataSource` names."""
    for value in list(vars(package).values()):
        cls = vars(value).get("_lakeflow_connect_cls") if isinstance(value, type) else None
        if isinstance(cls, type):
            return cls
    return None


def _merged(module: ModuleType) -> Found:
    from .merged import classes_registered_by

    groups = (_leaves([c for c in group if is_connector(c)]) for group in classes_registered_by(module))
    candidates = next((group for group in groups if group), [])
    return _only(candidates, f"{module.__file__} (in what register_lakeflow_source registers)", [], merged=True)


def _named(place: Place, wanted: str) -> Found:
    module_name, _, class_name = wanted.rpartition(":")
    tried = []
    for name in _module_names(place, module_name):
        try:
            module = _import(name)
        except ModuleNotFoundError as error:
            if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
                raise
            tried.append(name)
            continue
        except Exception as error:
            if module_name:
                raise
            # Another module may hold the class.
            tried.append(f"{name} (which cannot be imported: {type(error).__name__}: {error})")
            continue
        cls = getattr(module, class_name, None)
        if isinstance(cls, type):
            return Found(cls, False, [cls])
        if callable(getattr(module, "register_lakeflow_source", None)):
            found = _merged(module)
            if found.cls.__name__ == class_name:
                return found
        tried.append(name)
    raise RequestError("no_connector", f"there is no class {class_name} in {' or '.join(tried)}")


def _module_names(place: Place, module_name: str) -> list[str]:
    if not module_name and place.file is None:
        return [place.package, *(f"{place.package}.{name}" for name in modules_in(place.folder) if name)]
    if not module_name or module_name == place.package:
        return [place.package]
    if module_name.startswith(place.package + "."):
        return [module_name]
    return [f"{place.package}.{module_name}", module_name]


def _searched(place: Place, package: ModuleType) -> Found:
    modules, failed = [package], []
    if place.file is None:
        for name in modules_in(place.folder):
            if not name:
                continue
            try:
                modules.append(_import(f"{place.package}.{name}"))
            except Exception as error:  # one module that does not import must not hide the class in another
                failed.append((name, error))
    own = [value for module in modules for value in list(vars(module).values()) if isinstance(value, type)]
    own = list({id(cls): cls for cls in own if _is_in(cls, place.package)}.values())
    candidates = _leaves([cls for cls in own if is_connector(cls) and _is_subclass(cls)])
    if not candidates:
        candidates = _leaves([cls for cls in own if is_connector(cls)])
    if not candidates and failed:
        raise failed[0][1]
    notes = [f"module {name} cannot be imported: {type(error).__name__}: {error}" for name, error in failed]
    if not candidates:
        notes += [_why_not(cls) for cls in _leaves([cls for cls in own if _is_subclass(cls)])]
    for note in notes:
        print(f"headwater_worker: {note}", file=sys.stderr)
    return _only(candidates, place.own_files, notes, merged=False)


def _is_in(cls: type, package: str) -> bool:
    return cls.__module__ == package or cls.__module__.startswith(package + ".")


def is_connector(cls: type) -> bool:
    """Whether a class has the methods of a connector, none of them abstract, and a way to read of its own."""
    if cls.__dict__.get("__abstractmethods__") or any(not callable(getattr(cls, m, None)) for m in METHODS):
        return False
    own = [base for base in cls.__mro__ if base.__name__ != "LakeflowConnect" or base is cls]
    return any("read_table" in vars(base) or "read_partition" in vars(base) for base in own)


def _why_not(cls: type) -> str:
    """What a class that is derived from `LakeflowConnect` lacks to be a connector."""
    lacking = sorted(cls.__dict__.get("__abstractmethods__") or ())
    lacking = lacking or [m for m in METHODS if not callable(getattr(cls, m, None))] or ["read_table"]
    return f"{cls.__module__}:{cls.__name__} does not implement {', '.join(lacking)}"


def _is_subclass(cls: type) -> bool:
    return any(base.__name__ == "LakeflowConnect" for base in cls.__mro__[1:])


def _leaves(candidates: list[type]) -> list[type]:
    """Those that none of the others is derived from."""
    return [c for c in candidates if not any(other is not c and c in other.__mro__ for other in candidates)]


def _only(candidates: list[type], where: str, notes: list[str], merged: bool) -> Found:
    if len(candidates) == 1:
        return Found(candidates[0], merged, candidates)
    if candidates:
        names = ", ".join(sorted(f"{c.__module__}:{c.__qualname__.rpartition('.')[2]}" for c in candidates))
        raise RequestError("no_connector", f"{where} holds several connector classes: {names}; choose one with --class")
    more = "".join(f"; {note}" for note in notes)
    raise RequestError("no_connector", f"{where} holds no concrete class that is derived from LakeflowConnect{more}")


def file_of(cls: type) -> str | None:
    """The file that defines a class."""
    file: Any = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return file if isinstance(file, str) else None
