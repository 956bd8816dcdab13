"""Bodies are bounded, and spelled in one canonical way."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.json_document import canonical_text, parse_document

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(TEXTS, VALUES, max_size=6)


def canonical(body: str) -> str:
    return canonical_text(parse_document(body.encode()))


class _Spelled(str):
    """A number as received."""


def canonical_by_hand(body: str) -> str:
    """The same rule from the standard library alone."""

    def spell(value: Any) -> str:
        if isinstance(value, _Spelled):
            return str(value)
        if isinstance(value, dict):
            fields = (f"{json.dumps(key, ensure_ascii=False)}:{spell(value[key])}" for key in sorted(value))
            return "{" + ",".join(fields) + "}"
        if isinstance(value, list):
            return "[" + ",".join(map(spell, value)) + "]"
        return json.dumps(value, ensure_ascii=False)

    return spell(json.loads(body, parse_int=_Spelled, parse_float=_Spelled))


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(item) for key, item in reversed(value.items())}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@settings(deadline=None)
@given(DOCUMENTS)
def test_key_order_white_space_and_escapes_do_not_matter(document: dict[str, Any]) -> None:
    plain = json.dumps(document)
    other = json.dumps(reordered(document), indent=3, ensure_ascii=False, separators=(" ,", " :  "))
    assert canonical(plain) == canonical(other) == canonical_by_hand(plain)


@pytest.mark.parametrize("one", ["1", "1.0", "1e0", "1E0", "1.00", "-0", "0", "-0.0", "0.0", "10e-1"])
@pytest.mark.parametrize("other", ["1", "1.0", "1e0", "1E0", "1.00", "-0", "0", "-0.0", "0.0", "10e-1"])
def test_numbers_are_compared_as_received(one: str, other: str) -> None:
    assert (canonical(f'{{"n":{one}}}') == canonical(f'{{"n": {other} }}')) is (one == other)
    assert canonical(f'{{"n":[{one},{{"m":{other}}}]}}') == f'{{"n":[{one},{{"m":{other}}}]}}'


def test_of_duplicate_keys_the_last_one_counts() -> None:
    assert canonical('{"a":1,"b":2,"a":3}') == canonical('{"b":2,"a":3}') == '{"a":3,"b":2}'


def test_numbers_no_double_can_hold_keep_their_digits() -> None:
    body = '{"a":0.1000000000000000055511151231257827,"b":12345678901234567890123,"c":1e400}'
    assert canonical(body) == body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b'{"a":1} x',
        b'{"a":1,}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\udc00\\ud800"}',
        b'{"\\ud83d":1}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xff"}',
        b'{"\xff":1}',
        b'{"a":"\x01"}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32"),
        b'{"a":' + b"9" * 4301 + b"}",
        b'{"a":-' + b"9" * 4301 + b"}",
        b'{"a":' + b"[" * 100_000,
        b'{"a":' + b"[" * 32 + b"]" * 32 + b"}",
        b'{"a":' + b'{"a":' * 32 + b"1" + b"}" * 33,
        b'{"a":"' + b"x" * (1 << 20) + b'"}',
    ],
    ids=lambda body: f"{body[:20]!r} {len(body)}",
)
def test_what_is_not_a_bounded_json_object_is_refused_and_never_raises_anything_else(body: bytes) -> None:
    with pytest.raises(RejectedError):
        parse_document(body)


def test_the_bounds_themselves_are_inside() -> None:
    parse_document(b'{"a":' + b"[" * 31 + b"]" * 31 + b"}")
    parse_document(b'{"a":' + b"9" * 4300 + b"}")
    parse_document(b'{"a":"' + b"x" * ((1 << 20) - 8) + b'"}')
    many = b'{"a":[' + b",".join([b"{}"] * 1000) + b"]}"
    assert len(parse_document(many)["a"]) == 1000


@settings(deadline=None)
@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_a_document_or_a_rejection(body: bytes) -> None:
    for candidate in (body, b'{"a":' + body + b"}", b'{"a":"' + body + b'"}'):
        with contextlib.suppress(RejectedError):
            canonical_text(parse_document(candidate))
