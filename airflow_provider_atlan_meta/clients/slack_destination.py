"""Slack as a destination: one message per row, updated in place, and its history as answers in the thread.

=========== ============================ ===================== ======================================================
part        call                         may be repeated       found again by
=========== ============================ ===================== ======================================================
``""``      ``chat.postMessage``         no: claimed first     the delivery that posted it, in the channel
``""``      ``chat.update``, once there  yes                   (need not be)
``thread``  ``chat.postMessage`` below   no: claimed first     the delivery that posted it, in the thread
=========== ============================ ===================== ======================================================

A message carries the delivery that posted it in its metadata for good: updates leave metadata as it is. So a double is
found by that delivery however often the other one was updated since; of those found, the lane's own message stays
(``external_id``), else the oldest. A message that somebody deleted is not posted again: its updates are rejected.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from airflow_provider_atlan_meta.clients.slack import SlackConfig
from airflow_provider_atlan_meta.clients.slack_deliveries import SlackDeliveries, address_of
from airflow_provider_atlan_meta.core.change_messages import change_answer, row_message
from airflow_provider_atlan_meta.core.sending import Outgoing, SendOutcome

THREAD = "thread"
# Slack's clock and ours.
_SKEW_SECONDS = 60.0
# No call was made. Its status keeps it from being taken for a Slack that is down.
_TOO_EARLY = SendOutcome(result="retry", status=425, detail="waits for the message", retry_after=1.0)


class SlackDestination:
    """A ``core.sending.LookupDestination``. Options: ``channel``, an id.

    Another channel is for rows that have no message yet: those that have one stay where it is.

    :param clock: seconds since 1970, for the time to search.
    """

    def __init__(self, config: SlackConfig, *, clock: Callable[[], float] = time.time) -> None:
        self._slack = SlackDeliveries(config)
        self._clock = clock

    async def __aenter__(self) -> Self:
        await self._slack.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._slack.__aexit__(kind, error, trace)

    def limit_of(self, outgoing: Outgoing) -> str:
        """Slack takes about one post per second and channel, and 50 updates per minute in all."""
        if outgoing.external_id and outgoing.part != THREAD:
            return "update"
        if outgoing.part == THREAD and not outgoing.external_id:
            return "waits for the message"
        return f"post {_channel_of(outgoing)}"

    async def send(self, outgoing: Outgoing) -> SendOutcome:
        if outgoing.part == THREAD:
            if not outgoing.external_id:
                return _TOO_EARLY
            answer, root = change_answer(outgoing.change), address_of(outgoing.external_id)
            return await self._slack.post(
                root.channel,
                answer.text,
                delivery_id=outgoing.delivery_id,
                blocks=answer.blocks,
                thread_ts=root.ts,
            )
        message = row_message(outgoing.change)
        if outgoing.external_id:
            address = address_of(outgoing.external_id)
            return await self._slack.update(address, message.text, blocks=message.blocks)
        return await self._slack.post(
            _channel_of(outgoing), message.text, delivery_id=outgoing.delivery_id, blocks=message.blocks
        )

    async def find(self, outgoing: Outgoing, *, since_seconds: float) -> tuple[str, ...]:
        """Nothing can be in the thread of a message that is not there."""
        if outgoing.part == THREAD and not outgoing.external_id:
            return ()
        now = self._clock()
        found = await self._slack.find(
            _channel_of(outgoing),
            outgoing.delivery_id,
            oldest=max(0.0, now - since_seconds - _SKEW_SECONDS),
            latest=now + _SKEW_SECONDS,
            thread_ts=address_of(outgoing.external_id).ts if outgoing.part == THREAD else "",
        )
        return tuple([f"{one.channel}/{one.ts}" for one in found])

    async def remove(self, external_id: str) -> SendOutcome:
        return await self._slack.delete(address_of(external_id))


def _channel_of(outgoing: Outgoing) -> str:
    if outgoing.external_id:
        return address_of(outgoing.external_id).channel
    return str(outgoing.options["channel"])
