"""Bodies we did not write: parsed under bounds, and spelled in one canonical way.

Two bodies have the same canonical text exactly when they say the same: key order, white space, escapes and
duplicate keys (the last one counts) do not matter; numbers are kept as received, so ``1``, ``1.0`` and
``1e0`` differ.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.events import MAX_BODY_BYTES, MAX_DEPTH

Document = dict[str, Any]


class _Decimal(float):
    """A number with a point or exponent: Python's float, and how the sender spelled it."""

    __slots__ = ("spelling",)
    spelling: str


class _MinusZero(int):
    """``-0``: the one integer Python does not spell as it came."""

    spelling = "-0"


def _decimal(spelling: str) -> _Decimal:
    number = _Decimal(spelling)
    number.spelling = spelling
    return number


def _integer(spelling: str) -> int:
    return _MinusZero() if spelling == "-0" else int(spelling)


def _as_received(number: Any) -> msgspec.Raw:
    return msgspec.Raw(number.spelling.encode())


_DECODER = msgspec.json.Decoder(float_hook=_decimal)
_CANONICAL = msgspec.json.Encoder(order="sorted", enc_hook=_as_received)
_MINUS_ZERO = re.compile(rb"-0[\s,\]}]")


def parse_document(body: bytes) -> Document:
    """The body of a request as Python values; floats remember their spelling.

    :raises RejectedError: malformed, out of bounds or no object; the detail repeats nothing of the body.
    """
    document = parse_value(body)
    if type(document) is not dict:
        raise RejectedError("body is not a JSON object")
    return document


def parse_value(body: bytes, *, max_bytes: int = MAX_BODY_BYTES) -> Any:
    """Any JSON value, under bounds.

    Refuses what JSON does not know (NaN, lone surrogates, bytes that are not UTF-8), integers no Python reads
    back (more than 4,300 digits) and nesting deeper than 32, so that nothing behind it can fail on them.

    :raises RejectedError: malformed or out of bounds; the detail repeats nothing of the body.
    """
    if len(body) > max_bytes:
        raise RejectedError(f"body is larger than {max_bytes >> 20} MiB")
    try:
        value = _DECODER.decode(body)
    except RecursionError:
        raise RejectedError("body is nested deeper than 32 levels") from None
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise RejectedError("body is not JSON", detail=_reason(error)) from None
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and is_deeper(value, MAX_DEPTH):
        raise RejectedError("body is nested deeper than 32 levels")
    if b"-0" in body and _MINUS_ZERO.search(body):
        return json.loads(body, parse_int=_integer, parse_float=_decimal)
    return value


def canonical_text(document: Document) -> str:
    """Sorted keys, no spaces, numbers as received, non-ASCII unescaped: what an ``event_id`` is made of."""
    return _CANONICAL.encode(document).decode()


def is_deeper(value: Any, levels: int) -> bool:
    """Whether anything is nested deeper than ``levels``, the value itself being the first."""
    level: list[Any] = [value] if type(value) is dict or type(value) is list else []
    for _ in range(levels):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True


def _reason(error: Exception) -> str:
    """msgspec says what and where; a codec error would repeat the byte, which says nothing more."""
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)[:200]
