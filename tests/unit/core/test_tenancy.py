"""A tenant's name is safe wherever it goes: in keys, connection ids and SQL settings."""

from __future__ import annotations

import pytest

from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.core.tenancy import is_tenant, parse_tenant, tenant_conn_id


@pytest.mark.parametrize("name", ["ab", "acme", "a1", "a" + "0" * 30])
def test_small_letters_and_digits_behind_a_letter_are_a_tenant(name: str) -> None:
    assert is_tenant(name)
    assert parse_tenant(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "1a",
        "Acme",
        "ac-me",
        "ac_me",
        "ac,me",
        "ac|me",
        "ac me",
        "acme\n",
        "acmé",
        "٣a",
        "a" * 32,
        "a'b",
        "a%b",
    ],
)
def test_everything_else_is_none(name: str) -> None:
    assert not is_tenant(name)
    with pytest.raises(ConfigurationError, match=r"must match \[a-z\]\[a-z0-9\]\{1,30\}"):
        parse_tenant(name)


def test_a_refused_name_is_repeated_in_part_only() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_tenant("x" * 10_000)

    assert len(str(caught.value)) < 120


def test_a_tenant_s_connection_is_named_after_its_system() -> None:
    assert tenant_conn_id("montecarlo", "acme") == "atlan_meta_montecarlo_tenant_acme"
