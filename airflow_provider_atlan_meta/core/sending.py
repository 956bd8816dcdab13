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
from dataclasses import dataclass, field
from functools import lru_cache
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from airflow_provider_atlan_meta.core.changes import ChangeEvent
from airflow_provider_atlan_meta.core.lanes import Answer, LanePolicy
from airflow_provider_atlan_meta.core.routing import DestinationType

Result = Literal["delivered", "retry", "unknown", "rejected", "blocked", "gone"]
RETRY_AFTER_MAX_SECONDS = 86_400.0
# What somebody has to change first (a token, a channel) is tried again no sooner than this.
BLOCKED_SECONDS = 60.0
_TOO_EARLY = 425

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


@lru_cache(maxsize=256)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One delivery, as its destination is to send it.

    :ivar delivery_id: of this change to this part of this subscription, the same at every try.
    :ivar part: of the destination, see ``Capabilities.parts``.
    :ivar options: the subscription's own, checked when it was applied.
    :ivar external_id: what the main part made for this subject; empty: nothing yet.
    """

    delivery_id: str
    subscription: str
    part: str
    change: ChangeEvent
    options: Mapping[str, Any] = field(default_factory=dict)
    external_id: str = ""


class Destination(Protocol):
    """One connection's other side, used as an async context manager in the loop it sends from.

    Never repeats a call by itself, and ``send`` raises nothing the other side can cause.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def limit_of(self, outgoing: Outgoing) -> str:
        """Names what the other side limits together: when one of them is told to wait, all wait."""
        ...

    async def send(self, outgoing: Outgoing) -> SendOutcome: ...


class LookupDestination(Destination, Protocol):
    """One whose creating calls are claimed first and can be found again by their delivery."""

    async def find(self, outgoing: Outgoing, *, since_seconds: float) -> tuple[str, ...]:
        """The external ids this very delivery has made, oldest first; more than one were doubled.

        What was changed by later deliveries since is found all the same. Of doubles the one the lane knows stays,
        else the oldest.

        :param since_seconds: how long ago the first attempt may have been made.
        :raises TransientError: nothing is known: ask again. :raises TerminalError: looking is not allowed.
        """
        ...

    async def remove(self, external_id: str) -> SendOutcome:
        """Takes a double away; what is gone already counts as delivered."""
        ...


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What the pipeline has to know of a type of destination: one row per type.

    :ivar type: what a subscription may say of it.
    :ivar parts: lanes per subject, the main one under ``""``; a second one waits for what the main one makes.
    :ivar ops: part -> the ops it hears of; a part that is not named hears of all.
    :ivar sends_state: a call shows the newest state, so a throttled lane skips the steps before it.
    :ivar calls_at_once: per limit, see ``Destination.limit_of``.
    """

    type: DestinationType
    parts: Mapping[str, LanePolicy]
    ops: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sends_state: bool = False
    calls_at_once: int = 16


def answer_of(outcome: SendOutcome, capabilities: Capabilities) -> tuple[Answer, float]:
    """What a lane is told, and how many seconds it has to wait at least."""
    wait = outcome.retry_after or 0.0
    if outcome.result == "retry":
        # too early is no matter of how many calls
        throttled = (
            capabilities.sends_state and outcome.retry_after is not None and outcome.status != _TOO_EARLY
        )
        return (Answer.THROTTLED if throttled else Answer.FAILED), wait
    if outcome.result == "blocked":
        return Answer.FAILED, max(wait, BLOCKED_SECONDS)
    return _ANSWERS[outcome.result], wait


_ANSWERS = {
    "delivered": Answer.DELIVERED,
    "unknown": Answer.UNKNOWN,
    "rejected": Answer.REJECTED,
    "gone": Answer.GONE,
}
