"""Who shows a secret instead of signing: by HTTP Basic, or by a token."""

from __future__ import annotations

import base64

import httpx

from tests.support.daemon import Object
from tests.support.identity import Caller, code

TOKENS = "/v3.0/OS-CREDENTIAL/tokens"
CREDENTIALS = "/v3.0/OS-CREDENTIAL/credentials"
REFUSED = (401, "APIGW.0301")


def make(caller: Caller, **wanted: object) -> Object:
    made: Object = caller.ask("POST", TOKENS, {"token": wanted})["token"]
    return made


def by(token: Object | str) -> dict[str, str]:
    return {"x-auth-token": token if isinstance(token, str) else token["token"]}


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def answered(http: httpx.Client, headers: dict[str, str]) -> tuple[int, str]:
    answer = http.get("/v3/projects", headers=headers)
    return answer.status_code, code(answer)


def reason(http: httpx.Client, headers: dict[str, str]) -> str:
    answer = http.get("/v3/projects", headers=headers)
    assert (answer.status_code, code(answer)) == REFUSED
    return str(answer.json()["unauthorized"]["message"])
