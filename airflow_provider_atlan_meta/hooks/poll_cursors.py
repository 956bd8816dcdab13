"""How far the poll of Monte Carlo has read, per DAG and tenant, in Airflow Variables."""

from __future__ import annotations

from airflow.sdk import Variable

from airflow_provider_atlan_meta.core.errors import ConfigurationError

_DESCRIPTION = (
    "Written by airflow-provider-atlan-meta: the poll has read Monte Carlo's alerts up to this time of update "
    "(microseconds since 1970 UTC). Deleted, it begins a day back."
)


def read_cursor(dag_id: str, tenant: str) -> int | None:
    """Microseconds; None: nothing was read yet.

    :raises ConfigurationError: somebody wrote something else there.
    """
    from airflow.sdk.execution_time.cache import SecretCache

    key = cursor_key(dag_id, tenant)
    SecretCache.invalidate_variable(key)
    text = Variable.get(key, default=None)
    if text is None:
        return None
    try:
        return int(str(text))
    except ValueError:
        raise ConfigurationError(f"Variable {key} is no number of microseconds; delete it") from None


def write_cursor(dag_id: str, tenant: str, updated_at: int) -> None:
    Variable.set(cursor_key(dag_id, tenant), str(updated_at), description=_DESCRIPTION)


def cursor_key(dag_id: str, tenant: str) -> str:
    return f"{dag_id[:200]}_cursor_{tenant}"
