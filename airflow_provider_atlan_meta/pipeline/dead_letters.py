"""Dead letters from the store, where they were committed with the cursor, to their topic.

At least once: a crash between the topic's acknowledgement and the mark sends a letter again. Its origin headers
(``dlq_topic``, ``dlq_partition``, ``dlq_offset``, ``dlq_sink``) are its identity.
"""

from __future__ import annotations

from airflow_provider_atlan_meta.core.ports import (
    DeadLetterOutbox,
    OutboundRecord,
    RecordSender,
    StoredDeadLetter,
)

_AT_ONCE = 100


def publish_dead_letters(outbox: DeadLetterOutbox, sender: RecordSender, topic: str) -> int:
    """Sends what is not yet on the topic, oldest first.

    :return: how many. :raises TransientError: the rest waits for the next call.
    """
    published = 0
    while letters := outbox.unpublished(_AT_ONCE):
        sender.send([dead_letter_record(letter, topic) for letter in letters])
        outbox.mark_published(letters)
        published += len(letters)
    return published


def dead_letter_record(letter: StoredDeadLetter, topic: str) -> OutboundRecord:
    """The original bytes and headers, and why it is here."""
    headers = [*letter.headers]
    for name, value in (
        ("dlq_reason", letter.reason),
        ("dlq_fingerprint", letter.fingerprint),
        ("dlq_stage", letter.stage),
        ("dlq_topic", letter.topic),
        ("dlq_partition", str(letter.partition)),
        ("dlq_offset", str(letter.offset)),
        ("dlq_sink", letter.sink),
        ("dlq_at", letter.at),
    ):
        headers.append((name, value.encode()))
    return OutboundRecord(topic, letter.key, letter.value, headers)
