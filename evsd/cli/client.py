"""The API as evsctl uses it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

from evsd.cli.errors import Refused, Unreachable, UsageProblem
from evsd.cli.http import Answer, Http, NoAnswer, Stream
from evsd.cli.interrupts import answered, noted
from evsd.cli.starting import await_evsd

TIMEOUT_S = 120.0
POLL_S = 0.2
# Paths of IMS and Glance, which work in the project of a header.
WITHOUT_PROJECT = ("/v2/images", "/v2/cloudimages", "/v1/cloudimages")
ALIAS_PREFIX = "alias/"
SAFE = "/:@!$&'()*+,;=~"  # in a path, beside letters and digits
# Of the KMS, where every operation is a POST.
CHANGES_NOTHING = ("list-", "describe-", "get-", "create-datakey", "encrypt-", "decrypt-", "gen-")
Object = dict[str, Any]


class Api:
    """One server, one project. Every method returns the object the API returned."""

    def __init__(self, endpoint: str, project: str, timeout_s: float = TIMEOUT_S) -> None:
        self._endpoint, self._project_name = endpoint, project
        self.changed = False  # whether anything was, by one of the requests
        self._changed_by: str | None = None  # the last of those
        # Of the last answer.
        self.server_version: str | None = None
        self.request_id: str | None = None
        # The socket, until the first request of somebody who has the time to wait for evsd.
        patient = endpoint.startswith("unix://") and timeout_s == TIMEOUT_S
        self._awaited = Path(endpoint.removeprefix("unix://")) if patient else None
        if not endpoint.startswith(("unix://", "http://", "https://")):
            raise UsageProblem(
                f"EVSD_ENDPOINT {endpoint!r} is not unix://PATH, http:// or https://"
            )
        self._http = _http(endpoint, timeout_s)

    def request(
        self,
        method: str,
        path: str,
        body: Object | list[Object] | Stream | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Object:
        """One request; `{project}` in the path is filled in. Raises `Refused`."""
        if self._awaited is not None:
            await_evsd(self._awaited)
            self._awaited = None
        if "{project}" in path:
            path = path.replace("{project}", self.project_id)
        if method == "GET" or _only_asks(path):
            return self._request(method, path, body, query)
        with answered():
            with noted("evsd did not answer, it may have done what was asked"):
                answer = self._request(method, path, body, query)
            self.changed, self._changed_by = True, self.request_id
        return answer

    def _request(
        self,
        method: str,
        path: str,
        body: Object | list[Object] | Stream | None,
        query: Mapping[str, str] | None,
    ) -> Object:
        try:
            content = body if isinstance(body, Stream) else _json(body)
            project = self.project_id if path.startswith(WITHOUT_PROJECT) else ""
            found = self._http.request(method, quote(path, SAFE), content, query or {}, project)
        except UnicodeError as error:
            raise UsageProblem(f"this is no text: {error}") from error
        except NoAnswer as error:
            from evsd.cli.unreachable import unreachable  # rarely

            raise unreachable(self._endpoint, error) from error
        self.server_version = found.headers.get("x-evsd-version")
        self.request_id = found.headers.get("x-request-id")
        answer = _object(found)
        if answer is None:
            raise Unreachable(
                f"{self._endpoint} answered no JSON (HTTP {found.status})", "is it evsd?"
            )
        if found.status >= 400:
            raise Refused.from_body(found.status, answer, self.request_id)
        return answer

    @cached_property
    def project_id(self) -> str:
        """The id of the project that is worked in."""
        listed = self.request("GET", "/v3/projects", query={"name": self._project_name})
        # By the region's name evsd answers another one too: who means that, names it.
        projects = [one for one in listed["projects"] if one["name"] == self._project_name]
        if not projects:
            raise Refused(
                "",
                f"project {self._project_name} does not exist, or is not yours",
                "--project or EVSD_PROJECT names the project",
            )
        return str(projects[0]["id"])

    # --- identity ------------------------------------------------------------------------------

    def identity(self, plural: str, reference: str, path: str = "") -> Object:
        """The user, group, project or agency that `reference`, an id or a name, names."""
        listed = self.request("GET", path or f"/v3/{plural}")[plural]
        for field, wanted in (("id", reference.lower()), ("name", reference)):
            for record in listed:
                if record[field] == wanted:
                    found: Object = record
                    return found
        kind = {"agencies": "agency"}.get(plural, plural.removesuffix("s"))
        raise Refused(
            "IAM.0004", f"{kind} {reference} does not exist", f"`evsctl {kind} list` shows them"
        )

    @cached_property
    def domain_id(self) -> str:
        """The id of the caller's domain."""
        return str(self.request("GET", "/v3/auth/domains")["domains"][0]["id"])

    @property
    def project_name(self) -> str:
        """The name of the project that is worked in."""
        return self._project_name

    def for_project(self, project_id: str) -> Api:
        """The same server, and another project of the caller's."""
        projects = self.request("GET", "/v3/projects")["projects"]
        name = next(project["name"] for project in projects if project["id"] == project_id)
        return Api(self._endpoint, name)

    # --- keys ----------------------------------------------------------------------------------

    def kms(self, operation: str, **body: Any) -> Object:
        """One KMS operation."""
        return self.request("POST", f"/v1.0/{{project}}/kms/{operation}", body)

    def list_keys_response(self, **filters: str) -> Object:
        """The project's keys, all of them, as one list response."""
        pages = list(self._key_pages(filters))
        joined = {
            name: [e for page in pages for e in page[name]] for name in ("keys", "key_details")
        }
        return {**pages[-1], **joined}

    def list_keys(self) -> list[Object]:
        """The details of all keys of the project."""
        found: list[Object] = self.list_keys_response()["key_details"]
        return found

    def _key_pages(self, filters: dict[str, str]) -> Iterator[Object]:
        marker, more = "0", True
        while more:
            page = self.kms("list-keys", limit="1000", marker=marker, key_spec="ALL", **filters)
            yield page
            marker, more = page["next_marker"], page["truncated"] == "true"

    def key_id(self, reference: str) -> str:
        """The id of the key that `reference` names: an id, an alias, or ``alias/`` and an alias."""
        wanted = reference.strip()
        as_id = _as_id(wanted)
        if as_id == wanted:
            return wanted
        names = {wanted, wanted.removeprefix(ALIAS_PREFIX)}
        found = [key for key in self.list_keys() if key["key_alias"] in names]
        if as_id is not None and not found:
            return as_id
        if len(found) > 1:  # one has an alias that itself begins so
            listed = " and ".join(f"{key['key_alias']} ({key['key_id']})" for key in found)
            raise UsageProblem(f"{wanted} may be {listed}: say the id")
        if not found:
            raise Refused(
                "KMS.0207",
                f"key {wanted or repr(reference)} does not exist",
                "`evsctl key list` shows the keys",
            )
        return str(found[0]["key_id"])

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
        for filters in ({"id": _as_id(name) or name}, {"name": name}):
            found = self.volumes(**filters)["volumes"]
            if found:
                return self.request("GET", f"/v2/{{project}}/cloudvolumes/{found[0]['id']}")
        raise Refused(
            "EVS.5404", f"volume {name} does not exist", "`evsctl list` shows the volumes"
        )

    def delete_volume(self, volume_id: str) -> Object:
        """Delete a volume, or cancel its creation, and wait until it is gone."""
        started = self.request("DELETE", f"/v2/{{project}}/cloudvolumes/{volume_id}")
        self.job(started["job_id"])
        return started

    def job(self, job_id: str, progress: Callable[[int], None] | None = None) -> Object:
        """Wait for a job, and say how many percent are done; raises `Refused` if it failed."""
        while True:
            job = self.request("GET", f"/v1/{{project}}/jobs/{job_id}")
            if progress is not None:
                progress(job["progress"])
            if job["status"] == "FAIL":
                raise Refused.from_text(job["error_code"], job["fail_reason"], self._changed_by)
            if job["status"] == "SUCCESS":
                return job
            time.sleep(POLL_S)

    # --- images --------------------------------------------------------------------------------

    def images(self, **filters: str) -> Object:
        """The project's images, all of them, as one list response."""
        answer = page = self._image_page(filters)
        while page["page_info"].get("next_marker"):
            page = self._image_page({**filters, "marker": page["page_info"]["next_marker"]})
            answer["images"] += page["images"]
        return {**answer, "page_info": {}}

    def _image_page(self, query: Mapping[str, str]) -> Object:
        return self.request("GET", "/v2/cloudimages", query={"limit": "1000", **query})

    def send(self, path: str, stream: Stream) -> None:
        """Put a stream there; an interrupt ends it at once."""
        self._request("PUT", path, stream, None)
        self.changed, self._changed_by = True, self.request_id

    def image(self, name: str) -> Object:
        """One image, by id or by name."""
        for filters in ({"id": _as_id(name) or name}, {"name": name}):
            found = self.images(**filters)["images"]
            if found:
                return self.request("GET", f"/v2/images/{found[0]['id']}")
        raise Refused(
            "IMG.0027", f"image {name} does not exist", "`evsctl image list` shows the images"
        )

    # --- attachments ---------------------------------------------------------------------------

    def attachment(
        self, method: str, attachment_id: str = "", body: Object | None = None
    ) -> Object:
        """One request on an attachment."""
        path = "/v3/{project}/attachments" + (f"/{attachment_id}" if attachment_id else "")
        return self.request(method, path, body)

    def end_attachment(self, attachment_id: str, *, force: bool) -> Object:
        """Detach; with `force` also from clients that are connected."""
        path = f"/v3/{{project}}/attachments/{attachment_id}"
        return self.request("DELETE", path, query={"force": str(force).lower()})

    def uri(self, attachment_id: str) -> str:
        """The NBD URI of an attachment, empty while it is only reserved."""
        shown = self.attachment("GET", attachment_id)["attachment"]
        return str(shown["connection_info"].get("data", {}).get("uri", ""))

    # --- audit ---------------------------------------------------------------------------------

    def audit_records(self, query: Mapping[str, str], limit: int) -> Object:
        """Up to `limit` records of the audit log, as one response."""
        answer = self._audit_page(query, limit, {})
        while answer["next_marker"] and len(answer["records"]) < limit:
            more = self._audit_page(
                query, limit - len(answer["records"]), {"marker": answer["next_marker"]}
            )
            answer["records"] += more["records"]
            answer["next_marker"] = more["next_marker"]
        return answer

    def _audit_page(
        self, query: Mapping[str, str], limit: int, marker: Mapping[str, str]
    ) -> Object:
        whole = {**query, "limit": str(min(limit, 1000)), **marker}
        return self.request("GET", "/v1/audit/records", query=whole)

    def audit_verification(self, progress: Callable[[int], None]) -> Object:
        """All pages of the verification of the audit log, as one response."""
        path = "/v1/audit/verification"
        answer = self.request("GET", path)
        while answer["next_marker"]:
            progress(answer["records"])
            page = self.request("GET", path, query={"marker": answer["next_marker"]})
            for counter in ("records", "signed", "findings"):
                page[counter] = answer[counter] + page[counter]
            page["signatures_checked"] &= answer["signatures_checked"]
            answer = page
        return answer


def _http(endpoint: str, timeout_s: float) -> Http:
    """Each way is loaded where it is gone: httpx takes as long as all else of evsctl."""
    if endpoint.startswith("unix://"):
        from evsd.cli.http.unix import UnixHttp

        return UnixHttp(endpoint.removeprefix("unix://"), timeout_s)
    from evsd.cli.http.tcp import TcpHttp

    return TcpHttp(endpoint, timeout_s)


def _json(body: Object | list[Object] | None) -> bytes | None:
    return None if body is None else json.dumps(body, ensure_ascii=False).encode()


def _object(found: Answer) -> Object | None:
    try:
        answer = json.loads(found.content) if found.content else {}
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _only_asks(path: str) -> bool:
    operation = path.rpartition("/kms/")[2]
    return operation.startswith(CHANGES_NOTHING) or path.endswith("/cloudvolumes/check")


def _as_id(text: str) -> str | None:
    """The id that a text is, in whatever case it is written."""
    try:
        return str(UUID(text)) if str(UUID(text)) == text.lower() else None
    except ValueError:
        return None
