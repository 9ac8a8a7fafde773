"""Takes the values of secrets out of every text that leaves the process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

SHOWN_INSTEAD = "***"
_TELLING = ("token", "password", "passwd", "secret", "key", "credential", "passphrase")
# Names that tell of a secret and hold none: what they say is often short and common.
_HARMLESS = (
    "primary_key",
    "key_column",
    "keyspace",
    "keyword",
    "cluster_key",
    "token_ur",
    "token_endpoint",
    "token_type",
)
_LEAST_CHARS = 4


class Redactor:
    """Replaces the secrets it has been told, in every form they commonly take."""

    def __init__(self) -> None:
        self._forms: list[str] = []

    def learn(self, options: Mapping[str, str], secrets: Iterable[str]) -> None:
        """Takes in the values of the options named in `secrets`, and of those with telling names."""
        named = {name.lower() for name in secrets}
        forms: set[str] = set(self._forms)
        for name, value in options.items():
            if isinstance(value, str) and (name.lower() in named or _tells(name)):
                for text in _texts(value):
                    forms.update(_forms(text))
        self._forms = sorted(forms, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, SHOWN_INSTEAD)
        return text


def _tells(name: str) -> bool:
    low = name.lower()
    return not low.startswith(_HARMLESS) and any(word in low for word in _TELLING)


def _texts(value: str) -> Iterable[str]:
    """The value, its lines where it has several, and the texts in it where it is JSON (a service account's key)."""
    yield value
    lines = value.splitlines()
    if len(lines) > 1:
        # A short line is a heading or the end of a block.
        yield from (line.strip() for line in lines if len(line.strip()) >= 16 and "-----" not in line)
    if value.lstrip()[:1] in ("{", "["):
        import json

        try:
            parsed = json.loads(value)
        except ValueError:
            return
        yield from _inner(parsed)


def _inner(value: Any, telling: bool = False) -> Iterable[str]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _inner(member, _tells(str(name)))
    elif isinstance(value, list):
        for item in value:
            yield from _inner(item, telling)
    elif telling and isinstance(value, str):
        yield from _texts(value)


def _forms(secret: str) -> Iterable[str]:
    if len(secret.strip()) < _LEAST_CHARS:
        return
    yield secret
    if secret.strip() != secret:
        yield secret.strip()
    yield repr(secret)[1:-1]
    from urllib.parse import quote, quote_plus

    raw = secret.encode("utf-8", "surrogatepass")
    yield from (quote(raw), quote(raw, safe=""), quote_plus(raw))
    import json

    yield json.dumps(secret)[1:-1]
    yield from _base64_forms(secret)


def _base64_forms(secret: str) -> Iterable[str]:
    """What of the secret's base64 is the same whatever stands before and behind it, as in basic authentication."""
    from base64 import b64encode, urlsafe_b64encode

    raw = secret.encode("utf-8", "surrogatepass")
    for encode in (b64encode, urlsafe_b64encode):
        for before in range(3):
            whole = encode(b"\0" * before + raw).decode("ascii").rstrip("=")
            start = (before * 8 + 5) // 6
            end = (before + len(raw)) * 8 // 6
            form = whole[start:end]
            if len(form) >= 6:
                yield form
