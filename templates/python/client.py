"""Requests to My source: credentials, repetition, and errors that say what happened."""

from __future__ import annotations

import email.utils
import http.client
import json
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

ATTEMPTS = 5
TIMEOUT_SECONDS = 60
FIRST_PAUSE_SECONDS = 0.5
# A source that asks for a longer pause is asked again by the engine, which keeps what has been read.
LONGEST_PAUSE_SECONDS = 60.0
MAX_ANSWER_BYTES = 64 * 1024 * 1024
# An answer with one of these may be another one the next time.
PASSING = {408, 425, 429, 500, 502, 503, 504}


class SourceError(Exception):
    """An answer of the source that is an error.

    `status_code` and `headers` tell Headwater whether to try again, and when.
    """

    def __init__(self, message: str, status_code: int, headers: Mapping[str, str]) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.headers = headers


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to wherever it leads."""

    def redirect_request(self, *_args: Any) -> None:
        return None


class Client:
    """Asks one source with one token."""

    def __init__(self, base_url: str, token: str, sleep: Callable[[float], None] = time.sleep) -> None:
        parts = urllib.parse.urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"option `base_url` is not an address such as https://example.org: {base_url!r}")
        self._base_url = base_url.rstrip("/")
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json",
            "User-Agent": "my_source-connector",
        }
        self._sleep = sleep
        self._opener = urllib.request.build_opener(_NoRedirects())

    def get(self, path: str, parameters: Mapping[str, Any]) -> Any:
        """The JSON that the source answers; asks again where that may help."""
        what = f"GET {path}"
        url = f"{self._base_url}{path}?{urllib.parse.urlencode(parameters)}"
        attempt = 1
        while True:
            try:
                return self._ask(url, what)
            except SourceError as error:
                pause = _asked_pause(error.headers)
                if error.status_code not in PASSING or (pause or 0.0) > LONGEST_PAUSE_SECONDS:
                    raise
                failure: Exception = error
            except (OSError, http.client.HTTPException, ValueError) as error:
                pause = None
                failure = ConnectionError(f"{what}: {_reason(error)}")
                failure.__cause__ = error
            if attempt == ATTEMPTS:
                raise failure
            # Drawn at random, so that readers that were refused together do not come back together.
            longest = min(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1), LONGEST_PAUSE_SECONDS)
            self._sleep(pause if pause is not None else random.uniform(0.0, longest))
            attempt += 1

    def records(self, path: str, member: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The records in `member` of the answer."""
        answer = self.get(path, parameters)
        rows = answer.get(member) if isinstance(answer, dict) else None
        if not isinstance(rows, list):
            raise RuntimeError(f"GET {path}: the answer has no list `{member}`")
        return rows

    def _ask(self, url: str, what: str) -> Any:
        request = urllib.request.Request(url, headers=self._headers)
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                body = response.read(MAX_ANSWER_BYTES + 1)
        except urllib.error.HTTPError as error:
            said = error.read(300).decode("utf-8", "replace").strip()
            raise SourceError(f"{what}: status {error.code} {said}".rstrip(), error.code, error.headers) from None
        if len(body) > MAX_ANSWER_BYTES:
            raise RuntimeError(f"{what}: the answer has more than {MAX_ANSWER_BYTES} bytes; set a smaller `page_size`")
        return json.loads(body)


def _reason(error: Exception) -> str:
    if isinstance(error, ValueError):
        return f"the answer is not JSON: {error}"
    return str(getattr(error, "reason", error)) or type(error).__name__


def _asked_pause(headers: Mapping[str, str]) -> float | None:
    """The seconds that `Retry-After` asks for: a number, or a date."""
    asked = headers.get("Retry-After")
    if asked is None:
        return None
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(asked)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())
