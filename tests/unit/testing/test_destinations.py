from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from contract.destination import change, outgoing

from airflow_provider_atlan_meta.core.lanes import ClaimUse
from airflow_provider_atlan_meta.core.sending import Outgoing, SendOutcome
from airflow_provider_atlan_meta.testing.clock import ManualClock
from airflow_provider_atlan_meta.testing.destinations import MemoryDestination, Scripted


def delivery(revision: int = 1, **more: str) -> Outgoing:
    return outgoing(SimpleNamespace(options={}), change(revision), **more)


def test_calls_that_are_held_have_no_effect_until_they_are_released() -> None:
    async def run() -> None:
        async with MemoryDestination(limit=lambda one: one.subscription) as fake:
            fake.hold()
            calls = [asyncio.create_task(fake.send(delivery(number))) for number in (1, 2, 3)]
            await asyncio.sleep(0)
            assert (fake.under_way, fake.applied) == (3, [])

            fake.release()
            assert {(await call).result for call in calls} == {"delivered"}
            assert (fake.under_way, fake.most_at_once["ops"]) == (0, 3)
            assert [one.change.revision for one in fake.applied] == [1, 2, 3]

    asyncio.run(run())


def test_a_delivery_may_have_a_script_of_its_own() -> None:
    async def run() -> list[str]:
        async with MemoryDestination() as fake:
            fake.refuse_next("blocked")
            fake.script(Scripted(SendOutcome(result="gone")), delivery_id=delivery(2).delivery_id)
            return [(await fake.send(delivery(number))).result for number in (2, 1, 2)]

    assert asyncio.run(run()) == ["gone", "blocked", "delivered"]


@pytest.mark.parametrize(("effect_after", "effects"), [(None, (0, 0)), (0.0, (1, 1)), (5.0, (0, 1))])
def test_a_lost_answer_may_have_an_effect_at_once_later_or_never(
    effect_after: float | None, effects: tuple[int, int]
) -> None:
    async def run() -> tuple[int, int]:
        clock = ManualClock()
        async with MemoryDestination({"": ClaimUse.FIRST}, clock=clock) as fake:
            fake.lose_next_answer(effect_after=effect_after)
            assert (await fake.send(delivery())).result == "unknown"
            before = len(fake.made)
            clock.advance(5.0)
            return before, len(fake.made)

    assert asyncio.run(run()) == effects


def test_what_was_made_remembers_everything_it_was_changed_to() -> None:
    async def run() -> None:
        async with MemoryDestination({"": ClaimUse.FIRST}) as fake:
            made = (await fake.send(delivery(1))).external_id
            await fake.send(delivery(2, external_id=made))

            (one,) = fake.made
            assert [step.change.revision for step in one.history] == [1, 2]
            assert (one.shows.change.revision, one.delivery_id) == (2, delivery(1).delivery_id)

    asyncio.run(run())
