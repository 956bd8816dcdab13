"""Destinations in memory, which do what they are told and remember what took effect."""

from __future__ import annotations

from collections import deque

from airflow_provider_atlan_meta.core.sending import SendOutcome, outcome_of_status
from airflow_provider_atlan_meta.core.webhook_message import WebhookMessage


class MemoryWebhook:
    """A ``core.sending.WebhookDestination``.

    :ivar applied: what took effect, in this order.
    :ivar called: every call, whatever came of it.
    """

    def __init__(self) -> None:
        self.applied: list[WebhookMessage] = []
        self.called: list[WebhookMessage] = []
        self._script: deque[tuple[int | None, str | None]] = deque()

    def answer_next(self, status: int, *, retry_after: str | None = None) -> None:
        """The next call not scripted yet gets this answer; only 2xx has an effect."""
        self._script.append((status, retry_after))

    def lose_next_answer(self) -> None:
        """The next call not scripted yet takes effect, and its sender never hears of it."""
        self._script.append((None, None))

    async def send(self, message: WebhookMessage) -> SendOutcome:
        self.called.append(message)
        status, retry_after = self._script.popleft() if self._script else (204, None)
        if status is None or 200 <= status < 300:
            self.applied.append(message)
        if status is None:
            return SendOutcome(result="unknown", detail="no answer (lost)")
        return outcome_of_status(status, retry_after)
