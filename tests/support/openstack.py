"""OpenStack's own clients, unmodified: their Python interfaces, and their commands in this process.

A command's start takes a second of processor, nearly all of it imports. Here they are imported
once; `tests/openstack/test_documented.py` starts the real ones.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any
from unittest.mock import patch

from tests.support.daemon import Evsd, Result

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "openstack.md"


def blocks(language: str) -> list[str]:
    """Those of docs/openstack.md."""
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S)


class Account:
    """An access key, its project, and the clients that show it."""

    def __init__(self, evsd: Evsd, home: Path) -> None:
        self.evsd, self.home = evsd, home
        self.url, self.project_id = evsd.url(), evsd.project_id()
        pair = evsd.object("access-key", "create")["credential"]
        self.access, self.secret = str(pair["access"]), str(pair["secret"])

    @property
    def endpoint(self) -> str:
        """Of volumes."""
        return f"{self.url}/v3/{self.project_id}"

    @property
    def names(self) -> dict[str, str]:
        """What docs/openstack.md calls it."""
        return {
            "EVSD": self.url,
            "ACCESS": self.access,
            "SECRET": self.secret,
            "PROJECT": self.project_id,
        }

    def write_clouds(self, directory: Path) -> Path:
        """The file `clouds.yaml` of docs/openstack.md, of this account."""
        [text] = blocks("yaml")
        file = directory / "clouds.yaml"
        file.write_text(Template(text).substitute(self.names))
        return file

    def cinder(self, version: str = "3.54", secret: str | None = None) -> Any:
        """Cinder's client, for Python."""
        from cinderclient import client
        from keystoneauth1 import http_basic, session

        auth = http_basic.HTTPBasicAuth(self.endpoint, self.access, secret or self.secret)
        return client.Client(version, session=session.Session(auth=auth))

    def sdk(self) -> Any:
        """A connection of OpenStack's SDK."""
        import openstack

        with self._environment():
            return openstack.connect(cloud="evsd")

    def run_openstack(self, *words: str) -> Result:
        """A command of openstackclient's.

        Its clients are kept from one run to the next, so all in this process are of one account.
        """

        def main(words: list[str]) -> int:
            from openstackclient.shell import OpenStackShell

            return int(OpenStackShell().run(words))

        return self._run(main, "--os-cloud", "evsd", *words)

    def run_cinder(self, *words: str, version: str | None = None) -> Result:
        """A command of cinderclient's."""
        from cinderclient.shell import OpenStackCinderShell

        whose = ("--os-username", self.access, "--os-password", self.secret)
        where = ("--os-endpoint", self.endpoint, "--os-project-id", self.project_id)
        asked = () if version is None else ("--os-volume-api-version", version)
        options = ("--os-auth-type", "http_basic", *whose, *where, *asked)
        return self._run(OpenStackCinderShell().main, *options, *words)

    def run_glance(self, token: str, *words: str) -> Result:
        """A command of glanceclient's."""
        from glanceclient.shell import OpenStackImagesShell

        options = ("--os-auth-token", token, "--os-image-url", self.url)
        return self._run(OpenStackImagesShell().main, *options, *words)

    @contextmanager
    def _environment(self) -> Iterator[None]:
        clouds = self.write_clouds(self.home)
        bare = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        ours = {"HOME": str(self.home), "OS_CLIENT_CONFIG_FILE": str(clouds), "COLUMNS": "500"}
        with patch.dict(os.environ, {**bare, **ours}, clear=True):
            yield

    def _run(self, main: Callable[[list[str]], Any], *words: str) -> Result:
        out, err = io.StringIO(), io.StringIO()
        with (
            self._environment(),
            _logging_put_back(),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            status = _ended(main, list(words), err)
        return Result(status, out.getvalue(), err.getvalue())


def _ended(main: Callable[[list[str]], Any], words: list[str], err: io.StringIO) -> int:
    """The exit status the command would have had; what it raises its own entry prints."""
    try:
        return main(words) or 0
    except SystemExit as ended:
        return int(ended.code or 0)
    except Exception as error:  # noqa: BLE001 - as the entries of cinder and glance do
        err.write(str(error))
        return 1


@contextmanager
def _logging_put_back() -> Iterator[None]:
    """Each command sets up the whole process' logs, for standard error as it is then."""
    names = [None, *logging.root.manager.loggerDict]
    before = [(one, one.level, list(one.handlers)) for one in map(logging.getLogger, names)]
    try:
        yield
    finally:
        for logger, level, handlers in before:
            logger.handlers[:] = handlers
            if logger.level != level:  # to set it takes a while
                logger.setLevel(level)
