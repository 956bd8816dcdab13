"""Every key of the product, in one place and in prose.

``hashN(parts)`` is the first N bits of SHA-256 over the parts, each as UTF-8 behind its length as a 4-byte
big-endian integer, so that ``("a", "bc")`` and ``("ab", "c")`` differ. PostgreSQL computes the same in
``meta.hash128``; the golden vectors in the tests hold both to it.

========================  =======================================================================  ===================
key                       contains                                                                 relied on by
========================  =======================================================================  ===================
``event_id``              tenant, source, the source's own identity                                duplicates, answers
``event_key``             48-bit ``received_at`` in ms + hash80(event_id, received_at)             primary key, replay
``entity_id``             tenant, platform, normalised qualified name                              entity rows, links
``change_id``             tenant, kind, id, incarnation, revision                                  deliveries
``delivery_id``           change_id, name of the subscription                                      claims, receipts
``partition key``         tenant, subject (percent-encoded, joined by ``|``)                       order per incident
``fingerprint``           stage, reason (never a value of the record)                              dead-letter groups
========================  =======================================================================  ===================

None contains a try, a host, a process or the time of processing: the same input has the same key for ever.
"""

from __future__ import annotations

from binascii import hexlify
from hashlib import sha256
from urllib.parse import quote
from uuid import UUID


def hash_bytes(bits: int, *parts: str) -> bytes:
    """The first ``bits`` (a multiple of 8) of SHA-256 over the length-prefixed UTF-8 parts."""
    encoded = [part.encode() for part in parts]
    return sha256(b"".join([len(part).to_bytes(4, "big") + part for part in encoded])).digest()[: bits // 8]


def event_id(tenant: str, source: str, identity: str) -> UUID:
    """The same thing said again by the same source has the same id.

    :param identity: the source's own: a webhook's canonical body, a CloudEvent's source and id.
    """
    return UUID(bytes=hash_bytes(128, tenant, source, identity))


def event_key(event: bytes, received_at_ms: int) -> bytes:
    """16 bytes, ordered by arrival: one per log record, stable under replay.

    :param event: the event_id's 16 bytes.
    :param received_at_ms: the ``received_at`` header, milliseconds since 1970, stamped once by the producer.
    :raises ValueError: the time is outside 48 bits.
    """
    try:
        time = received_at_ms.to_bytes(6, "big")
    except OverflowError:
        raise ValueError(
            f"received_at {str(received_at_ms)[:24]} is outside 48 bits of milliseconds"
        ) from None
    text = b"%d" % received_at_ms
    # hash80(event_id as 32 hex digits, received_at), written out: this runs once per record
    return time + sha256(b"\0\0\0\x20%b\0\0\0%c%b" % (hexlify(event), len(text), text)).digest()[:10]


def entity_id(tenant: str, platform: str, qualified_name: str) -> bytes:
    """16 bytes; ``qualified_name`` is already normalised (case folded where its platform folds)."""
    return hash_bytes(128, tenant, platform, qualified_name)


def change_id(tenant: str, kind: str, row_id: str, incarnation: int, revision: int) -> UUID:
    """One revision of one row. PostgreSQL computes it in the change triggers; this is its twin."""
    return UUID(bytes=hash_bytes(128, tenant, kind, row_id, str(incarnation), str(revision)))


def delivery_id(change_id: str, subscription: str) -> UUID:
    """One change to one subscription: every try, lane and replay sends it under the same id.

    :param change_id: as the change carries it, UUID text in small letters.
    """
    return UUID(bytes=hash_bytes(128, change_id, subscription))


def partition_key(tenant: str, subject: str) -> bytes:
    """Kafka key of an event: everything about one incident lands in one partition, in order."""
    return f"{quote(tenant, safe='')}|{quote(subject, safe='')}".encode()


def fingerprint(stage: str, reason: str) -> str:
    """Groups dead letters that fail alike."""
    return hash_bytes(64, stage, reason).hex()
