"""What routes are declared with, and which of them a request is for.

FastAPI takes 3 ms to prepare a route, of which there are a hundred, and most are not asked for in
the life of an evsd: each is prepared when it is first needed. Until then it is what its module has
declared, and that is enough to find it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Coroutine, Iterable
from functools import cached_property
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic.warnings import UnsupportedFieldAttributeWarning
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from evsd.api.answering import answered, checked
from evsd.api.direct import Direct
from evsd.api.errors import Style

RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": text}
    for status, text in {
        400: "bad request",
        401: "not signed",
        403: "not allowed",
        404: "not found",
        408: "the body came too slowly",
        409: "exists already",
        413: "the body is too long",
        500: "internal error",
        503: "the key service can't be reached",
        507: "a filesystem of evsd's is full",
    }.items()
}

STREAMED = "x-streamed"  # among what OpenAPI shows of a route: it reads its body in pieces

# FastAPI says things of a body that mean nothing to pydantic, and has it be silent while a route is
# prepared; a model that is built later than that would still complain.
warnings.simplefilter("ignore", UnsupportedFieldAttributeWarning)


class Route:
    """A route as it is declared."""

    def __init__(
        self, router: Router, path: str, endpoint: Callable[..., Any], options: dict[str, Any]
    ) -> None:
        self.path, self.endpoint, self.options = path, endpoint, options
        self.style = router.style
        self.streams = STREAMED in (options.get("openapi_extra") or {})
        self.methods = frozenset(options["methods"])
        self.segments = path.split("/")
        self._parameters = {
            place: segment[1:-1]
            for place, segment in enumerate(self.segments)
            if segment.startswith("{")
        }
        self._literals = [
            (place, segment)
            for place, segment in enumerate(self.segments)
            if not segment.startswith("{")
        ]
        self._router = router

    @cached_property
    def prepared(self) -> APIRoute:
        """It, as FastAPI answers for it."""
        return self._router.prepare(self)

    @cached_property
    def direct(self) -> Direct | None:
        """It, as it is answered without FastAPI, where that can be."""
        return Direct.of(self.path, self.endpoint, self.style, self.options)

    def matches(self, segments: list[str]) -> bool:
        """Whether a path of as many segments is one of its own."""
        return all(segments[place] == literal for place, literal in self._literals) and all(
            segments[place] for place in self._parameters
        )

    def parameters_in(self, segments: list[str]) -> dict[str, str]:
        """What the path says."""
        return {name: segments[place] for place, name in self._parameters.items()}


class Router(APIRouter):
    """Takes down what is declared with `get`, `post` and so on; errors leave in `style`."""

    def __init__(self, style: Style, tag: str) -> None:
        class ServiceRoute(APIRoute):
            def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
                handle = super().get_route_handler()

                async def answer(request: Request) -> Response:
                    return await answered(request, lambda r: checked(r, handle, style), style)

                return answer

        ServiceRoute.style = style  # type: ignore[attr-defined]
        super().__init__(route_class=ServiceRoute, tags=[tag], responses=RESPONSES)
        self.style = style
        self.declared: list[Route] = []

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Take it down."""
        self.declared.append(Route(self, path, endpoint, options))

    def prepare(self, route: Route) -> APIRoute:
        """Have FastAPI do what it would have done at once."""
        super().add_api_route(route.path, route.endpoint, **route.options)
        prepared = self.routes.pop()
        assert isinstance(prepared, APIRoute)  # noqa: S101 - of its route class
        return prepared


def router(style: Style, tag: str) -> Router:
    """A router whose errors leave in its service's style."""
    return Router(style, tag)


class RouteTable(BaseRoute):
    """All routes: for FastAPI a single one, which finds the one that is asked for."""

    def __init__(self, routers: Iterable[Router]) -> None:
        self.declared = [route for each in routers for route in each.declared]
        # By the number of segments and the last one, or None where that is a parameter.
        self._by_end: dict[tuple[int, str | None], list[tuple[int, Route]]] = {}
        for number, route in enumerate(self.declared):
            last = route.segments[-1]
            end = len(route.segments), None if last.startswith("{") else last
            self._by_end.setdefault(end, []).append((number, route))

    def find(self, method: str, path: str) -> tuple[Route | None, list[str]]:
        """The first route that was declared for this, and the path's segments.

        One that only has the path where none has the method too.
        """
        segments = path.split("/")
        length, other = len(segments), None
        named = self._by_end.get((length, segments[-1]), [])
        for _, route in sorted([*named, *self._by_end.get((length, None), [])], key=_number):
            if route.matches(segments):
                if method in route.methods:
                    return route, segments
                other = other or route
        return other, segments

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As FastAPI asks."""
        route, segments = self.find(scope["method"], scope["path"])
        if route is None:
            return Match.NONE, {}
        found = {"route": route.prepared, "path_params": route.parameters_in(segments)}
        whole = scope["method"] in route.methods
        return Match.FULL if whole else Match.PARTIAL, found

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what was found."""
        await scope["route"].handle(scope, receive, send)


def _number(numbered: tuple[int, Route]) -> int:
    return numbered[0]
