"""What is written is what is programmed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import click
import pytest

from evsd.cli.main import main as evsctl
from tools.generate_docs import generate

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_man_pages_completion_and_openapi_are_those_of_the_code(tmp_path: Path) -> None:
    generate(tmp_path)
    made = {path.relative_to(tmp_path): path.read_text() for path in files(tmp_path)}
    for relative, text in made.items():
        assert (ROOT / "docs" / relative).read_text() == text, f"run make docs: {relative}"
    for directory in ("man", "completion"):
        committed = {path.name for path in (ROOT / "docs" / directory).iterdir()}
        assert committed == {path.name for path in (tmp_path / directory).iterdir()}


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^make ([a-z-]+)", README, re.M))))
def test_every_make_target_of_the_readme_exists(target: str) -> None:
    listed = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert re.search(rf"^{target}\s", listed, re.M)


@pytest.mark.parametrize("line", sorted(set(re.findall(r"^evsctl (.+)$", README, re.M))))
def test_every_evsctl_command_of_the_readme_parses(line: str) -> None:
    command: click.Command = evsctl
    words = line.split()
    parent = click.Context(evsctl)
    while isinstance(command, click.Group):
        name = words.pop(0)
        found = command.get_command(parent, name)
        assert found is not None, line
        command = found
    command.make_context(line, words, parent=parent)


def test_every_linked_file_of_the_documents_exists() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document}: {link}"


def test_the_ci_command_is_the_readmes_test_command() -> None:
    assert "make test" in README
    commands = [
        line
        for line in (ROOT / ".ci/run").read_text().splitlines()
        if line and not line.startswith(("#", "set ", "cd "))
    ]
    assert commands == ["make test"]


def test_all_commands_have_help() -> None:
    evsctl.load_all()
    for path, command in commands_of(evsctl, "evsctl"):
        assert command.help, path
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{path} {option.opts}"


def commands_of(command: click.Command, path: str) -> list[tuple[str, click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            found += commands_of(child, f"{path} {name}")
    return found
