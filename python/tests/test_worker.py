"""The worker as a process: handshake, reads, interruption, and the end."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections import OrderedDict
from importlib.util import cache_from_source
from pathlib import Path

import pytest
from client import SRC, WorkerEnded, worker, write


def one(folder: Path, body: str, before: str = "") -> Path:
    """A connector whose `read_table` has this body."""
    lines = "".join(f"        {line}\n" for line in body.strip("\n").splitlines())
    text = f"{before}\nclass One(Base):\n    def read_table(self, table_name, start_offset, table_options):\n{lines}"
    return write(folder / "one", one=text)


def test_it_greets_opens_and_answers_the_calls(tmp_path: Path) -> None:
    folder = one(tmp_path, "return [{'id': 1}], {'n': 2}")
    (folder / "connector_spec.yaml").write_text("display_name: Ö\n", encoding="utf-8")
    with worker("--path", folder) as client:
        hello = client.result("hello", protocols=[1, 7], headwater="0.1.0")
        assert hello["protocol"] == 1 and hello["worker"] == "python"
        assert sys.version.split()[0] in hello["runtime"]
        assert client.result("spec") == "display_name: Ö\n"
        assert client.error("list_tables")["kind"] == "protocol"
        assert client.open() == {"connector": "One", "abilities": []}
        assert client.result("list_tables") == ["t"]
        schema = client.result("get_table_schema", table="t", options={})
        assert schema == {
            "type": "struct",
            "fields": [{"name": "id", "type": "long", "nullable": True, "metadata": {}}],
        }
        assert client.result("read_table_metadata", table="t", options={})["primary_keys"] == ["id"]
        assert client.result("test_connection") is None
        assert client.read("t") == ([{"id": 1}], {"n": 2})
        assert client.error("no_such_call")["kind"] == "unknown_call"
        assert client.error("list_namespaces", prefix=[])["kind"] == "unknown_call"
        deletes = client.error("read_table_deletes", table="t", start={}, options={})
        assert (deletes["kind"], deletes["class"], deletes["retry"]) == ("exception", "NotImplementedError", "never")
        assert client.end() == 0


def test_a_version_that_it_does_not_speak_is_refused(tmp_path: Path) -> None:
    with worker("--path", one(tmp_path, "return [], {}")) as client:
        assert client.error("hello", protocols=[2, 3], headwater="9")["kind"] == "protocol"


@pytest.mark.parametrize(
    "body",
    [
        "return [{'id': i} for i in range(2500)], {}",
        "return tuple({'id': i} for i in range(2500)), {}",
        "return ({'id': i} for i in range(2500)), {}",
        "return map(lambda i: {'id': i}, range(2500)), {}",
        "row = {}\ndef rows():\n    for i in range(2500):\n        row['id'] = i\n        yield row\nreturn rows(), {}",
        "def rows():\n    for i in range(2500):\n        row = {'id': i}\n        yield row\n        row.clear()\n"
        "return rows(), {}",
        "return iter([{'id': i} for i in range(2500)]), {}",
        # A page is used again once it has been handed out, and its records with it.
        "page = [{} for _ in range(100)]\ndef rows():\n    for start in range(0, 2500, 100):\n"
        "        for i, row in enumerate(page):\n            row['id'] = start + i\n"
        "        yield from page\nreturn rows(), {}",
        # One of a list here and there, through several generators.
        "def page(start):\n    yield {'id': start}\n    yield from [{'id': start + i} for i in range(1, 49)]\n"
        "    yield {'id': start + 49}\n"
        "def rows():\n    for start in range(0, 2500, 50):\n        yield from page(start)\nreturn rows(), {}",
        "def rows():\n    yield from [{'id': i} for i in range(2500)]\n    yield from []\nreturn rows(), {}",
        # An iterator over a list that somebody else takes from as well.
        "left = iter([{'id': i} for i in range(-1, 2500)])\nnext(left)\ndef rows():\n    for row in left:\n"
        "        yield row\n        if row['id'] == 70:\n            break\n    yield from left\nreturn rows(), {}",
    ],
)
@pytest.mark.parametrize("encoder", ["orjson", "json"])
def test_records_of_every_kind_of_iterable_come_once_and_in_order(tmp_path: Path, body: str, encoder: str) -> None:
    hide = "import sys\nsys.modules['orjson'] = None\n" if encoder == "json" else ""
    with worker("--path", one(tmp_path, body, hide)) as client:
        client.open()
        records, _ = client.read("t")
        assert records == [{"id": i} for i in range(2500)]
        assert all(len(json.loads(b)) <= 1000 for b in client.bodies) and len(client.bodies) >= 3


def test_large_records_make_small_frames(tmp_path: Path) -> None:
    with worker("--path", one(tmp_path, "return ({'x': 'a' * 100_000} for i in range(20)), {}")) as client:
        client.open()
        records, _ = client.read("t")
        assert len(records) == 20
        assert all(len(body) <= 700_000 for body in client.bodies)
    with worker("--path", one(tmp_path / "l", "return [{'x': 'a' * 100_000} for i in range(120)], {}")) as client:
        client.open()
        assert len(client.read("t")[0]) == 120
        assert all(len(body) <= 1_100_000 for body in client.bodies)


def test_records_do_not_wait_for_a_slow_generator(tmp_path: Path) -> None:
    body = "import time\ndef rows():\n    yield {'id': 1}\n    yield {'id': 2}\n    time.sleep(60)\nreturn rows(), {}"
    with worker("--path", one(tmp_path, body)) as client:
        client.open()
        client.send("read_table", table="t", start=None, options={})
        for message in client.messages():
            if "bytes" in message:
                break
        assert client.records() == [{"id": 1}, {"id": 2}]
        client.interrupt()
        assert client.answer()["error"]["kind"] == "cancelled"
        assert client.result("list_tables") == ["t"]


def test_an_interrupt_between_calls_changes_nothing(tmp_path: Path) -> None:
    with worker("--path", one(tmp_path, "return [], {}")) as client:
        client.open()
        client.interrupt()
        assert client.read("t") == ([], {})


def test_an_interrupt_under_back_pressure_leaves_whole_messages(tmp_path: Path) -> None:
    body = "def rows():\n    while True:\n        yield {'x': 'a' * 10_000}\nreturn rows(), {}"
    with worker("--path", one(tmp_path, body)) as client:
        client.open()
        client.send("read_table", table="t", start=None, options={})
        client._fill()
        # The pipe is full now, and the worker is in the middle of a message.
        client.interrupt()
        assert client.answer()["error"]["kind"] == "cancelled"
        assert client.result("list_tables") == ["t"]


def test_it_ends_with_its_input_in_the_middle_of_a_call(tmp_path: Path) -> None:
    body = "import time, threading\nthreading.Thread(target=time.sleep, args=(600,)).start()\ntime.sleep(600)"
    with worker("--path", one(tmp_path, body)) as client:
        client.open()
        client.send("read_table", table="t", start=None, options={})
        assert client.end() == 0


def test_neither_threads_nor_exit_handlers_keep_it(tmp_path: Path) -> None:
    before = (
        "import atexit, threading, time\natexit.register(time.sleep, 600)\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()"
    )
    with worker("--path", one(tmp_path, "return [], {}", before)) as client:
        client.open()
        assert client.end() == 0


def test_what_a_connector_prints_goes_to_the_log(tmp_path: Path) -> None:
    body = """
