"""Answering a request without FastAPI, which takes twice as long over it as all else in evsd.

That is done where everything that the route's function takes is known here, and where there is
nothing unusual in the request: whatever FastAPI, or the route's model, could have against it is
left to FastAPI, which then looks at all of it anew. So what is refused is refused in one place, and
what is accepted is accepted by the same declarations: the function's parameters and what they are,
the permission of `needs`, the model of the answer.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from fastapi import Request, Response
from fastapi.datastructures import DefaultPlaceholder
from fastapi.params import Depends
from pydantic import BaseModel, TypeAdapter
from starlette.types import Receive, Scope, Send

from evsd.api.answering import answered
from evsd.api.claim import Claim
from evsd.api.errors import Style

# Options of a route that make another answer of what its function returns.
_RESHAPING = (
    "response_model_include",
    "response_model_exclude",
    "response_model_exclude_unset",
    "response_model_exclude_defaults",
)
_JSON = b"application/json"

Ask = Callable[[Request], Awaitable[Any]]


class Direct:
    """How one route is answered; `of` says whether it can be."""

    body_field = None  # for `check_body`: the body is a good one by then

    def __init__(
        self, endpoint: Callable[..., Awaitable[Any]], style: Style, options: Mapping[str, Any]
    ) -> None:
        self.name, self.style = endpoint.__name__, style
        self._endpoint, self._status = endpoint, options["status_code"] or 200
        self._without_none = bool(options["response_model_exclude_none"])
        self._first: list[Ask] = [each.dependency for each in options["dependencies"] or ()]
        self._asked: dict[str, Ask] = {}
        self._may_lack_body = False
        self._body: tuple[str, type[BaseModel]] | None = None
        self._from_path: list[str] = []
        self._returns: Any = None

    @classmethod
    def of(
        cls, path: str, endpoint: Callable[..., Any], style: Style, options: Mapping[str, Any]
    ) -> Direct | None:
        """None for a route that only FastAPI can answer."""
        plain = isinstance(options["response_model"], DefaultPlaceholder) and isinstance(
            options["response_class"], DefaultPlaceholder
        )
        if not plain or any(options[name] for name in _RESHAPING):
            return None
        if not inspect.iscoroutinefunction(endpoint):
            return None
        found = cls(endpoint, style, options)
        hints = get_type_hints(endpoint, include_extras=True)
        found._returns = hints.pop("return", None)
        known = all(found._takes(name, hint, path) for name, hint in hints.items())
        return found if known and _is_model(found._returns) else None

    def _takes(self, name: str, hint: Any, path: str) -> bool:
        """Whether it is known where a parameter comes from."""
        if get_origin(hint) is Annotated and isinstance(get_args(hint)[1], Depends):
            asked = get_args(hint)[1].dependency
            self._asked[name] = asked
            return list(inspect.signature(asked).parameters) == ["request"]
        if hint is str and f"{{{name}}}" in path:
            self._from_path.append(name)
            return True
        models = [each for each in get_args(hint) or (hint,) if each is not NoneType]
        if len(models) == 1 and _is_model(models[0]) and self._body is None:
            self._body, self._may_lack_body = (name, models[0]), hint is not models[0]
            return True
        return False

    @cached_property
    def takes_claims(self) -> bool:
        """Whether it can have no effect but by evsd-keys: see `claim`."""
        return all(getattr(each, "only_asks", False) for each in self._asked.values())

    async def answer(
        self, request: Request, parameters: dict[str, str], content: bytes
    ) -> Response | Json | None:
        """The answer; None where FastAPI has to look at the request."""
        values: dict[str, Any] = {name: parameters[name] for name in self._from_path}
        if self._body is not None:
            name, model = self._body
            try:
                values[name] = self._read(model, request.scope, content)
            except Exception:  # noqa: BLE001 - whatever it is, FastAPI says it better
                return None
        request.scope.update(route=self, path_params=parameters)
        return await answered(request, lambda asking: self._proved(asking, values), self.style)

    def _read(self, model: type[BaseModel], scope: Scope, content: bytes) -> BaseModel | None:
        if self._may_lack_body and not content:
            return None
        if not _is_usual(scope, content):
            raise ValueError
        return model.model_validate(json.loads(content))

    async def _proved(self, request: Request, values: dict[str, Any]) -> Json:
        """The answer, once the caller is known: all else is for nobody's eyes before."""
        claim: Claim | None = getattr(request.state, "claim", None)
        if claim is None:
            return await self._called(request, values)
        try:
            answer = await self._called(request, values)
        except Exception:
            await claim.settle()
            raise
        await claim.settle()
        return answer

    async def _called(self, request: Request, values: dict[str, Any]) -> Json:
        for ask in self._first:
            await ask(request)
        for name, ask in self._asked.items():
            values[name] = await ask(request)
        returned = await self._endpoint(**values)
        content = self._adapter.dump_json(returned, by_alias=True, exclude_none=self._without_none)
        return Json(self._status, content)

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self._returns)


class Json:
    """An answer as it is sent."""

    __slots__ = ("_content", "_status")

    def __init__(self, status: int, content: bytes) -> None:
        self._status, self._content = status, content

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        length = str(len(self._content)).encode()
        headers = [(b"content-length", length), (b"content-type", _JSON)]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": self._content})


def _is_model(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, BaseModel)


def _is_usual(scope: Scope, content: bytes) -> bool:
    """Whether a body is said to be JSON, and has no half of a character in it (`json_body`)."""
    said = [value for name, value in scope["headers"] if name == b"content-type"]
    encoded = any(name == b"content-encoding" for name, _ in scope["headers"])
    return said == [_JSON] and not encoded and b"\\ud" not in content.lower()
