"""Records of Atlas' topic ``ATLAS_ENTITIES`` as events.

A record is an envelope around a message. Atlas compresses a message that is too large (gzip, then base64) and
cuts it into records with one ``msgId`` when it still is; older Atlas sends messages without an envelope. What is
inside may be an envelope again. Nothing here knows a clock or Kafka: whoever reads the topic keeps one
``SplitMessages`` per partition and says what time it is.
"""

from __future__ import annotations

import binascii
import zlib
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.catalog_messages import epoch_ms, guid_of, kind_of, rfc3339, subject_of
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.events import MetadataEvent
from airflow_provider_atlan_meta.core.json_document import canonical_text, parse_value

ATLAS = "atlas"
# With its envelope it has to fit into a record of 4 MiB on our topic.
MAX_MESSAGE_BYTES = 3 << 20
MAX_PARTS = 1_000
_MAX_ENVELOPES = 3
_GZIP = 16 + zlib.MAX_WBITS


class Part(NamedTuple):
    """One record of a message that was cut. :param position: offset of its record."""

    message_id: str
    place: int
    of: int
    text: str
    is_compressed: bool
    position: int


class Abandoned(NamedTuple):
    """A message whose parts did not all come in time: its records are for the dead letters."""

    message_id: str
    positions: tuple[int, ...]
    of: int


@dataclass
class _Cut:
    first_at_ms: int
    count: int
    is_compressed: bool
    parts: dict[int, Part] = field(default_factory=dict)
    size: int = 0


class SplitMessages:
    """Parts of one partition that wait for the rest of their message, in whatever order they come.

    Whoever adds a part asks ``evict`` after it: only that keeps the bounds. A reader's cursor must not pass
    ``first_waiting``: what waits is nowhere else.

    :param max_messages: messages that may wait; the oldest give way. :param max_bytes: the same for all parts.
    :param max_age_ms: how long a message may wait for its rest (Atlas itself: 15 minutes).
    """

    def __init__(
        self, *, max_messages: int = 64, max_bytes: int = 16 << 20, max_age_ms: int = 900_000
    ) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._max_age_ms = max_age_ms
        self._cut: dict[str, _Cut] = {}
        self._size = 0

    @property
    def first_waiting(self) -> int | None:
        """The lowest offset that waits."""
        return min((part.position for cut in self._cut.values() for part in cut.parts.values()), default=None)

    def add(self, part: Part, now_ms: int) -> tuple[str, bool] | None:
        """The whole text, and whether it is compressed, once its last part is here. A part said again changes
        nothing.

        :raises RejectedError: it does not fit to the others of its message, or the message is too large.
        """
        cut = self._cut.get(part.message_id)
        if cut is None:
            cut = _Cut(now_ms, part.of, part.is_compressed)
        if (cut.count, cut.is_compressed) != (part.of, part.is_compressed):
            raise RejectedError("part of a split message that contradicts the others of its message")
        known = cut.parts.get(part.place)
        if known is not None:
            if known.text != part.text:
                raise RejectedError("part of a split message that contradicts the others of its message")
            return None
        if cut.size + len(part.text) > _encoded_size(MAX_MESSAGE_BYTES):
            raise RejectedError("message is larger than 3 MiB")
        self._cut[part.message_id] = cut
        cut.parts[part.place] = part
        cut.size += len(part.text)
        self._size += len(part.text)
        if len(cut.parts) < cut.count:
            return None
        self._forget(part.message_id)
        return "".join(cut.parts[index].text for index in range(cut.count)), cut.is_compressed

    def evict(self, now_ms: int) -> list[Abandoned]:
        """What waited too long, or has to give way to what came later; the oldest first."""
        return list(self._evicted(now_ms))

    def _evicted(self, now_ms: int) -> Iterator[Abandoned]:
        for message_id, cut in sorted(self._cut.items(), key=lambda item: item[1].first_at_ms):
            too_old = now_ms - cut.first_at_ms >= self._max_age_ms
            if not too_old and len(self._cut) <= self._max_messages and self._size <= self._max_bytes:
                return
            self._forget(message_id)
            positions = tuple(sorted(part.position for part in cut.parts.values()))
            yield Abandoned(message_id, positions, cut.count)

    def _forget(self, message_id: str) -> None:
        self._size -= self._cut.pop(message_id).size


