"""What a user can rely on between a change and the calls made for it, whatever fails in between."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from airflow_provider_atlan_meta.core.rows import LogRecord
from airflow_provider_atlan_meta.pipeline.ingest import DrainLimits
from airflow_provider_atlan_meta.pipeline.propagation_run import PropagatePolicy
from airflow_provider_atlan_meta.testing.memory_store import Answer
from tests.unit.pipeline.propagation_world import World, change, run, subscription


def test_every_change_is_sent_once_in_order_and_the_cursor_stands_behind_it() -> None:
    world = World.of()
    world.tell(*[change("inc-1", revision) for revision in (1, 2, 3)], change("inc-2", 1))

    outcome = world.drain()

    assert [one.change.revision for one in world.destination().applied if one.change.id == "inc-1"] == [
        1,
        2,
        3,
    ]
    assert (outcome.records, outcome.deliveries, world.cursor) == (4, {"delivered": 4}, 4)
    assert world.drain().records == 0
    assert len(world.destination().called) == 4


def test_a_change_goes_to_every_subscription_that_asks_for_it_and_to_no_other() -> None:
    world = World.of(subscription("all"), subscription("sev1", severity=["SEV-1"]))
    world.tell(change("inc-1", 1, severity="SEV-1"), change("inc-2", 1, severity="SEV-2"))

    world.drain()

    assert sorted(one.change.id for one in world.destination("hook-all").applied) == ["inc-1", "inc-2"]
    assert [one.change.id for one in world.destination("hook-sev1").applied] == ["inc-1"]


def test_the_cursor_of_a_service_passes_the_markers_of_transactions() -> None:
    """Else a bounded run beside it would see lag that nobody works on."""
    world = World.of(lease_seconds=0.6)
    world.tell(change("inc-1", 1))
    end = world.topic.commit(0)

    async def followed() -> None:
        engine, stopped = world.consumer("service host:1"), asyncio.Event()
        follower = asyncio.create_task(engine.follow(stopped.is_set))
        await reached(lambda: bool(world.database.ledger) and world.cursor == end)
        stopped.set()
        await follower
        engine.close()

    run(followed())


def test_a_change_nobody_asks_for_moves_the_cursor_and_is_remembered_as_seen() -> None:
    world = World.of(subscription("sev1", severity=["SEV-1"]))
    world.tell(change("inc-1", 2, severity="SEV-2"))
    world.drain()
    world.tell(change("inc-1", 1, severity="SEV-1"))

    world.drain()

    assert world.destination("hook-sev1").called == []
    assert world.cursor == 2


def test_what_is_no_change_goes_to_the_dead_letters_and_the_rest_goes_on() -> None:
    world = World.of()
    world.topic.append(0, LogRecord(0, 0, b"acme|x", b"{", ()))
    world.tell(change("inc-1", 1))

    outcome = world.drain()

    assert (outcome.rejected, outcome.deliveries, world.cursor) == (1, {"delivered": 1}, 2)
    assert len(world.database.tables.dead_letters) == 1


def test_a_failure_is_retried_in_the_lane_before_what_comes_behind() -> None:
    world = World.of()
    world.destination().answer_next(503)
    world.tell(change("inc-1", 1), change("inc-1", 2))

    outcome = world.drain()

    assert world.revisions() == [1, 2]
    assert (len(world.destination().called), outcome.deliveries) == (3, {"delivered": 2})


def test_a_target_that_stays_away_gets_the_lane_parked_and_the_cursor_goes_on() -> None:
    world = World.of()
    for _ in range(8):
        world.destination().answer_next(503)
    world.tell(change("inc-1", 1), change("inc-1", 2), change("inc-2", 1))

    outcome = world.drain()

    assert world.cursor == 3
    assert outcome.deliveries == {"parked": 3}
    assert outcome.parked_lanes == 2


def test_what_is_parked_is_sent_by_a_later_run_in_order_and_nothing_overtakes_it() -> None:
    world = World.of()
    park(world, change("inc-1", 1))
    world.tell(change("inc-1", 2), change("inc-1", 3))

    until(world, lambda: world.revisions() == [1, 2, 3])

    world.tell(change("inc-1", 4))
    world.drain()
    assert world.revisions() == [1, 2, 3, 4]
    assert not world.drain().parked_lanes


def test_a_rejected_delivery_does_not_hold_the_next_one() -> None:
    world = World.of()
    world.destination().answer_next(400)
    world.tell(change("inc-1", 1), change("inc-1", 2))

    outcome = world.drain()

    assert world.revisions() == [2]
    assert outcome.deliveries == {"delivered": 1, "rejected": 1}


def test_after_a_lost_answer_the_newest_state_is_sent_once_more_under_the_same_id() -> None:
    world = World.of()
    world.destination().lose_next_answer(effect_after=0.05)
    world.tell(change("inc-1", 1), change("inc-1", 2))

    world.drain()
    until(world, lambda: world.revisions()[-1:] == [2] and world.revisions().count(2) == 2)

    ids = {one.change.revision: one.delivery_id for one in world.destination().called}
    assert all(one.delivery_id == ids[one.change.revision] for one in world.destination().called)


def test_a_gone_endpoint_disables_its_subscription_and_no_other() -> None:
    world = World.of(subscription("all"), subscription("other"))
    world.destination("hook-all").answer_next(410)
    world.tell(change("inc-1", 1))
    world.drain()
    world.tell(change("inc-2", 1))

    world.drain()

    _, stored = world.subscriptions.load()
    assert {one.name: one.enabled for one in stored} == {"all": False, "other": True}
    assert len(world.destination("hook-all").called) == 1
    assert len(world.destination("hook-other").applied) == 2


def test_a_connection_that_is_missing_parks_its_lanes_alone() -> None:
    world = World.of(subscription("all"), subscription("other"), missing={"hook-other"})
    world.tell(change("inc-1", 1))

    outcome = world.drain()

    assert outcome.deliveries == {"delivered": 1, "parked": 1}
    assert world.cursor == 1


def test_a_refused_endpoint_is_opened_anew_so_that_a_changed_secret_is_used() -> None:
    world = World.of()
    world.destination().answer_next(401)
    world.tell(change("inc-1", 1), change("inc-2", 1))

    world.drain()

    assert world.opened.count("hook-all") == 2


def test_a_run_that_is_told_to_stop_writes_down_everything_it_has_sent() -> None:
    world = World.of()
    world.tell(*[change(f"inc-{number}", 1) for number in range(300)])

    world.drain(stopped=lambda: len(world.destination().called) > 100)
    sent = len(world.destination().called)
    world.drain()

    assert 100 < sent < 300
    assert len(world.destination().called) == 300


# ---- claim first -----------------------------------------------------------------------------------------------------


def test_an_incident_is_one_message_updated_in_place_with_its_history_in_the_thread() -> None:
    world = World.of(subscription("s", "chat"))
    for revision in (1, 2, 3):
        world.tell(change("inc-1", revision, status=str(revision)))
        world.drain()

    made = world.destination("chat-s").made
    assert [one.part for one in made] == ["", "thread", "thread"]
    assert made[0].shows.change.revision == 3
    assert {one.root for one in made[1:]} == {made[0].external_id}


def test_a_history_that_comes_with_its_incident_waits_for_the_message_and_keeps_every_step() -> None:
    world = World.of(subscription("s", "chat"))
    world.tell(*[change("inc-1", revision, status=str(revision)) for revision in (1, 2, 3)])

    world.drain()

    assert [(one.part, one.shows.change.revision) for one in world.destination("chat-s").made] == [
        ("", 3),
        ("thread", 2),
        ("thread", 3),
    ]
    assert len(world.destination("chat-s").called) == 5


def test_a_post_whose_answer_was_lost_is_found_and_not_made_again() -> None:
    world = World.of(subscription("s", "chat"))
    world.destination("chat-s").lose_next_answer()
    world.tell(change("inc-1", 1))
    world.drain()

    until(world, lambda: "delivered" in world.states)

    assert len(world.destination("chat-s").made) == 1
    assert len(world.destination("chat-s").called) == 1


def test_a_post_that_never_took_effect_is_made_after_the_lookup_says_so() -> None:
    world = World.of(subscription("s", "chat"))
    world.destination("chat-s").lose_next_answer(effect_after=None)
    world.tell(change("inc-1", 1))
    world.drain()

    until(world, lambda: "delivered" in world.states)

    assert len(world.destination("chat-s").made) == 1


def test_a_throttled_chat_gets_the_newest_state_and_the_steps_are_folded() -> None:
    world = World.of(subscription("s", "chat"))
    world.destination("chat-s").refuse_next("retry", retry_after=0.2)
    world.tell(*[change("inc-1", revision, status=str(revision)) for revision in (1, 2, 3)])
    world.drain()

    until(world, lambda: bool(world.destination("chat-s").made))

    assert world.destination("chat-s").made[0].shows.change.revision == 3
    assert world.states.count("folded") >= 2


def test_a_claim_that_folds_others_is_looked_up_by_whoever_comes_next() -> None:
    world = World.of(subscription("s", "chat"))
    chat = world.destination("chat-s")
    chat.refuse_next("retry", retry_after=0.1)
    world.tell(*[change("inc-1", revision, status=str(revision)) for revision in (1, 2, 3)])
    world.drain()
    chat.lose_next_answer()  # of a call in which steps are folded

    until(world, lambda: all(one.settled_at for one in world.database.deliveries.deliveries.values()))

    posts = [(one.part, one.change.revision) for one in chat.called if one.part or not one.external_id]
    assert len(posts) == len(set(posts))


def test_a_double_that_was_taken_away_is_counted_once() -> None:
    world = World.of(subscription("s", "chat"))
    chat = world.destination("chat-s")
    chat.lookup_lag = 60.0  # the lookup sees nothing yet, so the message is made again
    for _ in range(2):
        chat.lose_next_answer()
    world.tell(change("inc-1", 1))
    until(world, lambda: len(chat.made) == 2)
    world.tell(change("inc-1", 2))
    until(world, lambda: world.cursor == 2)
    chat.lookup_lag = 0.0

    until(world, lambda: world.is_through)

    stored = world.database.deliveries.deliveries.values()
    assert sum(one.entry.folded for one in stored if not one.entry.key.part) == 1
    assert len([one for one in chat.made if not one.part]) == 1


# ---- other owners ----------------------------------------------------------------------------------------------------


def test_a_killed_consumer_repeats_only_what_it_had_not_written_down() -> None:
    world = World.of(lease_seconds=0.3)
    world.tell(*[change(f"inc-{number}", 1) for number in range(10)])
    world.drain()
    world.destination().hold()
    world.tell(*[change(f"inc-{number}", 2) for number in range(10)])
    kill_when(world, lambda: world.destination().under_way == 10)
    world.destination().release()

    until(world, lambda: world.cursor == 20)

    first = [one for one in world.destination().called if one.change.revision == 1]
    assert len(first) == 10
    assert {one.change.id for one in world.destination().applied if one.change.revision == 2} == {
        f"inc-{number}" for number in range(10)
    }


def test_an_owner_that_lost_its_lease_writes_down_what_it_delivered_and_nothing_else() -> None:
    world = World.of()  # a lease that nobody renews within the test
    world.tell(change("inc-1", 1))
    world.destination().hold()

    async def overtaken() -> None:
        old, new = world.consumer("old#1"), world.consumer("new#1")
        stopped = asyncio.Event()
        follower = asyncio.create_task(old.follow(stopped.is_set))
        # its lane is written once when it is queued, which renews
        await reached(lambda: world.destination().under_way == 1 and bool(world.database.deliveries.lanes))
        for row in world.database.ledger.values():
            row.expires_at = -1.0
        drain = asyncio.create_task(new.drain(DrainLimits(max_seconds=2.0)))
        await reached(lambda: world.destination().under_way == 2)
        world.destination().release()
        await drain
        stopped.set()
        await follower
        old.close()
        new.close()

    run(overtaken())

    assert world.cursor == 1
    assert len({one.delivery_id for one in world.destination().called}) == 1


def test_what_an_owner_could_not_write_down_before_it_lost_its_lease_is_written_down_all_the_same() -> None:
    world = World.of()
    world.tell(change("inc-1", 1))
    world.policy = PropagatePolicy(linger=30.0)  # its answer stays unwritten until it stops

    async def overtaken() -> None:
        old = world.consumer("old#1")
        stopped = asyncio.Event()
        follower = asyncio.create_task(old.follow(stopped.is_set))
        await reached(lambda: bool(world.destination().applied))
        for row in world.database.ledger.values():
            row.expires_at = -1.0
        world.policy = None
        for _ in range(8):
            world.destination().answer_next(503)
        new = world.consumer("new#1")
        await new.drain(DrainLimits(max_seconds=2.0))
        assert states_in(world) == ["parked"]
        stopped.set()
        await follower
        old.close()
        new.close()

    run(overtaken())

    assert states_in(world) == ["delivered"]


def test_with_a_service_at_work_a_bounded_run_ends_and_says_who_owns_the_partitions() -> None:
    world = World.of()
    world.tell(change("inc-1", 1))

    async def both() -> Any:
        service, task = world.consumer("service host:1"), world.consumer()
        stopped = asyncio.Event()
        follower = asyncio.create_task(service.follow(stopped.is_set))
        await reached(lambda: bool(world.destination().applied))
        outcome = await task.drain(DrainLimits(max_seconds=2.0))
        stopped.set()
        await follower
        service.close()
        task.close()
        return outcome

    outcome = run(both())

    assert outcome.owned_by == {0: "service host:1"}
    assert len(world.destination().called) == 1


def test_a_released_partition_is_taken_at_once_and_nothing_is_unsure() -> None:
    world = World.of()
    world.tell(change("inc-1", 1))
    world.drain()

    assert world.drain().owned_by == {}
    assert [lane.unsure_at for lane in world.database.deliveries.lanes.values()] == [None]


# ---- recovered and thin ----------------------------------------------------------------------------------------------


def test_a_recovered_change_is_compared_with_what_the_subscription_was_last_sent() -> None:
    world = World.of(
        subscription("closed", status=[{"from": ["OPEN"], "to": ["FIXED"]}]), subscription("all")
    )
    world.tell(change("inc-1", 1, status="OPEN"))
    world.drain()
    recovered = msgspec.structs.replace(
        change("inc-1", 4, status="FIXED"), reemitted=True, before=None, changed=None
    )
    world.tell(recovered)

    world.drain()

    last = world.destination("hook-all").applied[-1].change
    assert (last.revision, last.changed, last.before) == (4, ["status"], {"status": "OPEN"})


def test_a_recovered_change_that_says_nothing_new_is_not_sent() -> None:
    world = World.of()
    world.tell(change("inc-1", 1, status="OPEN"))
    world.drain()
    world.tell(msgspec.structs.replace(change("inc-1", 1, status="OPEN"), reemitted=True))

    world.drain()

    assert world.revisions() == [1]


def test_a_held_change_is_told_to_nobody_and_an_older_one_behind_it_neither() -> None:
    world = World.of()
    held = msgspec.structs.replace(change("inc-1", 2, status="FIXED"), held=True)
    world.tell(change("inc-1", 1), held, change("inc-1", 2), change("inc-1", 3))

    world.drain()

    assert world.revisions() == [1, 3]
    assert world.cursor == 4


@pytest.mark.parametrize("answer", [Answer.LOST, Answer.NEVER])
def test_a_ledger_that_does_not_answer_is_asked_again_and_nothing_is_sent_twice(answer: Answer) -> None:
    world = World.of()
    world.tell(change("inc-1", 1), change("inc-1", 2))
    world.answers = [answer] * 6

    until(world, lambda: world.cursor == 2)

    assert world.revisions() == [1, 2]


# ---- how -------------------------------------------------------------------------------------------------------------


def states_in(world: World) -> list[str]:
    """Of every delivery in the ledger."""
    return [one.entry.state for one in world.database.deliveries.deliveries.values()]


async def reached(condition: Any) -> None:
    deadline = asyncio.get_running_loop().time() + 8.0
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.002)


def park(world: World, *changes: Any) -> None:
    for _ in range(4):
        world.destination().answer_next(503)
    world.tell(*changes)
    world.drain()
    assert "parked" in world.states


def until(world: World, condition: Any) -> None:
    """Runs of ever new owners, as Airflow starts them."""

    async def drains() -> None:
        deadline = asyncio.get_running_loop().time() + 8.0
        while not condition():
            assert asyncio.get_running_loop().time() < deadline
            engine = world.consumer()
            try:
                await engine.drain(DrainLimits(max_seconds=0.5))
            except Exception as error:
                if "Transient" not in type(error).__name__:
                    raise
            finally:
                engine.close()
            await asyncio.sleep(0.02)

    run(drains())


def kill_when(world: World, condition: Any) -> None:
    """Nothing is written and nothing released: as after SIGKILL."""

    async def killed() -> None:
        engine = world.consumer("service host:1")
        follower = asyncio.create_task(engine.follow(lambda: False))
        await reached(condition)
        world.database.is_up = False
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)
        engine.close()
        world.database.is_up = True

    run(killed())