import os, subprocess, sys
print("printed")
sys.stdout.write("written without a line break")
os.write(1, b"by descriptor\\n")
subprocess.run(["echo", "by a child"])
sys.stderr.write("to stderr\\n")
sys.stdout.buffer.write(b"as bytes\\n")
print("\\ud800")
assert sys.stdin.read() == ""
return [{"id": 1}], {}
"""
    with worker("--path", one(tmp_path, body)) as client:
        client.open()
        assert client.read("t") == ([{"id": 1}], {})
        assert client.end() == 0
        log = client.stderr()
    for text in ("printed", "written without", "by descriptor", "by a child", "to stderr", "as bytes", "\\ud800"):
        assert text in log


def test_threads_that_print_and_log_do_not_tear_messages(tmp_path: Path) -> None:
    body = """
import logging, threading
def chatter():
    for i in range(300):
        logging.getLogger("my.source").warning("line %d", i)
        print("printed", i)
threads = [threading.Thread(target=chatter) for _ in range(4)]
for t in threads: t.start()
def rows():
    for i in range(5000):
        yield {"id": i}
    for t in threads: t.join()
return rows(), {}
"""
    with worker("--path", one(tmp_path, body)) as client:
        client.open()
        records, _ = client.read("t")
        assert [r["id"] for r in records] == list(range(5000))
        assert len(client.logs) == 1200
        assert {(log["level"], log["logger"]) for log in client.logs} == {("warning", "my.source")}


def test_log_records_keep_their_level_and_lose_secrets(tmp_path: Path) -> None:
    body = """
