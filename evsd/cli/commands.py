"""Which module has which command. One is loaded when it is used: all take longer than most run."""

from __future__ import annotations

from importlib import import_module

import click

from evsd.cli.completion import complete_names

MODULES = {
    "access_keys": ("access_key",),
    "agencies": ("agency",),
    "attachments": ("attach", "detach"),
    "audit": ("audit",),
    "create": ("create",),
    "delegation": ("delegation",),
    "domains": ("domain", "project", "role"),
    "export_image": ("export",),
    "header": ("header",),
    "hsm": ("hsm",),
    "images": ("image",),
    "import_image": ("import_volume",),
    "keys.group": ("key",),
    "snapshots": ("snapshot",),
    "space": ("pool", "quota"),
    "status": ("status",),
    "usage": ("show_usage",),
    "users": ("group", "user"),
    "version": ("version",),
    "tokens": ("token",),
    "tags": ("list_tags", "tag", "untag"),
    "volumes": ("delete", "extend", "list_volumes", "recover", "show", "update"),
}
# What is called otherwise than its function with dashes: those are words of Python.
NAMES = {
    "import_volume": "import",
    "list_tags": "tags",
    "list_volumes": "list",
    "show_usage": "usage",
}
_PLACES = {
    NAMES.get(function, function.replace("_", "-")): (module, function)
    for module, functions in MODULES.items()
    for function in functions
}


class Commands(click.Group):
    """evsctl's commands, each from its module."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        del ctx
        return sorted(_PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, loaded now if it has not been."""
        del ctx
        if cmd_name in _PLACES and cmd_name not in self.commands:
            module, function = _PLACES[cmd_name]
            command: click.Command = getattr(import_module(f"evsd.cli.{module}"), function)
            complete_names(command)
            self.add_command(command)
        return self.commands.get(cmd_name)

    def load_all(self) -> None:
        """For whoever looks at `commands`, as what makes the man pages does."""
        for name in sorted(_PLACES):
            self.get_command(click.Context(self), name)
        self.commands = dict(sorted(self.commands.items()))
