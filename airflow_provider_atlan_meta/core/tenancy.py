"""Tenants: who may exist, and which connection serves one."""

from __future__ import annotations

import re
from functools import lru_cache

from airflow_provider_atlan_meta.core.errors import ConfigurationError

_TENANT = re.compile(r"[a-z][a-z0-9]{1,30}")


@lru_cache(maxsize=4096)
def is_tenant(name: str) -> bool:
    """Whether ``name`` has a tenant's form; the form keeps it safe in keys, ids and SQL settings."""
    return _TENANT.fullmatch(name) is not None


def parse_tenant(name: str) -> str:
    """``name`` itself.

    :raises ConfigurationError: it does not have a tenant's form.
    """
    if not is_tenant(name):
        raise ConfigurationError(f"tenant {name[:40]!r} must match [a-z][a-z0-9]{{1,30}}")
    return name


def tenant_conn_id(system: str, tenant: str) -> str:
    """The connection id that holds a tenant's secrets for ``system``; inbound secrets have no other."""
    return f"atlan_meta_{system}_tenant_{tenant}"
