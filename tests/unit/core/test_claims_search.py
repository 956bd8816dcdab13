"""Claim-first calls under kills, takeovers, lost answers, pauses and late effects: nothing is created twice.

The settling waits exactly as long as the policy says; a variant that leaves one of its rules out creates twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from state_search import broken

from airflow_provider_atlan_meta.core.lanes import (
    Answer,
    Claim,
    ClaimUse,
    Delivery,
    Lane,
    LanePolicy,
    LaneState,
)

pytestmark = pytest.mark.search

FIELDS = tuple(field.name for field in fields(LaneState))
TICKS = LanePolicy(claims=ClaimUse.EVERY, retries=0.0, window=1.0, late=2.0, lag=1.0, margin=1.0)
CHANGE = Delivery(UUID(int=1), 1)
TIMEOUT, LATE, LAG, HORIZON, ATTEMPTS = 2, 2, 1, 9, 2


@dataclass(frozen=True)
class Rules:
    claims: bool = True
    settles_at_takeover: bool = False
    looks_at_clock: bool = True
    lookup_failures: int = 0
    takes_failure_for_nothing: bool = False


class Proc(NamedTuple):
    lane: tuple[Any, ...]
    sent: tuple[int, int] | None = None  # when, attempt


class World(NamedTuple):
    now: int = 0
    claim: tuple[int, int] | None = None  # attempt, claimed at
    attempts: int = 0
    done: bool = False
    procs: tuple[Proc | None, ...] = (None, None)
    flying: tuple[tuple[int, int], ...] = ()  # sent at, attempt
    effects: tuple[int, ...] = ()  # visible at
    kills: int = 1
    lookup_failures: int = 0


def kept(lane: Lane) -> tuple[Any, ...]:
    """Without what decides nothing here, so that the states stay few."""
    state = lane.state
    state.finished, state.tries, state.first_try_at, state.not_before = (), 0, 0.0, 0.0
    return tuple(getattr(lane.state, name) for name in FIELDS)


class Model:
    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.policy = TICKS if rules.claims else LanePolicy(retries=0.0)

    def steps(self, w: World) -> Iterator[tuple[str, World]]:
        oldest = min((at for at, _ in w.flying), default=w.now)
        overdue = any(p and p.sent and w.now - p.sent[0] >= TIMEOUT for p in w.procs)
        if w.now < HORIZON and w.now - oldest < LATE and not overdue:
            visible = tuple(max(at, w.now + 1) for at in w.effects)
            yield f"time {w.now + 1}", w._replace(now=w.now + 1, effects=visible)
        for who, proc in enumerate(w.procs):
            if proc is not None:
                yield from self.work(w, who, proc)
                if w.kills:
                    yield f"{who} is killed", self.put(w, who, None)._replace(kills=w.kills - 1)
            elif not w.done and w.attempts < ATTEMPTS + (w.claim is not None):
                yield f"{who} takes the lane", self.put(w, who, Proc(kept(self.taken(w))))
        for call in w.flying:
            yield from self.effect(w, call)

    def put(self, w: World, who: int, proc: Proc | None) -> World:
        return w._replace(procs=tuple(proc if i == who else p for i, p in enumerate(w.procs)))

    def taken(self, w: World) -> Lane:
        state = LaneState(waiting=(CHANGE,), is_parked=True)
        if w.claim and self.rules.claims:
            age = self.policy.settle_wait if self.rules.settles_at_takeover else w.now - w.claim[1]
            state.claim = Claim(CHANGE, w.claim[0], w.now - age)
        return Lane(self.policy, state, is_drain=True)

    def work(self, w: World, who: int, proc: Proc) -> Iterator[tuple[str, World]]:
        lane = Lane(self.policy, LaneState(*proc.lane), is_drain=True)
        state, now = lane.state, float(w.now)
        if proc.sent is not None:
            if w.now - proc.sent[0] >= TIMEOUT:
                yield f"{who} hears nothing", self.put(w, who, None)
            return
        step = state.in_flight
        if step is None:
            step = lane.next_step(now)
            if step.action == "wait":
                return
            yield f"{who} will {step.action}", self.put(w, who, Proc(kept(lane)))
        elif step.action == "claim":
            if w.done or w.claim is not None or w.attempts >= ATTEMPTS:
                yield f"{who} finds another claim", self.put(w, who, None)
                return
            lane.claimed(w.attempts + 1, now)
            after = w._replace(claim=(w.attempts + 1, int(step.at)), attempts=w.attempts + 1)
            yield f"{who} commits claim {after.attempts}", self.put(after, who, Proc(kept(lane)))
        elif step.action == "look_up":
            yield from self.look_up(w, who, lane)
        elif self.rules.looks_at_clock and not lane.may_call(now):
            yield f"{who} is late, does not call", self.put(w, who, None)
        else:
            attempt = w.claim[0] if w.claim and state.claim is None else w.attempts
            attempt = state.claim.attempt if state.claim else attempt
            attempts = w.attempts if self.rules.claims else w.attempts + 1
            after = w._replace(flying=tuple(sorted((*w.flying, (w.now, attempt)))), attempts=attempts)
            yield f"{who} calls", self.put(after, who, Proc(kept(lane), (w.now, attempt)))

    def look_up(self, w: World, who: int, lane: Lane) -> Iterator[tuple[str, World]]:
        claim = lane.state.claim
        if w.done or claim is None or w.claim is None or claim.attempt != w.claim[0]:
            yield f"{who} finds its claim settled", self.put(w, who, None)
            return
        if w.lookup_failures:
            failed = Lane(self.policy, LaneState(*kept(lane)), is_drain=True)
            failed.looked_up(False if self.rules.takes_failure_for_nothing else None, float(w.now))
            fewer = w._replace(lookup_failures=w.lookup_failures - 1)
            if self.rules.takes_failure_for_nothing:
                fewer = fewer._replace(claim=None)
            yield f"{who} fails to look", self.put(fewer, who, Proc(kept(failed)))
        found = any(at <= w.now for at in w.effects)
        lane.looked_up(found, float(w.now))
        after = w._replace(done=found, claim=None)
        yield f"{who} looks: {found}", self.put(after, who, None if found else Proc(kept(lane)))

    def effect(self, w: World, call: tuple[int, int]) -> Iterator[tuple[str, World]]:
        flying = list(w.flying)
        flying.remove(call)
        gone = w._replace(flying=tuple(flying))
        for lag in range(LAG + 1):
            hit = gone._replace(effects=tuple(sorted((*w.effects, w.now + lag))))
            yield f"{call} takes effect, visible after {lag}", hit
            for who, proc in enumerate(w.procs):
                if proc is not None and proc.sent == call:
                    lane = Lane(self.policy, LaneState(*proc.lane), is_drain=True)
                    lane.answered(Answer.DELIVERED, float(w.now))
                    mine = w.claim is not None and w.claim[0] == call[1]
                    done = hit._replace(
                        done=hit.done or mine or not self.rules.claims, claim=None if mine else w.claim
                    )
                    yield f"{call} takes effect and {who} hears of it", self.put(done, who, None)

    def wrong(self, w: World, is_end: bool) -> str | None:
        if len(w.effects) > 1:
            return "created twice"
        if w.done and not w.effects:
            return "written as done, never created"
        return None


def search(rules: Rules) -> list[str]:
    model = Model(rules)
    return broken(World(lookup_failures=rules.lookup_failures), model.steps, model.wrong)


@pytest.mark.parametrize("rules", [Rules(), Rules(lookup_failures=1)])
def test_nothing_is_created_twice_by_kill_takeover_lost_answer_or_pause_before_the_call(rules: Rules) -> None:
    assert search(rules) == []


@pytest.mark.parametrize(
    "rules",
    [
        Rules(claims=False),
        Rules(settles_at_takeover=True),
        Rules(looks_at_clock=False),
        Rules(lookup_failures=1, takes_failure_for_nothing=True),
    ],
    ids=["no claim", "settled at takeover", "no look at the clock", "failed lookup taken for nothing"],
)
def test_a_sender_that_leaves_a_rule_out_creates_twice(rules: Rules) -> None:
    assert search(rules)[-1] == "created twice"
