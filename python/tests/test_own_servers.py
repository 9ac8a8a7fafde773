"""A process that is led to the simulator still reaches the servers that it has started itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent / "src"

PROGRAM = """
import http.server, socket, threading, urllib.request
from headwater_worker import simulated

simulator = socket.create_server(("127.0.0.1", 0))
place = simulator.getsockname()[:2]
own = simulated._know_own_servers()
simulated._lead_names(place, own)
simulated._lead_sockets(place, own)

class Own(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"own")

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Own)
threading.Thread(target=server.serve_forever, daemon=True).start()
for name in ("127.0.0.1", "localhost"):
    print(urllib.request.urlopen(f"http://{name}:{server.server_port}/", timeout=30).read().decode())
for host in ("127.0.0.1", "example.org"):
    with socket.create_connection((host, 9), timeout=30) as led:
        print(led.getpeername() == place)
"""


def test_servers_of_the_process_are_left_alone_and_all_else_is_led() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={"PYTHONPATH": str(SOURCES)}, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout.split() == ["own", "own", "True", "True"], ran.stderr
