"""Shell completion of names: evsd is asked, quickly and silently.

What a parameter names is told by its metavar, so help and completion can't disagree.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    split_arg_string,
)

from evsd.cli.client import ALIAS_PREFIX, Api, Object

TIMEOUT_S = 1.0


class Kind(NamedTuple):
    """Where things of a kind are listed, and what each is called there."""

    path: str
    plural: str
    name: str = "name"
    body: Object | None = None  # of a list that is asked for by POST
    id: str = "id"


KINDS = {
    "VOLUME": Kind("/v2/{project}/cloudvolumes/detail", "volumes"),
    "SNAPSHOT": Kind("/v5/{project}/snapshots/detail", "snapshots"),
    "IMAGE": Kind("/v2/cloudimages", "images"),
    "KEY": Kind(
        "/v1.0/{project}/kms/list-keys",
        "key_details",
        "key_alias",
        {"limit": "1000", "key_spec": "ALL"},
        "key_id",
    ),
    "USER": Kind("/v3/users", "users"),
    "GROUP": Kind("/v3/groups", "groups"),
    "ROLE": Kind("/v3/roles", "roles", "display_name"),
    "AGENCY": Kind("/v3.0/OS-AGENCY/agencies", "agencies"),
    "PROJECT": Kind("/v3/projects", "projects"),
    "DOMAIN": Kind("/v3/domains", "domains"),
    "AK": Kind("/v3.0/OS-CREDENTIAL/credentials", "credentials", "access", id="access"),
}


def complete_names(command: click.Command) -> None:
    """Have the names of things completed, in all commands of a group."""
    for parameter in command.params:
        kind = KINDS.get((parameter.metavar or "").strip("[]."))
        if kind is not None:
            parameter._custom_shell_complete = _completer(kind)
    if isinstance(command, click.Group):
        for child in command.commands.values():
            complete_names(child)


def _completer(kind: Kind) -> Any:
    def complete(
        context: click.Context, _parameter: click.Parameter, begun: str
    ) -> list[CompletionItem[str]]:
        try:
            found = _listed(context, kind)
        except Exception:  # noqa: BLE001 - whatever it is, this is not the place to say so
            return []
        return [CompletionItem(name) for name in _matching(found, kind, begun)]

    return complete


def _listed(context: click.Context, kind: Kind) -> list[dict[str, str]]:
    given = context.find_root().params
    endpoint = given.get("endpoint") or os.environ["EVSD_ENDPOINT"]
    project = given.get("project") or os.environ.get("EVSD_PROJECT", "default")
    api = Api(endpoint, project, TIMEOUT_S)
    method = "GET" if kind.body is None else "POST"
    found: list[dict[str, str]] = api.request(method, kind.path, kind.body)[kind.plural]
    return found


def _matching(found: list[dict[str, str]], kind: Kind, begun: str) -> Iterable[str]:
    """Names that begin so; where none does, ids."""
    names = [one[kind.name] for one in found]
    if kind.plural == "key_details" and begun.startswith(ALIAS_PREFIX):
        names = [f"{ALIAS_PREFIX}{name}" for name in names]
    matching = [name for name in names if name.startswith(begun)]
    return matching or [one[kind.id] for one in found if one[kind.id].startswith(begun)]


class Bash(BashComplete):
    """Names quoted as bash needs it, and also those with a colon.

    For bash ":" and "=" end a word: only what is behind the last of them is put in.
    """

    source_template = """\
%(complete_func)s() {
    local line=${COMP_LINE:0:COMP_POINT} found value begun
    begun=${line##*[[:space:]]}
    [[ $begun == --*=* ]] && begun=${begun#*=}
    begun=${begun%%"${begun##*[:=]}"}
    COMPREPLY=()
    while IFS= read -r found; do
        value=${found#*,}
        case ${found%%%%,*} in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                printf -v value %%q "$value"
                COMPREPLY+=("${value#"$begun"}")
                ;;
        esac
    done < <(COMP_WORDS=$line %(complete_var)s=bash_complete "$1" 2>/dev/null)
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is begun, and that one."""
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)
        begun = words.pop() if words and not line[-1].isspace() else ""
        return words[1:], begun


add_completion_class(Bash)
