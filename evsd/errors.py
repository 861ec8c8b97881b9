"""Every error a caller can meet: its published code, HTTP status, message and remedy.

This is the one table. A layer raises the class; `evsd.api.errors` draws it in the body its
service publishes; the key process sends it over its socket with `as_wire` / `from_wire`.
Codes: KMS, EVS, IAM and API-gateway error tables of the published API.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import ClassVar, TypeVar


class PublishedError(Exception):
    """An error with a published code.

    `template` and `remedy_template` are filled from the keyword arguments of the constructor, so
    that a message always names the thing and its state.
    """

    code: ClassVar[str] = "EVS.2002"
    status: ClassVar[int] = 500
    template: ClassVar[str] = "internal error"
    remedy_template: ClassVar[str] = ""
    recorded = False  # in the audit log, by evsd-keys, which was asked and has refused

    def __init__(self, **facts: object) -> None:
        self.message = self.template.format(**facts)
        self.remedy = self.remedy_template.format(**facts)
        super().__init__(self.text)

    @property
    def text(self) -> str:
        """Message and remedy in one line, as API bodies carry it."""
        return f"{self.message}; {self.remedy}" if self.remedy else self.message

    def as_wire(self) -> dict[str, str]:
        """The error as the key process sends it; `from_wire` is the way back."""
        return {"class": type(self).__name__, "message": self.message, "remedy": self.remedy}


P = TypeVar("P", bound="PublishedError")


def retold(error: PublishedError, cls: type[P]) -> P:
    """The same message and remedy as an error of another service."""
    return _made(cls, error.message, error.remedy)


def _made(cls: type[P], message: str, remedy: str) -> P:
    error = cls.__new__(cls)
    error.message, error.remedy = message, remedy
    Exception.__init__(error, error.text)
    return error


def from_wire(wire: dict[str, str]) -> PublishedError:
    """Rebuild the error another process raised."""
    named = {cls.__name__: cls for cls in _all_errors(PublishedError)}
    error = _made(named[wire["class"]], wire["message"], wire["remedy"])
    error.recorded = True
    return error


def _all_errors(base: type[PublishedError]) -> list[type[PublishedError]]:
    return [c for sub in base.__subclasses__() for c in (sub, *_all_errors(sub))]


class InternalError(PublishedError):
    code, status = "EVS.2002", 500
    template = "internal error, logged as request {request_id}"
    remedy_template = "look for this id in evsd's log"


class StorageError(PublishedError):
    """Base of what a filesystem refuses that takes no more; `storage_error` makes them.

    A service that publishes another code for it tells it anew, see `retold`.
    """


class StorageFull(StorageError):
    code, status = "EVS.5500", 507
    template = "{what} {path} is full: {reason}"
    remedy_template = (
        "nothing was changed; free space first: delete volumes or files that nobody needs, or make "
        "the filesystem larger, then try again"
    )


class StorageReadOnly(StorageError):
    code, status = "EVS.5500", 507
    template = "{what} {path} is on a filesystem that is read-only: {reason}"
    remedy_template = (
        "nothing was changed; the kernel's log may say why it is; mount it for writing, then try "
        "again"
    )


def storage_error(what: str, path: Path, error: OSError) -> StorageError:
    """What is to be said of `error`, which `evsd.space.REFUSALS` has."""
    cls = StorageReadOnly if error.errno == errno.EROFS else StorageFull
    return cls(what=what, path=path, reason=error.strerror)


class CallerUnknown(PublishedError):
    code, status = "APIGW.0301", 401
    template = "Incorrect IAM authentication information: {reason}"
    remedy_template = (
        "use the unix socket as a user evsd knows, or sign with a pair that evsctl access-key "
        "create has printed; OpenStack's clients send it, or a token of evsctl token create"
    )


class BodyTooSlow(PublishedError):
    code, status = "APIGW.0201", 408
    template = "the request body did not arrive within {seconds} s"


class BodyBrokenOff(PublishedError):
    code, status = "APIGW.0201", 400
    template = "the request body broke off"


class BodyDiffers(PublishedError):
    code, status = "APIGW.0201", 400
    template = "the request body is not the one whose hash was signed"


class BodyTooLong(PublishedError):
    code, status = "APIGW.0201", 413
    template = "the request body is longer than {limit} bytes"


class ConnectionLimitExceeded(PublishedError):
    code, status = "APIGW.0308", 429
    template = "{source} has {limit} connections to evsd already, or all sources together too many"
    remedy_template = "use fewer at a time, or wait until some have ended"


class DomainNotFound(PublishedError):
    code, status = "IAM.0004", 404
    template = "domain {name} does not exist"


class ApiNotFound(PublishedError):
    code, status = "APIGW.0101", 404
    template = "The API {method} {path} does not exist"


class KeysUnavailable(PublishedError):
    code, status = "KMS.0104", 503
    template = "the key service can't be reached: {reason}"
    remedy_template = "attached volumes go on; look at evsd's log and at the HSM"


class KeyStorageFailed(KeysUnavailable):
    """A `StorageError` that keeps a key from being made, changed or used."""

    template = "{reason}"
    remedy_template = StorageFull.remedy_template
