from __future__ import annotations

from typing import Any

_MOVEMENTS = [(1, "bolt", 100), (2, "nut", -3), (3, "bolt", -20), (4, "cog", 7), (5, "nut", 1)]


def parts(shelf: str) -> list[dict[str, Any]]:
    """All parts of a shelf."""
    return [
        {
            "sku": "bolt",
            "price": 0.1,
            "size": {"width": 3, "height": "40"},
            "labels": [shelf, "steel"],
            "stock": {"north": 12},
            "listed": True,
        },
        {"sku": "cog", "price": "12.345", "size": {}, "labels": [], "stock": {}, "listed": "no"},
        {"sku": "nut", "price": None, "labels": [1, True, None, 1.5]},
    ]


def movements(after: int, batch: int) -> list[dict[str, Any]]:
    """The next movements."""
    rows = [{"seq": seq, "sku": sku, "moved": moved} for seq, sku, moved in _MOVEMENTS if seq > after]
    return rows[:batch]
