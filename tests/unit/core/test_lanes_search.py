"""Kills, takeovers, lost answers and late effects in every order: what holds, and which mutants are caught."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from state_search import broken

from airflow_provider_atlan_meta.core.lanes import (
    Answer,
    Delivery,
    Lane,
    LanePolicy,
    LaneState,
    Offered,
)

FIELDS = tuple(field.name for field in fields(LaneState))
# every first failure parks, and the closing send waits for no clock but for the last call to have ended
UNTIMED = LanePolicy(retries=0.0, late=0.0)
NOW = 1.0


def delivery(revision: int) -> Delivery:
    return Delivery(UUID(int=revision), revision, revision)


def kept(lane: Lane) -> tuple[Any, ...]:
    return tuple(getattr(lane.state, name) for name in FIELDS)


# ---- repeatable targets ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rules:
    """A mutant per field that is not its default."""

    changes: int = 2
    kills: int = 0
    takeovers: int = 0
    losses: int = 0
    failures: int = 0
    throttles: int = 0
    locked: bool = True
    closing: bool = True
    drops_throttled: bool = False
    judge_state: bool = False


class Proc(NamedTuple):
    epoch: int
    lane: tuple[Any, ...]
    read: int  # highest revision read
    sent: bool = False
    saw_parked: bool = False


class World(NamedTuple):
    ledger: tuple[str, ...]
    cursor: int = 0
    epochs: tuple[int, int] = (0, 0)  # of the partition's lease and of the parked lane's
    seen: int = 0
    last: int = 0
    parked: bool = False
    unsure: bool = False
    procs: tuple[Proc | None, ...] = (None, None, None)  # two consumers, a drain
    flying: tuple[tuple[int, int, int], ...] = ()
    arrived: frozenset[int] = frozenset()
    shows: int = 0
    kills: int = 0
    takeovers: int = 0
    losses: int = 0
    failures: int = 0
    throttles: int = 0
    fault: str = ""


DRAIN = 2


class Model:
    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def lane(self, proc: Proc, who: int) -> Lane:
        return Lane(UNTIMED, LaneState(*proc.lane), is_drain=who == DRAIN)

    def steps(self, w: World) -> Iterator[tuple[str, World]]:
        if w.fault:
            return
        for who, proc in enumerate(w.procs):
            if proc is None:
                yield from self.take(w, who)
            else:
                yield from self.work(w, who, proc)
                if w.kills:
                    yield f"{who} is killed", self.put(w, who, None)._replace(kills=w.kills - 1)
        for call in w.flying:
            yield from self.effect(w, call)

    def put(self, w: World, who: int, proc: Proc | None) -> World:
        return w._replace(procs=tuple(proc if i == who else p for i, p in enumerate(w.procs)))

    def take(self, w: World, who: int) -> Iterator[tuple[str, World]]:
        side = int(who == DRAIN)
        owed = w.unsure and self.rules.closing and not w.parked
        if not (w.parked if side else owed or w.cursor < self.rules.changes):
            return
        foreign = any(p and p.epoch == w.epochs[side] for i, p in enumerate(w.procs) if (i == DRAIN) == side)
        if foreign and not w.takeovers:
            return
        epochs = (w.epochs[0] + (not side), w.epochs[1] + side)
        state = LaneState(seen=w.seen, last=delivery(w.last) if w.last else None, is_parked=w.parked)
        lane = Lane(UNTIMED, state, is_drain=bool(side))
        if (w.unsure or w.epochs[side]) and self.rules.closing:
            lane.taken_over(NOW)
        if side:
            state.waiting = tuple(delivery(i + 1) for i, s in enumerate(w.ledger) if s == "parked")
        taken = w._replace(
            epochs=epochs, takeovers=w.takeovers - foreign, unsure=w.unsure or w.epochs[side] > 0
        )
        yield f"{who} takes its lease", self.put(taken, who, Proc(epochs[side], kept(lane), w.cursor))

    def work(self, w: World, who: int, proc: Proc) -> Iterator[tuple[str, World]]:
        side = int(who == DRAIN)
        mine = proc.epoch == w.epochs[side]
        lane = self.lane(proc, who)
        state = lane.state
        if proc.sent:
            if w.losses:
                lane.answered(Answer.UNKNOWN, NOW)
                state.not_before = 0.0  # any time may have passed
                yield (
                    f"{who} hears nothing",
                    self.put(w, who, self.keep(proc, lane))._replace(losses=w.losses - 1, unsure=True),
                )
            return
        if state.finished:
            yield f"{who} writes its ledger", self.flush(w, who, proc, lane, mine)
        elif state.in_flight is not None:
            # looks at its lease before every send
            after = (
                self.put(w, who, proc._replace(sent=True))
                if mine
                else self.put(w, who, None)._replace(unsure=True)
            )
            call = (state.in_flight.delivery.revision, who, proc.epoch)  # type: ignore[union-attr]
            yield f"{who} sends", after._replace(flying=tuple(sorted((*w.flying, call)))) if mine else after
        elif not mine:
            yield f"{who} sees its lease gone", self.put(w, who, None)._replace(unsure=True)
        else:
            yield from self.read(w, who, proc, lane)
            state.is_parked = w.parked
            state.unsure_at = NOW if w.unsure and self.rules.closing else None
            state.last = delivery(w.last) if w.last else None
            step = lane.next_step(NOW)
            if step.action in ("send", "close") and (step.action == "send" or not w.flying):
                yield f"{who} decides to {step.action}", self.put(w, who, self.keep(proc, lane))
            elif side and not state.waiting:
                opened = "parked" not in w.ledger
                yield f"{who} opens the lane", self.put(w, who, None)._replace(parked=w.parked and not opened)

    def keep(self, proc: Proc, lane: Lane) -> Proc:
        return proc._replace(lane=kept(lane), sent=False)

    def read(self, w: World, who: int, proc: Proc, lane: Lane) -> Iterator[tuple[str, World]]:
        if who == DRAIN or proc.read >= self.rules.changes or lane.state.waiting:
            if who != DRAIN and proc.read >= self.rules.changes and not lane.state.waiting:
                lane.state.is_parked = w.parked
                if not w.parked and w.cursor == self.rules.changes and not (w.unsure and self.rules.closing):
                    yield f"{who} is through", self.put(w, who, None)
            return
        revision = proc.read + 1
        read = proc._replace(read=revision)
        known = w.ledger[revision - 1]
        if not self.rules.locked and not known and not proc.saw_parked and w.parked:
            yield f"{who} looks: the lane is parked", self.put(w, who, proc._replace(saw_parked=True))
            return
        lane.state.is_parked = w.parked or proc.saw_parked
        offered = Offered.SUPERSEDED if known else lane.offer(delivery(revision))
        if known:
            lane.note(revision)
        after = w
        if offered is Offered.PARKED:  # appended under the lane row's lock, in the same transaction
            lane.take_finished()
            ledger = tuple("parked" if i == revision - 1 else s for i, s in enumerate(w.ledger))
            after = w._replace(ledger=ledger)
        if offered is not Offered.QUEUED:
            after = after._replace(cursor=max(w.cursor, revision), seen=max(w.seen, revision))
        lane.state.is_parked = w.parked
        yield (
            f"{who} reads {revision}: {offered.name}",
            self.put(after, who, read._replace(lane=kept(lane), saw_parked=False)),
        )

    def flush(self, w: World, who: int, proc: Proc, lane: Lane, mine: bool) -> World:
        state = lane.state
        ledger = list(w.ledger)
        cursor, seen = w.cursor, w.seen
        for one, how in lane.take_finished():
            at = one.revision - 1
            if how == "parked" and (not mine or ledger[at]):
                continue
            ledger[at] = how
            if mine and who != DRAIN:
                cursor, seen = max(cursor, one.revision), max(seen, one.revision)
        last = max([w.last, *(i + 1 for i, how in enumerate(ledger) if how == "delivered")])
        unsure = w.unsure or state.unsure_at is not None or not mine
        after = w._replace(ledger=tuple(ledger), cursor=cursor, seen=seen, last=last, unsure=unsure)
        if not mine:
            return self.put(after, who, None)
        return self.put(after._replace(parked=w.parked or state.is_parked), who, self.keep(proc, lane))

    def effect(self, w: World, call: tuple[int, int, int]) -> Iterator[tuple[str, World]]:
        revision, who, epoch = call
        flying = list(w.flying)
        flying.remove(call)
        proc = w.procs[who]
        heard = proc is not None and proc.epoch == epoch and proc.sent
        early = revision not in w.arrived and any(i not in w.arrived for i in range(1, revision))
        fault = f"{revision} arrives for the first time before an older one" if early else ""
        gone = w._replace(flying=tuple(flying))
        hit = gone._replace(arrived=w.arrived | {revision}, shows=revision, fault=fault)
        if not heard or proc is None:
            yield f"{revision} takes effect, nobody listens", hit
            return
        yield f"{revision} takes effect", self.answer(hit, who, proc, Answer.DELIVERED)
        if w.failures:
            yield "503", self.answer(gone._replace(failures=w.failures - 1), who, proc, Answer.FAILED)
        if w.throttles:
            said = Answer.DELIVERED if self.rules.drops_throttled else Answer.THROTTLED
            yield "429", self.answer(gone._replace(throttles=w.throttles - 1), who, proc, said)

    def answer(self, w: World, who: int, proc: Proc, answer: Answer) -> World:
        lane = self.lane(proc, who)
        closes = lane.state.in_flight is not None and lane.state.in_flight.action == "close"
        lane.answered(answer, NOW)
        lane.state.not_before = 0.0  # any time may have passed
        after = self.put(w, who, self.keep(proc, lane))
        return after._replace(unsure=False) if closes and answer is Answer.DELIVERED else after

    def wrong(self, w: World, is_end: bool) -> str | None:
        if w.fault:
            return w.fault
        if not is_end or w.procs != (None, None, None):
            return None if not is_end else self.left_over(w)
        return self.left_over(w)

    def left_over(self, w: World) -> str | None:
        unsettled = [i + 1 for i, how in enumerate(w.ledger) if how not in ("delivered", "folded")]
        if unsettled:
            return f"{unsettled} never delivered: {w.ledger}, parked {w.parked}"
        if not {i + 1 for i, how in enumerate(w.ledger) if how == "delivered"} <= w.arrived:
            return f"written as delivered, never arrived: {w.ledger}"
        if self.rules.judge_state and w.shows != self.rules.changes:
            return f"the target shows {w.shows} for ever"
        return None


def search(rules: Rules) -> list[str]:
    model = Model(rules)
    start = World(
        ("",) * rules.changes,
        kills=rules.kills,
        takeovers=rules.takeovers,
        losses=rules.losses,
        failures=rules.failures,
        throttles=rules.throttles,
    )
    return broken(start, model.steps, model.wrong)


@pytest.mark.parametrize(
    "rules",
    [
        Rules(),
        Rules(kills=1, failures=1),
        Rules(takeovers=1, failures=1),
        Rules(takeovers=1, losses=1),
        Rules(kills=1, throttles=1, changes=3),
    ],
)
def test_nothing_is_lost_and_the_order_of_a_subject_is_kept(rules: Rules) -> None:
    assert search(rules) == []


@pytest.mark.parametrize("faults", [{"losses": 1}, {"takeovers": 1}, {"losses": 1, "takeovers": 1}])
def test_a_target_that_applies_what_it_is_sent_ends_in_the_newest_state(faults: dict[str, int]) -> None:
    assert search(Rules(**faults, judge_state=True)) == []  # type: ignore[arg-type]


def test_without_the_closing_send_one_lost_answer_leaves_an_old_state_for_ever() -> None:
    assert search(Rules(losses=1, closing=False, judge_state=True))[-1] == "the target shows 1 for ever"


@pytest.mark.parametrize("rules", [Rules(failures=1, locked=False), Rules(throttles=1, drops_throttled=True)])
def test_a_lane_without_its_lock_or_one_that_drops_what_is_throttled_is_caught(rules: Rules) -> None:
    assert search(rules) != []
