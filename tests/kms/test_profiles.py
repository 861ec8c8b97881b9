"""Keys in each profile, and tokens whose abilities change."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.daemon import Evsd, running_evsd, until
from tests.support.hsm import LABEL, Hsm, new_hsm

GCM, CBC, HSM_IV = "02", "03", "04"  # how what they encrypted begins
PROFILES = {"": GCM, "none": CBC, "written": HSM_IV, "appended": HSM_IV}


@pytest.fixture
def hsm() -> Iterator[Hsm]:
    with new_hsm() as made:
        yield made


@contextmanager
def evsd_on(hsm: Hsm, how: str = "") -> Iterator[Evsd]:
    """With a key `mine`, made by a token that does AES-GCM so."""
    hsm.gcm(how)
    with running_evsd("--config", str(hsm.config())) as running:
        running.ok("key", "create", "mine")
        yield running


def ask(evsd: Evsd, operation: str, **body: object) -> httpx.Response:
    with evsd.http() as http:
        return http.post(f"/v1.0/{evsd.project_id()}/kms/{operation}", json=body)


def answer(evsd: Evsd, operation: str, **body: object) -> dict[str, str]:
    done = ask(evsd, operation, **body)
    assert done.status_code in (200, 201), done.text
    found: dict[str, str] = done.json()
    return found


def data_key(evsd: Evsd) -> dict[str, str]:
    return answer(evsd, "create-datakey", key_id="alias/mine", datakey_length="512")


def opens(evsd: Evsd, made: dict[str, str]) -> bool:
    body = {"key_id": made["key_id"], "cipher_text": made["cipher_text"]}
    opened = ask(evsd, "decrypt-datakey", **body, datakey_cipher_length="64")
    return opened.status_code == 200 and opened.json()["data_key"] == made["plain_text"]


def restart(evsd: Evsd, hsm: Hsm, how: str) -> None:
    """With a token that does AES-GCM so from now on."""
    evsd.stop()
    hsm.gcm(how)
    evsd.start()


@pytest.mark.parametrize("how", ["written", "appended"])
def test_a_token_that_makes_its_ivs_does_all_that_others_do(hsm: Hsm, how: str) -> None:
    with evsd_on(hsm, how) as evsd:
        made = data_key(evsd)
        assert made["cipher_text"].startswith(HSM_IV)
        assert len(made["cipher_text"]) == 376
        sealed = answer(evsd, "encrypt-data", key_id="alias/mine", plain_text="x" * 4096)
        assert (
            sealed["cipher_text"]
            != answer(evsd, "encrypt-data", key_id="alias/mine", plain_text="x" * 4096)[
                "cipher_text"
            ]
        )
        assert answer(evsd, "decrypt-data", cipher_text=sealed["cipher_text"])["plain_text"] == (
            "x" * 4096
        )
        other = {"encryption_context": {"an": "other"}}
        refused = ask(evsd, "decrypt-data", cipher_text=sealed["cipher_text"], **other)
        assert refused.status_code == 400
        restart(evsd, hsm, how)  # the sentinel and the key of the audit log are the same
        assert opens(evsd, made)
        verified = evsd.object("audit", "verify")
        assert (verified["findings"], verified["signatures_checked"]) == ([], True)


@pytest.mark.parametrize(("before", "after"), [("", "written"), ("", "appended"), ("none", "")])
def test_a_key_goes_on_when_its_token_has_changed_and_the_next_version_is_in_the_best_profile(
    hsm: Hsm, before: str, after: str
) -> None:
    with evsd_on(hsm, before) as evsd:
        old = data_key(evsd)
        restart(evsd, hsm, after)
        assert opens(evsd, old)
        same_version = data_key(evsd)
        evsd.ok("key", "rotate", "mine")
        new = data_key(evsd)
        assert all(opens(evsd, made) for made in (old, same_version, new))
        assert old["cipher_text"].startswith(PROFILES[before])
        # A key of CBC stays one; whose IV it is with GCM the token decides.
        expected = CBC if before == "none" else PROFILES[after]
        assert same_version["cipher_text"].startswith(expected)
        assert new["cipher_text"].startswith(PROFILES[after])


def test_a_destroyed_key_leaves_neither_of_its_objects(hsm: Hsm) -> None:
    with evsd_on(hsm, "none") as evsd:
        before = hsm.objects()
        evsd.ok("key", "create", "gone")
        assert len(hsm.objects() - before) == 2
        evsd.ok("key", "rotate", "gone")
        assert len(hsm.objects() - before) == 4
        evsd.ok("key", "schedule-deletion", "gone", "--yes")
        evsd.restarted_with(
            "UPDATE clock SET steady_since = datetime('now', '-2 days')",
            "UPDATE keys SET deletion_at = datetime('now', '-1 minute') WHERE alias = 'gone'",
        )
        until(lambda: hsm.objects() == before)
        assert opens(evsd, data_key(evsd))


def test_half_of_a_key_that_a_crash_left_is_no_key_and_is_made_whole(hsm: Hsm) -> None:
    with evsd_on(hsm, "none") as evsd:
        old, before = data_key(evsd), hsm.objects()
        hsm.misbehave("abort", "C_GenerateKey:AES", once=True)
        assert "KMS.0104" in evsd.ctl("key", "rotate", "mine").err
        [half] = hsm.objects() - before
        until(lambda: ask(evsd, "gen-random", random_data_length="512").status_code == 200)
        evsd.ok("key", "rotate", "mine")
        made = hsm.objects() - before
        assert len(made) == 2
        assert half not in made
        assert opens(evsd, old)
        assert opens(evsd, data_key(evsd))


def test_a_token_without_any_way_to_encrypt_is_refused_with_the_reason(hsm: Hsm) -> None:
    hsm.gcm("none")
    hsm.misbehave("0x70", "C_EncryptInit")  # no CBC either
    with running_evsd("--config", str(hsm.config())) as evsd:
        refused = evsd.ctl("key", "create", "mine")
    assert "can encrypt in no way that evsd knows" in refused.err
    assert "the token does not have it" in refused.err


@pytest.mark.parametrize("how", PROFILES)
def test_hsm_check_names_the_profile(hsm: Hsm, how: str) -> None:
    hsm.gcm(how)
    done = check(hsm)
    assert done["usable"]
    expected = {GCM: "aes-gcm", CBC: "aes-cbc-hmac-sha256", HSM_IV: "aes-gcm-hsm-iv"}
    assert done["profile"] == expected[PROFILES[how]]


def test_hsm_check_says_in_words_that_a_token_makes_no_aes_keys(hsm: Hsm, tmp_path: Path) -> None:
    # As tpm2-pkcs11 does: AES, but no key generation.
    listed = tmp_path / "list"
    listed.write_text(f"{0x1082}\n{0x251}\n")  # AES-CBC, HMAC-SHA256
    done = check(hsm, EVSD_TEST_PKCS11_LIST=str(listed))
    [trouble] = [step["trouble"] for step in done["checks"] if "generation" in step["what"]]
    assert "can't make AES keys" in trouble
    assert not done["usable"]


def check(hsm: Hsm, **variables: str) -> dict[str, Any]:
    done = subprocess.run(
        [
            *(Evsd.evsctl, "--output", "json", "hsm", "check", f"--module={hsm.module}"),
            f"--token-label={LABEL}",
            f"--pin-file={hsm.pin_file}",
        ],
        env={**os.environ, **hsm.environment, **variables},
        capture_output=True,
        timeout=120,
        check=False,
    )
    answered: dict[str, Any] = json.loads(done.stdout)
    return answered