class _Version(msgspec.Struct, gc=False, rename="camel"):
    version_parts: list[int] = []


class _Envelope(msgspec.Struct, gc=False):
    """Only what unpacking needs. Names as in Atlas' Java classes."""

    message: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    version: _Version | None = None
    msgId: str | None = None
    msgCompressionKind: str | None = None
    msgSplitIdx: int | None = None
    msgSplitCount: int | None = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_TEXT = msgspec.json.Decoder(str)


def read_notification(
    value: bytes, split: SplitMessages, *, tenant: str, position: int, now_ms: int
) -> MetadataEvent | None:
    """The event of a record's value; None while parts of its message are missing.

    :param position: the record's offset. :param now_ms: when it is read, for the age of what waits.
    :raises RejectedError: not a notification, cut or compressed in a way nobody can undo, or out of bounds.
    """
    for _ in range(_MAX_ENVELOPES):
        envelope = _opened(value)
        message = envelope.message
        if message is msgspec.UNSET:
            return notification_event(value, tenant)
        if not bytes(message).startswith(b'"'):
            return notification_event(bytes(message), tenant)
        text = _TEXT.decode(message)
        is_compressed = _is_compressed(envelope)
        if (envelope.msgSplitCount or 1) > 1:
            whole = split.add(_part(envelope, text, is_compressed, position), now_ms)
            if whole is None:
                return None
            text, is_compressed = whole
        value = _unpacked(text, is_compressed)
    raise RejectedError("message is wrapped in too many envelopes")


def notification_event(message: bytes, tenant: str) -> MetadataEvent:
    """The event a notification is. The same one (entity, operation, time) said again has the same id.

    :raises RejectedError: not a JSON object, out of bounds, or its operation is too long.
    """
    document = parse_value(message, max_bytes=MAX_MESSAGE_BYTES)
    if type(document) is not dict:
        raise RejectedError("message is not a JSON object")
    kind = kind_of(document)
    happened = epoch_ms(document.get("eventTime"))
    guid = guid_of(document)
    said = f"{guid}|{kind}|{happened}" if guid and happened is not None else canonical_text(document)
    event_id = str(identity.event_id(tenant, ATLAS, said))
    return MetadataEvent(
        id=event_id,
        source=ATLAS,
        type=kind,
        subject=subject_of(document) or f"event:{event_id}",
        tenant=tenant,
        data=msgspec.Raw(message),
        time=msgspec.UNSET if happened is None else rfc3339(happened),
    )


def _opened(value: bytes) -> _Envelope:
    if len(value) > _encoded_size(MAX_MESSAGE_BYTES):
        raise RejectedError("message is larger than 3 MiB")
    try:
        envelope = _ENVELOPE.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RejectedError("record is not a notification of Atlas") from None
    version = envelope.version
    if version is not None and version.version_parts and version.version_parts[0] > 1:
        raise RejectedError("envelope of a version above 1")
    return envelope


def _is_compressed(envelope: _Envelope) -> bool:
    kind = envelope.msgCompressionKind or "NONE"
    if kind not in ("NONE", "GZIP"):
        raise RejectedError("message is compressed in an unknown way")
    return kind == "GZIP"


def _part(envelope: _Envelope, text: str, is_compressed: bool, position: int) -> Part:
    index, count = envelope.msgSplitIdx, envelope.msgSplitCount or 0
    if not envelope.msgId or index is None or not 0 <= index < count <= MAX_PARTS:
        raise RejectedError("part of a split message without its place in it")
    return Part(envelope.msgId, index, count, text, is_compressed, position)


def _unpacked(text: str, is_compressed: bool) -> bytes:
    """Never makes more of a text than a message may be long, whatever the text promises."""
    try:
        packed = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RejectedError("message is not base64") from None
    if is_compressed:
        stream = zlib.decompressobj(_GZIP)
        try:
            packed = stream.decompress(packed, MAX_MESSAGE_BYTES + 1)
        except zlib.error:
            raise RejectedError("message is not gzip") from None
        if len(packed) <= MAX_MESSAGE_BYTES and not stream.eof:
            raise RejectedError("message is not gzip")
    if len(packed) > MAX_MESSAGE_BYTES:
        raise RejectedError("message is larger than 3 MiB")
    return packed


def _encoded_size(size: int) -> int:
    """Of ``size`` bytes as base64, with an envelope's worth around it."""
    return size * 4 // 3 + 4096
