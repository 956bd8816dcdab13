"""Who may post for a tenant: the webhook secrets, read from connections and remembered for a minute."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import AtlanMetaError, ConfigurationError
from airflow_provider_atlan_meta.core.tenancy import is_tenant, tenant_conn_id
from airflow_provider_atlan_meta.services.intake import SECRETS_UNREADABLE, RefusedError
from airflow_provider_atlan_meta.services.logs import get_logger

_log = get_logger(__name__)

FindConnection = Callable[[str], ConnectionInfo | None]

_TTL_SECONDS = 60.0
_MAX_KNOWN = 10_000
_MAX_UNKNOWN = 1_000
_SECRET = "webhook_secret"  # noqa: S105 - the name of a field, not a secret
_PREVIOUS = "webhook_secret_previous"
_MAX_SECRETS = 4


@dataclass(frozen=True)
class InboundTenant:
    """A tenant that has a connection. ``secrets``: the current one first, then the one being rotated out."""

    name: str
    secrets: tuple[bytes, ...] = field(repr=False)
    disabled: bool = False


def inbound_tenant(name: str, info: ConnectionInfo) -> InboundTenant:
    """Reads ``webhook_secret`` (text or a list of texts), ``webhook_secret_previous`` and ``disabled``.

    :raises ConfigurationError: no secret, or one that is not text: an empty secret would let everybody in.
    """
    secrets: list[object] = []
    for key in (_SECRET, _PREVIOUS):
        value = info.extra.get(key)
        secrets += value if isinstance(value, list) else [value] if value is not None else []
    if not 0 < len(secrets) <= _MAX_SECRETS or not all(
        isinstance(secret, str) and secret for secret in secrets
    ):
        raise ConfigurationError(
            f"connection {info.conn_id!r} needs 'webhook_secret' in its extra: a text, or a list of up to "
            f"{_MAX_SECRETS} while secrets are rotated, none of them empty"
        )
    disabled = str(info.extra.get("disabled", "")).lower() in ("true", "1", "yes")
    return InboundTenant(name, tuple(str(secret).encode() for secret in secrets), disabled)


class TenantSecrets:
    """Remembers tenants that exist and tenants that do not, both bounded and for a minute.

    While connections cannot be read, what was known stays in force. For one asyncio loop.

    :param system: whose webhooks: the secrets are in ``atlan_meta_<system>_tenant_<tenant>``.
    :param on_secrets: hears of every secret read (the log mask takes them).
    """

    def __init__(
        self,
        find: FindConnection,
        *,
        now: Callable[[], float],
        on_secrets: Callable[[Iterable[str]], None] = lambda _: None,
        system: str = "montecarlo",
    ) -> None:
        self._system = system
        self._find = find
        self._now = now
        self._on_secrets = on_secrets
        self._known: OrderedDict[str, tuple[float, InboundTenant]] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._reading: dict[str, asyncio.Task[InboundTenant | None]] = {}

    def remembered(self, name: str) -> InboundTenant | None:
        """The tenant when it is known and fresh: the way of nearly every webhook, without awaiting."""
        entry = self._known.get(name)
        return entry[1] if entry is not None and entry[0] > self._now() else None

    async def find(self, name: str) -> InboundTenant | None:
        """The tenant; None when its name has no tenant's form or no connection has its secrets.

        :raises AtlanMetaError: connections cannot be read, and nothing is remembered.
        """
        tenant = self.remembered(name)
        if tenant is not None or not is_tenant(name) or self._unknown.get(name, 0.0) > self._now():
            return tenant
        task = self._reading.get(name)
        if task is None:
            task = self._reading[name] = asyncio.create_task(self._read(name))
            task.add_done_callback(lambda _: self._reading.pop(name, None))
        return await asyncio.shield(task)

    async def _read(self, name: str) -> InboundTenant | None:
        try:
            info = await asyncio.to_thread(self._find, tenant_conn_id(self._system, name))
        except AtlanMetaError as error:
            stale = self._known.get(name)
            if stale is None:
                raise
            _log.warning("tenant secrets not readable, the known ones stay", tenant=name, error=str(error))
            return self._remember(name, stale[1])
        try:
            tenant = inbound_tenant(name, info) if info is not None else None
        except ConfigurationError as error:
            _log.error("tenant refused", tenant=name, error=str(error))
            tenant = None
        if info is not None and tenant is not None:
            self._on_secrets([*info.secrets(), *(secret.decode() for secret in tenant.secrets)])
        return self._remember(name, tenant)

    def _remember(self, name: str, tenant: InboundTenant | None) -> InboundTenant | None:
        until = self._now() + _TTL_SECONDS
        self._known.pop(name, None)
        self._unknown.pop(name, None)
        if tenant is not None:
            self._known[name] = (until, tenant)
            if len(self._known) > _MAX_KNOWN:
                self._known.popitem(last=False)
        else:
            self._unknown[name] = until
            if len(self._unknown) > _MAX_UNKNOWN:
                self._unknown.popitem(last=False)
        return tenant


async def look_up(tenants: TenantSecrets, name: str) -> InboundTenant | None:
    """``tenants.find`` for an endpoint.

    :raises RefusedError: 503, the connections cannot be read.
    """
    try:
        return await tenants.find(name)
    except AtlanMetaError as error:
        _log.error("tenant secrets not readable", error=str(error))
        raise RefusedError(SECRETS_UNREADABLE) from None
