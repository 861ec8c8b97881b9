"""Cinder's paths, as OpenStack's clients ask for them."""

from __future__ import annotations

from typing import Any

import httpx

from tests.support.daemon import Evsd


class Cinder:
    """A project's volumes by Cinder's paths of one version."""

    def __init__(self, evsd: Evsd, version: str) -> None:
        self.http = evsd.http()
        self.base = f"/{version}/{evsd.project_id()}"

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return self.http.request(method, f"{self.base}{path}", json=body)

    def create(self, name: str, **fields: Any) -> Any:
        """As OpenStack's clients ask for it: nulls for what they don't want."""
        nothing = dict.fromkeys(
            ("imageRef", "snapshot_id", "source_volid", "consistencygroup_id", "description")
        )
        body = {"volume": {**nothing, "name": name, "size": 1, "metadata": {}, **fields}}
        made = self.ask("POST", "/volumes", body)
        assert made.status_code == 202, made.text
        return made.json()["volume"]

    def refused(self, method: str, path: str, body: Any = None) -> tuple[int, str, str]:
        """Status, kind and published code of a refusal."""
        answer = self.ask(method, path, body)
        [(kind, told)] = answer.json().items()
        assert told["code"] == answer.status_code
        return answer.status_code, kind, told["error_code"]

    def names(self, query: str = "") -> list[str]:
        answer = self.ask("GET", f"/volumes/detail?{query}")
        assert answer.status_code == 200, answer.text
        return [volume["name"] for volume in answer.json()["volumes"]]