import logging, warnings
log = logging.getLogger("x")
log.info("with %s", self.options["api_token"]); log.error("bad")
warnings.warn("old")
try: 1 / 0
except ZeroDivisionError: log.exception("division")
return [], {}
"""
    with worker("--path", one(tmp_path, body)) as client:
        client.open(api_token="sesame-open")
        client.read("t")
        levels = [(log["level"], log["message"].split("\n")[0]) for log in client.logs]
    assert levels[:2] == [("info", "with ***"), ("error", "bad")]
    assert levels[2][0] == "warning" and "old" in levels[2][1]
    assert levels[3] == ("error", "division")


def test_offsets_are_exact(tmp_path: Path) -> None:
    body = "assert start_offset == {'z': None, 'big': 2**90, 'f': 0.1 + 0.2, 'l': [1, 'é']}\nreturn None, start_offset"
    offset = {"z": None, "big": 2**90, "f": 0.1 + 0.2, "l": [1, "é"]}
    with worker("--path", one(tmp_path, body)) as client:
        client.open()
        records, end = client.read("t", offset)
    assert records == [] and end == offset and list(end) == list(offset)


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ("[], {'a': {'b': [1, float('nan')]}}", "['a']['b'][1]"),
        ("[], {'a': {1, 2}}", "set"),
        ("[], {'at': __import__('datetime').datetime.now()}", "datetime"),
        ("[]", "list of 0"),
        ("None", "NoneType"),
        ("[], {}, 3", "tuple of 3"),
        ("5, {}", "int"),
        ("{'id': 1}, {}", "dict"),
        ("[{'id': 1}, 7], {}", "record 1 of the read is of type int"),
        ("iter([{'id': 1}, None]), {}", "record 1 of the read is of type NoneType"),
    ],
)
def test_what_is_not_the_contract_is_a_bug_of_the_connector(tmp_path: Path, returned: str, told: str) -> None:
    with worker("--path", one(tmp_path, f"return {returned}")) as client:
        client.open()
        error = client.error("read_table", table="t", start=None, options={})
        assert error["kind"] == "bug" and told in error["message"], error
        assert client.result("list_tables") == ["t"]


def test_a_generator_that_fails_late_is_an_error_with_its_own_frames(tmp_path: Path) -> None:
    body = """
def rows():
    yield {'id': 1}
    try:
        {}['missing']
    except KeyError as error:
        raise RuntimeError('page 2 of ' + self.options['token']) from error
