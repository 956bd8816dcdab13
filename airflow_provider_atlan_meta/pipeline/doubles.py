"""Looks up what claimed calls have made, and takes away what was made twice."""

from __future__ import annotations

from typing import NamedTuple, cast

from airflow_provider_atlan_meta.core.errors import TerminalError, TransientError
from airflow_provider_atlan_meta.core.sending import Destination, LookupDestination, Outgoing

# A lookup begins before the first attempt of what it looks for.
_MARGIN_SECONDS = 900.0


class Made(NamedTuple):
    """:param external_id: what stands for the delivery now; empty: it has made nothing; None: nothing is known.
    :param folded: doubles that are gone. :param why: nothing is known.
    """

    external_id: str | None
    folded: int = 0
    why: str = ""


async def made_once(
    destination: Destination, outgoing: Outgoing, *, age_seconds: float, own: str = ""
) -> Made:
    """Takes away all but one of what the delivery has made.

    :param age_seconds: of the last attempt. :param own: what its lane goes by, which stays; else the oldest stays.
    """
    looking = cast(LookupDestination, destination)
    try:
        found = await looking.find(outgoing, since_seconds=age_seconds + _MARGIN_SECONDS)
    except (TransientError, TerminalError) as error:
        return Made(None, why=str(error)[:500])
    keep = own or next(iter(found), "")
    outcomes = [await looking.remove(one) for one in found if one != keep]
    return Made(keep, sum(outcome.result == "delivered" for outcome in outcomes))
