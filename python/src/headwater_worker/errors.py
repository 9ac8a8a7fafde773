"""Exceptions as the error answers of the protocol."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType
from typing import Any

Redact = Callable[[str], str]

MESSAGE_CHARS = 4_000
TRACE_FRAMES = 20


class ContractError(Exception):
    """The connector broke its contract."""


class RequestError(Exception):
    """A request that cannot be answered, with the error's kind."""

    def __init__(self, kind: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.kind = kind
        self.more = more


# By class name along the MRO: the libraries that define these classes need not be imported to know them.
_TIMEOUTS = {"Timeout", "TimeoutError", "ReadTimeout", "ConnectTimeout", "TimeoutException", "ReadTimeoutError"}
_CONNECTIONS = {"ConnectionError", "ProtocolError", "NetworkError", "ChunkedEncodingError", "RemoteDisconnected"}
_CONNECTIONS |= {"NewConnectionError", "IncompleteRead", "TransportError", "gaierror", "URLError", "ProxyError"}
_BAD_BODIES = {"InvalidJSONError", "ContentDecodingError"}
_NOT_AGAIN = {"NotImplementedError", "ValueError", "LookupError", "TypeError", "AttributeError", "ImportError"}
_NOT_AGAIN |= {"AssertionError", "SyntaxError", "NameError", "ArithmeticError", "RecursionError", "SystemExit"}
_NOT_AGAIN |= {"KeyboardInterrupt"}
_AGENT_KINDS = {
    "INVALID_ARGUMENT": "rejected",
    "NOT_FOUND": "rejected",
    "UNAUTHENTICATED": "unauthorized",
    "PERMISSION_DENIED": "forbidden",
    "RATE_LIMITED": "rate_limited",
    "UNAVAILABLE": "unavailable",
    "TIMEOUT": "timeout",
}


def describe(error: BaseException, own_folder: str | None, redact: Redact, interrupted: bool = False) -> dict[str, Any]:
    """The `error` member for an exception; `own_folder` holds the connector's files, `interrupted` says whether
    Headwater has sent an interrupt.
    """
    if isinstance(error, RequestError):
        return {"kind": error.kind, "message": redact(str(error)), **error.more}
    if isinstance(error, KeyboardInterrupt) and interrupted:
        return {"kind": "cancelled", "message": "interrupted"}
    kind, more = _classify(error)
    told: dict[str, Any] = {"kind": kind, "message": redact(_message(error))[:MESSAGE_CHARS]}
    if not isinstance(error, ContractError):
        told["class"] = _class_name(type(error))
    told.update(more)
    trace = _trace(error, own_folder, redact)
    if trace:
        told["trace"] = trace
    return told


def _class_name(kind: type) -> str:
    return kind.__name__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__name__}"


def _classify(error: BaseException) -> tuple[str, dict[str, Any]]:
    if isinstance(error, ContractError):
        return "bug", {}
    names = {kind.__name__ for kind in type(error).__mro__}
    if "AgentError" in names:
        code = getattr(error, "code", None)
        code = str(getattr(code, "value", code))
        return _AGENT_KINDS.get(code, "exception"), {"code": code}
    status = _status(error)
    if status is not None:
        return _by_status(status, error)
    if names & _TIMEOUTS:
        return "timeout", {}
    if names & _BAD_BODIES:
        return "bad_response", {}
    if names & _CONNECTIONS:
        return "unavailable", {}
    if names & _NOT_AGAIN:
        return "exception", {"retry": "never"}
    return _by_cause(error) or ("exception", {"retry": "backoff"})


