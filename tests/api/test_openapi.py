"""Generated requests against the committed OpenAPI file: no 5xx, no undocumented answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from evsd import signature
from tests.support.daemon import Evsd

OPENAPI = Path(__file__).parents[2] / "docs" / "openapi.json"
EXAMPLES = 12
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]

# One function answers under both: that is asked once.
SAME = (("/v2.1/", "/v2/"), ("/v2/", "/v3/"), ("/os-vendor-volumes", "/cloudvolumes"))


def _each_once(document: dict[str, Any]) -> dict[str, Any]:
    """The document without what is under another of its paths too."""
    paths = document["paths"]
    for path, operations in paths.items():
        for one, other in SAME:
            twins = paths.get(path.replace(one, other, 1), {}) if one in path else {}
            for method in list(operations.keys() & twins.keys()):
                if operations[method]["summary"] == twins[method]["summary"]:
                    del operations[method]
    return document


DOCUMENT = _each_once(json.loads(OPENAPI.read_text()))
ROUTES = [f"{method.upper()} {path}" for path, each in DOCUMENT["paths"].items() for method in each]


class Signed(requests.auth.AuthBase):
    """Signs whatever the generator has made of a request."""

    def __init__(self, access: str, secret: str) -> None:
        self.access, self.secret = access, secret

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        url = urlsplit(str(request.url))
        body: Any = request.body or b""
        added = signature.headers_of(
            self.access,
            self.secret,
            str(request.method),
            url.path,
            url.query,
            {"host": url.netloc},
            body.encode() if isinstance(body, str) else body,
        )
        request.headers.update(added)
        return request


class Target:
    """The evsd under test, with real ids to mix in: of made-up ones there is only 404."""

    def __init__(self, evsd: Evsd, pair: dict[str, str]) -> None:
        self.url, self.project_id = evsd.url(), evsd.project_id()
        key = evsd.object("key", "show", "test-key")["key_info"]
        self.key_id = key["key_id"]
        self.session = requests.Session()
        self.session.auth = Signed(pair["access"], pair["secret"])
        self.session.trust_env = False

    def prepare(self, case: Any) -> None:
        """Put real ids in place of made-up ones that have the right form."""
        real = {"project_id": self.project_id, "key_id": self.key_id}
        for place in (case.path_parameters, case.body):
            for name in real.keys() & (place.keys() if isinstance(place, dict) else set()):
                if isinstance(place[name], str):
                    place[name] = real[name]

    def restore(self, case: Any) -> None:
        """Make the key usable again after what may have ended that."""
        if re.search("disable-key$|deletion$", case.path):
            for undo in ("cancel-key-deletion", "enable-key"):
                path = f"{self.url}/v1.0/{self.project_id}/kms/{undo}"
                self.session.post(path, json={"key_id": self.key_id})


@pytest.fixture(scope="module")
def target(tcp_evsd: Evsd, credential: dict[str, str]) -> Iterator[Target]:
    found = Target(tcp_evsd, credential)
    yield found
    found.session.close()


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def is_documented(case: Any, target: Target) -> None:
    target.prepare(case)
    response = case.call(base_url=target.url, session=target.session, timeout=60)
    target.restore(case)
    case.validate_response(response, checks=CHECKS)


@pytest.fixture(scope="module")
def generated() -> dict[str, Callable[..., None]]:
    """What asks each route: made where it is run, as all processes collect these tests."""
    load_all_checks()
    made = get_all_tests(
        schema=schemathesis.openapi.from_dict(DOCUMENT),
        test_func=is_documented,
        settings=None,
        given_kwargs={},
    )
    operations = [each.ok() for each in made if isinstance(each, Ok)]
    return {operation.label: asks for operation, asks in operations}


@pytest.mark.parametrize("route", ROUTES)
def test_every_answer_is_a_documented_one(
    route: str, generated: dict[str, Callable[..., None]], target: Target
) -> None:
    generated[route](target=target)
