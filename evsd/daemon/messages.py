"""What is wrong with settings, in the words of who wrote them: table, key, found, allowed."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

# What pydantic calls what must be there, by the beginning of its error's type.
KINDS = {
    "string": "text in quotes",
    "path": "a path in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "model": "a table",
    "dict": "a table",
    "list": "a list",
}
LIMITS = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "string_too_short": "at least {min_length} characters long",
    "string_too_long": "at most {max_length} characters long",
    "string_pattern_mismatch": "text that matches {pattern}",
    "literal_error": "{expected}",
}

Location = Sequence[int | str]


def in_words(error: ValidationError, model: type[BaseModel]) -> str:
    """All that is wrong, by the table and key of each; `model` is that of the whole file."""
    return "; ".join(_sentence(details, model) for details in error.errors())


def _sentence(details: Mapping[str, Any], model: type[BaseModel]) -> str:
    kind, location, found = details["type"], _without_tags(details["loc"]), details["input"]
    place = _place(location, is_table=isinstance(found, dict))
    if kind == "missing":
        return f"{_place(location)} is missing"
    if kind == "extra_forbidden":
        return f"{_place(location)} is unknown{_known(location, model)}"
    if kind == "value_error":
        said = str(details["ctx"]["error"])
    else:
        said = f"must be {_allowed(kind, details)}"
    return (
        f"{place} {said}" if isinstance(found, dict) else f"{place} {said}, not {_as_text(found)}"
    )


def _allowed(kind: str, details: Mapping[str, Any]) -> str:
    if kind in LIMITS:
        return LIMITS[kind].format(**details["ctx"])
    return KINDS.get(kind.partition("_")[0]) or str(details["msg"]).removeprefix("Input should be ")


def _without_tags(location: Location) -> list[str]:
    """The keys alone: after a Unix user's pydantic says which of two kinds it took it for."""
    keys = [str(part) for part in location]
    return keys[:2] + keys[3:] if keys[:1] == ["unix_users"] else keys


def _place(location: list[str], *, is_table: bool = False) -> str:
    if is_table and len(location) == 1:
        return f"[{location[0]}]"
    *tables, key = location
    return f"[{'.'.join(tables)}] {key}" if tables else key


def _known(location: list[str], model: type[BaseModel]) -> str:
    """What could be meant, or all that could be there."""
    *tables, key = location
    known: Sequence[str] = []
    table: type[BaseModel] | None = model
    for name in [*tables, ""]:
        if table is None:
            break
        known = list(table.model_fields)
        field = table.model_fields.get(name)
        table = None if field is None else _table_in(field.annotation)
    close = difflib.get_close_matches(key, known, 1)
    return f": did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}"


def _table_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_table_in, get_args(annotation))), None)


def _as_text(value: object) -> str:
    return str(value) if isinstance(value, Path) else json.dumps(value, default=str)
