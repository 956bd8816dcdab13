"""Monte Carlo's signature is accepted in every form it can take, and nothing else is."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_atlan_meta.core.json_document import parse_document
from airflow_provider_atlan_meta.core.montecarlo_signature import form_encoded, is_signed, signed_messages

FIXTURES = Path(__file__).parents[2] / "fixtures" / "montecarlo"
VECTORS = json.loads((FIXTURES / "signature_vectors.json").read_text())
BY_PYTHON = json.loads((FIXTURES / "signatures_by_python.json").read_text())

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def documented(body: bytes, secret: str) -> bytes:
    """The vendor's own words."""
    message = urlencode(json.loads(body)).encode("utf8")
    return hmac.new(secret.encode(), message, hashlib.sha512).hexdigest().encode()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_documented_signature_is_accepted_and_the_raw_bodys_is_not(vector: dict[str, str]) -> None:
    document, secret = parse_document(vector["raw_body"].encode()), vector["secret"].encode()
    assert next(signed_messages(document)).decode() == vector["signed_string"]
    assert is_signed(document, vector["x-mcd-signature"].encode(), [secret])
    assert not is_signed(document, vector["NOT_hmac_of_raw_body"].encode(), [secret])
    assert not is_signed(document, vector["x-mcd-signature"].encode(), [b"another"])
    assert not is_signed(document, vector["x-mcd-signature"].encode(), [])


@pytest.mark.parametrize("vector", BY_PYTHON, ids=lambda vector: vector["name"])
@pytest.mark.parametrize("python", ["3.9", "3.10", "3.11", "3.12", "3.13"])
def test_the_signature_of_every_python_the_sender_may_run_is_accepted(
    vector: dict[str, Any], python: str
) -> None:
    document = parse_document(vector["raw_body"].encode())
    signature = vector["signatures"][python].encode()
    assert is_signed(document, signature, [vector["secret"].encode()])
    assert not is_signed(document, signature, [b"another"])


def test_both_secrets_are_good_while_one_is_rotated_out() -> None:
    body = b'{"a":1}'
    document = parse_document(body)
    assert is_signed(document, documented(body, "old"), [b"new", b"old"])
    assert is_signed(document, documented(body, "new"), [b"new", b"old"])
    assert not is_signed(document, documented(body, "older"), [b"new", b"old"])


@settings(deadline=None)
@given(st.dictionaries(TEXTS, VALUES, max_size=6), st.booleans())
@example({"": "", " ": " +%=&", "a": {"b": [None, True, 1.5, "it's \"\\ \n"]}}, False)
@example({"k": "\x00\x1f\x7f\x80\u2028", "n": {"k": "\x00\x1f\x7f\x80\u2028"}}, True)
def test_any_body_signed_as_documented_is_accepted(document: dict[str, Any], ascii_only: bool) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only).encode()
    assert is_signed(parse_document(body), documented(body, "s"), [b"s"])


@settings(deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5))
@example([("".join(map(chr, range(256))), "".join(map(chr, range(256, 700))))])
@example([("a", "".join(map(chr, range(128))))])
def test_form_encoding_equals_urllibs_byte_for_byte(pairs: list[tuple[str, str]]) -> None:
    keys, texts = [key for key, _ in pairs], [text for _, text in pairs]
    assert form_encoded(keys, texts) == urlencode(pairs).encode()


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"x",
        b"0" * 127,
        b"0" * 129,
        b"0" * 128,
        b"\xff" * 128,
        "ü".encode() * 64,
        b"\x00" * 128,
        b"z" * 5000,
    ],
)
def test_a_header_that_is_no_signature_is_refused_without_an_exception(header: bytes) -> None:
    assert not is_signed(parse_document(b'{"a":1}'), header, [b"s"])


def test_a_signature_in_capitals_is_not_the_one_that_was_sent() -> None:
    body = b'{"a":1}'
    assert not is_signed(parse_document(body), documented(body, "s").upper(), [b"s"])
