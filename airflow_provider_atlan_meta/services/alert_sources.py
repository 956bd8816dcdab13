"""Whom the ingest service asks about a tenant's incidents: Monte Carlo, with the tenant's own API key."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from airflow_provider_atlan_meta.clients.montecarlo import (
    MonteCarloClient,
    MonteCarloConfig,
    has_api_credentials,
)
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import AtlanMetaError
from airflow_provider_atlan_meta.core.tenancy import tenant_conn_id
from airflow_provider_atlan_meta.services.logs import get_logger

_log = get_logger(__name__)
_TTL_SECONDS = 60.0


@dataclass
class _Known:
    """:ivar client: None: the tenant has no API key."""

    until: float
    info: ConnectionInfo | None
    client: MonteCarloClient | None


class AlertSources:
    """A client per tenant whose connection ``atlan_meta_montecarlo_tenant_<tenant>`` has API credentials.

    There is no fallback: with a shared key one tenant could name another one's alert. A connection is read once a
    minute; while it cannot be read, what was known stays. For one thread.

    :param find: None where nobody knows the id.
    """

    def __init__(
        self,
        find: Callable[[str], ConnectionInfo | None],
        *,
        connect: Callable[[MonteCarloConfig], MonteCarloClient] = MonteCarloClient,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find = find
        self._connect = connect
        self._clock = clock
        self._known: dict[str, _Known] = {}

    def __call__(self, tenant: str) -> MonteCarloClient | None:
        known = self._known.get(tenant)
        if known is None:
            known = self._known[tenant] = _Known(self._clock(), None, None)
        if known.until <= self._clock():
            known.until = self._clock() + _TTL_SECONDS
            self._read(tenant, known)
        return known.client

    def close(self) -> None:
        for known in self._known.values():
            self._close(known)
        self._known.clear()

    def _read(self, tenant: str, known: _Known) -> None:
        try:
            info = self._find(tenant_conn_id("montecarlo", tenant))
            if info == known.info:
                # the client keeps count of the day's calls
                return
            client = (
                self._connect(MonteCarloConfig.from_connection(info))
                if info is not None and has_api_credentials(info)
                else None
            )
        except AtlanMetaError as error:
            _log.warning("alerts are asked for as before", tenant=tenant, stage="enrich", error=str(error))
            return
        self._close(known)
        known.info, known.client = info, client

    @staticmethod
    def _close(known: _Known) -> None:
        if known.client is not None:
            with suppress(AtlanMetaError):
                known.client.close()
