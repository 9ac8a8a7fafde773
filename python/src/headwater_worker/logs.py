"""What the connector writes with `logging` and `warnings` becomes lines of the log, with their levels."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from .channel import Channel
from .hooks import when_imported

_MESSAGE_CHARS = 16_000


def send_logs(channel: Channel, redact: Callable[[str], str]) -> None:
    """From the moment on that somebody imports `logging`."""

    def attach(logging: ModuleType) -> None:
        class ToHeadwater(logging.Handler):  # type: ignore[misc,name-defined]
            """Sends records as messages of the protocol; in a forked child they go to standard error."""

            def emit(self, record: Any) -> None:
                try:
                    text = redact(self.format(record))[:_MESSAGE_CHARS]
                    if channel.closed:
                        raise OSError("a forked child has no channel")
                    log = {"level": level_name(record.levelno), "message": text, "logger": record.name}
                    channel.send({"log": log})
                except OSError:
                    import sys

                    print(redact(record.getMessage()), file=sys.stderr)
                except Exception:
                    self.handleError(record)

        root = logging.getLogger()
        handler = ToHeadwater()
        handler.setFormatter(logging.Formatter("%(message)s"))
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        logging.captureWarnings(True)

    when_imported("logging", attach)


def level_name(level: int) -> str:
    """The protocol's name of a level."""
    if level >= 40:
        return "error"
    if level >= 30:
        return "warning"
    return "info" if level >= 20 else "debug"
