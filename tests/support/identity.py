"""Tenants and their users, who sign as the cloud's own SDK does."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

import httpx
from huaweicloudsdkcore.auth.credentials import GlobalCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer
from huaweicloudsdkiam.v3 import IamClient

from tests.support.daemon import Evsd, Object


class SdkAuth(httpx.Auth):
    """The SDK's signature on requests the SDK has no method for."""

    requires_request_body = True

    def __init__(self, access: str, secret: str, token: str | None = None) -> None:
        self._signer, self._token = Signer(GlobalCredentials(access, secret)), token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        headers = {"Content-Type": request.headers.get("content-type", "application/json")}
        headers |= {k: v for k, v in request.headers.items() if k.startswith("x-")}
        if self._token is not None:
            headers["X-Security-Token"] = self._token
        signed = self._signer.sign(
            SdkRequest(
                method=request.method,
                host=request.url.netloc.decode(),
                resource_path=request.url.raw_path.partition(b"?")[0].decode(),
                query_params=list(request.url.params.multi_items()),
                header_params=headers,
                body=request.content,
            )
        )
        request.url = request.url.copy_with(raw_path=signed.uri.encode())
        request.headers.update(signed.header_params)
        yield request


class Caller:
    """One user, and requests it signs."""

    def __init__(self, url: str, tenant_ids: tuple[str, str], user_id: str, pair: Object) -> None:
        self.domain_id, self.project_id = tenant_ids
        self.url, self.user_id, self.pair = url, user_id, pair
        auth = SdkAuth(pair["access"], pair["secret"], pair.get("securitytoken"))
        self.http = httpx.Client(base_url=url, auth=auth, timeout=60)

    def sdk(self) -> Any:
        """The SDK's own IAM client of this user."""
        credentials = GlobalCredentials(self.pair["access"], self.pair["secret"], self.domain_id)
        if "securitytoken" in self.pair:
            credentials = credentials.with_security_token(self.pair["securitytoken"])
        return IamClient.new_builder().with_credentials(credentials).with_endpoint(self.url).build()

    def ask(self, method: str, path: str, body: Object | None = None) -> Object:
        """One request that must succeed."""
        response = self.http.request(method, path, json=body)
        assert response.status_code < 300, (method, path, response.text)
        answer: Object = response.json() if response.content else {}
        return answer

    def refused(self, method: str, path: str, body: Object | None = None) -> tuple[int, str]:
        """Status and published code of a request that must be refused."""
        response = self.http.request(method, path, json=body)
        assert response.status_code >= 400, (method, path, response.text)
        return response.status_code, code(response)

    def environment(self) -> dict[str, str]:
        """What makes evsctl act as this user."""
        found = {
            "EVSD_ENDPOINT": self.url,
            "EVSD_ACCESS_KEY": self.pair["access"],
            "EVSD_SECRET_KEY": self.pair["secret"],
        }
        if "securitytoken" in self.pair:
            found["EVSD_SECURITY_TOKEN"] = self.pair["securitytoken"]
        return found


class Tenant:
    """A domain made for a test, with its administrator."""

    def __init__(self, evsd: Evsd, name: str) -> None:
        self.evsd, self.name = evsd, name
        made = evsd.object("domain", "create", name)
        self.domain_id = made["domain"]["id"]
        pair = made["administrator"]
        lister = Caller(evsd.url(), (self.domain_id, ""), pair["id"], pair)
        self.project_id = lister.ask("GET", "/v3/projects")["projects"][0]["id"]
        self.administrator = self._caller(pair["id"], pair)

    def user(self, name: str, role: str | None = None, project: str | None = None) -> Caller:
        """A new user, in a group of its own with a role in the domain, or in one project."""
        ask = self.administrator.ask
        wanted = {"name": name, "domain_id": self.domain_id}
        user_id = ask("POST", "/v3.0/OS-USER/users", {"user": wanted})["user"]["id"]
        if role is not None:
            group_id = ask("POST", "/v3/groups", {"group": {"name": f"of {name}"}})["group"]["id"]
            ask("PUT", f"/v3/groups/{group_id}/users/{user_id}")
            target = f"projects/{project}" if project else f"domains/{self.domain_id}"
            ask("PUT", f"/v3/{target}/groups/{group_id}/roles/{role}")
        body = {"credential": {"user_id": user_id}}
        pair = ask("POST", "/v3.0/OS-CREDENTIAL/credentials", body)["credential"]
        return self._caller(user_id, pair)

    def project(self, name: str) -> str:
        """The id of a new project."""
        wanted = {"name": name, "parent_id": self.domain_id}
        made = self.administrator.ask("POST", "/v3/projects", {"project": wanted})
        return str(made["project"]["id"])

    def _caller(self, user_id: str, pair: Object) -> Caller:
        return Caller(self.evsd.url(), (self.domain_id, self.project_id), user_id, pair)


def code(response: httpx.Response) -> str:
    """The published code of an error, wherever its service puts it."""
    found = re.search(r'"(?:error_code|code)": ?"([^"]+)"', response.text)
    return found[1] if found else ""
