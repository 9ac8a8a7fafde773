"""Runs a function once a module has been imported, so that nothing has to be imported for the sake of watching it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_waiting: dict[str, Callable[[ModuleType], None]] = {}


class _Watcher:
    """A finder that finds as usual, and tells when one of the modules is there."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        if name not in _waiting:
            return None
        spec = PathFinder.find_spec(name, path, target)
        loader: Any = None if spec is None else spec.loader
        if spec is None or loader is None:
            return spec
        execute, then = loader.exec_module, _waiting.pop(name)

        def execute_and_tell(module: ModuleType) -> None:
            execute(module)
            then(module)

        loader.exec_module = execute_and_tell
        return spec


def when_imported(name: str, then: Callable[[ModuleType], None]) -> None:
    """Calls `then` with the module, at once if it has been imported already."""
    module = sys.modules.get(name)
    if module is not None:
        then(module)
        return
    if not _waiting and _Watcher not in sys.meta_path:
        sys.meta_path.insert(0, _Watcher)
    _waiting[name] = then
