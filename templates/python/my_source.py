"""Reads My source: items as they change, and the list of categories."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import ArrayType, LongType, StringType, StructField, StructType, TimestampType

from .client import Client

BASE_URL = "https://api.my-source.example"

# Columns have the names that the source uses, and the values are left as they come: Headwater converts them.
SCHEMAS = {
    "items": StructType(
        [
            StructField("id", LongType(), False),
            StructField("name", StringType(), True),
            StructField("category_id", LongType(), True),
            StructField("tags", ArrayType(StringType()), True),
            StructField(
                "owner",
                StructType([StructField("id", LongType(), True), StructField("name", StringType(), True)]),
                True,
            ),
            StructField("created_at", TimestampType(), True),
            StructField("updated_at", TimestampType(), False),
        ]
    ),
    "categories": StructType(
        [
            StructField("id", LongType(), False),
            StructField("name", StringType(), True),
            StructField("description", StringType(), True),
        ]
    ),
}

METADATA: dict[str, dict[str, Any]] = {
    "items": {"primary_keys": ["id"], "cursor_field": "updated_at", "ingestion_type": "cdc"},
    "categories": {"primary_keys": ["id"], "ingestion_type": "snapshot"},
}


class MySourceLakeflowConnect(LakeflowConnect):
    """Reads the tables of My source.

    Headwater makes a new instance for each table of each update. What counts as "now" is fixed here, so that an
    update ends although the source goes on.
    """

    def __init__(self, options: dict[str, str]) -> None:
        super().__init__(options)
        token = options.get("token")
        if not token:
            raise ValueError("option `token` is missing: make one on the settings page of My source")
        self._client = Client(options.get("base_url") or BASE_URL, token)
        self._now = datetime.now(timezone.utc).replace(microsecond=0)

    def list_tables(self) -> list[str]:
        return list(SCHEMAS)

    def get_table_schema(self, table_name: str, table_options: dict[str, str]) -> StructType:
        self._check(table_name)
        return SCHEMAS[table_name]

    def read_table_metadata(self, table_name: str, table_options: dict[str, str]) -> dict[str, Any]:
        self._check(table_name)
        return dict(METADATA[table_name])

    def read_table(
        self, table_name: str, start_offset: dict[str, Any] | None, table_options: dict[str, str]
    ) -> tuple[Iterator[dict[str, Any]], dict[str, Any] | None]:
        self._check(table_name)
        page_size = _whole(table_options, "page_size", 100, 1, 100)
        if table_name == "categories":
            return self._categories(page_size), None
        return self._items(start_offset or {}, page_size, table_options)

    def _check(self, table_name: str) -> None:
        if table_name not in SCHEMAS:
            raise ValueError(f"table `{table_name}` does not exist; the tables are: {', '.join(SCHEMAS)}")

    def _categories(self, page_size: int) -> Iterator[dict[str, Any]]:
        """All categories, page by page, while they are taken."""
        page = 1
        while True:
            rows = self._client.records("/v1/categories", "categories", {"page": page, "per_page": page_size})
            yield from rows
            if len(rows) < page_size:
                return
            page += 1

    def _items(
        self, start: dict[str, Any], page_size: int, options: dict[str, str]
    ) -> tuple[Iterator[dict[str, Any]], dict[str, Any]]:
        """Items by the time of their last change, oldest first, at most `max_records_per_batch` of them.

        Behind each page the source is asked for what has changed since its last item, not for the next page number:
        an item that changes meanwhile moves to the end of the list, and everything behind it one place to the front.
        """
        limit = _whole(options, "max_records_per_batch", 10_000, 1, 1_000_000)
        lookback = timedelta(seconds=_whole(options, "lookback_seconds", 300, 0, 30 * 86_400))
        since, seen, until = _position(start)
        if until is None:
            if since is not None and since >= self._now:
                return iter(()), start
            # A change may become visible late, and the source's clock may be behind ours.
            since = since - lookback if since is not None else None
            until = self._now
        rows: list[dict[str, Any]] = []
        page = 1
        while True:
            parameters: dict[str, Any] = {"page": page, "per_page": page_size}
            if since is not None:
                parameters["updated_since"] = _text(since)
            answer = self._client.records("/v1/items", "items", parameters)
            before = since
            for row in answer:
                changed = _time(row["updated_at"])
                if changed > until:
                    return iter(rows), {"cursor": _text(until)}
                if since is not None and changed < since:
                    raise RuntimeError("the items do not come in the order of `updated_at`")
                if changed == since and row["id"] in seen:
                    continue
                if len(rows) == limit:
                    return iter(rows), {"cursor": _text(since), "seen": sorted(seen), "until": _text(until)}
                if changed != since:
                    since, seen = changed, set()
                seen.add(row["id"])
                rows.append(row)
            if len(answer) < page_size:
                return iter(rows), {"cursor": _text(until)}
            # As long as a page holds one instant only, the next page of that instant is asked for.
            page = page + 1 if since == before else 1


def _position(offset: dict[str, Any]) -> tuple[datetime | None, set[int], datetime | None]:
    """What an offset says: the time that was reached, the items of that time that were read, and, in the middle of a
    window, where the window ends."""
    try:
        if not set(offset) <= {"cursor", "seen", "until"} or ("until" in offset and "cursor" not in offset):
            raise ValueError("unknown members")
        cursor = _time(offset["cursor"]) if "cursor" in offset else None
        until = _time(offset["until"]) if "until" in offset else None
        return cursor, set(offset.get("seen", [])), until
    except (ValueError, TypeError) as error:
        raise ValueError(f"offset {offset} was not made by this connector") from error


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)


def _text(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def _whole(options: dict[str, str], name: str, default: int, least: int, most: int) -> int:
    given = options.get(name)
    if given is None:
        return default
    try:
        number = int(given)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise ValueError(f"option `{name}` must be a whole number from {least} to {most}, not {given!r}")
    return number
