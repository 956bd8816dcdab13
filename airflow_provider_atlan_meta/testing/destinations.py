"""A destination in memory, which does what it is told and remembers what took effect."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import NamedTuple, Self

from airflow_provider_atlan_meta.core.errors import AtlanMetaError
from airflow_provider_atlan_meta.core.lanes import ClaimUse
from airflow_provider_atlan_meta.core.sending import Outgoing, Result, SendOutcome, outcome_of_status

_REPEATABLE: Mapping[str, ClaimUse] = {"": ClaimUse.NEVER}
_LOST = SendOutcome(result="unknown", detail="no answer (lost)")
_TOO_EARLY = SendOutcome(result="retry", status=425, detail="waits for the main part", retry_after=1.0)


class Scripted(NamedTuple):
    """What comes of a call. :param effect_after: seconds until it takes effect; None: never."""

    outcome: SendOutcome
    effect_after: float | None = None


@dataclass
class Made:
    """Something a creating call has made.

    :ivar root: what it was made below: the main part's external id.
    :ivar shows: what it was made or changed with last.
    """

    external_id: str
    delivery_id: str
    part: str
    root: str
    at: float
    shows: Outgoing
    history: list[Outgoing] = field(default_factory=list)


class MemoryDestination:
    """A ``core.sending.LookupDestination``; of parts that are never claimed, a plain ``Destination``.

    :param parts: which calls create, as in ``Capabilities.parts``: a creating call makes something with an external id
        of its own, any other changes what the lane holds, or just takes effect where parts are never claimed.
    :param clock: seconds; delayed effects and lookups go by it.
    :param limit: names the limit of a call.
    :ivar called: every call, whatever came of it. :ivar most_at_once: by limit.
    :ivar lookup_lag: seconds until a lookup shows what was made.
    """

    def __init__(
        self,
        parts: Mapping[str, ClaimUse] = _REPEATABLE,
        *,
        clock: Callable[[], float] = time.monotonic,
        limit: Callable[[Outgoing], str] = lambda _: "",
    ) -> None:
        self.called: list[Outgoing] = []
        self.most_at_once: Counter[str] = Counter()
        self.lookup_lag = 0.0
        self.is_entered = False
        self._parts = parts
        self._clock = clock
        self._limit = limit
        self._script: deque[Scripted] = deque()
        self._for_delivery: dict[str, deque[Scripted]] = {}
        self._lookup_errors: deque[AtlanMetaError] = deque()
        self._late: list[tuple[float, Outgoing]] = []
        self._applied: list[Outgoing] = []
        self._made: dict[str, Made] = {}
        self._numbers = count(1)
        self._under_way: Counter[str] = Counter()
        self._open = asyncio.Event()
        self._open.set()

    # ---- what it is told ---------------------------------------------------------------------------------------------

    def script(self, *answers: Scripted, delivery_id: str = "") -> None:
        """For the next calls not scripted yet, or for those of one delivery, which go first."""
        queue = self._for_delivery.setdefault(delivery_id, deque()) if delivery_id else self._script
        queue.extend(answers)

    def answer_next(self, status: int, *, retry_after: str | None = None) -> None:
        """The next call gets this HTTP answer; only 2xx has an effect."""
        outcome = outcome_of_status(status, retry_after)
        self.script(Scripted(outcome, 0.0 if outcome.result == "delivered" else None))

    def refuse_next(
        self, result: Result, *, detail: str = "refused", retry_after: float | None = None
    ) -> None:
        """The next call has no effect and ends so."""
        self.script(Scripted(SendOutcome(result=result, detail=detail, retry_after=retry_after)))

    def lose_next_answer(self, *, effect_after: float | None = 0.0) -> None:
        """The sender of the next call never hears of it; it takes effect so much later, or never (None)."""
        self.script(Scripted(_LOST, effect_after))

    def fail_next_lookup(self, error: AtlanMetaError) -> None:
        self._lookup_errors.append(error)

    def hold(self) -> None:
        """Calls stay under way, without an effect yet, until ``release``."""
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    # ---- what came of it ---------------------------------------------------------------------------------------------

    @property
    def applied(self) -> list[Outgoing]:
        """What took effect until now, in this order."""
        self._apply_late()
        return self._applied

    @property
    def made(self) -> list[Made]:
        """What is there until now, oldest first."""
        self._apply_late()
        return list(self._made.values())

    @property
    def under_way(self) -> int:
        return self._under_way.total()

    # ---- the port ----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self.is_entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_entered = False

    def limit_of(self, outgoing: Outgoing) -> str:
        return self._limit(outgoing)

    async def send(self, outgoing: Outgoing) -> SendOutcome:
        if not self.is_entered:
            raise RuntimeError("MemoryDestination is used as an async context manager")
        if outgoing.part and not outgoing.external_id:
            return _TOO_EARLY
        self.called.append(outgoing)
        limit = self.limit_of(outgoing)
        self._under_way[limit] += 1
        self.most_at_once[limit] = max(self.most_at_once[limit], self._under_way[limit])
        try:
            await self._open.wait()
        finally:
            self._under_way[limit] -= 1
        return self._answered(outgoing)

    async def find(self, outgoing: Outgoing, *, since_seconds: float) -> tuple[str, ...]:
        if self._lookup_errors:
            raise self._lookup_errors.popleft()
        now = self._clock()
        return tuple(
            [
                one.external_id
                for one in self.made
                if (one.delivery_id, one.part) == (outgoing.delivery_id, outgoing.part)
                and (not one.part or one.root == outgoing.external_id)
                and now - since_seconds <= one.at <= now - self.lookup_lag
            ]
        )

    async def remove(self, external_id: str) -> SendOutcome:
        self._made.pop(external_id, None)
        return SendOutcome(result="delivered", status=200)

    # ---- effects -----------------------------------------------------------------------------------------------------

    def _answered(self, outgoing: Outgoing) -> SendOutcome:
        queue = self._for_delivery.get(outgoing.delivery_id) or self._script
        default = Scripted(SendOutcome(result="delivered", status=200), 0.0)
        outcome, effect_after = queue.popleft() if queue else default
        external_id = outgoing.external_id
        if effect_after == 0.0:
            self._apply_late()
            if not self._is_creating(outgoing) and external_id and external_id not in self._made:
                return SendOutcome(result="rejected", status=200, detail="what was made is gone")
            external_id = self._apply(outgoing, self._clock())
        elif effect_after is not None:
            self._late.append((self._clock() + effect_after, outgoing))
        if outcome.result != "delivered":
            return outcome
        return SendOutcome(result="delivered", status=outcome.status, external_id=external_id)

    def _apply_late(self) -> None:
        now = self._clock()
        due = sorted([one for one in self._late if one[0] <= now], key=lambda one: one[0])
        self._late = [one for one in self._late if one[0] > now]
        for at, outgoing in due:
            self._apply(outgoing, at)

    def _apply(self, outgoing: Outgoing, at: float) -> str:
        """The external id of what the call made or changed."""
        self._applied.append(outgoing)
        if self._is_creating(outgoing):
            external_id = f"made/{next(self._numbers)}"
            self._made[external_id] = Made(
                external_id,
                outgoing.delivery_id,
                outgoing.part,
                outgoing.external_id,
                at,
                outgoing,
                [outgoing],
            )
            return external_id
        there = self._made.get(outgoing.external_id)
        if there is not None:
            there.shows = outgoing
            there.history.append(outgoing)
        return outgoing.external_id

    def _is_creating(self, outgoing: Outgoing) -> bool:
        use = self._parts[outgoing.part]
        return use is ClaimUse.EVERY or (use is ClaimUse.FIRST and not outgoing.external_id)
