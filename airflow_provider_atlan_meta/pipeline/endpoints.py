"""The other sides of connections: their clients, circuit breakers, and the queues of what shares a limit there."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from airflow_provider_atlan_meta.core.breaker import Breaker, BreakerPolicy
from airflow_provider_atlan_meta.core.deliveries import MAIN
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.core.routing import DestinationSpec
from airflow_provider_atlan_meta.core.sending import Capabilities, Destination
from airflow_provider_atlan_meta.pipeline.lane_board import HeldLane

# A connection that is missing or wrong is looked at again after so long.
RETRY_SECONDS = 60.0


class Destinations(Protocol):
    """Where deliveries can go."""

    def capabilities(self, kind: str) -> Capabilities | None: ...

    def open(self, spec: DestinationSpec) -> Destination:
        """:raises ConfigurationError: its connection is missing or wrong."""
        ...


@dataclass
class Endpoint:
    """One connection's other side.

    :ivar trouble: why there is no ``destination``; asked again from ``retry_at`` on.
    """

    spec: DestinationSpec
    capabilities: Capabilities
    breaker: Breaker
    destination: Destination | None = None
    trouble: str = ""
    retry_at: float = 0.0
    entering: asyncio.Lock = field(default_factory=asyncio.Lock)
    is_entered: bool = False
    retired: list[Destination] = field(default_factory=list)
    limits: dict[str, Limit] = field(default_factory=dict)

    async def enter(self) -> Destination:
        """Its client, ready to send.

        :raises RuntimeError: there is none.
        """
        if self.destination is None:
            raise RuntimeError(self.trouble or "no destination")
        if not self.is_entered:
            async with self.entering:
                if not self.is_entered:
                    await self.destination.__aenter__()
                    self.is_entered = True
                    # of the last one calls may still be under way
                    while len(self.retired) > 1:
                        await self.retired.pop(0).__aexit__(None, None, None)
        return self.destination

    def limit(self, name: str) -> Limit:
        found = self.limits.get(name)
        if found is None:
            found = self.limits[name] = Limit(self)
        return found


@dataclass
class Limit:
    """Calls that share a limit of the other side, in the order they came; main parts before others."""

    endpoint: Endpoint
    first: deque[tuple[float, HeldLane]] = field(default_factory=deque)
    later: deque[tuple[float, HeldLane]] = field(default_factory=deque)
    running: int = 0
    not_before: float = 0.0
    is_timed: bool = False

    def push(self, held: HeldLane, now: float) -> None:
        (self.first if held.key.part == MAIN else self.later).append((now, held))

    def pop(self) -> HeldLane | None:
        queue = self.first or self.later
        return queue.popleft()[1] if queue else None

    def take_overdue(self, now: float) -> list[HeldLane]:
        """Those that have waited for their whole time; a drain may wait as long as it takes."""
        overdue = []
        for queue in (self.first, self.later):
            kept = []
            for queued_at, held in queue:
                is_over = not held.is_drain and now - queued_at > held.lane.policy.retries
                overdue.append(held) if is_over else kept.append((queued_at, held))
            queue.clear()
            queue.extend(kept)
        return overdue

    @property
    def is_waited_for(self) -> bool:
        return bool(self.first or self.later)


class Endpoints:
    """By type and connection; opened at first use. One event loop's own."""

    def __init__(self, destinations: Destinations, policy: BreakerPolicy, clock: Callable[[], float]) -> None:
        self._destinations = destinations
        self._policy = policy
        self._clock = clock
        self._known: dict[tuple[str, str], Endpoint] = {}

    def get(self, spec: DestinationSpec) -> Endpoint | None:
        """None: nobody knows destinations of this type."""
        key = (spec.type, spec.conn_id)
        found = self._known.get(key)
        if found is None:
            capabilities = self._destinations.capabilities(spec.type)
            if capabilities is None:
                return None
            found = self._known[key] = Endpoint(spec, capabilities, Breaker(self._policy))
        if found.destination is None and self._clock() >= found.retry_at:
            found.destination = self._opened(found)
        return found

    def _opened(self, endpoint: Endpoint) -> Destination | None:
        try:
            return self._destinations.open(endpoint.spec)
        except ConfigurationError as error:
            # of this connection alone: the others go on
            endpoint.trouble, endpoint.retry_at = str(error)[:500], self._clock() + RETRY_SECONDS
            return None

    def retire(self, endpoint: Endpoint) -> None:
        """It was refused: perhaps its connection was changed. Now and then it is opened anew, from the connection."""
        now = self._clock()
        if endpoint.destination is not None and endpoint.is_entered and now >= endpoint.retry_at:
            endpoint.retry_at = now + RETRY_SECONDS
            endpoint.retired.append(endpoint.destination)
            endpoint.is_entered = False
            endpoint.destination = self._opened(endpoint)

    def open_breakers(self) -> Iterator[str]:
        """Connections that nobody calls at the moment."""
        return (
            conn_id for (_, conn_id), one in self._known.items() if one.breaker.state.opened_at is not None
        )

    async def close(self) -> None:
        for endpoint in self._known.values():
            if endpoint.is_entered and endpoint.destination is not None:
                endpoint.retired.append(endpoint.destination)
            for destination in endpoint.retired:
                await destination.__aexit__(None, None, None)
        self._known.clear()
