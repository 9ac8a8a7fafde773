"""The dictionary of options that connectors are given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

_T = TypeVar("_T")


class Options(dict[str, str]):
    """Keeps the spelling of its keys and finds them without regard to case."""

    def __init__(self, given: Mapping[str, str] | Iterable[tuple[str, str]] = (), **more: str) -> None:
        super().__init__()
        self._spelling: dict[str, str] = {}
        self.update(given, **more)

    def _own(self, key: object) -> Any:
        """The spelling under which `key` is kept; `key` itself when it is not."""
        return self._spelling.get(key.lower(), key) if isinstance(key, str) else key

    def __getitem__(self, key: str) -> str:
        return super().__getitem__(self._own(key))

    def __setitem__(self, key: str, value: str) -> None:
        own = self._own(key)
        if isinstance(own, str):
            self._spelling.setdefault(own.lower(), own)
        super().__setitem__(own, value)

    def __delitem__(self, key: str) -> None:
        own = self._own(key)
        super().__delitem__(own)
        self._forget(own)

    def _forget(self, own: object) -> None:
        if isinstance(own, str):
            self._spelling.pop(own.lower(), None)

    def __contains__(self, key: object) -> bool:
        return super().__contains__(self._own(key))

    def get(self, key: str, default: Any = None) -> Any:
        """The value under `key` in any spelling, else `default`."""
        return super().get(self._own(key), default)

    def pop(self, key: str, *default: Any) -> Any:
        """Takes a value out."""
        own = self._own(key)
        value = super().pop(own, *default)
        self._forget(own)
        return value

    def popitem(self) -> tuple[str, str]:
        """Takes the last item out."""
        key, value = super().popitem()
        self._forget(key)
        return key, value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value under `key`, set to `default` where there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, given: Any = (), /, **more: str) -> None:
        """Sets all items of `given` and `more`; a key in another spelling replaces the value."""
        pairs = given.items() if isinstance(given, Mapping) else given
        for key, value in pairs:
            self[key] = value
        for key, value in more.items():
            self[key] = value

    def clear(self) -> None:
        """Takes everything out."""
        super().clear()
        self._spelling.clear()

    def copy(self) -> Options:
        """A copy with the same rules."""
        return Options(self)

    def __copy__(self) -> Options:
        return Options(self)

    def __deepcopy__(self, _memo: object) -> Options:
        return Options(self)

    def __or__(self, other: Any) -> Options:  # type: ignore[override]
        joined = Options(self)
        joined.update(other)
        return joined

    def __ror__(self, other: Any) -> Options:  # type: ignore[override]
        joined = Options(other)
        joined.update(self)
        return joined

    def __ior__(self, other: Any) -> Options:  # type: ignore[override]
        self.update(other)
        return self

    def __reduce__(self) -> tuple[type[Options], tuple[dict[str, str]]]:
        return Options, (dict(self),)

    @classmethod
    def fromkeys(cls, keys: Iterable[str], value: Any = None) -> Options:  # type: ignore[override]
        """Options with the same value under each key."""
        return cls((key, value) for key in keys)
