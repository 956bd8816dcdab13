"""Looks up what claimed calls have made, and takes away what was made twice."""

from __future__ import annotations

from typing import NamedTuple, cast

from airflow_provider_atlan_meta.core.errors import TerminalError, TransientError
from airflow_provider_atlan_meta.core.sending import Destination, LookupDestination, Outgoing

# A lookup begins before the first attempt of what it looks for.
_MARGIN_SECONDS = 900.0


class Found(NamedTuple):
    """:param external_ids: what the delivery has made, oldest first; None: nothing is known, and ``why``."""

    external_ids: tuple[str, ...] | None
    why: str = ""


async def look_up(destination: Destination, outgoing: Outgoing, *, age_seconds: float) -> Found:
    """:param age_seconds: of the last attempt."""
    looking = cast(LookupDestination, destination)
    try:
        return Found(await looking.find(outgoing, since_seconds=age_seconds + _MARGIN_SECONDS))
    except (TransientError, TerminalError) as error:
        return Found(None, str(error)[:500])


async def fold(destination: Destination, doubles: tuple[str, ...]) -> int:
    """Takes doubles away; how many are gone."""
    looking = cast(LookupDestination, destination)
    outcomes = [await looking.remove(one) for one in doubles]
    return sum(outcome.result == "delivered" for outcome in outcomes)
