"""Settings that can't be used are told in the words of the file they are in."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from evsd.daemon.settings import BadSettings, read_file
from tests.support.daemon import VENV_BIN, Evsd, running_evsd, temporary_state

ROLE = '[unix_users] x must be a role ("Security Administrator", '
MISTAKES = [
    ('novelty = "x"', ["novelty is unknown; known here: region, availability_zone, pool, user"]),
    ("region = 3", ["region must be text in quotes, not 3"]),
    ('pool = "relative"', ["pool must be an absolute path", '"relative"']),
    ("user = true", ["user must be text in quotes, not true"]),
    ("hsm = 3", ["hsm must be a table, not 3"]),
    ('[hsm]\nmodul = "/m.so"', ["[hsm] module is missing", "modul is unknown", "mean module?"]),
    ('[hsm]\nmodule = "/m.so"', ["[hsm] needs exactly one of token_label, slot; it has none"]),
    (
        '[hsm]\nmodule = "/m.so"\nslot = 1\ntoken_label = "t"',
        ["[hsm] needs exactly one of token_label, slot; it has token_label and slot"],
    ),
    (
        '[hsm]\nmodule = "/m.so"\nslot = "three"\npin_file = "/p"',
        ['[hsm] slot must be a whole number, not "three"'],
    ),
    (
        '[hsm]\nmodule = "/m.so"\nslot = -1\npin_prompt = false',
        ["[hsm] slot must be at least 0, not -1", "[hsm] pin_prompt must be true", "not false"],
    ),
    (
        '[hsm]\nmodule = "/m.so"\nslot = 1\npin_file = "/p"\nenvironment = { A = 1 }',
        ["[hsm.environment] A must be text in quotes, not 1"],
    ),
    ("[audit]\nsegment_bytes = 1", ["[audit] segment_bytes must be at least 4096, not 1"]),
    ('[tls]\nkey = "/k"', ["[tls] certificate is missing"]),
    ('[unix_users]\nx = "king"', [ROLE, '"ordinary user"', 'not "king"']),
    ('[unix_users]\nx = "operator"', [ROLE, 'not "operator"']),
    ("[unix_users]\nx = 3", [ROLE, "or the table { user = ", "not 3"]),
    ('[unix_users]\nx = { domain = "d" }', ["[unix_users.x] user is missing"]),
    ('[unix_users]\nx = { user = "u", domian = "d" }', ["domian is unknown", "mean domain?"]),
    ('region = "a"\n= =', ["is not TOML", "line 2, column 1"]),
    ('region = "a"\nregion = "b"', ["is not TOML", "line 2"]),
    ('region = "a"\n\n[tls', ["is not TOML", "line 3"]),
]


@pytest.mark.parametrize(("text", "told"), MISTAKES)
def test_a_mistake_is_told_by_file_table_key_what_was_found_and_what_is_allowed(
    tmp_path: Path, text: str, told: list[str]
) -> None:
    config = tmp_path / "evsd.toml"
    config.write_text(text)
    with pytest.raises(BadSettings) as caught:
        read_file(config)
    message = str(caught.value)
    assert message.startswith(str(config))
    for part in told:
        assert part in message
    for foreign in ("Input should", "validation error", "pydantic", "Value error", "\n"):
        assert foreign not in message


def test_a_file_that_is_no_text_is_told_by_its_line(tmp_path: Path) -> None:
    config = tmp_path / "evsd.toml"
    config.write_bytes(b'region = "a"\nuser = "\xff"\n')
    with pytest.raises(BadSettings, match="line 2 is not UTF-8"):
        read_file(config)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[unix_users]\nroot = "king"', "[unix_users] root must be a role"),
        ('[tls]\ncertificate = "/no"\nkey = "/no"', "[tls] /no, /no"),
        ('[database]\nurl = "mysql://h/d"', "[database] url can't be used: mysql is not"),
        ('user = "nosuch"', 'user = "nosuch": there is no such Unix user'),
    ],
)
def test_evsd_ends_with_one_line_that_says_it(text: str, told: str) -> None:
    with temporary_state() as state:
        config = state / "evsd.toml"
        config.write_text(text)
        command = [f"{VENV_BIN}/evsd", f"--state-dir={state}/s", f"--config={config}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert json.loads(line)["reason"].startswith(f"{config}: {told}")


def test_unix_users_who_can_not_act_are_told_at_start_and_the_others_are_not() -> None:
    with temporary_state() as directory:
        config = directory / "evsd.toml"
        config.write_text(
            "[unix_users]\n"
            'daemon = "ordinary user"\n'
            'nosuch = "ordinary user"\n'
            'games = { user = "bill", domain = "initech" }\n'
            'mail = { user = "nobody-here" }\n'
            'news = { user = "carol" }\n'
        )
        with running_evsd("--config", str(config)) as evsd:
            told = useless(evsd)
            assert told.keys() == {"nosuch", "games", "mail", "news"}
            assert "no such Unix user on this host" in told["nosuch"]
            assert "there is no domain initech" in told["games"]
            assert "there is no user nobody-here in domain default" in told["mail"]
            evsd.ok("user", "create", "carol")
            evsd.ok("user", "disable", "carol")
            evsd.ok("domain", "create", "initech", "--administrator", "bill")
            evsd.stop()
            evsd.log.write_text("")
            evsd.start()
            told = useless(evsd)
            assert told.keys() == {"nosuch", "mail", "news"}
            assert "user carol of domain default is disabled" in told["news"]


def useless(evsd: Evsd) -> dict[str, str]:
    events = evsd.events("a Unix user of the settings can't act")
    return {str(event["unix_user"]): str(event["reason"]) for event in events}
