"""A webhook of Atlan: Atlas' notification in its envelope, sent as text, told by a secret in a header.

Nothing signs its body: whoever knows the secret may say anything.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import sha256

import msgspec

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.catalog_messages import epoch_ms, kind_of, rfc3339, subject_of
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.events import MetadataEvent
from airflow_provider_atlan_meta.core.json_document import Document, canonical_text, parse_document

ATLAN = "atlan"
HEADER = b"x-atlan-signing-secret"
MAX_HANDSHAKE_BYTES = 1024
_HANDSHAKE = "atlan-webhook"


def is_handshake(body: bytes) -> bool:
    """Whether it is what Atlan sends when a webhook is made, without a secret: a greeting and nothing else."""
    if len(body) > MAX_HANDSHAKE_BYTES or _HANDSHAKE.encode() not in body:
        return False
    try:
        document = parse_document(body)
    except RejectedError:
        return False
    return list(document) == [_HANDSHAKE] and isinstance(document[_HANDSHAKE], str)


def is_secret(said: bytes, secrets: Sequence[bytes]) -> bool:
    """Whether ``said`` is one of ``secrets``; tells by its time neither how much of one is right nor how long it
    is.
    """
    digest = sha256(said).digest()
    found = False
    for secret in secrets:
        found |= hmac.compare_digest(digest, sha256(secret).digest())
    return found


def atlan_event(body: bytes, document: Document, tenant: str) -> MetadataEvent:
    """The event of a webhook. The same body said again has the same id.

    :param document: ``body`` parsed by ``json_document.parse_document``.
    :raises RejectedError: its operation is longer than an event may carry.
    """
    message = document.get("message")
    said = message if isinstance(message, dict) else document
    event_id = str(identity.event_id(tenant, ATLAN, canonical_text(document)))
    happened = epoch_ms(said.get("eventTime"))
    return MetadataEvent(
        id=event_id,
        source=ATLAN,
        type=kind_of(said),
        subject=subject_of(said) or f"event:{event_id}",
        tenant=tenant,
        data=msgspec.Raw(body),
        time=msgspec.UNSET if happened is None else rfc3339(happened),
    )
