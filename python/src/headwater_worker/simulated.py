"""Leads every connection of this process to a source simulator, where `HEADWATER_SIMULATOR` names one.

`HEADWATER_SIMULATOR=http://127.0.0.1:PORT` is all that is needed: the worker imports this before it loads a connector.
Elsewhere, such as in a connector's own tests, import it before anything that opens connections, or start the program
by it: `python -m headwater_worker.simulated -m pytest tests`.

Host names stay as they are in URLs, in the `Host` header and in TLS, so that a client library notices nothing: what
changes is where a name leads, and that the simulator's certificates are trusted. No other process is touched.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

VARIABLE = "HEADWATER_SIMULATOR"

# Where client libraries look for the authorities that they trust.
_BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE")
_CA_PATH = "/__headwater__/ca.pem"
_SECONDS = 10.0

_led_to: tuple[str, int] | None = None


def lead_from_environment() -> bool:
    """Leads this process to the simulator that the environment names; says whether it names one."""
    url = os.environ.get(VARIABLE, "").strip()
    if not url:
        return False
    lead_to(url)
    return True


def lead_to(url: str) -> None:
    """Leads this process to the simulator at `url`, once for the life of the process."""
    global _led_to
    place = _place_of(url)
    if _led_to is not None:
        if _led_to != place:
            raise RuntimeError(f"this process is led to the simulator at {_led_to[0]}:{_led_to[1]} already")
        return
    pem = _fetch_authority(url, place)
    _led_to = place
    own = _know_own_servers()
    _lead_names(place, own)
    _lead_sockets(place, own)
    _trust(pem)


def _place_of(url: str) -> tuple[str, int]:
    bare = url.removeprefix("http://").rstrip("/")
    host, colon, port = bare.rpartition(":")
    if not colon or not port.isdigit() or not host or "/" in bare:
        raise SystemExit(f"{VARIABLE} is `{url}`; it must be the address of a simulator, such as http://127.0.0.1:8700")
    return host.strip("[]"), int(port)


def _fetch_authority(url: str, place: tuple[str, int]) -> str:
    try:
        with socket.create_connection(place, timeout=_SECONDS) as connection:
            # The simplest request: its answer ends with the connection.
            connection.sendall(f"GET {_CA_PATH} HTTP/1.0\r\nHost: {place[0]}:{place[1]}\r\n\r\n".encode())
            answer = b""
            while part := connection.recv(1 << 16):
                answer += part
    except OSError as error:
        raise SystemExit(f"{VARIABLE} is {url}, where no simulator answers: {error}") from None
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0] + b" " or not body.startswith(b"-----BEGIN CERTIFICATE-----"):
        raise SystemExit(f"{VARIABLE} is {url}, where something other than a simulator answers")
    return body.decode("ascii")


def _know_own_servers() -> set[int]:
    """The ports that this process binds from now on: a server of its own, such as that of a test, is no source."""
    kind: Any = socket.socket
    bind = kind.bind
    ports: set[int] = set()

    def bind_and_know(this: Any, address: Any) -> None:
        bind(this, address)
        if this.family in (socket.AF_INET, socket.AF_INET6):
            ports.add(this.getsockname()[1])

    kind.bind = bind_and_know
    return ports


def _is_own(host: Any, port: Any, own: set[int]) -> bool:
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    here = name in ("localhost", "::1") or name.startswith("127.")
    return here and str(port).isdecimal() and int(port) in own


def _lead_names(place: tuple[str, int], own: set[int]) -> None:
    """Any name, and any address, is that of the simulator."""
    look_up = socket.getaddrinfo

    def getaddrinfo(
        host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[tuple[Any, ...]]:
        is_server = not host or flags & socket.AI_PASSIVE
        # Somebody wants to know whether it is an address; that is no connection.
        is_question = flags & socket.AI_NUMERICHOST and port is None
        if is_server or is_question or _is_own(host, port, own):
            return list(look_up(host, port, family, type, proto, flags))
        return list(look_up(*place, 0, type, proto, flags & ~socket.AI_NUMERICHOST))

    socket.getaddrinfo = getaddrinfo


def _lead_sockets(place: tuple[str, int], own: set[int]) -> None:
    """Connections to an address that was not looked up here lead there as well."""
    kind: Any = socket.socket

    def led(this: Any, address: Any) -> Any:
        led_there = this.family == socket.AF_INET and this.type & socket.SOCK_STREAM and ":" not in place[0]
        return place if led_there and not _is_own(address[0], address[1], own) else address

    connect, connect_ex = kind.connect, kind.connect_ex
    kind.connect = lambda this, address: connect(this, led(this, address))
    kind.connect_ex = lambda this, address: connect_ex(this, led(this, address))


def _trust(pem: str) -> None:
    """The simulator's authority is trusted besides those that a library loads."""
    import atexit
    import shutil
    import tempfile

    # Readable for this user only, and gone with the process.
    folder = tempfile.mkdtemp(prefix="headwater-simulator-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    bundle = os.path.join(folder, "ca.pem")
    with open(bundle, "w", encoding="ascii") as file:
        file.write(pem)
    for name in _BUNDLES:
        os.environ[name] = bundle

    import ssl

    context: Any = ssl.SSLContext
    load_verify_locations = context.load_verify_locations

    def and_ours(load: Any) -> Any:
        def load_and_ours(this: Any, *arguments: Any, **named: Any) -> Any:
            result = load(this, *arguments, **named)
            load_verify_locations(this, cadata=pem)
            return result

        return load_and_ours

    for name in ("load_verify_locations", "load_default_certs", "set_default_verify_paths"):
        setattr(context, name, and_ours(getattr(context, name)))


def _main(given: list[str]) -> None:
    import runpy

    if not given or given[0] in ("-h", "--help") or given == ["-m"]:
        raise SystemExit(f"usage: {VARIABLE}=URL python -m headwater_worker.simulated (-m MODULE | FILE) …")
    if not lead_from_environment():
        raise SystemExit(f"{VARIABLE} is not set; it names the simulator, such as http://127.0.0.1:8700")
    if given[0] == "-m":
        sys.argv = given[1:]
        runpy.run_module(given[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = given
        sys.path.insert(0, os.path.dirname(os.path.abspath(given[0])))
        runpy.run_path(given[0], run_name="__main__")


if __name__ == "__main__":
    # The module that connections go through is the one that others import.
    from headwater_worker import simulated

    simulated._main(sys.argv[1:])
else:
    lead_from_environment()
