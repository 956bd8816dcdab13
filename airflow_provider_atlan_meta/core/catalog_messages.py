"""What Atlas and Atlan say of an entity: Atlas' notification, on Kafka or in a webhook of Atlan.

Its dates are ISO text on Kafka and milliseconds in Atlan's webhooks; its kinds (``operationType``) grow with
every version, so unknown ones are kept in their own words.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.events import MAX_SUBJECT, MAX_TYPE
from airflow_provider_atlan_meta.core.json_document import Document

UNKNOWN_TYPE = "unknown"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?", re.ASCII)
_DIGITS = re.compile(r"-?\d{1,15}", re.ASCII)


def epoch_ms(value: object) -> int | None:
    """Milliseconds since 1970 of a date in either of its forms; None: it is none. No zone is UTC."""
    if isinstance(value, str):
        if _DIGITS.fullmatch(value):
            return _in_calendar(int(value))
        return _of_iso(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _in_calendar(value)
    return None


def rfc3339(milliseconds: int) -> str:
    """The one spelling of a moment: UTC with three digits of a second."""
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def kind_of(message: Document) -> str:
    """Its operation, else its type, in the sender's words.

    :raises RejectedError: longer than an event may carry.
    """
    for name in ("operationType", "type"):
        kind = message.get(name)
        if isinstance(kind, str) and kind:
            if len(kind) > MAX_TYPE:
                raise RejectedError(f"{name} is longer than {MAX_TYPE} characters")
            return kind
    return UNKNOWN_TYPE


def subject_of(message: Document) -> str | None:
    """What it is about: the entity's qualified name, else the guid of the entity or relationship.

    A name that is longer than a subject may be is told by its digest: the same name is the same subject.
    """
    entity = message.get("entity")
    attributes = entity.get("attributes") if isinstance(entity, dict) else None
    name = attributes.get("qualifiedName") if isinstance(attributes, dict) else None
    subject = _text(name) or guid_of(message)
    if subject is None or len(subject) <= MAX_SUBJECT:
        return subject
    return f"sha256:{sha256(subject.encode()).hexdigest()}"


def guid_of(message: Document) -> str | None:
    """Of the entity or the relationship."""
    for name in ("entity", "relationship"):
        thing = message.get(name)
        if isinstance(thing, dict) and (guid := _text(thing.get("guid"))) is not None:
            return guid
    return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _of_iso(text: str) -> int | None:
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    day, time, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{time}{zone or 'Z'}")
        whole = (moment - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        return None
    return _in_calendar(whole + int((fraction or "0").ljust(3, "0")[:3]))


def _in_calendar(milliseconds: int) -> int | None:
    """Only what has a spelling: the years 1 to 9999."""
    return milliseconds if -62_135_596_800_000 <= milliseconds < 253_402_300_800_000 else None
