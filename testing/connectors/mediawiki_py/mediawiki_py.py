"""Pages, revisions and users of a wiki, as the built-in connector reads them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from databricks.labs.community_connector.interface import LakeflowConnect
from databricks.labs.community_connector.sources.mediawiki_py import schemas
from databricks.labs.community_connector.sources.mediawiki_py.api import Api, chunks
from pyspark.sql.types import StructType

Record = dict[str, Any]
REVISION = "ids|flags|timestamp|user|userid|size|sha1|comment|tags|roles|contentmodel"


class MediawikiPyLakeflowConnect(LakeflowConnect):
    """What is newest is asked for once, so that an update ends however busy the wiki is."""

    def __init__(self, options: dict[str, str]) -> None:
        super().__init__(options)
        self._api = Api(options["base_url"])

    @cached_property
    def _newest(self) -> int:
        found = self._api.get(list="allrevisions", arvprop="ids", arvdir="older", arvlimit="50")
        pages = found["query"]["allrevisions"]
        return max((revision["revid"] for page in pages for revision in page["revisions"]), default=0)

    @cached_property
    def _now(self) -> str:
        return self._api.get(meta="siteinfo")["query"]["general"]["time"]

    def list_tables(self) -> list[str]:
        return ["pages", "revisions", "users"]

    def get_table_schema(self, table_name: str, table_options: dict[str, str]) -> StructType:
        return {"pages": schemas.PAGES, "revisions": schemas.REVISIONS, "users": schemas.USERS}[table_name]

    def read_table_metadata(self, table_name: str, table_options: dict[str, str]) -> Record:
        return {
            "pages": {"primary_keys": ["pageid"], "cursor_field": "touched", "ingestion_type": "cdc_with_deletes"},
            "revisions": {"primary_keys": ["revid"], "cursor_field": "revid", "ingestion_type": "append"},
            "users": {"primary_keys": ["userid"], "ingestion_type": "snapshot"},
        }[table_name]

    def read_table(
        self, table_name: str, start_offset: Record | None, table_options: dict[str, str]
    ) -> tuple[Iterator[Record], Record | None]:
        if table_name == "users":
            return self._users(), None
        assert start_offset is not None
        after = start_offset.get("revid", 0)
        if after >= self._newest and start_offset:
            return iter(()), start_offset
        end = {"revid": self._newest}
        if table_name == "revisions":
            return self._revisions(after), end
        return (self._changed_pages(after) if start_offset else self._all_pages()), end

    def _users(self) -> Iterator[Record]:
        for query in self._api.walk(list="allusers", auprop="blockinfo|groups|editcount|registration", aulimit="7"):
            yield from query["allusers"]

    def _revisions(self, after: int) -> Iterator[Record]:
        for ids in chunks(list(range(after + 1, self._newest + 1))):
            for query in self._api.walk(prop="revisions", revids=ids, rvprop=REVISION, rvslots="main"):
                for page in query.get("pages", []):
                    about = {name: page.get(name) for name in ("pageid", "ns", "title")}
                    for revision in page.get("revisions", []):
                        main = revision.pop("slots", {}).get("main", {})
                        yield {**main, **revision, **about}

    def _all_pages(self) -> Iterator[Record]:
        spaces = self._api.get(meta="siteinfo", siprop="namespaces")["query"]["namespaces"]
        for space in spaces.values():
            if space["id"] >= 0:
                walk = self._api.walk(
                    prop="info", generator="allpages", gapnamespace=str(space["id"]), gaplimit="20"
                )
                for query in walk:
                    yield from query.get("pages", [])

    def _changed_pages(self, after: int) -> Iterator[Record]:
        for ids in chunks(list(range(after + 1, self._newest + 1))):
            for query in self._api.walk(prop="info", revids=ids):
                yield from (page for page in query.get("pages", []) if not page.get("missing"))

    def read_table_deletes(
        self, table_name: str, start_offset: Record, table_options: dict[str, str]
    ) -> tuple[Iterator[Record], Record]:
        if start_offset.get("at") == self._now:
            return iter(()), start_offset
        return self._deletions(start_offset.get("at")), {"at": self._now}

    def _deletions(self, since: str | None) -> Iterator[Record]:
        params = {"list": "logevents", "letype": "delete", "leprop": "ids|title|type|timestamp", "lelimit": "10"}
        params["ledir"] = "newer"
        if since:
            params["lestart"] = since
        for query in self._api.walk(**params):
            for event in query["logevents"]:
                if event["action"] != "delete" or not event.get("logpage"):
                    continue
                # It counts from the end of its second, after every change in that second.
                end = datetime.fromisoformat(event["timestamp"]) + timedelta(microseconds=999_999)
                yield {"pageid": event["logpage"], "touched": end, "ns": event["ns"], "title": event["title"]}
