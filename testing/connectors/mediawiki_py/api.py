"""The Action API of a wiki, with the standard library alone."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any


class WikiError(Exception):
    """The wiki refused a request."""


class Api:
    """One wiki."""

    def __init__(self, base_url: str) -> None:
        base = base_url.rstrip("/")
        self._url = base if base.endswith("api.php") else base + "/api.php"

    def get(self, **params: str) -> dict[str, Any]:
        """One answer."""
        query = {"action": "query", "format": "json", "formatversion": "2", **params}
        request = urllib.request.Request(
            self._url, data=urllib.parse.urlencode(query).encode(), headers={"User-Agent": "mediawiki_py/1.0"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        if "error" in answer:
            raise WikiError(f"{answer['error'].get('code')}: {answer['error'].get('info')}")
        return answer

    def walk(self, **params: str) -> Iterator[dict[str, Any]]:
        """The `query` member of every answer, following `continue`."""
        more: dict[str, str] = {}
        while True:
            answer = self.get(**{**params, **more})
            yield answer.get("query", {})
            if "continue" not in answer:
                return
            more = answer["continue"]


def chunks(ids: list[int], size: int = 50) -> Iterator[str]:
    """Ids as the API takes them, so many at a time."""
    for at in range(0, len(ids), size):
        yield "|".join(map(str, ids[at : at + size]))