return rows(), {}
"""
    with worker("--path", one(tmp_path, body)) as client:
        client.open(secrets=("token",), token="tök/en+1 x")
        error = client.error("read_table", table="t", start=None, options={})
    assert error["kind"] == "exception" and error["class"] == "RuntimeError" and error["retry"] == "backoff"
    assert error["message"] == "page 2 of ***; caused by KeyError: key 'missing' is missing"
    frame = error["trace"][-1]
    assert (frame["file"], frame["function"]) == ("one.py", "rows")
    assert frame["code"].startswith("raise RuntimeError")


def test_a_process_that_exits_is_an_error_where_it_can_be(tmp_path: Path) -> None:
    body = "import os, sys\nif table_name == 'soft': sys.exit(3)\nos._exit(7)"
    with worker("--path", one(tmp_path, body)) as client:
        client.open()
        error = client.error("read_table", table="soft", start=None, options={})
        assert (error["class"], error["retry"]) == ("SystemExit", "never")
        with pytest.raises(WorkerEnded):
            client.call("read_table", table="hard", start=None, options={})
        assert client.process.wait() == 7


def test_a_crash_of_compiled_code_leaves_its_lines_in_the_log(tmp_path: Path) -> None:
    with worker("--path", one(tmp_path, "import ctypes\nctypes.string_at(0)")) as client:
        client.open()
        with pytest.raises(WorkerEnded):
            client.call("read_table", table="t", start=None, options={})
        assert client.process.wait() == -signal.SIGSEGV
        assert "one.py" in client.stderr() and "read_table" in client.stderr()


def test_a_second_open_makes_a_new_instance(tmp_path: Path) -> None:
    body = "self.calls = getattr(self, 'calls', 0) + 1\nreturn [{'calls': self.calls}], {}"
    with worker("--path", one(tmp_path, body)) as client:
        client.open()
        client.read("t")
        assert client.read("t")[0] == [{"calls": 2}]
        client.open()
        assert client.read("t")[0] == [{"calls": 1}]


def test_an_open_that_fails_leaves_no_instance(tmp_path: Path) -> None:
    text = "class One(Base):\n    def __init__(self, options):\n        self.t = options['token']\n"
    text += "    def read_table(self, table_name, start_offset, table_options):\n        return [], {}\n"
    with worker("--path", write(tmp_path / "one", one=text)) as client:
        client.open(Token="x")
        error = client.error("open", options={}, secrets=[], table=None)
        assert error["class"] == "KeyError" and "'token'" in error["message"]
        assert client.error("list_tables")["kind"] == "protocol"


def test_options_are_found_in_any_case(tmp_path: Path) -> None:
    body = "return [{'v': self.options['BASE_url'], 'o': table_options.get('pageSize'), 'k': list(self.options)}], {}"
    with worker("--path", one(tmp_path, body)) as client:
        client.open(Base_Url="u", tableName="t")
        client.call("read_table", table="t", start=None, options={"PAGESIZE": "3"})
        assert client.records() == [{"v": "u", "o": "3", "k": ["Base_Url", "tableName"]}]


def test_a_fork_does_not_speak(tmp_path: Path) -> None:
    body = """
import logging, os
logging.info("parent")
pid = os.fork()
if not pid:
    logging.warning("from the child")
    os._exit(0)
os.waitpid(pid, 0)
return [], {}
"""
    with worker("--path", one(tmp_path, body)) as client:
        client.open()
        assert client.read("t") == ([], {})
        assert [log["message"] for log in client.logs] == ["parent"]
        assert "from the child" in client.wait_for_stderr("from the child")


def test_a_connector_that_swallows_interrupts_is_cancelled_at_the_next_record(tmp_path: Path) -> None:
    body = """
import time
def rows():
    yield {"id": 0}
    try: time.sleep(60)
    except BaseException: pass
    while True: yield {"id": 1}
