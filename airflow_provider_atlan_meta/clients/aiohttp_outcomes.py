"""What a call through aiohttp that ended without an answer means."""

from __future__ import annotations

import aiohttp

from airflow_provider_atlan_meta.core.sending import SendOutcome

# Nothing of the request has left this machine: it certainly took no effect.
_NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)


def outcome_of_failure(error: Exception) -> SendOutcome:
    """Only a connection that never stood surely had no effect."""
    if isinstance(error, _NEVER_SENT):
        return SendOutcome(result="retry", detail=f"not reached ({type(error).__name__})")
    return SendOutcome(result="unknown", detail=f"no answer ({type(error).__name__})")