def _by_cause(error: BaseException) -> tuple[str, dict[str, Any]] | None:
    """What the source answered, where the connector has put an exception of its own around that."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    for _ in range(5):
        if cause is None:
            return None
        status = _status(cause)
        if status is not None:
            return _by_status(status, cause)
        cause = cause.__cause__ or cause.__context__
    return None


def _status(error: BaseException) -> int | None:
    """The HTTP status that an exception carries, as the usual libraries carry it."""
    response = getattr(error, "response", None)
    holders = [(response, "status_code"), (response, "status"), (error, "status_code")]
    if "HTTPError" in {kind.__name__ for kind in type(error).__mro__}:
        holders.append((error, "code"))
    holders.append((getattr(error, "resp", None), "status"))
    for holder, name in holders:
        try:
            status = int(getattr(holder, name, None))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            continue
        if 400 <= status <= 599:
            return status
    return None


def _by_status(status: int, error: BaseException) -> tuple[str, dict[str, Any]]:
    more: dict[str, Any] = {}
    after = _retry_after(error)
    if status == 401:
        return "unauthorized", more
    if after is not None and (status == 429 or status >= 500 or status == 403):
        more["retry_after_seconds"] = after
    if status == 429 or (status == 403 and after is not None):
        return "rate_limited", more
    if status == 403:
        return "forbidden", more
    if status == 408:
        return "timeout", more
    return ("unavailable" if status >= 500 else "rejected"), more


def _retry_after(error: BaseException) -> float | None:
    for holder in (getattr(error, "response", None), error):
        headers = getattr(holder, "headers", None)
        try:
            given = headers.get("Retry-After") if headers is not None else None
        except Exception:
            continue
        if given is not None:
            return _seconds(str(given))
    return None


def _seconds(given: str) -> float | None:
    try:
        seconds = float(given)
    except ValueError:
        from email.utils import parsedate_to_datetime

        try:
            moment = parsedate_to_datetime(given)
        except (TypeError, ValueError):
            return None
        import datetime

        now = datetime.datetime.now(datetime.timezone.utc)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.timezone.utc)
        seconds = (moment - now).total_seconds()
    return min(max(seconds, 0.0), 86_400.0) if seconds == seconds else None


def _said(error: BaseException) -> str:
    return f" ({error})" if error.args else ""


def _text(error: BaseException) -> str:
    if isinstance(error, KeyError) and len(error.args) == 1:
        return f"key {error.args[0]!r} is missing"
    if isinstance(error, KeyboardInterrupt):
        return f"the connector raised KeyboardInterrupt, and nobody had interrupted it{_said(error)}"
    if isinstance(error, SystemExit):
        return f"the connector tried to end the process (exit code {error.code!r})"
    try:
        text = str(error)
    except Exception as failure:
        return f"(its message cannot be shown: {type(failure).__name__})"
    return text or type(error).__name__


def _message(error: BaseException) -> str:
    """The exception's text, and in short those of the exceptions that led to it."""
    text = _text(error)
    seen = {id(error)}
    current = error
    for _ in range(5):
        cause = current.__cause__
        link = "caused by"
        if cause is None and not current.__suppress_context__:
            cause, link = current.__context__, "while handling"
        if cause is None or id(cause) in seen:
            break
        seen.add(id(cause))
        first = _text(cause).strip().partition("\n")[0]
        if first not in text:
            text += f"; {link} {_class_name(type(cause))}: {first[:300]}"
        current = cause
    return text


def _trace(error: BaseException, own_folder: str | None, redact: Redact) -> list[dict[str, Any]]:
    frames = list(_frames(error.__traceback__))
    if own_folder is None:
        return []
    own = [frame for frame in frames if is_own(frame[0], own_folder)]
    last = frames[-1:] if frames and not is_own(frames[-1][0], own_folder) else []
    import linecache

    here = os.path.dirname(os.path.abspath(__file__))
    kept = own[-TRACE_FRAMES:] + [frame for frame in last if not is_own(frame[0], here)]
    return [
        {
            "file": redact(shown(file, own_folder)),
            "line": line,
            "function": function,
            "code": redact(linecache.getline(file, line).strip())[:200],
        }
        for file, line, function in kept
    ]


def _frames(traceback: TracebackType | None) -> Any:
    while traceback is not None:
        code = traceback.tb_frame.f_code
        yield code.co_filename, traceback.tb_lineno, code.co_name
        traceback = traceback.tb_next


def is_own(file: str, folder: str) -> bool:
    """Whether a file is below a folder, or is it."""
    return file == folder or file.startswith(folder.rstrip(os.sep) + os.sep)


def shown(file: str, own_folder: str) -> str:
    """A file's path below the connector's folder; of other files the last two parts."""
    if file == own_folder:
        return os.path.basename(file)
    if is_own(file, own_folder):
        return os.path.relpath(file, own_folder)
    return os.path.join(*file.split(os.sep)[-2:])
