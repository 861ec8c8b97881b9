"""The API as evsctl uses it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from evsd.cli.errors import Refused, UsageProblem
from evsd.cli.signing import AccessKeyAuth

TIMEOUT_S = 120.0
POLL_S = 0.2
Object = dict[str, Any]


class Api:
    """One server, one project. Every method returns the object the API returned."""

    def __init__(self, endpoint: str, project: str) -> None:
        self._endpoint, self._project_name = endpoint, project
        if endpoint.startswith("unix://"):
            path = Path(endpoint.removeprefix("unix://"))
            self._http = httpx.Client(
                transport=httpx.HTTPTransport(uds=str(path)),
                base_url="http://evsd",
                timeout=TIMEOUT_S,
            )
        elif endpoint.startswith(("http://", "https://")):
            self._http = httpx.Client(
                base_url=endpoint, timeout=TIMEOUT_S, auth=AccessKeyAuth.from_environment()
            )
        else:
            raise UsageProblem(
                f"EVSD_ENDPOINT {endpoint!r} is not unix://PATH, http:// or https://"
            )

    def request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Object:
        """One request; `{project}` in the path is filled in. Raises `Refused`."""
        if "{project}" in path:
            path = path.replace("{project}", self.project_id)
        try:
            response = self._http.request(method, path, json=body, params=query or {})
        except (httpx.TransportError, httpx.InvalidURL, UnicodeError) as error:
            raise Refused(
                "", f"evsd can't be reached at {self._endpoint}: {error}", "is it running?"
            ) from error
        try:
            answer: Object = response.json() if response.content else {}
        except ValueError as error:
            raise Refused(
                f"HTTP {response.status_code}", f"{self._endpoint} answered no JSON", "is it evsd?"
            ) from error
        if response.status_code >= 400:
            raise Refused.from_body(response.status_code, answer)
        return answer

    @cached_property
    def project_id(self) -> str:
        """The id of the project that is worked in."""
        projects = self.request("GET", "/v3/projects", query={"name": self._project_name})[
            "projects"
        ]
        if not projects:
            raise Refused(
                "",
                f"project {self._project_name} does not exist, or is not yours",
                "--project or EVSD_PROJECT names the project",
            )
        return str(projects[0]["id"])

    # --- keys ----------------------------------------------------------------------------------

    def kms(self, operation: str, **body: Any) -> Object:
        """One KMS operation."""
        return self.request("POST", f"/v1.0/{{project}}/kms/{operation}", body)

    def list_keys(self) -> list[Object]:
        """All keys of the project."""
        return [key for page in self._key_pages() for key in page["key_details"]]

    def _key_pages(self) -> Iterator[Object]:
        marker, more = "0", True
        while more:
            page = self.kms("list-keys", limit="1000", marker=marker, key_spec="ALL")
            yield page
            marker, more = page["next_marker"], page["truncated"] == "true"

    def key_id(self, reference: str) -> str:
        """The id of the key that `reference`, an id or an alias, names."""
        if _is_uuid(reference):
            return reference
        for key in self.list_keys():
            if key["key_alias"] == reference:
                return str(key["key_id"])
        raise Refused(
            "KMS.0207", f"key {reference} does not exist", "`evsctl key list` shows the keys"
        )

    # --- volumes -------------------------------------------------------------------------------

    def volumes(self, **filters: str) -> Object:
        """The project's volumes, all of them, as one list response."""
        answer = self._volume_page(0, filters)
        while len(answer["volumes"]) < answer["count"]:
            page = self._volume_page(len(answer["volumes"]), filters)["volumes"]
            if not page:
                break
            answer["volumes"] += page
        return answer

    def _volume_page(self, offset: int, filters: dict[str, str]) -> Object:
        path = "/v2/{project}/cloudvolumes/detail"
        return self.request("GET", path, query={"offset": str(offset), **filters})

    def volume(self, name: str) -> Object:
        """The show response of a volume, by id or by name."""
        for filters in ({"id": name}, {"name": name}):
            found = self.volumes(**filters)["volumes"]
            if found:
                return self.request("GET", f"/v2/{{project}}/cloudvolumes/{found[0]['id']}")
        raise Refused(
            "EVS.5404", f"volume {name} does not exist", "`evsctl list` shows the volumes"
        )

    def job(self, job_id: str) -> Object:
        """Wait for a job; raises `Refused` if it failed."""
        while True:
            job = self.request("GET", f"/v1/{{project}}/jobs/{job_id}")
            if job["status"] == "FAIL":
                raise Refused(job["error_code"], job["fail_reason"], "")
            if job["status"] == "SUCCESS":
                return job
            time.sleep(POLL_S)

    # --- attachments ---------------------------------------------------------------------------

    def attachment(
        self, method: str, attachment_id: str = "", body: Object | None = None
    ) -> Object:
        """One request on an attachment."""
        path = "/v3/{project}/attachments" + (f"/{attachment_id}" if attachment_id else "")
        return self.request(method, path, body)

    def uri(self, attachment_id: str) -> str:
        """The NBD URI of an attachment, empty while it is only reserved."""
        shown = self.attachment("GET", attachment_id)["attachment"]
        return str(shown["connection_info"].get("data", {}).get("uri", ""))


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
