"""JSON from outside, read strictly: nothing doubled, nothing infinite, nothing endless."""

from __future__ import annotations

import json
import math
from typing import Any

from cofactor.errors import BadModel, shorten

_LONGEST_INTEGER = 80  # digits: seeds may have 256 bits, and nothing here is longer


def parse_json(data: bytes, where: str) -> dict[str, Any]:
    """The JSON object in UTF-8 ``data``; ``where`` opens the message of an error.

    Raises ``BadModel`` for anything that RFC 8259 does not allow, and for what it only advises
    against: a name given twice in an object, NaN, and numbers beyond a double or of over 80 digits.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_integer,
        )
    except (ValueError, RecursionError) as error:  # of which UnicodeDecodeError and JSONDecodeError are two
        reason = "too deeply nested" if isinstance(error, RecursionError) else shorten(str(error), 120)
        raise BadModel(f"{where} is not sound JSON ({reason}).") from None
    if not isinstance(value, dict):
        raise BadModel(f"{where} is JSON, but not an object: it begins with {shorten(data[:20])}.")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for name, part in pairs:
        if name in value:
            raise ValueError(f"the name {shorten(name)} stands there twice")
        value[name] = part
    return value


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {shorten(text)} is beyond a double")
    return value


def _integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)
