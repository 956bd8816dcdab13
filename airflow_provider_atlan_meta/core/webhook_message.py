"""A change as a webhook sends it: CloudEvents 1.0 in structured JSON, signed as Standard Webhooks 1.0 says.

``id`` of the event is the change's, ``webhook-id`` the delivery's: both are the same in every try, by every lane.
Receivers drop what is not newer than the highest ``entityversion`` they have of ``(tenantid, entitykind, subject)``.
Signatures cover ``webhook-id.webhook-timestamp.body``; one per secret, so that a receiver may know either of two
while they are changed.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec

from airflow_provider_atlan_meta.core.changes import ChangeEvent
from airflow_provider_atlan_meta.core.errors import ConfigurationError, RejectedError

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
DEFAULT_SOURCE = "/atlan-meta"
SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix, no secret
# Standard Webhooks: between 24 and 64 bytes.
SECRET_BYTES = (24, 64)
_SOURCE = re.compile(r"[A-Za-z0-9/][A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]{0,254}")
_KIND = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """What is sent, without time and signature: the same bytes at every try.

    :ivar id: the ``webhook-id``: ``core.identity.delivery_id`` as text.
    """

    id: str
    body: bytes


@dataclass(frozen=True, slots=True, repr=False)
class SigningSecret:
    """The bytes of one ``whsec_`` secret; its repr never shows them."""

    key: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> SigningSecret:
        """:raises ConfigurationError: not ``whsec_`` and 24 to 64 bytes in base64; the text is not repeated."""
        encoded = text.strip().removeprefix(SECRET_PREFIX)
        try:
            key = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        least, most = SECRET_BYTES
        if not text.strip().startswith(SECRET_PREFIX) or not least <= len(key) <= most:
            raise ConfigurationError(
                f"a webhook's signing secret is {SECRET_PREFIX} and {least} to {most} random bytes in base64; make "
                "one with: python -c \"import base64, os; print('whsec_' + base64.b64encode(os.urandom(32)).decode())\""
            )
        return cls(key)

    def __repr__(self) -> str:
        return "SigningSecret(***)"


def check_source(text: str) -> str:
    """CloudEvents' ``source`` of this deployment, such as ``/atlan-meta/production``.

    :raises ConfigurationError: no URI reference.
    """
    if not _SOURCE.fullmatch(text):
        raise ConfigurationError(
            "a CloudEvents source is a non-empty URI reference, such as /atlan-meta/production"
        )
    return text


class _Told(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a thin change has to say; ``data`` of the event."""

    op: str
    revision: int
    truncated: bool = False


class _ToldWhole(msgspec.Struct, frozen=True, gc=False):
    op: str
    revision: int
    changed: list[str] | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class _Event(msgspec.Struct, frozen=True, gc=False):
    """In the order of a reader's eye; receivers must not rely on it."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    tenantid: str
    entitykind: str
    # CloudEvents' integers end at 32 bits; text that sorts as the number does
    entityversion: str
    # of the "sequence" extension: counts within source and subject
    sequence: str
    partitionkey: str
    replay: bool | msgspec.UnsetType
    data: _Told | _ToldWhole


_encode = msgspec.json.Encoder().encode


def webhook_message(
    change: ChangeEvent, delivery_id: str, *, source: str = DEFAULT_SOURCE, replay: bool = False
) -> WebhookMessage:
    """What a receiver gets of this change.

    :param delivery_id: of this change to this subscription.
    :param replay: told again on purpose; same ids, and the receiver may want to know.
    :raises RejectedError: its kind cannot be part of a type.
    """
    kind = change.kind
    if not _KIND.fullmatch(kind):
        raise RejectedError("change cannot be sent as CloudEvent", detail="at `kind`")
    version = f"{change.revision:019d}"
    data = (
        _Told(change.op, change.revision, truncated=True)
        if change.truncated
        else _ToldWhole(change.op, change.revision, change.changed, change.before, change.after)
    )
    event = _Event(
        "1.0",
        change.change_id,
        source,
        f"com.atlan.meta.{kind}.{change.op}.v1",
        change.id,
        change.changed_at,
        "application/json",
        change.tenant_id,
        kind,
        version,
        version,
        f"{change.tenant_id}|{change.id}",
        True if replay else msgspec.UNSET,
        data,
    )
    return WebhookMessage(delivery_id, _encode(event))


def signed_headers(
    message: WebhookMessage, secrets: Sequence[SigningSecret], *, at_seconds: int
) -> Mapping[str, str]:
    """The headers of one try.

    :param secrets: one, or the new and the previous one; each signs.
    :param at_seconds: when this try is made, seconds since 1970; receivers refuse what is minutes old.
    """
    return {
        "content-type": CONTENT_TYPE,
        "webhook-id": message.id,
        "webhook-timestamp": str(at_seconds),
        "webhook-signature": " ".join([_signature(message, at_seconds, secret.key) for secret in secrets]),
    }


def _signature(message: WebhookMessage, at_seconds: int, key: bytes) -> str:
    signed = b"%b.%d.%b" % (message.id.encode(), at_seconds, message.body)
    return "v1," + base64.b64encode(hmac.digest(key, signed, sha256)).decode()
