"""What is particular to this connector. `headwater test` holds it to the rules that all connectors keep.

The package that connectors import has to be there: `headwater test` brings it, `pip install` of Headwater's
`python` folder does too.
"""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import pytest
from my_source.client import ATTEMPTS, SourceError
from my_source.my_source import MySourceLakeflowConnect

Answer = tuple[int, dict[str, str], bytes]
TOKEN = "a-token-of-nobody"


class Source:
    """A server that answers as a function of the test's says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answer: Callable[[str, dict[str, str]], Answer] = lambda path, query: (404, {}, b"")
        self.asked: list[tuple[str, dict[str, str]]] = []
        source = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = dict(parse_qsl(parts.query))
                source.asked.append((parts.path, query))
                status, headers, body = source.answer(parts.path, query)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.base_url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(autouse=True)
def straight(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, nor the simulator that `headwater test` sets as one, stands before the servers of these tests."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def source() -> Iterator[Source]:
    source = Source()
    yield source
    source.close()


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def connector(source: Source, pauses: list[float]) -> MySourceLakeflowConnect:
    connector = MySourceLakeflowConnect({"base_url": source.base_url, "token": TOKEN})
    connector._client._sleep = pauses.append
    connector._now = datetime(2024, 6, 1, tzinfo=timezone.utc)
    return connector


def json_answer(value: object) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def items_of(rows: list[dict]) -> Callable[[str, dict[str, str]], Answer]:
    """Answers as the source does: what has changed since a time, oldest first, in pages."""

    def answer(_path: str, query: dict[str, str]) -> Answer:
        since = query.get("updated_since", "")
        found = sorted((r for r in rows if r["updated_at"] >= since), key=lambda r: (r["updated_at"], r["id"]))
        size, page = int(query["per_page"]), int(query["page"])
        return json_answer({"items": found[(page - 1) * size : page * size]})

    return answer


def read_all(connector: MySourceLakeflowConnect, options: dict[str, str], start: dict | None = None) -> tuple:
    """All ids from an offset on, the number of each batch, and the last offset."""
    offset, ids, batches = start or {}, [], []
    while True:
        rows, end = connector.read_table("items", offset, options)
        batch = [row["id"] for row in rows]
        ids += batch
        batches.append(len(batch))
        # An offset is stored as JSON between two updates.
        end = json.loads(json.dumps(end))
        if end == offset:
            return ids, batches, offset
        offset = end


ROWS = [{"id": n, "updated_at": f"2024-05-{1 + n // 5:02}T10:00:00Z"} for n in range(23)]


@pytest.mark.parametrize("page_size", ["1", "2", "4", "5", "6", "100"])
@pytest.mark.parametrize("limit", ["1", "3", "5", "7", "100"])
def test_batches_are_bounded_and_together_hold_every_item_once(source, connector, page_size, limit):
    source.answer = items_of(ROWS)
    ids, batches, _ = read_all(connector, {"page_size": page_size, "max_records_per_batch": limit})
    assert sorted(ids) == list(range(23))
    assert max(batches) <= int(limit)


def test_the_next_update_looks_back_and_reads_what_has_changed(source, connector):
    rows = [dict(row) for row in ROWS]
    source.answer = items_of(rows)
    _, _, end = read_all(connector, {})
    rows[3]["updated_at"] = "2024-06-01T00:00:30Z"
    # Became visible only now.
    rows.append({"id": 99, "updated_at": "2024-05-31T23:58:00Z"})
    connector._now = datetime(2024, 6, 1, 0, 1, tzinfo=timezone.utc)
    ids, _, _ = read_all(connector, {"lookback_seconds": "300"}, end)
    assert sorted(ids) == [3, 99]


def test_an_update_ends_although_the_source_goes_on(source, connector):
    source.answer = items_of([*ROWS, {"id": 99, "updated_at": "2099-01-01T00:00:00Z"}])
    ids, _, end = read_all(connector, {})
    assert 99 not in ids
    assert end == {"cursor": "2024-06-01T00:00:00Z"}


def test_an_item_that_moves_to_the_end_hides_no_other(source, connector):
    rows = [dict(row) for row in ROWS]
    answer = items_of(rows)

    def moving(path: str, query: dict[str, str]) -> Answer:
        found = answer(path, query)
        rows[0]["updated_at"] = "2024-05-31T00:00:00Z"
        return found

    source.answer = moving
    ids, _, _ = read_all(connector, {"page_size": "6"})
    assert set(ids) == set(range(23))


def test_what_may_pass_is_tried_again(source, connector, pauses):
    good = json_answer({"categories": []})
    answers = [
        (500, {}, b"down"),
        (429, {"Retry-After": "7"}, b""),
        (200, {"Content-Length": "100"}, b"[1, "),
        (200, {}, b"<html>"),
        good,
    ]
    source.answer = lambda path, query: answers.pop(0)
    rows, _ = connector.read_table("categories", None, {})
    assert list(rows) == []
    assert pauses[1] == 7.0
    assert len(source.asked) == 5


@pytest.mark.parametrize(
    ("answer", "requests"),
    [
        ((401, {}, b"who are you"), 1),
        ((404, {}, b""), 1),
        ((302, {"Location": "https://elsewhere.example/"}, b""), 1),
        ((429, {"Retry-After": "3600"}, b""), 1),
        ((503, {}, b""), ATTEMPTS),
    ],
)
def test_what_does_not_pass_is_an_error_that_tells_the_status(source, connector, answer, requests):
    source.answer = lambda path, query: answer
    with pytest.raises(SourceError) as raised:
        list(connector.read_table("categories", None, {})[0])
    assert raised.value.status_code == answer[0]
    assert "GET /v1/categories" in str(raised.value)
    assert TOKEN not in str(raised.value)
    assert len(source.asked) == requests


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "token"),
        ({"token": TOKEN, "base_url": "my-source"}, "base_url"),
    ],
)
def test_a_bad_connection_names_the_option(options, named):
    with pytest.raises(ValueError, match=f"`{named}`"):
        MySourceLakeflowConnect(options)


@pytest.mark.parametrize("name", ["page_size", "max_records_per_batch", "lookback_seconds"])
@pytest.mark.parametrize("value", ["-1", "many", "1e3", "99999999"])
def test_a_bad_table_option_is_named(connector, name, value):
    with pytest.raises(ValueError, match=f"`{name}`"):
        connector.read_table("items", {}, {name: value})


@pytest.mark.parametrize(
    "offset", [{"page": 3}, {"cursor": "soon"}, {"cursor": None}, {"until": "2024-01-01T00:00:00Z"}]
)
def test_an_offset_of_another_connector_is_refused(connector, offset):
    with pytest.raises(ValueError, match="not made by this connector"):
        connector.read_table("items", offset, {})


def test_an_unknown_table_is_refused(connector):
    with pytest.raises(ValueError, match="items, categories"):
        connector.get_table_schema("orders", {})
