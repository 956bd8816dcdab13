"""What every ``core.sending.WebhookDestination`` promises: inherit, and give a ``bench`` fixture."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import pytest

from airflow_provider_atlan_meta.core.sending import Result, SendOutcome
from airflow_provider_atlan_meta.core.webhook_message import WebhookMessage

FIRST = WebhookMessage("11111111-1111-1111-1111-111111111111", '{"title":"größer"}'.encode())
SECOND = WebhookMessage("22222222-2222-2222-2222-222222222222", b"{}")


class WebhookBench(Protocol):
    """A destination and its other side."""

    def answer_next(self, status: int, *, retry_after: str | None = None) -> None: ...

    def lose_next_answer(self) -> None: ...

    async def send(self, *messages: WebhookMessage) -> list[SendOutcome]:
        """All at once."""
        ...

    def applied(self) -> list[WebhookMessage]:
        """What took effect, in this order."""
        ...

    def called(self) -> list[WebhookMessage]: ...


def sent(bench: WebhookBench, *messages: WebhookMessage) -> Sequence[SendOutcome]:
    return asyncio.run(bench.send(*messages))


class WebhookDestinationContract:
    def test_what_is_delivered_arrived_byte_for_byte(self, bench: WebhookBench) -> None:
        (outcome,) = sent(bench, FIRST)

        assert (outcome.result, outcome.detail) == ("delivered", "")
        assert bench.applied() == [FIRST]

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
    def test_the_status_says_what_is_next(self, bench: WebhookBench, status: int, result: Result) -> None:
        bench.answer_next(status)

        (outcome,) = sent(bench, FIRST)

        assert (outcome.result, outcome.status) == (result, status)
        assert bench.called() == [FIRST]  # not repeated, not redirected
        assert bench.applied() == []

    @pytest.mark.parametrize(
        ("status", "retry_after", "seconds"),
        [(429, "17", 17.0), (503, "1000000", 86_400.0), (503, "soon", None), (400, "17", None)],
    )
    def test_the_time_to_come_back_is_the_other_sides(
        self, bench: WebhookBench, status: int, retry_after: str, seconds: float | None
    ) -> None:
        bench.answer_next(status, retry_after=retry_after)

        assert sent(bench, FIRST)[0].retry_after == seconds

    def test_a_lost_answer_is_unknown_and_took_effect_once(self, bench: WebhookBench) -> None:
        bench.lose_next_answer()

        (outcome,) = sent(bench, FIRST)

        assert (outcome.result, outcome.status) == ("unknown", None)
        assert bench.applied() == [FIRST]

    def test_a_repeat_is_recognised_by_its_id(self, bench: WebhookBench) -> None:
        bench.lose_next_answer()

        outcomes = [*sent(bench, FIRST), *sent(bench, FIRST), *sent(bench, SECOND)]

        assert [outcome.result for outcome in outcomes] == ["unknown", "delivered", "delivered"]
        assert bench.applied() == [FIRST, FIRST, SECOND]

    def test_many_at_once_all_arrive(self, bench: WebhookBench) -> None:
        many = [WebhookMessage(f"{number:032x}", b"[%d]" % number) for number in range(100)]

        assert {outcome.result for outcome in sent(bench, *many)} == {"delivered"}
        assert sorted(one.id for one in bench.applied()) == [one.id for one in many]