return rows(), {}
"""
    with worker("--path", one(tmp_path, body)) as client:
        client.open()
        client.send("read_table", table="t", start=None, options={})
        for message in client.messages():
            if "bytes" in message:
                break
        client.interrupt()
        assert client.answer()["error"]["kind"] == "cancelled"


def test_a_sign_of_life_tells_memory_requests_and_the_line(tmp_path: Path) -> None:
    body = """
import http.client, http.server, threading, time
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
for _ in range(3):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    connection.request("HEAD", "/")
    connection.getresponse().read()
time.sleep(60)
"""
    with worker("--path", one(tmp_path, body)) as client:
        client.open()
        client.send("read_table", table="t", start=None, options={})
        for message in client.messages():
            if "alive" in message:
                break
        alive = message["alive"]
    assert alive["requests"] == 3 and alive["rss_bytes"] > 1_000_000
    assert alive["at"].startswith("one.py:") and alive["at"].endswith(" in read_table")


def test_options_in_arguments_and_other_nonsense_are_refused() -> None:
    for arguments in (["--path", "x", "--token", "y"], [], ["--path", "a", "--module", "b"]):
        command = [sys.executable, "-m", "headwater_worker", *arguments]
        done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONPATH": str(SRC)}, check=False)
        assert done.returncode == 2 and b"usage:" in done.stderr


def test_special_floats_survive_beside_nulls(tmp_path: Path) -> None:
    body = """
nan, inf = float("nan"), float("inf")
rows = [{"a": None, "b": nan}, {"a": {"x": [None, -inf]}}, {"a": None, "s": "null"}, {"a": -nan}, {"a": 1e16}]
return (iter(rows) if table_name == "each" else rows), {}
"""
    with worker("--path", one(tmp_path, body)) as client:
        client.open()
        for table in ("each", "list"):
            records, _ = client.read(table)
            assert records[0]["a"] is None and math.isnan(records[0]["b"])
            assert records[1] == {"a": {"x": [None, -math.inf]}}
            assert records[2] == {"a": None, "s": "null"}
            assert math.isnan(records[3]["a"]) and records[4] == {"a": 1e16}


def test_it_is_killed_by_signals_that_are_not_for_it_to_handle(tmp_path: Path) -> None:
    with worker("--path", one(tmp_path, "import time\ntime.sleep(60)")) as client:
        client.open()
        client.send("read_table", table="t", start=None, options={})
        client.process.terminate()
        assert client.process.wait(10) == -signal.SIGTERM


HTTP = """
import http.server, threading, requests

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(self.path[1:4]))
        self.send_header("Retry-After", "9")
        self.send_header("Content-Length", "1")
        self.end_headers()
        self.wfile.write(b"x")
    def log_message(self, *arguments):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{server.server_port}/"
"""


def test_answers_of_the_source_are_told_apart(tmp_path: Path) -> None:
    body = """
if table_name == "text": requests.get(URL + "200").json()
if table_name == "nobody": requests.get("http://127.0.0.1:1/")
if table_name == "wrapped":
    try: requests.get(URL + "401").raise_for_status()
    except Exception as error: raise RuntimeError("cannot sign in") from error
requests.get(URL + table_name + "?token=" + self.options["token"]).raise_for_status()
"""
    kinds = {"401": "unauthorized", "404": "rejected", "429": "rate_limited", "503": "unavailable"}
    kinds |= {"text": "bad_response", "nobody": "unavailable", "wrapped": "unauthorized"}
    with worker("--path", one(tmp_path, body, HTTP)) as client:
        client.open(token="a secret/value")
        for table, kind in kinds.items():
            error = client.error("read_table", table=table, start={}, options={})
            assert error["kind"] == kind, error
            assert "secret" not in json.dumps(error)
            assert ("retry_after_seconds" in error) == (table in ("429", "503"))
            assert error["trace"][0]["file"] == "one.py"


def test_requests_in_the_constructor_count(tmp_path: Path) -> None:
    text = (
        HTTP
        + """
