"""Operations that a connector offers to agents, and their errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any


class ErrorCode(str, Enum):
    """Why an operation failed."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RATE_LIMITED = "RATE_LIMITED"
    UNAVAILABLE = "UNAVAILABLE"
    TIMEOUT = "TIMEOUT"
    UNSUPPORTED_OPERATION = "UNSUPPORTED_OPERATION"
    INTERNAL = "INTERNAL"


class AgentError(Exception):
    """A failure of an operation, with a code that a program can act on."""

    def __init__(
        self,
        code: ErrorCode | str = ErrorCode.INTERNAL,
        message: ErrorCode | str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(message, ErrorCode):
            # Given the other way round.
            code, message = message, str(code)
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = dict(details or {})


class Parameter:
    """An argument that an operation takes."""

    def __init__(
        self,
        name: str = "",
        type: str = "string",
        description: str = "",
        required: bool = False,
        default: Any = None,
        **more: Any,
    ) -> None:
        self.name = name
        self.type = type
        self.description = description
        self.required = required
        self.default = default
        self.more = more

    def to_dict(self) -> dict[str, Any]:
        """The parameter as JSON values."""
        told: dict[str, Any] = {"name": self.name, "type": self.type, "description": self.description}
        told["required"] = self.required
        if self.default is not None:
            told["default"] = self.default
        return {**told, **self.more}

    def __repr__(self) -> str:
        return f"Parameter({self.name!r}, type={self.type!r}, required={self.required})"


class AgentOperation:
    """An operation: what it is for, what it takes, and the function that does it (called with keyword arguments)."""

    def __init__(
        self,
        name: str = "",
        description: str = "",
        parameters: Iterable[Parameter] | Mapping[str, Any] = (),
        handler: Callable[..., Any] | None = None,
        **more: Any,
    ) -> None:
        self.name = name
        self.description = description
        self.parameters = _parameters(parameters)
        self.handler = handler
        self.more = more

    def to_dict(self) -> dict[str, Any]:
        """The operation as JSON values."""
        return {"description": self.description, "parameters": [p.to_dict() for p in self.parameters]}

    def __call__(self, **arguments: Any) -> Any:
        if self.handler is None:
            raise AgentError(ErrorCode.UNSUPPORTED_OPERATION, f"operation {self.name!r} has no handler")
        return self.handler(**arguments)

    def __repr__(self) -> str:
        return f"AgentOperation({self.name!r})"


def _parameters(given: Iterable[Parameter] | Mapping[str, Any]) -> list[Parameter]:
    if not isinstance(given, Mapping):
        return [p if isinstance(p, Parameter) else Parameter(**p) for p in given]
    found = []
    for name, told in given.items():
        if isinstance(told, Parameter):
            told.name = told.name or name
            found.append(told)
        elif isinstance(told, Mapping):
            found.append(Parameter(**{"name": name, **told}))
        else:
            found.append(Parameter(name, description=str(told)))
    return found
