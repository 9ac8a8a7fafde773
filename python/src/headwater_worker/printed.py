"""Values that stand in columns of text: containers are printed as Python prints them: JSON has one kind of list."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any

# Everything else is looked at one by one.
_AS_THEY_ARE = frozenset((str, int, float, bool, type(None)))
_PRINTED = (tuple, list, dict, set, frozenset)


class TextColumns:
    """The columns of a table that take text."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(dict.fromkeys(names))
        # Two names at least: with one, what it gives is no tuple.
        self._values = itemgetter(*self._names, *self._names[:1]) if self._names else None

    def look(self) -> Callable[[dict[Any, Any]], dict[Any, Any]] | None:
        """Gives the record as it is, or a copy with the containers in these columns printed. None where there are no
        such columns.
        """
        if self._values is None:
            return None
        values, plain, printed = self._values, _AS_THEY_ARE.issuperset, self._printed

        def in_record(record: dict[Any, Any]) -> dict[Any, Any]:
            try:
                if plain(map(type, values(record))):
                    return record
            except KeyError:
                pass
            return printed(record)

        return in_record

    def in_records(self, records: Any) -> Any:
        """As `in_record`, for a list of records."""
        for name in self._names:
            try:
                kinds = set(map(type, [record[name] for record in records]))
            except KeyError:
                kinds = {type(record.get(name)) for record in records}
            if not kinds <= _AS_THEY_ARE:
                return [self._printed(record) for record in records]
        return records

    def _printed(self, record: dict[Any, Any]) -> dict[Any, Any]:
        changed = {
            name: str(record[name]) for name in self._names if name in record and isinstance(record[name], _PRINTED)
        }
        return {**record, **changed} if changed else record
