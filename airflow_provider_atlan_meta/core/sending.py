"""What became of one call to a destination: the one answer every destination's client gives.

========= ======================= =====================================================================
result    did it take effect?     what is next
========= ======================= =====================================================================
delivered yes                     the ledger
retry     no                      again, no earlier than ``retry_after`` seconds from now
unknown   nobody knows            repeatable: again, then ``unsure``; claim first: settle by looking it up
rejected  no                      this delivery never will: dead letter, the next one goes on
blocked   no                      nothing will until somebody changes the connection or the other side
gone      no                      the receiver wants nothing any more: disable the subscription
========= ======================= =====================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from airflow_provider_atlan_meta.core.webhook_message import WebhookMessage

Result = Literal["delivered", "retry", "unknown", "rejected", "blocked", "gone"]
RETRY_AFTER_MAX_SECONDS = 86_400.0

# HTTP answers; other 2xx are delivered, 3xx blocked (redirects are not followed), 4xx rejected, 5xx unknown.
_HTTP: Mapping[int, Result] = {
    401: "blocked",
    403: "blocked",
    404: "blocked",
    407: "blocked",
    408: "unknown",
    410: "gone",
    425: "retry",
    429: "retry",
    503: "retry",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOutcome:
    """One row of the table above.

    :ivar status: the HTTP status; None: there was no answer.
    :ivar detail: for people: bounded, free of secrets and of what the other side wrote.
    :ivar external_id: the other side's name of what was made, where it has one.
    """

    result: Result
    status: int | None = None
    detail: str = ""
    retry_after: float | None = None
    external_id: str = ""


def outcome_of_status(status: int, retry_after: str | None = None) -> SendOutcome:
    """What an HTTP answer means."""
    result = _HTTP.get(status)
    if result is None:
        result = {2: "delivered", 3: "blocked", 4: "rejected"}.get(status // 100, "unknown")  # type: ignore[assignment]
    waits = result in ("retry", "unknown")
    return SendOutcome(
        result=result or "unknown",
        status=status,
        detail="" if result == "delivered" else f"answered {status}",
        retry_after=seconds_of(retry_after) if waits else None,
    )


def seconds_of(retry_after: str | None) -> float | None:
    """``Retry-After`` in seconds, at most a day; a date or anything else says nothing."""
    text = (retry_after or "").strip()
    return min(float(text), RETRY_AFTER_MAX_SECONDS) if text.isdecimal() and text.isascii() else None


class WebhookDestination(Protocol):
    """One endpoint. Never repeats a call by itself, and raises nothing the other side can cause."""

    async def send(self, message: WebhookMessage) -> SendOutcome: ...
