"""The delivery protocol of one lane: the changes of one subject on their way to one subscription.

Pure: ``now`` is seconds of the caller's monotonic clock. The caller asks ``next_step``, does what it says and tells how
it ended; what is finished comes out of ``take_finished`` and has to be in the delivery ledger before the cursor passes.

* At most one call in flight; changes leave in the order of their revisions.
* A change that is not newer than the highest revision *seen* is superseded, whether that one was sent or not.
* A repeatable call is made, then written down. After an unknown outcome or a takeover the lane is unsure: once
  whatever was sent before has happened or never will, the newest state is sent once more.
* A claim-first call is made only under a young, committed claim. A claim without an answer is settled by looking the
  effect up, at its own age, by whoever holds the lane; a takeover settles nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, NamedTuple
from uuid import UUID


class ClaimUse(Enum):
    """Which calls of a destination are made under a claim."""

    NEVER = "every call may be repeated"
    FIRST = "the call that creates; changing what is there may be repeated"
    EVERY = "every call creates"


@dataclass(frozen=True, kw_only=True)
class LanePolicy:
    """Seconds throughout.

    :param retries: in-lane retries start no later than this after the first try; then the lane parks.
    :param first_delay: before the first retry; doubles with each.
    :param parked: before a lane that parked is tried again; three times as long each time, up to ``longest_parked``.
    :param window: age of its claim up to which a sender may start the call.
    :param late: longest time from a call to its effect, also after the client gave up on it.
    :param lag: from the effect until a lookup shows it. :param margin: on top of what a settling waits.
    """

    claims: ClaimUse = ClaimUse.NEVER
    retries: float = 5.0
    first_delay: float = 0.25
    parked: float = 5.0
    longest_parked: float = 300.0
    window: float = 5.0
    late: float = 60.0
    lag: float = 5.0
    margin: float = 5.0

    @property
    def settle_wait(self) -> float:
        return self.window + self.late + self.lag + self.margin


class Delivery(NamedTuple):
    """One change to one subscription.

    :param change: what is sent; a later recovered change is compared with it.
    :param folded: deliveries that this one stands for, because the target is to get the newest state only.
    """

    delivery_id: UUID
    revision: int
    change: Any = None
    folded: tuple[Delivery, ...] = ()


class Claim(NamedTuple):
    """:param attempt: 0: not committed yet. :param claimed_at: taken before the commit was sent, so never too late."""

    delivery: Delivery
    attempt: int
    claimed_at: float


class Answer(Enum):
    """How a call ended, as far as the caller knows."""

    DELIVERED = "has taken effect"
    FAILED = "had no effect, may work later"
    THROTTLED = "had no effect, later: the target is to get the newest state only"
    UNKNOWN = "no answer: may have taken effect, or may still"
    REJECTED = "had no effect and never will"
    GONE = "the endpoint is no more (410)"


class Offered(Enum):
    """What became of a change that was read."""

    QUEUED = "waits in the lane"
    PARKED = "stands behind the parked ones"
    SUPERSEDED = "is not newer than what was seen"


class Finished(NamedTuple):
    """What the ledger is to say of a delivery before the cursor may pass it."""

    delivery: Delivery
    state: Literal["delivered", "folded", "parked", "rejected"]


@dataclass(frozen=True, slots=True)
class LaneStep:
    """What the holder of the lane is to do now.

    ``send`` and ``close``: call, then ``answered``. ``claim``: commit the claim, then ``claimed``. ``look_up``: search
    for the effect by the delivery's id, then ``looked_up``. ``wait``: nothing before ``at``. ``idle``: nothing at all.
    """

    action: Literal["send", "close", "claim", "look_up", "wait", "idle"]
    delivery: Delivery | None = None
    at: float = 0.0


@dataclass(slots=True)
class LaneState:
    """What is known of a lane; every value is immutable, so that a shallow copy is a copy.

    :ivar seen: highest revision read of the subject, whether it went out or not.
    :ivar last: what the subscription was sent last.
    :ivar has_reference: the target holds something for this subject that may be changed in place.
    :ivar unsure_at: when a call of unknown outcome, or of a former owner, may last have been sent.
    :ivar parks: how often in a row it was parked because calls failed.
    """

    seen: int = 0
    last: Delivery | None = None
    has_reference: bool = False
    is_parked: bool = False
    is_disabled: bool = False
    unsure_at: float | None = None
    claim: Claim | None = None
    waiting: tuple[Delivery, ...] = ()
    in_flight: LaneStep | None = None
    is_throttled: bool = False
    tries: int = 0
    first_try_at: float = 0.0
    parks: int = 0
    not_before: float = 0.0
    finished: tuple[Finished, ...] = field(default=())


_IDLE = LaneStep("idle")


class Lane:
    """One holder's view of a lane.

    :param is_drain: the holder sends what is parked; without it a parked lane only takes changes in behind.
    """

    def __init__(self, policy: LanePolicy, state: LaneState | None = None, *, is_drain: bool = False) -> None:
        self.policy = policy
        self.state = state or LaneState()
        self._is_drain = is_drain

    # ---- what is read --------------------------------------------------------------------------------------------

    def note(self, revision: int) -> bool:
        """A revision was read, of whatever use it is to the subscription; False: something newer was before it."""
        state = self.state
        if revision <= state.seen:
            return False
        state.seen = revision
        return True

    def before_of_recovered(self) -> Any:
        """The change a recovered one, which cannot say it itself, is to be compared with; None: nothing was sent."""
        last = self.state.waiting[-1] if self.state.waiting else self.state.last
        return None if last is None else last.change

    def offer(self, delivery: Delivery) -> Offered:
        """A change the subscription is to hear of."""
        state = self.state
        if not self.note(delivery.revision):
            return Offered.SUPERSEDED
        if (state.is_parked or state.is_disabled) and not self._is_drain:
            state.finished += (Finished(delivery, "parked"),)
            return Offered.PARKED
        state.waiting += (delivery,)
        return Offered.QUEUED

    def taken_over(self, now: float) -> None:
        """Somebody held the lane before and may have sent something since its last entry in the ledger."""
        self.state.unsure_at = now

    # ---- what is to be done --------------------------------------------------------------------------------------

    def peek(self, now: float) -> LaneStep:
        """What ``next_step`` would say; begins nothing."""
        state = self.state
        if state.is_disabled:
            return _IDLE
        if state.in_flight is not None:
            return LaneStep("wait", at=float("inf"))
        if state.is_parked and not self._is_drain:
            return _IDLE
        if not state.waiting:
            return self._closing(now)
        if now < state.not_before:
            return LaneStep("wait", at=state.not_before)
        delivery, claim = state.waiting[0], state.claim
        if claim is not None:
            at = claim.claimed_at + self.policy.settle_wait
            return LaneStep("wait", claim.delivery, at) if now < at else LaneStep("look_up", claim.delivery)
        return LaneStep("claim" if self._is_claimed() else "send", delivery, now)

    def next_step(self, now: float) -> LaneStep:
        """A step that calls, claims or looks up is under way from here until it is answered."""
        state = self.state
        step = self.peek(now)
        if step.action in ("send", "claim") and state.is_throttled:
            self._fold()
            step = self.peek(now)
        if step.action == "send" and not state.tries:
            state.first_try_at = now
        if step.action not in ("wait", "idle"):
            state.in_flight = step
        return step

    def _closing(self, now: float) -> LaneStep:
        state = self.state
        if state.unsure_at is None or state.last is None or self._is_claimed():
            return _IDLE
        at = state.unsure_at + self.policy.late
        if now < at:
            return LaneStep("wait", at=at)
        return LaneStep("close", state.last, now)

    def _is_claimed(self) -> bool:
        use = self.policy.claims
        return use is ClaimUse.EVERY or (use is ClaimUse.FIRST and not self.state.has_reference)

    def _fold(self) -> None:
        *older, newest = self.state.waiting
        steps = [one for delivery in older for one in (*delivery.folded, delivery._replace(folded=()))]
        self.state.waiting = (newest._replace(folded=(*steps, *newest.folded)),)
        self.state.is_throttled = False

    # ---- how it ended --------------------------------------------------------------------------------------------

    def claimed(self, attempt: int, now: float) -> LaneStep:
        """The claim is committed. A claim that took too long is left to be settled: nobody calls under it any more."""
        state, step = self.state, self._under_way("claim")
        claim = Claim(state.waiting[0], attempt, step.at)
        state.claim, state.in_flight = claim, None
        if now - claim.claimed_at > self.policy.window:
            self._park()
            return LaneStep("wait", claim.delivery, claim.claimed_at + self.policy.settle_wait)
        if not state.tries:
            state.first_try_at = now
        state.in_flight = LaneStep("send", claim.delivery, now)
        return state.in_flight

    def may_call(self, now: float) -> bool:
        """The last look at the clock before a call goes out; False: ``not_called`` instead."""
        claim = self.state.claim
        return claim is None or now - claim.claimed_at <= self.policy.window

    def not_called(self) -> None:
        """Nothing went out. Under a claim the settling finds so; else the next step says it again."""
        self.state.in_flight = None
        if self.state.claim is not None:
            self._park()

    def put_off(self, now: float, seconds: float, *, is_throttled: bool = False) -> None:
        """No call can be made within the lane's time, which says nothing of the target: it parks for so long."""
        state = self.state
        state.is_throttled = state.is_throttled or is_throttled
        state.not_before = now + seconds
        self._park()

    def parked_seconds(self) -> float:
        """How long it parks now; each time three times as long, until something is delivered."""
        pause = min(self.policy.parked * 3.0 ** min(self.state.parks, 8), self.policy.longest_parked)
        self.state.parks += 1
        return pause

    def due(self, now: float) -> float | None:
        """When the lane wants attention if nobody keeps it in mind; None: it wants none."""
        state = self.state
        if state.is_disabled:
            return None
        if state.claim is not None:
            return max(state.claim.claimed_at + self.policy.settle_wait, state.not_before)
        # the cursor has not passed what waits in a lane that is not parked: whoever comes next reads it again
        if state.is_parked or (state.waiting and self._is_drain):
            return max(state.not_before, now)
        return None if state.unsure_at is None or self._is_claimed() else state.unsure_at + self.policy.late

    def opened(self) -> None:
        """Everything that was parked is through: the lane is one like any other again."""
        self.state.is_parked, self.state.tries, self._is_drain = False, 0, False

    def answered(self, answer: Answer, now: float, *, retry_after: float = 0.0) -> None:
        """How the call of ``send`` or ``close`` ended."""
        state = self.state
        step = self._under_way("send", "close")
        state.in_flight = None
        if answer is Answer.UNKNOWN and state.claim is not None:
            self._park()
            return
        if step.action == "send":
            state.claim = None
        if answer is Answer.GONE:
            state.is_disabled = True
            self._park()
        elif step.action == "close":
            self._closed(answer, now, retry_after)
        elif answer is Answer.DELIVERED:
            self._delivered()
        elif answer is Answer.REJECTED:
            self._done("rejected")
        else:
            self._retry(answer, now, retry_after)

    def looked_up(self, found: bool | None, now: float) -> None:
        """:param found: None: the lookup failed, which says nothing; it is asked again, the claim stands."""
        state = self.state
        self._under_way("look_up")
        state.in_flight = None
        if found is None:
            state.not_before = now + self.policy.retries
        elif found:
            state.claim = None
            self._delivered()
        else:
            state.claim = None

    def take_finished(self) -> tuple[Finished, ...]:
        finished, self.state.finished = self.state.finished, ()
        return finished

    def _under_way(self, *actions: str) -> LaneStep:
        step = self.state.in_flight
        if step is None or step.action not in actions:
            raise ValueError(f"the lane has no {' or '.join(actions)} under way")
        return step

    def _delivered(self) -> None:
        self.state.last, self.state.has_reference, self.state.parks = self.state.waiting[0], True, 0
        self._done("delivered")

    def _done(self, how: Literal["delivered", "rejected"]) -> None:
        state = self.state
        delivery = state.waiting[0]
        folded = tuple([Finished(one, "folded") for one in delivery.folded])
        state.finished += (*folded, Finished(delivery, how))
        state.waiting, state.tries, state.not_before = state.waiting[1:], 0, 0.0

    def _closed(self, answer: Answer, now: float, retry_after: float) -> None:
        state = self.state
        if answer in (Answer.DELIVERED, Answer.REJECTED):
            state.unsure_at = None
        elif answer is Answer.UNKNOWN:
            state.unsure_at = now
        elif state.unsure_at is not None:
            state.unsure_at = now - self.policy.late + max(retry_after, self.policy.retries)

    def _retry(self, answer: Answer, now: float, retry_after: float) -> None:
        state = self.state
        if answer is Answer.UNKNOWN:
            state.unsure_at = now
        state.is_throttled = answer is Answer.THROTTLED
        state.not_before = now + max(retry_after, self.policy.first_delay * 2.0 ** min(state.tries, 16))
        state.tries += 1
        if state.not_before <= state.first_try_at + self.policy.retries:
            return
        if not state.is_throttled:
            state.not_before = max(state.not_before, now + self.parked_seconds())
        self._park()

    def _park(self) -> None:
        """Never overwrites what is delivered: only what still waits is written down as parked."""
        state = self.state
        state.is_parked = True
        if not self._is_drain:
            each = [
                one for delivery in state.waiting for one in (*delivery.folded, delivery._replace(folded=()))
            ]
            state.finished += tuple([Finished(delivery, "parked") for delivery in each])
            state.waiting = ()
