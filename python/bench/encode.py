"""What it costs to write records as JSON, in nanoseconds of CPU time per record, for the ways that were compared.

    python bench/encode.py [records]

The records are like those of the throughput benchmark: 13 columns, a struct and a list of structs among them.
"""

from __future__ import annotations

import datetime
import io
import json
import random
import sys
import time
import uuid
from _thread import allocate_lock
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from headwater_worker import encode
from headwater_worker.records import Pump

WORDS = [
    "lorem",
    "ipsum",
    "dolor",
    "sit",
    "amet",
    "consectetur",
    "adipiscing",
    "elit",
    "sed",
    "do",
    "eiusmod",
    "tempor",
    "incididunt",
    "ut",
    "labore",
]
ROUNDS = 30


def make(count: int) -> list[dict[str, Any]]:
    """Records, as `json.loads` makes them."""
    rnd = random.Random(7)
    base = datetime.datetime(2026, 1, 1)
    rows = []
    for i in range(count):
        at = (base + datetime.timedelta(seconds=i)).isoformat() + "Z"
        user = {"login": f"u{rnd.randrange(5000)}", "id": rnd.randrange(5000), "type": "User", "site_admin": False}
        rows.append(
            {
                "id": i,
                "node_id": str(uuid.UUID(int=rnd.getrandbits(128))),
                "title": " ".join(rnd.choices(WORDS, k=6)),
                "state": rnd.choice(["open", "closed", "merged"]),
                "locked": rnd.random() < 0.1,
                "comments": rnd.randrange(100),
                "score": round(rnd.random() * 100, 3),
                "created_at": base.isoformat() + "Z",
                "updated_at": at,
                "closed_at": None if rnd.random() < 0.5 else at,
                "user": user,
                "labels": [{"id": k, "name": WORDS[k]} for k in rnd.sample(range(len(WORDS)), rnd.randrange(4))],
                "body": " ".join(rnd.choices(WORDS, k=14)),
            }
        )
    fresh: list[dict[str, Any]] = json.loads(json.dumps(rows))
    return fresh


class Nowhere:
    """A channel that takes everything."""

    def send_parts(self, parts: list[Any]) -> None:
        """Does nothing."""


def handed(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Pages of a hundred, each handed out whole."""
    for start in range(0, len(rows), 100):
        yield from rows[start : start + 100]


def measure(name: str, count: int, work: Callable[[], Any]) -> None:
    """Prints the best of several rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        work()
        best = min(best, time.process_time() - begun)
    print(f"{name:58}{best / count * 1e9:9.0f}")


def main() -> None:
    """Measures and prints."""
    rows = make(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
    count = len(rows)
    nowhere: Any = Nowhere()
    print(f"{sys.version.split()[0]}, {len(json.dumps(rows)) // count} bytes per record; ns per record")
    try:
        import orjson
    except ImportError:
        print("orjson is not installed")
    else:
        import marshal

        dumps, buffer, lock = orjson.dumps, io.BytesIO(), allocate_lock()

        def one_by_one() -> None:
            buffer.seek(0)
            for row in rows:
                with lock:
                    buffer.write(dumps(row) + b",")

        measure("orjson, list", count, lambda: dumps(rows))
        measure("orjson, each, dropped", count, lambda: [dumps(row) and None for row in rows])
        measure("orjson, each, kept and joined", count, lambda: b",".join([dumps(row) for row in rows]))
        measure("orjson, each, into one buffer that stays", count, one_by_one)
        measure(
            "marshal 2 of each (a look at every float)", count, lambda: [marshal.dumps(r, 2) and None for r in rows]
        )
        measure("a look at every float of each, in Python", count, lambda: [encode.all_finite(r) for r in rows])
        measure("marshal 4 of the list", count, lambda: marshal.dumps(rows, 4))
        fast = encode.choose("orjson")
        measure("ours with orjson, list", count, lambda: fast(rows))
        measure("ours with orjson, each", count, lambda: [fast(row) and None for row in rows])
        measure("ours with orjson, iterator to frames", count, lambda: Pump(nowhere).run(1, iter(rows), fast))
        measure("ours with orjson, `yield from` to frames", count, lambda: Pump(nowhere).run(1, handed(rows), fast))
        measure("ours with orjson, list to frames", count, lambda: Pump(nowhere).run(1, rows, fast))
    standard = encode.choose("json")
    measure("json.dumps of each", count, lambda: [json.dumps(row, separators=(",", ":")) and None for row in rows])
    measure("ours without orjson, each", count, lambda: [standard(row) and None for row in rows])
    measure("ours without orjson, iterator to frames", count, lambda: Pump(nowhere).run(1, iter(rows), standard))
    measure("ours without orjson, list to frames", count, lambda: Pump(nowhere).run(1, rows, standard))
    measure("exact (what the others fall back to), each", count, lambda: [encode.exact(row) and None for row in rows])


if __name__ == "__main__":
    main()
