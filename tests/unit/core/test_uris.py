"""Text that is a URI to RFC 3986, and text that only looks like one."""

from __future__ import annotations

import pytest

from airflow_provider_atlan_meta.core.uris import is_absolute_uri, is_uri_reference

ABSOLUTE = [
    "https://github.com/cloudevents",
    "mailto:cncf-wg-serverless@lists.cncf.io",
    "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
    "ftp://user:pass@host:21/a;b=c?d=e/f?",
    "ldap://[2001:db8::7]/c=GB?objectClass?one",
    "http://[v1.fe80::a+en1]",
    "http://a/b%20c",
    "a:",
    "file:///etc/hosts",
    "tag:example.com,2026:x",
]
RELATIVE = [
    "/cloudevents/spec/pull/123",
    "/sensors/tn-1234567/alerts",
    "1-555-123-4567",
    "//host/path",
    "a/b:c",
    "./a:b",
    "?q",
    "#f",
    "/",
    "",
]
NEITHER = [
    "1a:b",
    ":b",
    "a b",
    "http://a b/",
    "http://a/%2",
    "http://a/%zz",
    "http://[::1",
    "http://a/<b>",
    'a"b',
    "a\\b",
    "a|b",
    "a^b",
    "bücher",
    "http://bücher.example",
    "a\nb",
    "a#b#c",
    "//a:port",
    "\x00",
]


@pytest.mark.parametrize("text", ABSOLUTE)
def test_an_absolute_uri_is_both(text: str) -> None:
    assert is_absolute_uri(text)
    assert is_uri_reference(text)


@pytest.mark.parametrize("text", [*RELATIVE, "https://a/b#fragment"])
def test_a_reference_may_be_relative_or_end_in_a_fragment(text: str) -> None:
    assert is_uri_reference(text)
    assert not is_absolute_uri(text)


@pytest.mark.parametrize("text", NEITHER)
def test_what_the_grammar_does_not_know_is_neither(text: str) -> None:
    assert not is_uri_reference(text)
    assert not is_absolute_uri(text)


@pytest.mark.timeout(5)
@pytest.mark.parametrize("text", ["a" * 4000 + " ", "//" + "a" * 4000 + "@" * 50 + " ", "/" * 4000 + "^"])
def test_a_hostile_text_is_refused_at_once(text: str) -> None:
    assert not is_uri_reference(text)
