"""What every ``core.sending.Destination`` promises: inherit, and give a ``bench`` fixture.

``LookupDestinationContract`` is for those whose creating calls are claimed first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import msgspec
import pytest

from airflow_provider_atlan_meta.core.changes import ChangeEvent
from airflow_provider_atlan_meta.core.errors import TerminalError, TransientError
from airflow_provider_atlan_meta.core.identity import change_id, delivery_id
from airflow_provider_atlan_meta.core.sending import (
    Destination,
    LookupDestination,
    Outgoing,
    Result,
    SendOutcome,
)

T = TypeVar("T")
SUBSCRIPTION = "ops"
NASTY = "<!channel> & @here *größer* `x` ||" + "<&>" * 2000


def change(
    revision: int = 1, *, op: str = "updated", kind: str = "incident", row_id: str = "inc-1"
) -> ChangeEvent:
    columns: dict[str, Any] = (
        {"title": "Has 42 rows", "status": f"S{revision}", "severity": "SEV-1", "entity_ids": ["a", "b"]}
        if kind == "incident"
        else {"name": "orders", "qualified_name": "mc:a:b.orders", "type_name": "table"}
    )
    whole = ChangeEvent(
        change_id=str(change_id("acme", kind, row_id, 1, revision)),
        kind=kind,
        op="updated",
        tenant_id="acme",
        id=row_id,
        revision=revision,
        changed_at="2026-11-25T00:50:00.123456+00:00",
        changed=["status"],
        before={"status": None},
        after=columns,
    )
    if op == "updated":
        return whole
    replaced = {"before": None, "after": columns} if op == "created" else {"before": columns, "after": None}
    return msgspec.structs.replace(whole, op=op, changed=None, **replaced)


class DestinationBench(Protocol):
    """A destination and its other side.

    :ivar options: of a subscription.
    """

    options: dict[str, Any]

    def answer_next(self, status: int, *, retry_after: str | None = None) -> None: ...

    def lose_next_answer(self) -> None:
        """The next call takes effect, and its sender never hears of it."""
        ...

    def run(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """With an entered destination, always the same other side."""
        ...

    def applied(self) -> list[int]:
        """The revisions of what took effect, in this order."""
        ...

    def calls(self) -> int:
        """Calls that send."""
        ...


class HasOptions(Protocol):
    options: dict[str, Any]


def outgoing(
    bench: HasOptions, told: ChangeEvent | None = None, *, part: str = "", external_id: str = ""
) -> Outgoing:
    told = told or change()
    name = f"{SUBSCRIPTION}.{part}" if part else SUBSCRIPTION
    return Outgoing(
        delivery_id=str(delivery_id(told.change_id, name)),
        subscription=SUBSCRIPTION,
        part=part,
        change=told,
        options=bench.options,
        external_id=external_id,
    )


def sent(bench: DestinationBench, *deliveries: Outgoing) -> list[SendOutcome]:
    """All at once."""

    async def work(destination: Destination) -> list[SendOutcome]:
        return list(await asyncio.gather(*[destination.send(one) for one in deliveries]))

    return bench.run(work)


class DestinationContract:
    def test_what_is_delivered_has_taken_effect_once(self, bench: DestinationBench) -> None:
        (outcome,) = sent(bench, outgoing(bench))

        assert (outcome.result, outcome.detail) == ("delivered", "")
        assert bench.applied() == [1]
        assert bench.calls() == 1

    @pytest.mark.parametrize(
        ("status", "result"),
        [
            (302, "blocked"),
            (400, "rejected"),
            (401, "blocked"),
            (404, "blocked"),
            (408, "unknown"),
            (410, "gone"),
            (413, "rejected"),
            (429, "retry"),
            (500, "unknown"),
            (502, "unknown"),
            (503, "retry"),
        ],
    )
    def test_the_status_says_what_is_next_and_nothing_is_repeated(
        self, bench: DestinationBench, status: int, result: Result
    ) -> None:
        bench.answer_next(status)

        (outcome,) = sent(bench, outgoing(bench))

        assert (outcome.result, outcome.status) == (result, status)
        assert bench.calls() == 1
        assert bench.applied() == []

    @pytest.mark.parametrize(
        ("status", "retry_after", "seconds"),
        [(429, "17", 17.0), (503, "1000000", 86_400.0), (503, "soon", None), (400, "17", None)],
    )
    def test_the_time_to_come_back_is_the_other_sides(
        self, bench: DestinationBench, status: int, retry_after: str, seconds: float | None
    ) -> None:
        bench.answer_next(status, retry_after=retry_after)

        assert sent(bench, outgoing(bench))[0].retry_after == seconds

    def test_a_lost_answer_is_unknown_and_took_effect_once(self, bench: DestinationBench) -> None:
        bench.lose_next_answer()

        (outcome,) = sent(bench, outgoing(bench))

        assert (outcome.result, outcome.status) == ("unknown", None)
        assert bench.applied() == [1]

    @pytest.mark.parametrize("kind", ["incident", "entity"])
    @pytest.mark.parametrize("op", ["created", "updated", "deleted"])
    def test_every_kind_of_change_can_be_sent(self, bench: DestinationBench, kind: str, op: str) -> None:
        assert sent(bench, outgoing(bench, change(op=op, kind=kind)))[0].result == "delivered"

    def test_whatever_stands_in_a_row_can_be_sent(self, bench: DestinationBench) -> None:
        row = dict.fromkeys(("title", "status", "severity", "owner", "url", "opened_at"), NASTY)
        nasty = msgspec.structs.replace(change(row_id=NASTY[:4096]), after=row, changed=list(row), before={})

        assert sent(bench, outgoing(bench, nasty))[0].result == "delivered"

    def test_a_change_without_its_row_can_be_sent(self, bench: DestinationBench) -> None:
        thin = msgspec.structs.replace(change(), truncated=True, changed=None, before=None, after=None)

        assert sent(bench, outgoing(bench, thin))[0].result == "delivered"

    def test_many_at_once_all_arrive(self, bench: DestinationBench) -> None:
        many = [outgoing(bench, change(number, row_id=f"inc-{number}")) for number in range(1, 51)]

        assert {outcome.result for outcome in sent(bench, *many)} == {"delivered"}
        assert sorted(bench.applied()) == list(range(1, 51))

    def test_the_name_of_a_limit_is_the_same_at_every_try(self, bench: DestinationBench) -> None:
        async def limits(destination: Destination) -> set[str]:
            return {destination.limit_of(outgoing(bench)) for _ in range(3)}

        assert len(bench.run(limits)) == 1


class LookupBench(DestinationBench, Protocol):
    """:ivar second: the part that waits for the main one; empty: there is none."""

    second: str

    def delay_next(self, seconds: float) -> None:
        """The next call takes effect so much later, and its sender has given up by then."""
        ...

    def pass_time(self, seconds: float) -> None: ...

    def lag_next_lookup(self, seconds: float) -> None:
        """The next lookup does not show what is younger than that."""
        ...

    def refuse_next_lookup(self, *, is_allowed: bool) -> None:
        """The next lookup fails; for good if it is not allowed."""
        ...

    def shown(self) -> dict[str, int]:
        """What is there: external id -> the revision it shows."""
        ...


def found(bench: LookupBench, one: Outgoing, *, since_seconds: float = 600.0) -> tuple[str, ...]:
    async def work(destination: LookupDestination) -> tuple[str, ...]:
        return await destination.find(one, since_seconds=since_seconds)

    return bench.run(work)


def removed(bench: LookupBench, external_id: str) -> SendOutcome:
    async def work(destination: LookupDestination) -> SendOutcome:
        return await destination.remove(external_id)

    return bench.run(work)


class LookupDestinationContract(DestinationContract):
    def test_what_was_made_has_a_name_and_is_found_by_its_delivery_alone(self, bench: LookupBench) -> None:
        sent(bench, outgoing(bench, change(1, row_id="another")))

        (outcome,) = sent(bench, outgoing(bench))

        assert found(bench, outgoing(bench)) == (outcome.external_id,)
        assert found(bench, outgoing(bench, change(2))) == ()

    def test_a_later_change_changes_in_place_what_is_still_found_by_who_made_it(
        self, bench: LookupBench
    ) -> None:
        made = sent(bench, outgoing(bench))[0].external_id

        (outcome,) = sent(bench, outgoing(bench, change(2), external_id=made))

        assert (outcome.result, outcome.external_id) == ("delivered", made)
        assert bench.shown() == {made: 2}
        assert found(bench, outgoing(bench)) == (made,)

    def test_changing_in_place_twice_is_changing_it_once(self, bench: LookupBench) -> None:
        made = sent(bench, outgoing(bench))[0].external_id
        again = outgoing(bench, change(2), external_id=made)

        assert [sent(bench, again)[0].result for _ in range(2)] == ["delivered", "delivered"]
        assert bench.shown() == {made: 2}

    def test_what_was_made_without_an_answer_is_found(self, bench: LookupBench) -> None:
        bench.lose_next_answer()
        sent(bench, outgoing(bench))

        assert found(bench, outgoing(bench)) == tuple(bench.shown())
        assert len(bench.shown()) == 1

    def test_what_takes_effect_late_is_not_found_before(self, bench: LookupBench) -> None:
        bench.delay_next(1.5)
        (outcome,) = sent(bench, outgoing(bench))
        before = found(bench, outgoing(bench))
        bench.pass_time(2.0)

        assert (outcome.result, before) == ("unknown", ())
        assert len(found(bench, outgoing(bench))) == 1

    def test_doubles_are_found_oldest_first_and_taken_away(self, bench: LookupBench) -> None:
        posted = [sent(bench, outgoing(bench))[0].external_id for _ in range(2)]
        sent(bench, outgoing(bench, change(2), external_id=posted[1]))

        assert found(bench, outgoing(bench)) == tuple(posted)
        assert removed(bench, posted[0]).result == "delivered"
        assert found(bench, outgoing(bench)) == (posted[1],)
        assert bench.shown() == {posted[1]: 2}

    def test_what_is_gone_counts_as_taken_away(self, bench: LookupBench) -> None:
        made = sent(bench, outgoing(bench))[0].external_id

        assert [removed(bench, made).result for _ in range(2)] == ["delivered", "delivered"]
        assert bench.shown() == {}

    def test_what_somebody_took_away_is_not_made_again(self, bench: LookupBench) -> None:
        made = sent(bench, outgoing(bench))[0].external_id
        removed(bench, made)

        (outcome,) = sent(bench, outgoing(bench, change(2), external_id=made))

        assert outcome.result == "rejected"
        assert outcome.detail
        assert bench.shown() == {}

    def test_lookups_may_lag(self, bench: LookupBench) -> None:
        sent(bench, outgoing(bench))
        bench.lag_next_lookup(60.0)

        assert found(bench, outgoing(bench)) == ()
        assert len(found(bench, outgoing(bench))) == 1

    def test_a_lookup_that_fails_says_nothing_and_one_that_is_forbidden_says_so(
        self, bench: LookupBench
    ) -> None:
        sent(bench, outgoing(bench))

        bench.refuse_next_lookup(is_allowed=True)
        with pytest.raises(TransientError):
            found(bench, outgoing(bench))
        bench.refuse_next_lookup(is_allowed=False)
        with pytest.raises(TerminalError):
            found(bench, outgoing(bench))

    def test_a_second_part_waits_for_what_the_main_part_makes(self, bench: LookupBench) -> None:
        waiting = outgoing(bench, change(2), part=bench.second)

        (outcome,) = sent(bench, waiting)

        assert (outcome.result, outcome.retry_after, bench.calls()) == ("retry", 1.0, 0)
        assert found(bench, waiting) == ()

    def test_a_second_part_is_found_below_what_the_main_part_made(self, bench: LookupBench) -> None:
        root, other = [sent(bench, outgoing(bench, change(row_id=one)))[0].external_id for one in "ab"]
        told = change(2, row_id="a")

        (outcome,) = sent(bench, outgoing(bench, told, part=bench.second, external_id=root))

        assert outcome.result == "delivered"
        assert outcome.external_id not in ("", root)
        assert found(bench, outgoing(bench, told, part=bench.second, external_id=root)) == (
            outcome.external_id,
        )
        assert found(bench, outgoing(bench, told, part=bench.second, external_id=other)) == ()
        assert found(bench, outgoing(bench, told)) == ()

    def test_nothing_is_found_below_what_is_gone(self, bench: LookupBench) -> None:
        root = sent(bench, outgoing(bench))[0].external_id
        removed(bench, root)

        assert found(bench, outgoing(bench, change(2), part=bench.second, external_id=root)) == ()
