"""evsctl hsm check, on modules that can be used, that lack something, that crash and that hang."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from evsd.cli import hsm as command
from tests.support import hsm as codes
from tests.support.daemon import Evsd
from tests.support.hsm import LABEL, Hsm, new_hsm
from tests.support.tokens import (
    SOFTHSM,
    ForeignToken,
    nss,
    opencryptoki,
    softhsm_by_p11_kit,
)

MakeToken = Callable[[], AbstractContextManager[ForeignToken]]
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
GCM = "AES-GCM"


@pytest.fixture(scope="module")
def hsm() -> Iterator[Hsm]:
    with new_hsm() as made:
        yield made


@pytest.fixture(autouse=True)
def behaving(hsm: Hsm) -> Iterator[None]:
    yield
    hsm.behave()


def check(
    module: Path, *options: str, environment: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """Exit status and the object that was printed."""
    done = subprocess.run(
        [Evsd.evsctl, "--output", "json", "hsm", "check", "--module", module, *options],
        env={"PATH": os.environ["PATH"], **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


def check_token(hsm: Hsm, *options: str) -> tuple[int, dict[str, Any]]:
    token = options or (f"--token-label={LABEL}", f"--pin-file={hsm.pin_file}")
    return check(hsm.module, *token, environment=hsm.environment)


def troubles(answer: dict[str, Any]) -> dict[str, str]:
    return {step["what"]: step["trouble"] for step in answer["checks"] if step["trouble"]}


def objects(hsm: Hsm) -> set[Path]:
    return set(hsm.directory.rglob("*.object"))


def test_softhsm_can_be_used_and_lacks_only_what_may_be_lacking(hsm: Hsm) -> None:
    before = objects(hsm)
    status, answer = check_token(hsm)
    assert (status, answer["usable"]) == (0, True)
    assert list(troubles(answer)) == ["RSA-OAEP with SHA-256 for imported keys"]
    assert (answer["profile"], answer["way"]) == ("aes-gcm", "AES-GCM")
    assert len(answer["checks"]) == 11
    assert objects(hsm) == before


@pytest.mark.parametrize(
    ("function", "code", "failed"),
    [
        ("C_GenerateKey", codes.MECHANISM_INVALID, "AES-256 key generation"),
        ("C_EncryptInit", codes.MECHANISM_INVALID, "one of these ways to encrypt"),
        ("C_CreateObject", codes.TEMPLATE_INCONSISTENT, "import of AES keys"),
    ],
)
def test_what_a_module_lacks_is_named(hsm: Hsm, function: str, code: str, failed: str) -> None:
    hsm.misbehave(code, function)
    status, answer = check_token(hsm)
    assert (status, answer["usable"]) == (1, False)
    assert failed in troubles(answer)


def test_a_module_that_crashes_gives_a_message_of_where(hsm: Hsm) -> None:
    hsm.misbehave("abort", "C_EncryptInit")
    status, answer = check_token(hsm)
    assert status == 1
    assert troubles(answer)[GCM].startswith("the module crashed its process: SIGABRT")
    assert answer["checks"][-1]["what"] == GCM


def test_a_module_that_hangs_gives_a_message_of_where(
    hsm: Hsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In this process, for a shorter patience with the step that hangs.
    for name, value in hsm.environment.items():
        monkeypatch.setenv(name, value)
    hsm.misbehave("hang", "C_EncryptInit")
    steps = command._try([f"--module={hsm.module}", f"--token-label={LABEL}"], codes.PIN)
    done = next(step for step in steps if step["what"] == "import of AES keys")
    monkeypatch.setattr(command, "STEP_TIMEOUT_S", 1)
    [hanging] = steps
    assert (done["trouble"], hanging["what"]) == ("", GCM)
    assert "hangs" in hanging["trouble"]


def test_a_wrong_pin_and_a_missing_token_are_told(hsm: Hsm, tmp_path: Path) -> None:
    wrong = tmp_path / "pin"
    wrong.write_text("0000")
    _, answer = check_token(hsm, f"--token-label={LABEL}", f"--pin-file={wrong}")
    assert "PinIncorrect" in troubles(answer).popitem()[1]
    _, answer = check_token(hsm, f"--token-label={LABEL}")
    assert "wants a PIN" in troubles(answer).popitem()[1]
    _, answer = check_token(hsm, "--slot=77")
    assert "slot 77 is empty" in troubles(answer).popitem()[1]


def test_a_library_that_is_no_module_is_told() -> None:
    status, answer = check(LIBRARIES / "libc.so.6", "--slot=1")
    assert (status, list(troubles(answer))) == (1, ["module loads"])


def test_a_module_without_any_key_of_its_own_can_not_be_used() -> None:
    # Mozilla's built-in certificates: a token that can only be read.
    status, answer = check(LIBRARIES / "libnssckbi.so", "--slot=1")
    assert status == 1
    assert "TokenWriteProtected" in troubles(answer).popitem()[1]


@pytest.mark.parametrize(
    ("make", "profile"),
    [
        (opencryptoki, "aes-cbc-hmac-sha256"),
        (nss, "aes-cbc-hmac-sha256"),
        (softhsm_by_p11_kit, "aes-gcm"),
    ],
)
def test_a_token_can_be_used_in_the_profile_that_is_named(make: MakeToken, profile: str) -> None:
    with make() as token:
        done = token.run(*command_for(token))
    assert done.returncode == 0, done
    answer = json.loads(done.stdout)
    assert (answer["usable"], answer["profile"]) == (True, profile)
    tried = [step["what"] for step in answer["checks"]]
    # Nothing is tried any more once a way was found.
    assert tried[tried.index("one of these ways to encrypt") - 1] == answer["way"]


def test_p11_kits_remoting_passes_no_way_to_encrypt_on() -> None:
    with softhsm_by_p11_kit() as token:
        done = token.run("bash", "-c", REMOTING, token.directory, SOFTHSM, *command_for(token))
    assert done.returncode == 1, done
    lacking = troubles(json.loads(done.stdout))
    assert "one of these ways to encrypt" in lacking
    assert "does not have it" in lacking[GCM]


REMOTING = """
eval "$(p11-kit server --name=$0/remote --provider=$1 'pkcs11:')"
shift
trap 'kill $P11_KIT_SERVER_PID' EXIT
export P11_KIT_SERVER_ADDRESS
"${@/%p11-kit-proxy.so/pkcs11/p11-kit-client.so}"
"""


def command_for(token: ForeignToken) -> list[str]:
    return [
        *(str(Evsd.evsctl), "--output", "json", "hsm", "check", f"--module={token.module}"),
        f"--token-label={token.label}",
        f"--pin-file={token.pin_file}",
    ]


@pytest.mark.parametrize("options", [[], ["--slot", "1", "--token-label", "x"]])
def test_a_token_must_be_named_in_one_way(hsm: Hsm, options: list[str]) -> None:
    done = subprocess.run(
        [Evsd.evsctl, "hsm", "check", "--module", hsm.module, *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
