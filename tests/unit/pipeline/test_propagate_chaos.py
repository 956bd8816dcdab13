"""Random failures of everything at once: receivers still get every change, in order, and one message per incident."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from random import Random

import pytest

from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.pipeline.ingest import DrainLimits
from airflow_provider_atlan_meta.testing.destinations import MemoryDestination
from tests.unit.pipeline.propagation_world import World, change, run, subscription

INCIDENTS = 6
REVISIONS = 8

pytestmark = [pytest.mark.search, pytest.mark.timeout(120)]


def trouble(pick: Random, destination: MemoryDestination, *, claims: bool) -> None:
    """One more thing that goes wrong at the other side."""
    kind = pick.randrange(5)
    if kind == 0:
        destination.answer_next(503)
    elif kind == 1:
        destination.lose_next_answer(effect_after=None)
    elif kind == 2:
        destination.lose_next_answer(effect_after=pick.choice([0.0, 0.03]))
    elif kind == 3 and claims:
        destination.fail_next_lookup(TransientError("the lookup failed"))
    else:
        destination.refuse_next("retry", retry_after=pick.choice([0.02, 0.2]))


async def a_life(world: World, pick: Random) -> None:
    """A consumer works for a while; then it ends, or is killed."""
    engine = world.consumer(f"service host:{pick.randrange(10**6)}")
    stopped = asyncio.Event()
    work = asyncio.create_task(
        engine.follow(stopped.is_set) if pick.random() < 0.7 else engine.drain(DrainLimits(max_seconds=0.5))
    )
    await asyncio.wait([work], timeout=pick.uniform(0.05, 0.4))
    if pick.random() < 0.6:
        world.database.is_up = False
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        world.database.is_up = True
    else:
        stopped.set()
        await asyncio.gather(work, return_exceptions=True)
    engine.close()


async def storm(world: World, pick: Random) -> None:
    destinations = {False: world.destination("hook-all"), True: world.destination("chat-s")}
    for revision in range(1, REVISIONS + 1):
        for incident in pick.sample(range(INCIDENTS), INCIDENTS):
            row = change(f"inc-{incident}", revision, status=str(revision))
            world.tell(row, partition=incident % world.partitions)
        for _ in range(3):
            claims = pick.random() < 0.5
            trouble(pick, destinations[claims], claims=claims)
        await a_life(world, pick)


async def calm(world: World) -> None:
    """Until nothing is left to do: everything read, nothing parked, claimed or unsure."""
    deadline = asyncio.get_running_loop().time() + 60
    while not world.is_through:
        assert asyncio.get_running_loop().time() < deadline, world.database.deliveries
        engine = world.consumer("service host:last")
        try:
            await engine.drain(DrainLimits(max_seconds=1.0))
        except TransientError:
            pass
        finally:
            engine.close()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_fails_every_change_arrives_in_order_and_an_incident_is_one_message(seed: int) -> None:
    pick = Random(seed)
    world = World.of(subscription("all"), subscription("s", "chat"), partitions=2, lease_seconds=0.4)

    async def both() -> None:
        await storm(world, pick)
        await calm(world)

    run(both())

    applied = world.destination("hook-all").applied
    first: dict[str, list[int]] = defaultdict(list)
    newest: dict[str, int] = {}
    for one in applied:
        if one.change.revision not in first[one.change.id]:
            first[one.change.id].append(one.change.revision)
        newest[one.change.id] = one.change.revision
    assert newest == {f"inc-{number}": REVISIONS for number in range(INCIDENTS)}
    for incident, revisions in first.items():
        assert sorted(revisions) == list(range(1, REVISIONS + 1)), incident

    made = world.destination("chat-s").made
    messages = [one for one in made if one.part == ""]
    assert sorted(one.shows.change.id for one in messages) == [f"inc-{number}" for number in range(INCIDENTS)]
    assert {one.shows.change.revision for one in messages} == {REVISIONS}
    answers = [one.delivery_id for one in made if one.part == "thread"]
    assert len(answers) == len(set(answers))
