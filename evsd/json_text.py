"""JSON texts by an encoder that is made once, where each text is small and there are many.

`json.dumps`, and `JSONEncoder.encode` too, make one for every text, which takes as long as a small
text itself. Same results.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from json import encoder
from typing import Any, NoReturn

Writer = Callable[[Any], str]


def writer(*, sort_keys: bool = False, separators: tuple[str, str] = (", ", ": ")) -> Writer:
    """`json.dumps` with these arguments; what contains itself is a RecursionError.

    `separators` are those between items and behind a key.
    """
    make = getattr(encoder, "c_make_encoder", None)
    if make is None:  # a Python without it
        return json.JSONEncoder(sort_keys=sort_keys, separators=separators).encode
    text = encoder.encode_basestring_ascii
    item, key = separators
    parts = make(None, _not_json, text, None, key, item, sort_keys, False, True)
    return lambda value: "".join(parts(value, 0))


def _not_json(value: object) -> NoReturn:
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


dumps = writer()
