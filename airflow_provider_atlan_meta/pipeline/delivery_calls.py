"""Calls to destinations: who may call when, and what an answer means for the lane, its endpoint and its neighbours.

Per connection a circuit breaker, per limit of the other side a queue with a few calls at once; over all of them at
most ``unwritten`` calls whose outcome the ledger has not got yet. Nothing is called on a lease that is running out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from airflow_provider_atlan_meta.core.breaker import BreakerPolicy
from airflow_provider_atlan_meta.core.deliveries import MAIN, DeliveryEntry
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.identity import delivery_id
from airflow_provider_atlan_meta.core.lanes import Answer, Delivery, LaneStep
from airflow_provider_atlan_meta.core.routing import Subscription
from airflow_provider_atlan_meta.core.sending import (
    Capabilities,
    Destination,
    Outgoing,
    SendOutcome,
    answer_of,
)
from airflow_provider_atlan_meta.pipeline.doubles import made_once
from airflow_provider_atlan_meta.pipeline.endpoints import RETRY_SECONDS, Destinations, Endpoints, Limit
from airflow_provider_atlan_meta.pipeline.lane_board import NO_ID, HeldLane, LaneBoard, Told

# While lanes wait their time is looked at this often.
_TICK_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class CallPolicy:
    """:param unwritten: calls begun whose outcome is not in the ledger: what a kill may repeat.
    :param lease_left: seconds of lease a call needs when it begins.
    """

    unwritten: int = 64
    lease_left: float = 15.0
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)


Claimer = Callable[[HeldLane, DeliveryEntry], Awaitable[int | None]]


class DeliveryCalls:
    """One event loop's own.

    :param claim: commits a claim; the attempt it is, or None: it may not be called.
    :param told: there is something new for the ledger.
    :param gone: the receiver of this subscription wants nothing any more.
    """

    def __init__(
        self,
        board: LaneBoard,
        destinations: Destinations,
        policy: CallPolicy,
        *,
        claim: Claimer,
        told: Callable[[], None],
        gone: Callable[[str, str], None],
        clock: Callable[[], float],
    ) -> None:
        self._board = board
        self._endpoints = Endpoints(destinations, policy.breaker, clock)
        self._policy = policy
        self._claim = claim
        self._told = told
        self._gone = gone
        self._clock = clock
        self._waiting: dict[int, Limit] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # calls begun whose outcome is not in the ledger, and how many of them have ended
        self.unwritten = 0
        self.ended = 0
        self.is_suspended = False
        self.is_stopping = False
        self.failure: BaseException | None = None

    @property
    def under_way(self) -> int:
        return len(self._tasks)

    def open_breakers(self) -> list[str]:
        """Connections that nobody calls at the moment."""
        return sorted(self._endpoints.open_breakers())

    async def prepare(self, subscriptions: Iterable[Subscription]) -> None:
        """Opens what they name, so that the first call need not wait for it."""
        for subscription in subscriptions:
            endpoint = self._endpoints.get(subscription.destination) if subscription.enabled else None
            if endpoint is not None and endpoint.destination is not None:
                await endpoint.enter()

    # ---- what a lane is to do ------------------------------------------------------------------------------------

    def consider(self, held: HeldLane) -> None:
        """Puts the lane where it belongs: in a queue, on a timer, or away."""
        if held.is_queued or held.lane.state.in_flight or self._board.lanes.get(held.key) is not held:
            return
        if self._waits_for_main(held):
            return
        now = self._clock()
        step = held.lane.peek(now)
        if step.action == "wait" and step.at - now <= held.lane.policy.retries:
            asyncio.get_running_loop().call_later(max(0.0, step.at - now), self.consider, held)
        elif step.action in ("wait", "idle"):
            self._put_away(held, now, is_idle=step.action == "idle")
            self._consider_parts(held)
        else:
            self._enqueue(held, step, now)

    def _waits_for_main(self, held: HeldLane) -> bool:
        """For what the main part is about to make; it says when it is through, or parks."""
        if held.key.part == MAIN or held.external_id:
            return False
        main = self._board.lanes.get(held.key._replace(part=MAIN))
        if main is None or not main.has_work:
            return False
        # a drain may take long, and what is fresh holds the cursor up
        return not main.lane.state.is_parked or (main.is_drain and held.is_drain)

    def _consider_all(self, held: HeldLane) -> None:
        """The lane, and the parts that wait for it."""
        self.consider(held)
        self._consider_parts(held)

    def _consider_parts(self, held: HeldLane) -> None:
        endpoint = self._endpoints.get(held.subscription.destination)
        if held.key.part == MAIN and endpoint is not None:
            for part in endpoint.capabilities.parts:
                other = self._board.lanes.get(held.key._replace(part=part))
                if other is not None and other is not held:
                    self.consider(other)

    def _put_away(self, held: HeldLane, now: float, *, is_idle: bool) -> None:
        """The ledger keeps it until it is due."""
        lane = held.lane
        if is_idle and held.is_drain and lane.state.is_parked and not lane.state.is_disabled:
            if held.has_more:
                lane.state.not_before = now
            else:
                lane.opened()
                held.is_drain = False
        held.marks_unsure = False
        if held.is_drain:
            # what still waits stands in the ledger as parked, and what comes now goes behind it
            lane.state.waiting, held.has_more = (), True
        self._collect(held)

    def _enqueue(self, held: HeldLane, step: LaneStep, now: float) -> None:
        endpoint = self._endpoints.get(held.subscription.destination)
        if endpoint is None or endpoint.destination is None:
            kind = held.subscription.destination.type
            why = f"no destination of type {kind!r}" if endpoint is None else endpoint.trouble
            self._put_off(held, RETRY_SECONDS, why)
            return
        if held.key.part != MAIN and not held.external_id:
            # the main part is parked: nothing is claimed for a call that cannot be made yet
            self._put_off(held, held.lane.parked_seconds(), "waits for what the main part makes")
            return
        limit = endpoint.limit(endpoint.destination.limit_of(self._outgoing(held, step.delivery)))
        held.is_queued = True
        limit.push(held, now)
        self._pump(limit)

    def _outgoing(self, held: HeldLane, delivery: Delivery | None) -> Outgoing:
        if delivery is None or delivery.change is None:
            raise RuntimeError("a call without a change")
        told: Told = delivery.change
        identity = delivery.delivery_id
        if identity is NO_ID:
            key = held.key
            name = key.subscription if key.part == MAIN else f"{key.subscription}.{key.part}"
            identity = delivery_id(told.event.change_id, name)
        return Outgoing(
            delivery_id=str(identity),
            subscription=held.key.subscription,
            part=held.key.part,
            change=told.event,
            options=held.subscription.destination.options,
            external_id=held.external_id,
        )

    def _put_off(self, held: HeldLane, seconds: float, why: str, *, is_throttled: bool = False) -> None:
        held.detail = why
        held.lane.put_off(self._clock(), seconds, is_throttled=is_throttled)
        self._collect(held)
        self._consider_all(held)

    # ---- who may call --------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Something that calls were waiting for has come: a write, a lease, an answer of the ledger."""
        for limit in list(self._waiting.values()):
            self._pump(limit)

    def _pump(self, limit: Limit) -> None:
        now = self._clock()
        while limit.is_waited_for and self._may_start(limit, now):
            held = limit.pop()
            if held is None or self._board.lanes.get(held.key) is not held:
                continue
            if not self._has_lease(held, now):
                limit.push(held, now)
                break
            held.is_queued = False
            breaker = limit.endpoint.breaker
            if not breaker.allows(now):
                self._put_off(held, max(1.0, breaker.retry_at() - now), "the endpoint does not answer")
                continue
            limit.running += 1
            self.unwritten += 1
            task = asyncio.get_running_loop().create_task(self._run(held, limit))
            self._tasks.add(task)
            task.add_done_callback(self._done)
        if not limit.is_waited_for:
            self._waiting.pop(id(limit), None)
            return
        self._waiting[id(limit)] = limit
        if not limit.is_timed:
            limit.is_timed = True
            left = limit.not_before - now
            wait = min(max(left, 0.01), _TICK_SECONDS) if left > 0 else _TICK_SECONDS
            asyncio.get_running_loop().call_later(wait, self._tick, limit)

    def _may_start(self, limit: Limit, now: float) -> bool:
        return (
            not (self.is_suspended or self.is_stopping)
            and self.unwritten < self._policy.unwritten
            and limit.running < limit.endpoint.capabilities.calls_at_once
            and now >= limit.not_before
        )

    def _has_lease(self, held: HeldLane, now: float) -> bool:
        partition = self._board.partitions.get(held.partition)
        return partition is not None and partition.lease_until - now >= self._policy.lease_left

    def _tick(self, limit: Limit) -> None:
        """Lanes that have waited for their whole time park, so that the cursor need not wait for a slow target."""
        limit.is_timed = False
        now = self._clock()
        wait = max(0.0, limit.not_before - now)
        folds = limit.endpoint.capabilities.sends_state
        for held in limit.take_overdue(now):
            held.is_queued = False
            self._put_off(held, wait, "waits for its turn", is_throttled=folds)
        self._pump(limit)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failure = self.failure or task.exception()
        self._told()

    # ---- one call ------------------------------------------------------------------------------------------------

    async def _run(self, held: HeldLane, limit: Limit) -> None:
        try:
            if limit.endpoint.destination is None:
                self._put_off(held, RETRY_SECONDS, limit.endpoint.trouble)
            else:
                await self._begin(held, limit, await limit.endpoint.enter())
        finally:
            self.ended += 1
            limit.running -= 1
            self._collect(held)
            self._pump(limit)
            self._consider_all(held)

    async def _begin(self, held: HeldLane, limit: Limit, destination: Destination) -> None:
        lane = held.lane
        if limit.endpoint.capabilities.sends_state and held.is_drain:
            lane.state.is_throttled = True
        step = lane.next_step(self._clock())
        if step.action == "claim" and step.delivery is not None:
            claimed = step.delivery.delivery_id
            attempt = await self._claim(held, held.entry(step.delivery, "claimed"))
            held.attempts[claimed] = attempt or held.attempts.get(claimed, 1)
            step = lane.claimed(held.attempts[claimed], self._clock())
            if attempt is None and step.action == "send":
                lane.not_called()
                return
        if step.action == "look_up" and step.delivery is not None:
            await self._settle(held, step.delivery, limit.endpoint.capabilities, destination)
        elif step.action in ("send", "close"):
            await self._call(held, step, limit, destination)

    async def _call(self, held: HeldLane, step: LaneStep, limit: Limit, destination: Destination) -> None:
        now = self._clock()
        if not self._has_lease(held, now) or not held.lane.may_call(now):
            held.lane.not_called()
            return
        try:
            outcome = await destination.send(self._outgoing(held, step.delivery))
        except RejectedError as error:
            outcome = SendOutcome(result="rejected", detail=str(error))
        self._answered(held, step, outcome, limit)

    def _answered(self, held: HeldLane, step: LaneStep, outcome: SendOutcome, limit: Limit) -> None:
        now = self._clock()
        capabilities, breaker = limit.endpoint.capabilities, limit.endpoint.breaker
        is_down = outcome.result == "unknown" or (outcome.result == "retry" and outcome.status in (None, 503))
        if is_down:
            breaker.failed(now)
        else:
            breaker.succeeded()
        if outcome.result == "blocked":
            self._endpoints.retire(limit.endpoint)
        answer, retry_after = answer_of(outcome, capabilities)
        if outcome.result == "retry" and outcome.retry_after:
            limit.not_before = max(limit.not_before, now + outcome.retry_after)
        held.status, held.detail, held.receipt = outcome.status, outcome.detail[:500], outcome.external_id
        held.folded = 0
        if step.delivery is not None and step.action == "send" and held.lane.state.claim is None:
            identity = step.delivery.delivery_id
            held.attempts[identity] = held.attempts.get(identity, 0) + 1
        if self._board.lanes.get(held.key) is not held:
            if outcome.result == "delivered" and step.delivery is not None and step.action == "send":
                self._board.keep_delivered(held.partition, [held.entry(step.delivery, "delivered")])
            return
        if outcome.result == "delivered" and outcome.external_id and held.key.part == MAIN:
            self._has_made(held, outcome.external_id, capabilities)
        if answer is Answer.GONE:
            self._gone(held.key.subscription, outcome.detail or "answered 410")
        held.lane.answered(answer, now, retry_after=retry_after)

    def _has_made(self, held: HeldLane, external_id: str, capabilities: Capabilities) -> None:
        for part in capabilities.parts:
            other = self._board.lanes.get(held.key._replace(part=part))
            if other is not None:
                if not other.external_id and other is not held:
                    other.lane.state.not_before = 0.0
                other.external_id = external_id

    # ---- lookups -------------------------------------------------------------------------------------------------

    async def _settle(
        self, held: HeldLane, delivery: Delivery, capabilities: Capabilities, destination: Destination
    ) -> None:
        """Whether a claimed call took effect, long after it was made."""
        claim = held.lane.state.claim
        age = 0.0 if claim is None else self._clock() - claim.claimed_at
        made = await made_once(destination, self._outgoing(held, delivery), age_seconds=age)
        held.detail, held.folded = made.why or held.detail, made.folded
        if made.external_id:
            held.receipt = made.external_id
            if held.key.part == MAIN:
                self._has_made(held, made.external_id, capabilities)
        held.lane.looked_up(None if made.external_id is None else bool(made.external_id), self._clock())

    async def scan(self, held: HeldLane, delivery: Delivery) -> DeliveryEntry | None:
        """Folds what a delivery that was claimed more than once has doubled; None: nothing is known, look again."""
        endpoint = self._endpoints.get(held.subscription.destination)
        if endpoint is None or endpoint.destination is None:
            return None
        outgoing, age = self._outgoing(held, delivery), held.lane.policy.settle_wait
        own = held.external_id if held.key.part == MAIN else ""
        made = await made_once(await endpoint.enter(), outgoing, age_seconds=age, own=own)
        if made.external_id is None:
            return None
        held.folded = made.folded
        return held.entry(delivery, "delivered")._replace(scan_seconds=None, change=b"")

    async def ended_within(self, seconds: float) -> None:
        """Waits for the calls under way, but no longer."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    async def close(self) -> None:
        """After the last call."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._endpoints.close()
        self._waiting.clear()

    def _collect(self, held: HeldLane) -> None:
        partition = self._board.partitions.get(held.partition)
        if partition is not None and self._board.lanes.get(held.key) is held:
            held.collect(partition)
            self._told()