class One(Base):
    def __init__(self, options):
        for _ in range(4):
            requests.get(URL + "200")
    def read_table(self, table_name, start_offset, table_options):
        import time
        time.sleep(60)
"""
    )
    with worker("--path", write(tmp_path / "one", one=text)) as client:
        client.open()
        client.send("read_table", table="t", start=None, options={})
        alive = next(message["alive"] for message in client.messages() if "alive" in message)
        assert alive["requests"] == 4


def test_an_offset_is_what_it_was_when_the_read_returned(tmp_path: Path) -> None:
    text = """
class Moves(Base):
    def read_table(self, table_name, start_offset, table_options):
        offset = {"at": [0]}
        def records():
            for n in range(3):
                offset["at"].append(n)
                offset["seen"] = {n}
                yield {"id": n}
        return records(), offset
"""
    with worker("--path", write(tmp_path / "moves", moves=text)) as client:
        client.open()
        assert client.read("t", {}) == ([{"id": 0}, {"id": 1}, {"id": 2}], {"at": [0]})


@pytest.mark.parametrize("encoder", ["orjson", "json"])
@pytest.mark.parametrize("shape", ["return rows, {}", "return iter(rows), {}", "return (r for r in rows), {}"])
def test_containers_in_columns_of_text_are_printed_as_python_prints_them(
    tmp_path: Path, shape: str, encoder: str
) -> None:
    hide = "import sys\nsys.modules['orjson'] = None\n" if encoder == "json" else ""
    body = """from collections import namedtuple, OrderedDict
from decimal import Decimal
Point = namedtuple("Point", "x y")
values = [(1, "2"), {7}, [1, None, (True,)], {"a": Decimal("1.50"), "b": {b"x": 1.0}}, Point(1, 2), "as it is", 5, None,
          Decimal("1.50"), frozenset(), OrderedDict(a=1)]
rows = [{"t": v, "other": v, "n": i} for i, v in enumerate(values)] + [{"n": -1}] + [{"t": "x"}] * 40
"""
    with worker("--path", one(tmp_path, body + shape, hide)) as client:
        client.open()
        records, _ = client.read("t", text_columns=["t", "absent"])
        assert [r.get("t") for r in records][:12] == [
            "(1, '2')",
            "{7}",
            "[1, None, (True,)]",
            "{'a': Decimal('1.50'), 'b': {b'x': 1.0}}",
            "Point(x=1, y=2)",
            "as it is",
            5,
            None,
            "1.50",
            "frozenset()",
            str(OrderedDict(a=1)),
            None,
        ]
        # Columns of other types keep their lists and objects.
        assert [r["other"] for r in records[:5]] == [
            [1, "2"],
            [7],
            [1, None, [True]],
            {"a": "1.50", "b": {"eA==": 1.0}},
            [1, 2],
        ]
        assert len(records) == 52 and "t" not in records[11]


def test_an_interrupt_that_the_connector_raises_itself_is_its_error(tmp_path: Path) -> None:
    with worker("--path", one(tmp_path, "raise KeyboardInterrupt('enough')")) as client:
        client.open()
        error = client.error("read_table", table="t", start=None, options={})
        assert (error["kind"], error["class"], error["retry"]) == ("exception", "KeyboardInterrupt", "never")
        assert "nobody had interrupted it (enough)" in error["message"] and error["trace"]
        assert client.result("list_tables") == ["t"]


def test_own_files_are_compiled_where_python_is_to_keep_no_bytecode(tmp_path: Path) -> None:
    shutil.copytree(SRC, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    connector = one(tmp_path / "c", "return [], {}")
    more = {"PYTHONPATH": str(tmp_path / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    with worker("--path", connector, **more) as client:
        client.open()
    for module in ("headwater_worker/session.py", "databricks/labs/community_connector/interface/__init__.py"):
        assert Path(cache_from_source(str(tmp_path / "src" / module))).is_file()
    assert not list((tmp_path / "c").rglob("*.pyc"))
