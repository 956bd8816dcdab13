"""CloudEvents 1.0 as they come in over HTTP: structured, binary and batched, judged by the specification.

Every mode ends in one document: the event in the JSON event format, with all its attributes (extensions too) and
its data. A structured event is kept byte for byte. The specification's words are CloudEvents 1.0.2, its JSON event
format and its HTTP protocol binding.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, NamedTuple
from urllib.parse import unquote, unquote_to_bytes

import msgspec

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.events import MAX_SUBJECT, MAX_TYPE, MetadataEvent
from airflow_provider_atlan_meta.core.json_document import Document, parse_document, parse_value
from airflow_provider_atlan_meta.core.timestamps import is_rfc3339
from airflow_provider_atlan_meta.core.uris import is_absolute_uri, is_uri_reference

MAX_BATCH = 1000
MAX_SOURCE = 1024
MAX_SCHEMA = 4096
# What our other receivers stamp on what they have checked: nobody may say it of himself.
OWN_SOURCES = frozenset({"montecarlo", "atlan", "atlas"})

_PREFIX = b"ce-"
_DATA, _DATA_BASE64, _CONTENT_TYPE = "data", "data_base64", "datacontenttype"
_NAME = re.compile(r"[a-z0-9]+")
_REQUIRED = ("id", "source", "specversion", "type")
_TEXTS = (*_REQUIRED, "subject", "time", "dataschema", _CONTENT_TYPE)
# control characters, surrogates and what Unicode says is no character
_NO_STRING = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17))
    + "]"
)
_LONGEST = {
    "source": MAX_SOURCE,
    "type": MAX_TYPE,
    "subject": MAX_SUBJECT,
    "dataschema": MAX_SCHEMA,
    _CONTENT_TYPE: MAX_TYPE,
}
_MIN_INTEGER, _MAX_INTEGER = -(1 << 31), (1 << 31) - 1
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - RFC 2045's word for it
_MEDIA_TYPE = re.compile(
    rf'({_TOKEN})/({_TOKEN})((?:[ \t]*;[ \t]*{_TOKEN}=(?:{_TOKEN}|"(?:[^"\\\x00-\x1f\x7f]|\\[ -~])*"))*)[ \t]*;?'
)
_CHARSET = re.compile(r';[ \t]*charset="?([^";\s]+)', re.IGNORECASE)
_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_NO_HEADER = re.compile(rb"[^ -~\t]")

Headers = Iterable[tuple[bytes, bytes]]


class Mode(Enum):
    """How a request carries its events."""

    BINARY = "binary"
    STRUCTURED = "structured"
    BATCH = "batch"


class CloudEvent(NamedTuple):
    """An event that keeps to the specification. :param document: the whole of it in the JSON event format."""

    id: str
    source: str
    type: str
    subject: str | None
    time: str | None
    document: bytes


def mode_of(content_type: str, headers: Headers) -> Mode | None:
    """None: this request carries no CloudEvents, or in a format or charset that is not understood."""
    found = _MEDIA_TYPE.fullmatch(content_type.strip())
    kind = f"{found[1]}/{found[2]}".lower() if found else ""
    if not kind.startswith("application/cloudevents"):
        return Mode.BINARY if any(name.startswith(_PREFIX) for name, _ in headers) else None
    charset = _CHARSET.search(found[3]) if found else None
    if charset is not None and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        return None
    return {
        "application/cloudevents+json": Mode.STRUCTURED,
        "application/cloudevents-batch+json": Mode.BATCH,
    }.get(kind)


def read_events(mode: Mode, headers: Headers, body: bytes) -> list[CloudEvent]:
    """The events of a request, in its order.

    :raises RejectedError: one of them breaks the specification or a bound; then none is taken.
    """
    if mode is Mode.BINARY:
        return [_read_binary(headers, body)]
    if mode is Mode.STRUCTURED:
        return [_read_structured(body)]
    return _read_batch(body)


def metadata_event(event: CloudEvent, tenant: str) -> MetadataEvent:
    """The event under the tenant of its credential. The same source and id said again have the same id."""
    event_id = str(identity.event_id(tenant, event.source, event.id))
    return MetadataEvent(
        id=event_id,
        source=event.source,
        type=event.type,
        subject=event.subject or f"event:{event_id}",
        tenant=tenant,
        data=msgspec.Raw(event.document),
        time=msgspec.UNSET if event.time is None else event.time,
    )


def _read_batch(body: bytes) -> list[CloudEvent]:
    try:
        parts = msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RejectedError("body is not a JSON array of events") from None
    if len(parts) > MAX_BATCH:
        raise RejectedError(f"batch has more than {MAX_BATCH} events")
    events = []
    for number, part in enumerate(parts, 1):
        try:
            events.append(_read_structured(bytes(part)))
        except RejectedError as error:
            raise RejectedError(error.reason, detail=f"event {number} of the batch") from None
    return events


def _read_structured(body: bytes) -> CloudEvent:
    document = parse_document(body)
    has_data, is_binary = _DATA in document, _DATA_BASE64 in document
    data, encoded = document.pop(_DATA, None), document.pop(_DATA_BASE64, None)
    # null is a way to say nothing
    attributes = {name: value for name, value in document.items() if value is not None}
    _check_names(document)
    _check(attributes)
    if is_binary:
        if has_data:
            raise RejectedError("data and data_base64 exclude each other")
        _check_base64(encoded)
    elif has_data and not _is_json(attributes.get(_CONTENT_TYPE)) and not isinstance(data, str):
        raise RejectedError("data is not a string although datacontenttype is not JSON")
    return _event(attributes, body)


def _read_binary(headers: Headers, body: bytes) -> CloudEvent:
    attributes: Document = {}
    for name, value in headers:
        if name == b"content-type":
            attribute, text = _CONTENT_TYPE, _header_text(value, is_encoded=False)
        elif name.startswith(_PREFIX):
            attribute, text = name[len(_PREFIX) :].decode("latin-1"), _header_text(value)
            if attribute == _CONTENT_TYPE:
                raise RejectedError("ce-datacontenttype is not sent: Content-Type says it")
        else:
            continue
        if attribute in attributes:
            raise RejectedError("a header that becomes an attribute is sent twice")
        attributes[attribute] = text
    _check_names(attributes)
    _check(attributes)
    document = dict(attributes)
    if body:
        kind = attributes.get(_CONTENT_TYPE)
        if kind is not None and _is_json(kind):
            parse_value(body)
            document[_DATA] = msgspec.Raw(body)
        else:
            document[_DATA_BASE64] = b64encode(body).decode()
    return _event(attributes, msgspec.json.encode(document))


def _event(attributes: Document, document: bytes) -> CloudEvent:
    return CloudEvent(
        attributes["id"],
        attributes["source"],
        attributes["type"],
        attributes.get("subject"),
        attributes.get("time"),
        document,
    )


def _check_names(attributes: Mapping[str, Any]) -> None:
    for name in attributes:
        if not _NAME.fullmatch(name) or name == _DATA:
            raise RejectedError("attribute names are lower-case letters and digits, and none is data")


def _check(attributes: Mapping[str, Any]) -> None:
    """:raises RejectedError: an attribute breaks the specification; named when it is one of its own."""
    for name, value in attributes.items():
        told = name if name in _TEXTS else "an extension"
        if isinstance(value, str):
            if _NO_STRING.search(value):
                raise RejectedError(f"{told} has characters no attribute may have")
        elif name in _TEXTS:
            raise RejectedError(f"{name} is not a string")
        elif not isinstance(value, int) or not _MIN_INTEGER <= value <= _MAX_INTEGER:
            raise RejectedError("an extension is neither string, boolean nor 32-bit integer")
    for name in _REQUIRED:
        if not attributes.get(name):
            raise RejectedError(f"{name} is missing or empty")
    if attributes["specversion"] != "1.0":
        raise RejectedError("specversion is not 1.0")
    _check_lengths(attributes)
    _check_forms(attributes)


def _check_lengths(attributes: Mapping[str, Any]) -> None:
    for name, bound in _LONGEST.items():
        if len(attributes.get(name, "")) > bound:
            raise RejectedError(f"{name} is longer than {bound:,} characters")
    if attributes.get("subject") == "":
        raise RejectedError("subject is empty")


def _check_forms(attributes: Mapping[str, Any]) -> None:
    source = attributes["source"]
    if not is_uri_reference(source):
        raise RejectedError("source is not a URI reference (RFC 3986)")
    if unquote(source).strip("./").casefold() in OWN_SOURCES:
        raise RejectedError("source is reserved: montecarlo, atlan and atlas have endpoints of their own")
    if "time" in attributes and not is_rfc3339(attributes["time"]):
        raise RejectedError("time is not RFC 3339")
    if "dataschema" in attributes and not is_absolute_uri(attributes["dataschema"]):
        raise RejectedError("dataschema is not an absolute URI (RFC 3986)")
    if _CONTENT_TYPE in attributes and not _MEDIA_TYPE.fullmatch(attributes[_CONTENT_TYPE]):
        raise RejectedError("datacontenttype is not a media type (RFC 2046)")


def _is_json(content_type: str | None) -> bool:
    """Whether data of this type is JSON; no type is ``application/json``."""
    if content_type is None:
        return True
    subtype = content_type.partition(";")[0].strip().lower().partition("/")[2]
    return subtype == "json" or subtype.endswith("+json")


def _check_base64(encoded: object) -> None:
    try:
        # anything else becomes a text that is no base64 either
        b64decode(encoded if isinstance(encoded, str) else "?", validate=True)
    except (binascii.Error, ValueError):
        raise RejectedError("data_base64 is not base64 (RFC 4648)") from None


def _header_text(value: bytes, *, is_encoded: bool = True) -> str:
    """A header's value as the attribute's: quoted strings unescaped, then percent-decoded once."""
    if _NO_HEADER.search(value):
        raise RejectedError(
            "a header has characters outside of printable ASCII; they are sent percent-encoded"
        )
    if not is_encoded:
        return value.decode("ascii").strip()
    value = _unquoted(value.strip())
    if _PERCENT.search(value):
        raise RejectedError("a ce- header has a percent sign that encodes nothing")
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        raise RejectedError("a ce- header is not UTF-8 once it is percent-decoded") from None


def _unquoted(value: bytes) -> bytes:
    if b'"' not in value:
        return value
    found, is_quoted, characters = bytearray(), False, iter(value)
    for character in characters:
        if character == ord('"'):
            is_quoted = not is_quoted
        elif is_quoted and character == ord("\\"):
            found.append(next(characters, ord("\\")))
        else:
            found.append(character)
    if is_quoted:
        raise RejectedError("a ce- header has a quote that does not end")
    return bytes(found)
