"""Prints what was found about a connector, for `headwater connector add` and `info`."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, NoReturn

from .arguments import Arguments
from .redact import Redactor
from .session import Session


def print_description(arguments: Arguments) -> NoReturn:
    """Prints one JSON object to standard output, and ends: with exit code 0, or 1 and a member `error`."""
    out = os.dup(1)
    # What the connector prints while it is imported must not stand in the JSON.
    os.dup2(2, 1)
    redact = Redactor()
    session = Session(arguments, redact)
    told: dict[str, Any]
    try:
        told = _describe(session)
        code = 0
    except BaseException as error:
        from .errors import describe

        told, code = {"error": describe(error, session.own_files, redact)}, 1
    sys.stdout.flush()
    text = json.dumps(told).encode() + b"\n"
    while text:
        text = text[os.write(out, text) :]
    os._exit(code)


def _describe(session: Session) -> dict[str, Any]:
    from .discover import file_of

    place = session.place()
    found = session.found()
    cls = found.cls
    doc = (cls.__doc__ or sys.modules[cls.__module__].__doc__ or "").strip().partition("\n")[0]
    # Classes defined inside a function are found again by the function's module.
    name = cls.__qualname__.rpartition(".")[2]
    return {
        "class": name,
        "module": cls.__module__,
        "selector": f"{cls.__module__}:{name}",
        "package": place.package,
        "file": file_of(cls),
        "folder": place.folder,
        "merged": found.merged,
        "abilities": found.abilities(),
        "candidates": [f"{c.__module__}:{c.__qualname__.rpartition('.')[2]}" for c in found.candidates],
        "doc": doc,
        "spec": place.spec_file,
    }
