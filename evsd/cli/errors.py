"""What evsctl fails with: exit status 1 refused or failed, 2 usage."""

from __future__ import annotations

from typing import Any, Self

import click

from evsd.cli.problems import FAILED, UNREACHABLE, Problem


class Refused(click.ClickException):
    """The server, or this host, said no: published code, message and remedy on standard error."""

    exit_code = 1

    def __init__(self, code: str, message: str, remedy: str, request_id: str | None = None) -> None:
        self.code = code
        self.problem = Problem(code or FAILED, message, remedy, request_id)
        super().__init__(self.problem.as_text())

    @classmethod
    def from_body(cls, status: int, body: dict[str, Any], request_id: str | None = None) -> Self:
        """From an error body of any of the services."""
        inner = next((v for v in body.values() if isinstance(v, dict)), body)
        code = inner.get("error_code") or inner.get("code") or f"HTTP {status}"
        text = str(inner.get("error_msg") or inner.get("message") or "no message")
        return cls.from_text(str(code), text, request_id)

    @classmethod
    def from_text(cls, code: str, text: str, request_id: str | None) -> Self:
        """From message and remedy in one line, as evsd writes them."""
        message, _, remedy = text.partition("; ")
        return cls(code, message, remedy, request_id)


class Unreachable(Refused):
    """Nothing that is evsd answers."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(UNREACHABLE, message, remedy)


class UsageProblem(click.UsageError):
    """The command can't be carried out as it was written."""
