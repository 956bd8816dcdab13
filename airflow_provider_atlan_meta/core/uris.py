"""RFC 3986's grammar: whether a text is a URI reference or an absolute URI. Nothing is resolved or fetched."""

from __future__ import annotations

import re

_UNRESERVED, _SUB = r"A-Za-z0-9\-._~", r"!$&'()*+,;="
_PERCENT = "%[0-9A-Fa-f]{2}"
_CHAR = f"(?:[{_UNRESERVED}{_SUB}:@]|{_PERCENT})"
_CHAR_NO_COLON = f"(?:[{_UNRESERVED}{_SUB}@]|{_PERCENT})"
_SEGMENTS = f"(?:/{_CHAR}*)*"
_ADDRESS = rf"\[(?:[0-9A-Fa-f:.]+|[vV][0-9A-Fa-f]+\.[{_UNRESERVED}{_SUB}:]+)\]"
_AUTHORITY = (
    f"(?:(?:[{_UNRESERVED}{_SUB}:]|{_PERCENT})*@)?"
    f"(?:{_ADDRESS}|(?:[{_UNRESERVED}{_SUB}]|{_PERCENT})*)"
    "(?::[0-9]*)?"
)
_ROOTED = f"//{_AUTHORITY}{_SEGMENTS}|/(?:{_CHAR}+{_SEGMENTS})?"
_TAIL = f"(?:{_CHAR}|[/?])*"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*:"
_ABSOLUTE = rf"{_SCHEME}(?:{_ROOTED}|{_CHAR}+{_SEGMENTS}|)(?:\?{_TAIL})?"
_RELATIVE = rf"(?:{_ROOTED}|{_CHAR_NO_COLON}+{_SEGMENTS}|)(?:\?{_TAIL})?"

_URI_REFERENCE = re.compile(f"(?:{_ABSOLUTE}|{_RELATIVE})(?:#{_TAIL})?")
_ABSOLUTE_URI = re.compile(_ABSOLUTE)


def is_uri_reference(text: str) -> bool:
    """Section 4.1: a URI, or a reference relative to one."""
    return _URI_REFERENCE.fullmatch(text) is not None


def is_absolute_uri(text: str) -> bool:
    """Section 4.3: with a scheme and without a fragment."""
    return _ABSOLUTE_URI.fullmatch(text) is not None
